#!/usr/bin/env bash
# Network cards: lists them, gives one to DPDK, and gives it back to the driver it had.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source-path=SCRIPTDIR source=host.sh
. "$(dirname "$0")/host.sh"

usage() {
    cat <<'TEXT'
usage: scripts/nic.sh [list]
       scripts/nic.sh bind DEVICE [--driver vfio-pci|uio_pci_generic] [--force] [--dry-run]
       scripts/nic.sh unbind DEVICE [--dry-run]
       scripts/nic.sh --undo [--dry-run]

DPDK drives a card from user space. For that the kernel's driver lets go of it, the interface and its addresses
disappear, and a driver that only passes the card on takes its place. Without that, penstock runs on af_packet and
af_xdp, see dpdk-config/. Mellanox (mlx4, mlx5) and virtual devices need no binding at all.

  list         every card: address, driver, interface, NUMA node, IOMMU group, and what it is used for (the default)
  bind DEVICE  to vfio-pci where there is an IOMMU, and to uio_pci_generic where there is none
  unbind DEVICE  back to the driver that the card had before the first `bind`
  --undo       the same for every card, and the modules that were loaded for it
  DEVICE       a PCI address such as 0000:01:00.0 (the domain may be left out), or an interface such as eth1

  --driver D   vfio-pci: the IOMMU keeps the card to the program's own memory; it has to be on
               (intel_iommu=on iommu=pt on the kernel's command line, VT-d or AMD-Vi in the firmware).
               uio_pci_generic: the card can write to all memory, so whoever controls the gateway controls the machine
  --force      even the card that carries the default route or this ssh session
  --dry-run    show each change and make none
  -h, --help   this text

  scripts/nic.sh
  sudo scripts/nic.sh bind 0000:01:00.0      then in the configuration: device = "0000:01:00.0"

A binding lasts until the next boot. The interface's addresses do not return by themselves with its driver: reload the
network's configuration. The former driver is recorded in /var/lib/penstock/nic.undo before anything is changed.
Exit codes: 0 done, 2 command line, 4 the machine.
TEXT
}

PCI=/sys/bus/pci

bad_usage() { die 2 "$1" "scripts/nic.sh --help"; }

parse() {
    ACTION='' DEVICE='' DRIVER='' FORCE=false
    while (($#)); do
        case $1 in
            list | bind | unbind)
                [[ -z $ACTION ]] || bad_usage "one of list, bind, unbind and --undo"
                ACTION=$1
                if [[ $1 != list ]]; then DEVICE=${2-}; shift $(($# > 1)); fi
                ;;
            --undo) [[ -z $ACTION ]] || bad_usage "--undo stands alone"; ACTION=undo ;;
            --driver) DRIVER=${2-}; shift $(($# > 1)); [[ $DRIVER =~ ^(vfio-pci|uio_pci_generic)$ ]] ||
                bad_usage "--driver is vfio-pci or uio_pci_generic" ;;
            --force) FORCE=true ;;
            --dry-run) DRY_RUN=true ;;
            -h | --help) usage; exit 0 ;;
            *) bad_usage "unknown argument $1" ;;
        esac
        shift
    done
    [[ ${ACTION:=list} =~ ^(list|undo)$ || $DEVICE =~ ^[A-Za-z0-9][A-Za-z0-9_.:@-]*$ ]] ||
        bad_usage "$ACTION takes a PCI address or an interface"
}

# --- what there is ----------------------------------------------------------------------------------------------

