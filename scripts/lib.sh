# shellcheck shell=bash
# Shared by the scripts of this folder: messages, packages, clean-up, hugepages, client networks.
# Sourced, never run. Refuses to know anything about what a script starts or tests.

set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
EXIT_ENVIRONMENT=4
HUGEPAGES=/sys/kernel/mm/hugepages/hugepages-2048kB

# --- messages ---------------------------------------------------------------------------------------------------

step() { printf '\n== %s\n' "$*"; }
info() { printf '   %s\n' "$*"; }
warn() { printf 'warning: %s\n' "$*" >&2; }

# die EXIT_CODE WHAT [FIX]
die() {
    printf 'error: %s\n' "$2" >&2
    if [[ -n ${3-} ]]; then printf '  fix: %s\n' "$3" >&2; fi
    exit "$1"
}

require_root() {
    [[ $EUID -eq 0 ]] || die "$EXIT_ENVIRONMENT" "$1 needs root (namespaces, interfaces, hugepages)" "sudo $1"
}

# --- clean-up: a stack that EXIT, Ctrl-C and TERM run from its top ----------------------------------------------

CLEANUPS=()

# defer COMMAND ARG...: runs it when the script ends, the latest first.
defer() { CLEANUPS+=("$(printf '%q ' "$@")"); }

run_cleanups() {
    local status=$? i
    trap '' INT TERM
    set +e
    for ((i = ${#CLEANUPS[@]} - 1; i >= 0; i--)); do eval "${CLEANUPS[i]}"; done
    exit "$status"
}
trap run_cleanups EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# stop_process PID: TERM, then KILL when it has not gone after 20 s. Returns its exit status if it is our child.
stop_process() {
    kill -TERM "$1" 2>/dev/null || true
    wait_until 20 process_gone "$1" || { warn "process $1 ignores SIGTERM: killed"; kill -KILL "$1"; }
    wait "$1" 2>/dev/null
}

process_gone() { ! kill -0 "$1" 2>/dev/null; }

# wait_until SECONDS COMMAND ARG...: polls until the command succeeds; fails at the deadline.
wait_until() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@"; do
        ((SECONDS < deadline)) || return 1
        sleep 0.1
    done
}

# --- packages ---------------------------------------------------------------------------------------------------

# Package names are Debian's; each has a command that succeeds where it is not needed.
have() { command -v "$1" >/dev/null; }
have_libclang() {
    compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' >/dev/null || compgen -G '/usr/lib*/libclang*.so*' >/dev/null
}
have_dpdk() { have pkg-config && pkg-config --exists 'libdpdk >= 22.11'; }

package_present() {
    case $1 in
        build-essential) have cc ;;
        dpdk) have dpdk-devbind.py ;;
        iproute2) have ip ;;
        iputils-ping) have ping ;;
        libclang-dev) have_libclang ;;
        libdpdk-dev) have_dpdk ;;
        *) have "$1" ;;
    esac
}

# shellcheck disable=SC2034 # used by the scripts that source this
{
    BUILD_PACKAGES=(build-essential pkg-config clang libclang-dev libdpdk-dev)
    RUN_PACKAGES=(dpdk curl wrk iproute2 iputils-ping ethtool)
    TEST_PACKAGES=(python3 shellcheck)
}

