#!/usr/bin/env bash
# Hugepages: shows them, reserves them on each NUMA node, mounts hugetlbfs, keeps both across boots, and undoes it all.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source-path=SCRIPTDIR source=host.sh
. "$(dirname "$0")/host.sh"

usage() {
    cat <<'TEXT'
usage: scripts/hugepages.sh [show]
       scripts/hugepages.sh reserve N [options]
       scripts/hugepages.sh --undo [--dry-run]

Packets and connections live in hugepages where there are any: fewer TLB misses, and memory that is never swapped.
Penstock uses plain pages otherwise, unless its configuration says hugepages = "require".

  show         what is reserved, free and mounted on each NUMA node (the default)
  reserve N    at least N pages on each node; pages that are reserved already count, and none is taken away
  --undo       everything as it was before the first `reserve`: number of pages, mounts, files

  --size S     2M (the default) or 1G. 1G pages need contiguous memory: reserve them early, or at boot
  --node K     on this NUMA node only. A network card's node: cat /sys/class/net/IFACE/device/numa_node
  --mount      also mount hugetlbfs, on /dev/hugepages or /dev/hugepages1G, unless it is mounted for this size.
               Penstock needs no mount; other DPDK programs, and several processes that share memory, do
  --persist    do it again at each boot, by systemd: a tmpfiles.d file, and a mount unit with --mount
  --dry-run    show each change and make none
  -h, --help   this text

How many? `penstock check -c FILE` prints the memory of a worker; divide by the page size and add 64 MiB for packets.

  sudo scripts/hugepages.sh reserve 512                        1 GiB on each node, until the next boot
  sudo scripts/hugepages.sh reserve 4 --size 1G --node 1 --persist

What is found is recorded in /var/lib/penstock/hugepages.undo before it is changed; after an interruption, run --undo,
or the same command again. Exit codes: 0 done, 2 command line, 4 the machine (what was reserved stays; see --undo).
TEXT
}

TMPFILES=/etc/tmpfiles.d/penstock-hugepages.conf
UNITS=/etc/systemd/system

bad_usage() { die 2 "$1" "scripts/hugepages.sh --help"; }

parse() {
    ACTION='' PAGES='' SIZE=2M NODE=all MOUNT=false PERSIST=false
    while (($#)); do
        case $1 in
            show | reserve)
                [[ -z $ACTION ]] || bad_usage "one of show, reserve and --undo"
                ACTION=$1
                if [[ $1 == reserve ]]; then PAGES=${2-}; shift $(($# > 1)); fi
                ;;
            --undo) [[ -z $ACTION ]] || bad_usage "--undo stands alone"; ACTION=undo ;;
            --size) SIZE=${2-}; shift $(($# > 1)) ;;
            --node) NODE=${2-}; shift $(($# > 1)) ;;
            --mount) MOUNT=true ;;
            --persist) PERSIST=true ;;
            --dry-run) DRY_RUN=true ;;
            -h | --help) usage; exit 0 ;;
            *) bad_usage "unknown argument $1" ;;
        esac
        shift
    done
    [[ ${ACTION:=show} != reserve || $PAGES =~ ^[1-9][0-9]{0,7}$ ]] || bad_usage "reserve takes a number of pages"
    [[ $NODE == all || $NODE =~ ^[0-9]{1,4}$ ]] || bad_usage "--node takes a number"
    case $SIZE in
        2M) KIB=2048 DEFAULT_MOUNT=/dev/hugepages MOUNT_SIZE=2M ;;
        1G) KIB=1048576 DEFAULT_MOUNT=/dev/hugepages1G MOUNT_SIZE=1024M ;;
        *) bad_usage "--size is 2M or 1G" ;;
    esac
}

# --- what there is ----------------------------------------------------------------------------------------------

# pools KIB: the folders that hold this size's counts, one for each node; one for the machine without NUMA.
pools() {
    local pool found=false
    for pool in "$HOST_ROOT"/sys/devices/system/node/node[0-9]*/hugepages/hugepages-"$1"kB; do
        [[ -d $pool ]] || continue
        found=true
        printf '%s\n' "${pool#"$HOST_ROOT"}"
    done
    $found || ! [[ -d $HOST_ROOT/sys/kernel/mm/hugepages/hugepages-$1kB ]] ||
        printf '%s\n' "/sys/kernel/mm/hugepages/hugepages-$1kB"
}

node_of() { if [[ $1 =~ /node([0-9]+)/ ]]; then printf '%s' "${BASH_REMATCH[1]}"; else printf '0'; fi; }

mounts() { awk '$3 == "hugetlbfs" { print $2, $4 }' "$HOST_ROOT/proc/mounts"; }

mounted_for() { mounts | grep -qE "(^| |,)pagesize=$1(,|$)"; }

show() {
    local kib pool any=false
    printf '%-6s %-6s %10s %10s\n' node size reserved free
    for kib in 2048 1048576; do
        for pool in $(pools "$kib"); do
            any=true
            printf '%-6s %-6s %10s %10s\n' "$(node_of "$pool")" "$([[ $kib == 2048 ]] && echo 2M || echo 1G)" \
                "$(now "$pool/nr_hugepages")" "$(now "$pool/free_hugepages")"
        done
    done
    $any || info "this kernel or container offers no hugepages"
    printf 'mounted: %s\n' "$(mounts | awk '{ printf "%s%s (%s)", sep, $1, $2; sep = ", " }')"
    [[ ! -e $HOST_ROOT$TMPFILES ]] || printf 'at boot: %s\n' "$TMPFILES"
    [[ ! -e $HOST_ROOT$JOURNAL ]] || printf 'recorded for --undo: %s\n' "$JOURNAL"
}

