#!/usr/bin/env bash
# Host tuning: keeps interrupts, page compaction and slow clocks away from worker cores, and says how to isolate them.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source-path=SCRIPTDIR source=host.sh
. "$(dirname "$0")/host.sh"

usage() {
    cat <<'TEXT'
usage: scripts/tune.sh show [--cores LIST]
       scripts/tune.sh apply --cores LIST [--dry-run]
       scripts/tune.sh --undo [--dry-run]

A worker polls one core without a pause. Whatever else runs there makes every connection of that worker wait: an
interrupt for microseconds, another thread for milliseconds. Throughput barely shows it, the slowest requests do.

  show         how things are, and with --cores the kernel command line that isolates them (the default)
  apply        do what can be done without a reboot; each step is shown:
                 irqbalance         stopped, as it would move interrupts back
                 interrupts         away from the worker cores, those to come as well; some are fixed by the kernel
                 kernel workers     unbound workqueues away from the worker cores
                 THP                madvise: no background compaction for programs that did not ask for it
                 NUMA balancing     off: it takes pages away to see who uses them
                 governor           performance, on the worker cores
  --undo       each of these as it was before the first `apply`

  --cores LIST the worker cores, such as 2-5,8; at least one core stays for the kernel
  --dry-run    show each change and make none
  -h, --help   this text

  scripts/tune.sh show --cores 2-5
  sudo scripts/tune.sh apply --cores 2-5

All of it lasts until the next boot. What is found is recorded in /var/lib/penstock/tune.undo before it is changed.
Exit codes: 0 done, 2 command line, 4 the machine refused a step (the others are done).
TEXT
}

CPU=/sys/devices/system/cpu
THP=/sys/kernel/mm/transparent_hugepage
REFUSED=0

bad_usage() { die 2 "$1" "scripts/tune.sh --help"; }

parse() {
    ACTION='' CORES=''
    while (($#)); do
        case $1 in
            show | apply) [[ -z $ACTION ]] || bad_usage "one of show, apply and --undo"; ACTION=$1 ;;
            --undo) [[ -z $ACTION ]] || bad_usage "--undo stands alone"; ACTION=undo ;;
            --cores)
                CORES=$(cpus "${2-}" | as_list) || bad_usage "--cores takes a list such as 2-5,8"
                shift
                ;;
            --dry-run) DRY_RUN=true ;;
            -h | --help) usage; exit 0 ;;
            *) bad_usage "unknown argument $1" ;;
        esac
        shift
    done
    [[ ${ACTION:=show} != apply || -n $CORES ]] || bad_usage "apply needs --cores: the cores that workers will have"
    [[ -z $CORES ]] || split_cores
}

# Worker cores, and HOUSE: those that the kernel and everything else keep.
split_cores() {
    local online absent
    online=$(now $CPU/online)
    absent=$(without "$CORES" "$online")
    [[ -z $absent ]] || die "$EXIT_ENVIRONMENT" "CPU $absent is not online" "this machine has $online"
    HOUSE=$(without "$online" "$CORES")
    [[ -n $HOUSE ]] || die 2 "no core is left for the kernel" "leave at least one of $online out of --cores"
}

# --- masks: hexadecimal words of 32 CPUs, the highest first -----------------------------------------------------