# install_packages PACKAGE...: installs those that are missing; instant and offline when none is.
install_packages() {
    local package missing=()
    for package in "$@"; do
        package_present "$package" || missing+=("$package")
    done
    ((${#missing[@]})) || return 0
    have apt-get ||
        die "$EXIT_ENVIRONMENT" "missing: ${missing[*]} (Debian's names)" "install them by this system's own means"
    [[ $EUID -eq 0 ]] || die "$EXIT_ENVIRONMENT" "missing packages" "sudo apt-get install ${missing[*]}"
    info "installing ${missing[*]}"
    apt_get update || warn "apt-get update failed: trying with the lists at hand"
    apt_get install -y --no-install-recommends "${missing[@]}" ||
        die "$EXIT_ENVIRONMENT" "apt-get could not install ${missing[*]}" "see its messages above, then run this again"
    for package in "${missing[@]}"; do
        package_present "$package" ||
            die "$EXIT_ENVIRONMENT" "$package is installed but not usable (DPDK must be 22.11 or newer)"
    done
}

apt_get() {
    DEBIAN_FRONTEND=noninteractive apt-get -q -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 \
        -o APT::Sandbox::User=root "$@" </dev/null
}

# --- Rust -------------------------------------------------------------------------------------------------------

# Under sudo the toolchain is the invoking user's, and so should the built files be.
build_user() { [[ $EUID -eq 0 && -n ${SUDO_USER-} && $SUDO_USER != root ]] && printf '%s' "$SUDO_USER"; }

require_rust() {
    local user home=$HOME
    if user=$(build_user); then home=$(getent passwd "$user" | cut -d: -f6); fi
    export PATH=$PATH:$home/.cargo/bin
    have cargo || die "$EXIT_ENVIRONMENT" "Rust is missing: cargo was not found" "install it from https://rustup.rs"
}

# Runs cargo in the repository, as the user who called sudo.
cargo_run() {
    local user
    if user=$(build_user); then
        (cd "$ROOT" && sudo -u "$user" -H --preserve-env=CARGO_TARGET_DIR,CARGO_BUILD_JOBS env "PATH=$PATH" cargo "$@")
    else
        (cd "$ROOT" && cargo "$@")
    fi
}

target_dir() { printf '%s' "${CARGO_TARGET_DIR:-$ROOT/target}"; }

# --- hugepages --------------------------------------------------------------------------------------------------

# reserve_hugepages N: makes N pages of 2 MiB free, or as many as it can; the former number returns at exit.
reserve_hugepages() {
    local former free
    [[ -w $HUGEPAGES/nr_hugepages ]] || { info "hugepages cannot be reserved here: plain pages"; return 0; }
    former=$(<"$HUGEPAGES/nr_hugepages")
    free=$(<"$HUGEPAGES/free_hugepages")
    if ((free < $1)); then
        defer set_hugepages "$former"
        set_hugepages $((former + $1 - free)) || true
    fi
    info "$(<"$HUGEPAGES/free_hugepages") free hugepages of 2 MiB"
}

set_hugepages() { echo "$1" 2>/dev/null >"$HUGEPAGES/nr_hugepages"; }

# --- client networks --------------------------------------------------------------------------------------------

# unique PREFIX: a name no other run uses; at most 15 characters, as interfaces demand.
unique() { printf '%.8s%d' "$1" "$(($$ % 10000000))"; }

make_namespace() {
    ip netns add "$1" || die "$EXIT_ENVIRONMENT" "ip netns add $1 failed" "run as root; a container must be privileged"
    defer ip netns delete "$1"
    ip -n "$1" link set lo up
}

# make_veth OURS THEIRS NAMESPACE: a pair with the second end in the namespace.
make_veth() {
    ip link add "$1" type veth peer name "$2" netns "$3"
    defer delete_interface "$1"
    # The gateway owns this end: the kernel must stay silent on it.
    echo 1 2>/dev/null >"/proc/sys/net/ipv6/conf/$1/disable_ipv6" || true
    ip link set "$1" up
    # The kernel leaves TCP checksums to a device that veth does not have; packet sockets see them unfinished.
    ip netns exec "$3" ethtool -K "$2" tx off >/dev/null
}

# interface_of MAC: the interface with this address.
interface_of() { ip -o link | awk -v mac="$1" '$0 ~ "link/ether " mac { sub(/[:@].*/, "", $2); print $2; n++ } END { exit !n }'; }

delete_interface() { ip link delete "$1" 2>/dev/null || true; }
