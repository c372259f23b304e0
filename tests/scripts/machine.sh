#!/usr/bin/env bash
# The kernel and tools of a false machine: what the host scripts call, by name, on the tree at PENSTOCK_HOST_ROOT.
# Owns what a write does. FAULT is fail:N, kill-before:N or kill-after:N: what happens at the Nth change.
set -eu
# Its own tools are the real ones.
PATH=${PATH#*:}

R=$PENSTOCK_HOST_ROOT
BENCH=$(dirname "$R") # beside the tree: counters, and what the tree must not show
PCI=$R/sys/bus/pci

refuse() { echo "${0##*/}: $1" >&2; exit 1; }

# begin_change, end_change: the places where faults strike.
begin_change() {
    COUNT=$(($(cat "$BENCH/count" 2>/dev/null || echo 0) + 1))
    echo "$COUNT" >"$BENCH/count"
    case ${FAULT-} in
        "fail:$COUNT") refuse "fault" ;;
        "kill-before:$COUNT") kill -KILL "$PPID"; exit 1 ;;
    esac
}
end_change() { [[ ${FAULT-} != "kill-after:$COUNT" ]] || kill -KILL "$PPID"; }

choose() { # FILE VALUE: "a [b] c"
    local words
    words=" $(tr -d '[]' <"$1") "
    [[ $words == *" $2 "* ]] || refuse "Invalid argument"
    words=${words/ $2 / [$2] }
    words=${words# }
    echo "${words% }" >"$1"
}

reserve() { # FILE VALUE: no more than there is, and no error
    local value=$2
    ((value <= ${PAGES_MAX:-1000000})) || value=$PAGES_MAX
    echo "$value" >"$1"
    echo "$value" >"${1%/*}/free_hugepages"
}

unbind() { # ADDRESS: its interfaces go with the driver
    rm "$PCI/devices/$1/driver"
    mkdir -p "$BENCH/gone/$1"
    [[ ! -d $PCI/devices/$1/net ]] || mv "$PCI/devices/$1/net" "$BENCH/gone/$1/net"
}

bind() { # DRIVER ADDRESS
    local override native
    override=$(<"$PCI/devices/$2/driver_override")
    native=$(<"$BENCH/native/$2")
    [[ ${NOT_BINDING-} != "$1" ]] || refuse "Device or resource busy"
    [[ ! -e $PCI/devices/$2/driver ]] || refuse "Device or resource busy"
    [[ $override == "$1" || ($override == '(null)' && $native == "$1") ]] || refuse "No such device"
    ln -s "../../drivers/$1" "$PCI/devices/$2/driver"
    [[ $1 != "$native" || ! -d $BENCH/gone/$2/net ]] || mv "$BENCH/gone/$2/net" "$PCI/devices/$2/net"
}

write() { # FILE VALUE
    case $1 in
        */transparent_hugepage/*) choose "$@" ;;
        */nr_hugepages) reserve "$@" ;;
        */driver_override) echo "${2:-(null)}" >"$1" ;;
        */drivers/*/unbind) unbind "$2" ;;
        */drivers/*/bind) bind "$(basename "$(dirname "$1")")" "$2" ;;
        */irq/"${FIXED_IRQ-none}"/*) refuse "Input/output error" ;;
        *) [[ -e $1 ]] || refuse "Permission denied"; echo "$2" >"$1" ;;
    esac
}

hugetlbfs() { # -t hugetlbfs -o OPTIONS hugetlbfs DIR
    local options=${4/=1G/=1024M}
    [[ -d $6 ]] || refuse "no mount point"
    echo "hugetlbfs ${6#"$R"} hugetlbfs rw,relatime,$options 0 0" >>"$R/proc/mounts"
}

module() { # [-r] NAME
    local name=${!#}
    [[ ${NO_MODULE-} != "$name" ]] || refuse "FATAL: Module $name not found"
    if [[ $1 == -r ]]; then
        rm -r "$R/sys/module/${name//-/_}" "$PCI/drivers/$name"
    else
        mkdir "$R/sys/module/${name//-/_}" "$PCI/drivers/$name"
        touch "$PCI/drivers/$name/bind" "$PCI/drivers/$name/unbind"
    fi
}

case ${0##*/} in
    tee) read -r value || true; begin_change; write "$1" "$value"; end_change ;;
    mount) begin_change; hugetlbfs "$@"; end_change ;;
    umount)
        begin_change
        [[ -z ${BUSY-} ]] || refuse "target is busy"
        sed -i "\\|^hugetlbfs ${1#"$R"} |d" "$R/proc/mounts"
        end_change
        ;;
    modprobe) begin_change; module "$@"; end_change ;;
    ln | mkdir | mv | rm | rmdir)
        tool=$(command -v "${0##*/}")
        # The journal's folder comes and goes with every run.
        if [[ $1 == -p || $1 == --ignore* || ${!#} == *.new ]]; then exec "$tool" "$@"; fi
        begin_change; "$tool" "$@"; end_change
        ;;
    systemctl)
        if [[ $1 == is-active ]]; then [[ $(<"$R/run/service") == active ]]; exit; fi
        begin_change
        if [[ $1 == start ]]; then echo active; else echo inactive; fi >"$R/run/service"
        end_change
        ;;
    ip)
        case $* in
            "-4 -o route show table all default") echo "default via 192.0.2.1 dev ${DEFAULT_DEV:-eth0} proto dhcp metric 100" ;;
            "-6 -o route show table all default") ;;
            "-o route get 198.51.100.7") echo "198.51.100.7 via 192.0.2.1 dev eth1 src 192.0.2.9 uid 0 \\    cache" ;;
            *) refuse "unexpected: $*" ;;
        esac
        ;;
    *) refuse "no such tool" ;;
esac