# resolve DEVICE: its PCI address, in ADDRESS.
resolve() {
    local path
    for ADDRESS in "$1" "0000:$1"; do
        [[ ! -e $HOST_ROOT$PCI/devices/$ADDRESS ]] || { require_card; return; }
    done
    [[ -e $HOST_ROOT/sys/class/net/$1 ]] ||
        die "$EXIT_ENVIRONMENT" "there is no PCI device or interface $1" "scripts/nic.sh lists them"
    # A virtio interface hangs below its PCI device, so the last PCI address on the way is meant.
    path=$(readlink -f "$HOST_ROOT/sys/class/net/$1/device")
    while [[ $path == */* ]]; do
        ADDRESS=${path##*/}
        [[ ! $ADDRESS =~ ^[0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$ ]] || return 0
        path=${path%/*}
    done
    die "$EXIT_ENVIRONMENT" "$1 is no PCI card" "use it as it is: device = \"net_af_packet0,iface=$1\""
}

require_card() {
    [[ $(now "$PCI/devices/$ADDRESS/class") == 0x02* ]] ||
        die "$EXIT_ENVIRONMENT" "$ADDRESS is not a network card" "scripts/nic.sh lists them"
}

driver_of() {
    local link
    if link=$(readlink "$HOST_ROOT$PCI/devices/$1/driver"); then printf '%s' "${link##*/}"; else printf 'none'; fi
}

group_of() {
    local link
    if link=$(readlink "$HOST_ROOT$PCI/devices/$1/iommu_group"); then printf '%s' "${link##*/}"; else printf 'none'; fi
}

# interfaces_of ADDRESS: names, one a line.
interfaces_of() {
    local path
    for path in "$HOST_ROOT$PCI/devices/$1"/net/* "$HOST_ROOT$PCI/devices/$1"/virtio*/net/*; do
        [[ ! -e $path ]] || printf '%s\n' "${path##*/}"
    done
}

# below INTERFACE: it and the interfaces it runs on, as a bond, bridge or VLAN does.
below() {
    local lower
    printf '%s\n' "$1"
    for lower in "$HOST_ROOT/sys/class/net/$1"/lower_*; do
        [[ ! -e $lower ]] || below "${lower##*/lower_}"
    done
}

default_interfaces() {
    { ip -4 -o route show table all default; ip -6 -o route show table all default; } 2>/dev/null |
        grep -oP '\bdev \K\S+' | sort -u || true
}

# The client's address of the ssh session this runs in: sudo removes the variable, so our ancestors are asked as well.
ssh_client() {
    local connection=${SSH_CONNECTION-} pid=$PPID
    while [[ -z $connection && $pid -gt 1 && -r $HOST_ROOT/proc/$pid/environ ]]; do
        connection=$(tr '\0' '\n' 2>/dev/null <"$HOST_ROOT/proc/$pid/environ" | sed -n 's/^SSH_CONNECTION=//p')
        pid=$(awk '/^PPid:/ { print $2 }' "$HOST_ROOT/proc/$pid/status")
    done
    printf '%s' "${connection%% *}"
}

ssh_interface() {
    local client
    client=$(ssh_client)
    [[ -z $client ]] || ip -o route get "${client%%%*}" 2>/dev/null | grep -oP '\bdev \K\S+' || true
}

# use_of ADDRESS: why the card must not be taken away; empty when it may.
use_of() {
    local interface carried
    carried=$(for interface in $(default_interfaces); do below "$interface" | sed 's/$/ default-route/'; done
        for interface in $(ssh_interface); do below "$interface" | sed 's/$/ ssh/'; done)
    for interface in $(interfaces_of "$1"); do
        awk -v name="$interface" '$1 == name { print $2 }' <<<"$carried"
    done | sort -u | paste -sd,
}

list() {
    local path address format='%-14s %-17s %-12s %-5s %-6s %s\n'
    # shellcheck disable=SC2059 # one format for the head and the rows
    printf "$format" device driver interface node iommu use
    for path in "$HOST_ROOT$PCI/devices"/*; do
        address=${path##*/}
        [[ -e $path && $(now "$PCI/devices/$address/class") == 0x02* ]] || continue
        # shellcheck disable=SC2059
        printf "$format" "$address" "$(driver_of "$address")" \
            "$(interfaces_of "$address" | paste -sd, | sed 's/^$/-/')" \
            "$(now "$PCI/devices/$address/numa_node" || echo -)" "$(group_of "$address")" "$(use_of "$address")"
    done
    [[ ! -e $HOST_ROOT$JOURNAL ]] || printf 'recorded for --undo: %s\n' "$JOURNAL"
}

# --- changes ----------------------------------------------------------------------------------------------------

choose_driver() {
    local group
    group=$(group_of "$ADDRESS")
    if [[ -z $DRIVER ]]; then
        DRIVER=vfio-pci
        [[ $group != none ]] || DRIVER=uio_pci_generic
    fi
    if [[ $DRIVER == uio_pci_generic ]]; then
        warn "without an IOMMU between them, $ADDRESS can write to all memory of this machine: use this where you trust \
the gateway as you trust the kernel"
    elif [[ $group == none && $(now /sys/module/vfio/parameters/enable_unsafe_noiommu_mode || true) != Y ]]; then
        die "$EXIT_ENVIRONMENT" "vfio-pci needs an IOMMU, and $ADDRESS has none" \
            "turn on VT-d or AMD-Vi, and intel_iommu=on iommu=pt on the kernel's command line; or --driver uio_pci_generic"
    fi
    [[ $group == none ]] || warn_of_group "$group"
}

