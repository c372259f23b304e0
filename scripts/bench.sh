#!/usr/bin/env bash
# The benchmarks: the whole turn of a worker without a network card, and what an idle gateway costs.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

usage() {
    cat <<'TEXT'
usage: scripts/bench.sh turn [--case NAME] [--requests N] [--list]
       scripts/bench.sh instructions [--case NAME] [--requests N]
       scripts/bench.sh idle [--driver tap|af_packet] [--requests N] [--quiet-ms MS] [--seconds S] [--windows N]
       scripts/bench.sh peers [--runs N] [--seconds S] [--client wrk|penstock] [--servers LIST] [--json FILE]
                              [--binary FILE]
       scripts/bench.sh loss [--runs N] [--loss LIST] [--servers LIST] [--bodies LIST] [--seconds S] [--bulk-runs N]
                             [--small-seconds S] [--json FILE] [--binary FILE] [--impair FILE] [--help]

turn          requests per core and second and cycles per request: one JSON line per case. The verdict is INVALID
              when the machine did not leave the core to the bench.
instructions  instructions per request, counted by callgrind: one JSON line per case. Independent of the machine's
              load; runs about 50 times slower. N defaults to 10000.
idle          CPU time of an idle worker, and the latency of the first request after a quiet time, each with
              idle = "sleep" and "poll": one JSON line per driver and setting. Needs root; takes nine minutes.
peers         Penstock, nginx and HAProxy, one worker each, behind the same veth with the same client, alternating:
              requests/s, latency and CPU time per request. N defaults to 5, S to 5, LIST to penstock,nginx,haproxy.
              --binary names a built penstock. Needs root. docs/performance.md
              explains the figures.
loss          Penstock and the Linux kernel's TCP on the same impaired wire (loss, delay, reordering), alternating: goodput of
              bodies, their SHA-256, and latency of small requests. Needs root; takes ten minutes. --impair names a
              built wire. docs/performance.md explains the figures.
TEXT
}

# build_bench NAME [PROFILE]: builds the bench and sets BENCH to its program.
build_bench() {
    require_rust
    local messages
    messages=$(cargo_run build --locked --profile "${2-bench}" --bench "$1" --message-format=json-render-diagnostics) ||
        die 1 "the bench did not build" "see cargo's messages above"
    BENCH=$(sed -n 's/.*"executable":"\([^"]*\/'"$1"'-[^"]*\)".*/\1/p' <<<"$messages" | tail -n 1)
    [[ -x $BENCH ]] || die 1 "cargo built no program for the bench \`$1\`"
}

# callgrind CASE REQUESTS [OPTION...]: the instructions that this run collected.
callgrind() {
    local name=$1 requests=$2
    shift 2
    valgrind --tool=callgrind --callgrind-out-file="$WORK/out" "$@" "$BENCH" --case "$name" --requests "$requests" \
        >"$WORK/log" 2>&1 || { cat "$WORK/log" >&2; die 1 "case $name failed under valgrind"; }
    sed -n 's/^summary: *\([0-9]*\).*/\1/p' "$WORK/out"
}

# instructions_of CASE REQUESTS: (I(2N) - I(N)) / N is free of start-up and of building the connections.
instructions_of() {
    local name=$1 requests=$2 once twice options=(--toggle-collect="$COLLECT")
    once=$(callgrind "$name" "$requests" "${options[@]}")
    if ((once == 0)); then
        options=()
        once=$(callgrind "$name" "$requests")
    fi
    twice=$(callgrind "$name" $((2 * requests)) ${options[@]+"${options[@]}"})
    printf '{"case":"%s","instructions_per_request":%d}\n' "$name" $(((twice - once) / requests))
}

instructions() {
    local wanted='' requests=10000 name names
    while (($#)); do
        case $1 in
            --case) wanted=${2-} ;;
            --requests) requests=${2-} ;;
            *) usage >&2; die 2 "unknown option $1" ;;
        esac
        (($# > 1)) || die 2 "$1 needs a value"
        shift 2
    done
    [[ $requests =~ ^[1-9][0-9]*$ ]] || die 2 "--requests takes a number"
    install_packages valgrind
    WORK=$(mktemp -d)
    defer rm -rf "$WORK"
    # What callgrind counts: the gateway's turn, or the generator's beside it. Where inlining leaves no such function, the
    # whole program is counted; either way the difference of two runs removes what is not per request.
    count_bench turn '*Worker*turn*'
    count_bench generator '*ClientWorker*turn*'
}

# count_bench BENCH PATTERN: its cases, or the wanted one if it has it.
count_bench() {
    COLLECT=$2
    [[ -n $wanted && $wanted != "$1"* && $1 == generator ]] && return
    [[ $wanted == generator* && $1 != generator ]] && return
    build_bench "$1"
    names=$("$BENCH" --list)
    # A million connections take too long to open under callgrind; parked-20000 costs as much a request.
    [[ $wanted ]] || names=${names//parked-1000000/}
    for name in ${wanted:-$names}; do instructions_of "$name" "$requests"; done
}

idle() {
    require_root "scripts/bench.sh idle"
    install_packages "${BUILD_PACKAGES[@]}" "${RUN_PACKAGES[@]}" python3
    require_rust
    cargo_run build --locked --profile fast --features dpdk ||
        die 1 "the program did not build" "see cargo's messages above"
    python3 "$ROOT/tests/blackbox/bench_idle.py" --binary "$(target_dir)/fast/penstock" "$@"
}

peers() {
    require_root "scripts/bench.sh peers"
    install_packages python3 nginx haproxy wrk iproute2 ethtool
    if ! given --binary "$@"; then
        require_rust
        cargo_run build --locked --release --features dpdk || die 1 "the build failed" "see cargo's messages above"
        set -- --binary "$(target_dir)/release/penstock" "$@"
    fi
    exec python3 -B "$ROOT/scripts/peers.py" "$@"
}

# given OPTION ARGUMENT...: whether the option is among the arguments.
given() {
    local argument option=$1
    for argument in "${@:2}"; do
        [[ $argument != "$option" && $argument != "$option"=* ]] || return 0
    done
    return 1
}

loss() {
    require_root "scripts/bench.sh loss"
    install_packages python3 nginx iproute2 ethtool
    if ! given --binary "$@"; then
        require_rust
        cargo_run build --locked --release --features dpdk || die 1 "the build failed" "see cargo's messages above"
        set -- --binary "$(target_dir)/release/penstock" "$@"
    fi
    if ! given --impair "$@"; then
        build_bench impair fast
        set -- --impair "$BENCH" "$@"
    fi
    exec python3 -B "$ROOT/scripts/loss.py" "$@"
}

case ${1-} in
    idle) idle "${@:2}" ;;
    turn)
        build_bench turn
        "$BENCH" "${@:2}"
        ;;
    instructions) instructions "${@:2}" ;;
    peers) peers "${@:2}" ;;
    loss) loss "${@:2}" ;;
    -h | --help) usage ;;
    *) usage >&2; die 2 "name a benchmark" ;;
esac
