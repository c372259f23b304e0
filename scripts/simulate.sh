#!/usr/bin/env bash
# Runs many seeds of the simulation: what scripts/test.sh does with a thousand, over night with a hundred times as many.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

SEEDS=100000
FROM=1
JOBS=$(nproc)

usage() {
    cat <<'TEXT'
usage: scripts/simulate.sh [--seeds N] [--from SEED] [--jobs N]
       scripts/simulate.sh --seed SEED [--without LIST] [--frames]

Runs what N seeds draw (100000), each twice, beginning with SEED (1), in as many jobs as there are CPUs. A run is gateway
workers, load generators and client hosts on bad wires under a virtual clock; docs/simulation.md says what has to hold.
Says how far it is, then what happened how often. Fails when a seed fails, or when a counter never moved that is not
known to stay still (from 1,000 seeds on).

  --seed SEED      one run, with its plan
  --without LIST   the plan without these parts, as a failure names them: client.3,wires.0
  --frames         prints every frame of it

A seed that fails prints the command that repeats it, and a smaller plan that fails in the same way. It ends after five.
The code is optimised (--profile fast); with its assertions: cargo test --test simulation. Over night, for example:

  scripts/simulate.sh --seeds 1000000 --from 200000
TEXT
}

# number OPTION VALUE: fails unless VALUE is a number from 1.
number() { [[ $2 =~ ^[1-9][0-9]{0,17}$ ]] || die 2 "$1 is a number from 1, not $2" "scripts/simulate.sh --help"; }

SEED=
WITHOUT=
FRAMES=false
while (($#)); do
    case $1 in
        --seeds | --from | --jobs | --seed | --without)
            (($# > 1)) || die 2 "$1 wants a value" "scripts/simulate.sh --help"
            [[ $1 == --without ]] || number "$1" "$2"
            case $1 in
                --seeds) SEEDS=$2 ;;
                --from) FROM=$2 ;;
                --jobs) JOBS=$2 ;;
                --seed) SEED=$2 ;;
                --without) WITHOUT=$2 ;;
            esac
            shift
            ;;
        --frames) FRAMES=true ;;
        -h | --help) usage; exit 0 ;;
        *) usage >&2; die 2 "unknown argument $1" ;;
    esac
    shift
done
if [[ -z $SEED ]] && { [[ -n $WITHOUT ]] || $FRAMES; }; then
    die 2 "--without and --frames want one run" "scripts/simulate.sh --seed SEED"
fi

# simulation TEST VARIABLE=VALUE...: one test of tests/simulation.rs, with its output.
simulation() {
    cargo_run test --locked --quiet --profile fast --test simulation --no-run || die 1 "the simulation does not build"
    # Only what begins with PENSTOCK_ is for the test; sudo would drop it.
    export "${@:2}"
    RUST_BACKTRACE=0 cargo_run test --locked --quiet --profile fast --test simulation "$1" -- --exact --nocapture
}

require_rust
step "Build and run"
if [[ -n $SEED ]]; then
    settings=(PENSTOCK_SEED="$SEED" PENSTOCK_WITHOUT="$WITHOUT")
    if $FRAMES; then settings+=(PENSTOCK_FRAMES=1); fi
    simulation one::one_seed "${settings[@]}"
else
    simulation sweep::sweep PENSTOCK_SEEDS="$SEEDS" PENSTOCK_FIRST_SEED="$FROM" PENSTOCK_JOBS="$JOBS" PENSTOCK_PROGRESS=1000
fi