# --- changes ----------------------------------------------------------------------------------------------------

chosen_pools() {
    local pool
    POOLS=()
    for pool in $(pools "$KIB"); do
        [[ $NODE != all && $(node_of "$pool") != "$NODE" ]] || POOLS+=("$pool")
    done
    ((${#POOLS[@]})) && return
    [[ -z $(pools "$KIB") ]] || die "$EXIT_ENVIRONMENT" "there is no NUMA node $NODE" "scripts/hugepages.sh show"
    die "$EXIT_ENVIRONMENT" "this machine has no hugepages of $SIZE" \
        "another --size, or hugepages = \"off\" under [workers]; 1G needs the CPU flag pdpe1gb"
}

reserve_pool() {
    local pool=$1 former reserved
    former=$(now "$pool/nr_hugepages")
    ((former < PAGES)) || { info "node $(node_of "$pool"): $former pages of $SIZE are reserved already"; return 0; }
    set_value "$pool/nr_hugepages" "$PAGES" ||
        die "$EXIT_ENVIRONMENT" "$pool/nr_hugepages cannot be written" "in a container: run this on the host"
    $DRY_RUN && return
    # The kernel reserves what it finds and reports no error.
    reserved=$(now "$pool/nr_hugepages")
    ((reserved >= PAGES)) ||
        die "$EXIT_ENVIRONMENT" "node $(node_of "$pool") gave $reserved of $PAGES pages of $SIZE: its memory is used or fragmented" \
            "echo 1 > /proc/sys/vm/compact_memory, and again; or at boot, on the kernel's command line: \
default_hugepagesz=$SIZE hugepagesz=$SIZE hugepages=$PAGES; or --undo"
}

mount_hugetlbfs() {
    if mounted_for "$MOUNT_SIZE"; then
        info "hugetlbfs with pages of $SIZE is mounted already"
        return
    fi
    make_directory "$DEFAULT_MOUNT"
    show_change "mount hugetlbfs with pages of $SIZE on $DEFAULT_MOUNT" || return 0
    remember mount "$DEFAULT_MOUNT" absent
    mount -t hugetlbfs -o "pagesize=$SIZE,mode=0700" hugetlbfs "$HOST_ROOT$DEFAULT_MOUNT" ||
        die "$EXIT_ENVIRONMENT" "hugetlbfs cannot be mounted on $DEFAULT_MOUNT" "see mount's message above"
}

undo_mount() {
    mounts | grep -q "^$1 " || return 0
    show_change "unmount $1" || return 0
    umount "$HOST_ROOT$1" || { warn "$1 is in use: stop the programs that use hugepages"; return 1; }
}

# The lines of other sizes and nodes stay as they are.
persist() {
    local pool lines=()
    [[ -d $HOST_ROOT/run/systemd/system ]] ||
        die "$EXIT_ENVIRONMENT" "--persist needs systemd, which does not run here" \
            "reserve them on the kernel's command line: hugepagesz=$SIZE hugepages=$PAGES"
    if [[ -e $HOST_ROOT$TMPFILES ]]; then mapfile -t lines <"$HOST_ROOT$TMPFILES"; fi
    for pool in "${POOLS[@]}"; do
        mapfile -t lines < <(printf '%s\n' ${lines[@]+"${lines[@]}"} | grep -vF -- "$pool/" | sed '/^$/d')
        lines+=("w $pool/nr_hugepages - - - - $(at_least "$pool")")
    done
    set_file "$TMPFILES" "$(printf '%s\n' "${lines[@]}")"
    if $MOUNT; then persist_mount; fi
}

# What a node has, when that is more than was asked for.
at_least() {
    local reserved
    reserved=$(now "$1/nr_hugepages")
    printf '%s' $((reserved > PAGES ? reserved : PAGES))
}

persist_mount() {
    local unit=${DEFAULT_MOUNT#/}
    unit=${unit//\//-}.mount
    # systemd mounts /dev/hugepages by itself.
    [[ $DEFAULT_MOUNT != /dev/hugepages ]] || { info "systemd mounts $DEFAULT_MOUNT at boot by itself"; return 0; }
    set_file "$UNITS/$unit" "[Unit]
Description=Hugepages of $SIZE for DPDK programs
DefaultDependencies=no
Before=sysinit.target

[Mount]
What=hugetlbfs
Where=$DEFAULT_MOUNT
Type=hugetlbfs
Options=pagesize=$SIZE,mode=0700

[Install]
WantedBy=sysinit.target"
    set_link "$UNITS/sysinit.target.wants/$unit" "$UNITS/$unit"
}

reserve() {
    local pool
    chosen_pools
    begin_changes scripts/hugepages.sh
    for pool in "${POOLS[@]}"; do reserve_pool "$pool"; done
    if $MOUNT; then mount_hugetlbfs; fi
    if $PERSIST; then persist; fi
    $DRY_RUN || show
}

use_journal hugepages
parse "$@"
case $ACTION in
    show) show ;;
    reserve) reserve ;;
    undo) begin_changes scripts/hugepages.sh; undo_all ;;
esac