# A group is one unit to the IOMMU: a program gets all of it or nothing.
warn_of_group() {
    local path other
    for path in "$HOST_ROOT/sys/kernel/iommu_groups/$1/devices"/*; do
        other=${path##*/}
        [[ -e $path && $other != "$ADDRESS" ]] || continue
        [[ $(now "$PCI/devices/$other/class") != 0x0604* ]] || continue # bridges stay with the kernel
        [[ $(driver_of "$other") =~ ^(none|vfio-pci|pci-stub)$ ]] ||
            warn "$other ($(driver_of "$other")) is in IOMMU group $1 too: bind it as well, or DPDK cannot open $ADDRESS"
    done
}

refuse_carriers() {
    local use
    use=$(use_of "$ADDRESS")
    [[ -n $use ]] || return 0
    if $FORCE; then
        warn "$ADDRESS carries: $use"
    else
        die "$EXIT_ENVIRONMENT" "$ADDRESS ($(interfaces_of "$ADDRESS" | paste -sd,)) carries: $use; without it you may lose this machine" \
            "choose another card (scripts/nic.sh), or --force if you have a console"
    fi
}

bind_card() {
    local former
    resolve "$DEVICE"
    former=$(driver_of "$ADDRESS")
    if [[ $former =~ ^(vfio-pci|uio_pci_generic)$ && ${DRIVER:-$former} == "$former" ]]; then
        info "$ADDRESS is bound to $former already"
        return
    fi
    refuse_carriers
    choose_driver
    begin_changes scripts/nic.sh
    load_driver "$DRIVER" || die "$EXIT_ENVIRONMENT" "the kernel module $DRIVER cannot be loaded" \
        "install this kernel's modules (Debian: linux-image-\$(uname -r), Ubuntu: linux-modules-extra-\$(uname -r)); in a container: on the host"
    show_change "$ADDRESS: $former -> $DRIVER" || return 0
    remember driver "$ADDRESS" "$former $(now "$PCI/devices/$ADDRESS/driver_override")"
    if ! move "$DRIVER" "$DRIVER"; then
        warn "$ADDRESS did not go to $DRIVER (see dmesg): it goes back to $former"
        undo_driver "$ADDRESS" "$(recorded_driver)" && forget driver "$ADDRESS"
        die "$EXIT_ENVIRONMENT" "$ADDRESS cannot be bound to $DRIVER" "dmesg | tail; is the card in use?"
    fi
}

load_driver() { [[ -d $HOST_ROOT$PCI/drivers/$1 ]] || load_module "$1"; }

recorded_driver() {
    read_journal
    printf '%s\n' ${RECORDS[@]+"${RECORDS[@]}"} | sed -n "s/^driver $ADDRESS //p"
}

# move DRIVER OVERRIDE: takes ADDRESS from its driver and gives it to this one, or to none; true if it went there.
move() {
    local driver=$1 current
    # An empty line clears it; sysfs shows (null) then.
    put "$PCI/devices/$ADDRESS/driver_override" "$([[ $2 == '(null)' ]] || printf '%s' "$2")" || return 1
    current=$(driver_of "$ADDRESS")
    [[ $current != "$driver" ]] || return 0
    if [[ $current != none ]]; then put "$PCI/drivers/$current/unbind" "$ADDRESS" || return 1; fi
    if [[ $driver != none ]]; then
        load_driver "$driver" || return 1
        put "$PCI/drivers/$driver/bind" "$ADDRESS" || return 1
    fi
    [[ $(driver_of "$ADDRESS") == "$driver" ]]
}

undo_driver() {
    local driver override current
    ADDRESS=$1
    read -r driver override <<<"$2"
    [[ -e $HOST_ROOT$PCI/devices/$1 ]] || { info "$1 is gone: nothing to restore"; return 0; }
    current=$(driver_of "$1")
    [[ $current != "$driver" || $(now "$PCI/devices/$1/driver_override") != "$override" ]] || return 0
    show_change "$1: $current -> $driver" || return 0
    move "$driver" "$override" || { warn "$1 did not go back to $driver: is a program still using it? (dmesg)"; return 1; }
}

unbind_card() {
    local former
    resolve "$DEVICE"
    begin_changes scripts/nic.sh
    former=$(recorded_driver)
    [[ -n $former ]] || { info "nothing is recorded for $ADDRESS: it was not bound by this script"; return 0; }
    undo_driver "$ADDRESS" "$former" ||
        die "$EXIT_ENVIRONMENT" "$ADDRESS has $(driver_of "$ADDRESS") instead of its former driver" "stop the gateway, then again"
    $DRY_RUN || forget driver "$ADDRESS"
}

use_journal nic
parse "$@"
case $ACTION in
    list) list ;;
    bind) bind_card ;;
    unbind) unbind_card ;;
    undo) begin_changes scripts/nic.sh; undo_all ;;
esac