to_mask() {
    local cpu i words=() text
    for cpu in $(cpus "$1"); do
        for ((i = ${#words[@]}; i <= cpu / 32; i++)); do words[i]=0; done
        words[cpu / 32]=$((words[cpu / 32] | 1 << cpu % 32))
    done
    text=$(printf '%x' "${words[-1]}")
    for ((i = ${#words[@]} - 2; i >= 0; i--)); do text+=$(printf ',%08x' "${words[i]}"); done
    printf '%s' "$text"
}

from_mask() {
    local i bit words
    IFS=, read -ra words <<<"$1"
    for ((i = ${#words[@]} - 1; i >= 0; i--)); do
        for ((bit = 0; bit < 32; bit++)); do
            (((16#${words[i]} >> bit & 1) == 0)) || echo $(((${#words[@]} - 1 - i) * 32 + bit))
        done
    done | as_list
}

# --- advice -----------------------------------------------------------------------------------------------------

# The arguments that isolate the worker cores, one a line.
boot_arguments() {
    printf '%s\n' "isolcpus=managed_irq,domain,$CORES" "nohz_full=$CORES" "rcu_nocbs=$CORES" "irqaffinity=$HOUSE"
    ! grep -q GenuineIntel "$HOST_ROOT/proc/cpuinfo" || echo intel_iommu=on
    echo iommu=pt
}

advise() {
    local line missing
    line=$(boot_arguments | paste -sd' ')
    missing=$(boot_arguments | grep -vxFf <(tr ' ' '\n' <"$HOST_ROOT/proc/cmdline") | paste -sd' ' || true)
    step "Isolation of CPU $CORES (only at boot; CPU $HOUSE for everything else)"
    if [[ -z $missing ]]; then
        info "done: the kernel was started with $line"
    else
        info "kernel command line: $line"
        info "missing now:         $missing"
        info "Debian, Ubuntu:      add it to GRUB_CMDLINE_LINUX in /etc/default/grub; sudo update-grub; sudo reboot"
        info "Fedora, RHEL:        sudo grubby --update-kernel=ALL --args=\"$line\"; sudo reboot"
        info "isolcpus keeps other threads off, nohz_full the tick, rcu_nocbs the kernel's deferred work, irqaffinity"
        info "interrupts; iommu=pt spares the kernel's own devices the translation that vfio-pci needs the IOMMU for"
    fi
    advise_siblings
    # The control thread takes the lowest CPU that the process may use.
    if ((${HOUSE%%[,-]*} < ${CORES%%[,-]*})); then
        info "give workers these cores: taskset -c ${HOUSE%%[,-]*},$CORES penstock run -c FILE"
    else
        info "give workers these cores: penstock -l ${HOUSE%%[,-]*},$CORES --main-lcore ${HOUSE%%[,-]*} -a DEVICE -- run -c FILE"
    fi
}

advise_siblings() {
    local cpu siblings
    for cpu in $(cpus "$CORES"); do
        siblings=$(now "$CPU/cpu$cpu/topology/thread_siblings_list") || continue
        siblings=$(without "$siblings" "$CORES")
        [[ -z $siblings ]] || info "CPU $siblings is the other half of worker core $cpu: leave it idle, or take it off line"
    done
}

show() {
    local cpu
    step "Now"
    info "isolated CPUs:    $(or_none "$(now $CPU/isolated || true)")"
    info "THP:              $(now $THP/enabled || echo 'not in this kernel'), defrag $(now $THP/defrag || echo -)"
    info "NUMA balancing:   $(now /proc/sys/kernel/numa_balancing || echo 'not in this kernel')"
    info "governor:         $(for cpu in $(cpus "$(now $CPU/online)"); do governor "$cpu"; done | sort | uniq -c |
        awk '{ printf "%s%s on %d CPUs", sep, $2, $1; sep = ", " }')"
    [[ -z $CORES ]] || info "interrupts there: $(or_none "$(interrupts_on_cores | paste -sd' ')")"
    [[ ! -e $HOST_ROOT$JOURNAL ]] || info "for --undo:       $JOURNAL"
    [[ -z $CORES ]] || advise
}

or_none() { printf '%s' "${1:-none}"; }

governor() { now "$CPU/cpu$1/cpufreq/scaling_governor" && echo || echo none; }

# Numbers of the interrupts that may come to a worker core.
interrupts_on_cores() {
    local path number list
    for path in "$HOST_ROOT"/proc/irq/[0-9]*/smp_affinity_list; do
        number=${path%/*}
        number=${number##*/}
        list=$(now "/proc/irq/$number/smp_affinity_list") || continue
        [[ $(without "$list" "$CORES") == "$list" ]] || echo "$number"
    done | sort -n
}

# --- changes ----------------------------------------------------------------------------------------------------

refused() {
    warn "$1"
    REFUSED=$((REFUSED + 1))
}

# try PATH VALUE: a setting that this kernel may not have.
try() {
    [[ -e $HOST_ROOT$1 ]] || { info "$1: not in this kernel"; return 0; }
    set_value "$1" "$2" || refused "$1 cannot be set to $2: read-only here (a container?), or the kernel refuses it"
}

stop_irqbalance() {
    have systemctl && systemctl is-active --quiet irqbalance 2>/dev/null || return 0
    show_change "stop the service irqbalance" || return 0
    remember service irqbalance active
    systemctl stop irqbalance || { forget service irqbalance; refused "irqbalance does not stop"; }
}

undo_service() {
    ! systemctl is-active --quiet "$1" || return 0
    show_change "start the service $1" || return 0
    systemctl start "$1"
}

# away LIST: without the worker cores; those that the kernel keeps, when none of them is in it.
away() {
    local list
    list=$(without "$1" "$CORES")
    if [[ -z $list || $(without "$HOUSE" "$list") == "$HOUSE" ]]; then list=$HOUSE; fi
    printf '%s' "$list"
}

move_interrupts() {
    local number path list
    for number in $(interrupts_on_cores); do
        path=/proc/irq/$number/smp_affinity_list
        list=$(away "$(now "$path")")
        set_value "$path" "$list" || info "interrupt $number stays: the kernel manages where it goes"
    done
}

# narrow PATH: takes the worker cores out of a mask.
narrow() {
    local former list
    former=$(now "$1") || { info "$1: not in this kernel"; return 0; }
    former=$(from_mask "$former")
    list=$(away "$former")
    [[ $list != "$former" ]] || { info "$1 is without CPU $CORES already"; return 0; }
    try "$1" "$(to_mask "$list")"
}

set_governors() {
    local cpu
    [[ -d $HOST_ROOT$CPU/cpu${CORES%%[,-]*}/cpufreq ]] ||
        { info "governor: this kernel does not set clocks (a virtual machine?)"; return 0; }
    for cpu in $(cpus "$CORES"); do try "$CPU/cpu$cpu/cpufreq/scaling_governor" performance; done
}

apply() {
    begin_changes scripts/tune.sh
    step "Interrupts and kernel workers"
    stop_irqbalance
    move_interrupts
    narrow /proc/irq/default_smp_affinity
    narrow /sys/devices/virtual/workqueue/cpumask
    step "Memory"
    try $THP/enabled madvise
    try $THP/defrag madvise
    try /proc/sys/kernel/numa_balancing 0
    step "Clocks"
    set_governors
    advise
    ((REFUSED == 0)) || die "$EXIT_ENVIRONMENT" "$REFUSED steps were refused, the others are done" \
        "see the warnings above; in a container: run this on the host; --undo restores what was changed"
}

use_journal tune
parse "$@"
case $ACTION in
    show) show ;;
    apply) apply ;;
    undo) begin_changes scripts/tune.sh; undo_all ;;
esac
