#!/usr/bin/env bash
# From a fresh machine to an answering gateway: installs, builds, starts, shows curl and wrk, cleans up.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

usage() {
    cat <<'TEXT'
usage: scripts/quickstart.sh [options]

Builds Penstock, starts it on a virtual device, and sends it requests from a network namespace of its own.

  --keep           stay up after the demonstration, until Ctrl-C
  --no-hugepages   use plain pages
  --af-packet      use a veth pair with DPDK's af_packet driver instead of a tap device
  --duration S     seconds of load (4)
  -h, --help       this text
TEXT
}

KEEP=false
DEVICE=tap
HUGE=true
DURATION=4
while (($#)); do
    case $1 in
        --keep) KEEP=true ;;
        --no-hugepages) HUGE=false ;;
        --af-packet) DEVICE=af_packet ;;
        --duration) DURATION=${2-}; shift ;;
        -h | --help) usage; exit 0 ;;
        *) usage >&2; die 2 "unknown option $1" ;;
    esac
    shift
done
[[ $DURATION =~ ^[1-9][0-9]*$ ]] || die 2 "--duration takes a number of seconds"

NAMESPACE=$(unique penstock)
CLIENT=$(unique pstc) # the client's interface, in the namespace
OURS=$(unique pstg)   # the gateway's end of a veth pair
EXPECTED='Hello from Penstock'

client() { ip netns exec "$NAMESPACE" "$@"; }

build() {
    step "Building (the first time takes some minutes)"
    cargo_run build --release --features dpdk || die 1 "the build failed" "see cargo's messages above"
    BINARY=$(target_dir)/release/penstock
}

write_config() {
    local device="net_tap0,iface=$CLIENT" hugepages=auto
    [[ $DEVICE == tap ]] || device="net_af_packet0,iface=$OURS,qdisc_bypass=1"
    $HUGE || hugepages=off
    cat >"$WORK/penstock.toml" <<TOML
[port]
device = "$device"
address = ["10.7.0.2/24", "fd00:7::2/64"]

[workers]
count = 1
hugepages = "$hugepages"

# Another gateway on this machine may have the default port; see docs/metrics.md.
[metrics]
address = "off"

[admin]
socket = "$WORK/admin.sock"

[[listener]]
port = 80

[[route]]
path = "/"
respond = { body = "$EXPECTED\n" }
TOML
}

start_gateway() {
    step "Starting the gateway"
    [[ $DEVICE == tap ]] || make_veth "$OURS" "$CLIENT" "$NAMESPACE"
    write_config
    : >"$WORK/log"
    setsid "$BINARY" run --log-format text -c "$WORK/penstock.toml" >"$WORK/log" 2>&1 </dev/null &
    GATEWAY=$!
    defer stop_gateway
    if ! wait_until 60 gateway_ready || process_gone "$GATEWAY"; then
        tail -n 20 "$WORK/log" >&2
        die 1 "the gateway did not become ready; its last lines are above"
    fi
    cat "$WORK/log"
}

# True when waiting is over: ready, or gone.
gateway_ready() { process_gone "$GATEWAY" || { grep -qw ready "$WORK/log" && interface_exists; }; }
interface_exists() { [[ $DEVICE == af_packet || -e /sys/class/net/$CLIENT ]]; }

stop_gateway() {
    local before status=0
    before=$(wc -l <"$WORK/log")
    stop_process "$GATEWAY" || status=$?
    tail -n "+$((before + 1))" "$WORK/log"
    info "gateway stopped (exit $status)"
}

connect_client() {
    if [[ $DEVICE == tap ]]; then
        # The driver gives the kernel's side its own MAC address: the client needs another one.
        ip link set "$CLIENT" down address "02:00:0a:07:00:01"
        ip link set "$CLIENT" netns "$NAMESPACE" # the driver keeps its file descriptor
    fi
    ip -n "$NAMESPACE" link set "$CLIENT" up
    ip -n "$NAMESPACE" addr add 10.7.0.1/24 dev "$CLIENT"
    ip -n "$NAMESPACE" addr add fd00:7::1/64 dev "$CLIENT" nodad
}

ask() {
    local answer url=$1
    step "curl -v $url"
    client curl -v --silent --show-error --globoff --max-time 30 "$url" 2>&1 || true
    answer=$(client curl --silent --globoff --max-time 30 "$url" || true)
    [[ $answer == "$EXPECTED" ]] || die 1 "$url did not answer '$EXPECTED' but '$answer'"
}

load() {
    step "wrk: 50 connections for $DURATION s"
    client wrk -t 2 -c 50 -d "${DURATION}s" http://10.7.0.2/ || die 1 "wrk failed"
    info "a tap or veth device goes through the kernel: see scripts/bench.sh turn for what the gateway itself can do"
}

show_status() {
    step "penstock status"
    "$BINARY" status --socket "$WORK/admin.sock" || die 1 "the gateway did not tell its status"
}

what_next() {
    step "What to try next"
    info "watch it:      $BINARY top --socket $WORK/admin.sock (while it runs)"
    info "configuration: $WORK/penstock.toml (gone when this ends)"
    if $KEEP; then
        info "ask it:        ip netns exec $NAMESPACE curl http://10.7.0.2/"
        info "enter:         ip netns exec $NAMESPACE bash"
        info "stop:          Ctrl-C here, or kill $$"
    else
        info "stay up:       scripts/quickstart.sh --keep"
        info "test it all:   scripts/test.sh"
    fi
}

require_root scripts/quickstart.sh
step "Packages"
install_packages "${BUILD_PACKAGES[@]}" "${RUN_PACKAGES[@]}"
require_rust
build

step "Memory and network"
if $HUGE; then reserve_hugepages 512; fi
WORK=$(mktemp -d)
defer rm -rf "$WORK"
make_namespace "$NAMESPACE"
start_gateway
connect_client
ask http://10.7.0.2/
ask 'http://[fd00:7::2]/'
load
show_status
what_next
if $KEEP; then
    wait "$GATEWAY" || die 1 "the gateway ended by itself"
fi
