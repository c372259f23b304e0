#!/usr/bin/env bash
# Every check and test of the repository; the last line sums them up.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

usage() {
    cat <<'TEXT'
usage: scripts/test.sh [--fast] [FILTER]

  --fast   only what needs neither root nor DPDK: format, lints, unit tests, simulation
  FILTER   run only the tests whose names contain it, and no lints
TEXT
}

FAST=false
FILTER=
for argument in "$@"; do
    case $argument in
        --fast) FAST=true ;;
        -h | --help) usage; exit 0 ;;
        -*) usage >&2; die 2 "unknown option $argument" ;;
        *) FILTER=$argument ;;
    esac
done

export CARGO_BUILD_JOBS=${CARGO_BUILD_JOBS:-2} CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-never}
PASSED=0
FAILED=0
SKIPPED=0
TIMES=()
LOG=$(mktemp)
defer rm -f "$LOG"

count() { PASSED=$((PASSED + $1)) FAILED=$((FAILED + $2)) SKIPPED=$((SKIPPED + $3)); }

# timed NAME COMMAND ARG...: runs it, its output to the screen and to LOG; STATUS is its exit status.
timed() {
    local name=$1 start=$SECONDS
    shift
    step "$name"
    STATUS=0
    "$@" 2>&1 | tee "$LOG" || STATUS=$?
    TIMES+=("$(printf '%5d s  %s' $((SECONDS - start)) "$name")$( ((STATUS == 0)) || echo '  FAILED')")
}

# check NAME COMMAND ARG...: a step that passes or fails as a whole.
check() {
    timed "$@"
    if ((STATUS == 0)); then count 1 0 0; else count 0 1 0; fi
}

skip() {
    step "$1"
    info "SKIP: $2"
    count 0 0 1
}

# tests NAME COMMAND ARG...: a step whose output tells how many tests passed, failed and were skipped.
tests() {
    local before=$FAILED
    timed "$@"
    # shellcheck disable=SC2046 # three words are wanted
    count $(sum_tests <"$LOG")
    # A run that ends before it can count its failure has failed all the same.
    if ((STATUS != 0 && FAILED == before)); then count 0 1 0; fi
}

# Understands cargo's "test result: ok. 3 passed; 0 failed; 1 ignored" and the plain "3 passed, 0 failed, 1 skipped".
sum_tests() {
    awk '/^test result: / { p += $4; f += $6; s += $8 }
         /^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$/ { p += $1; f += $3; s += $5 }
         END { print p + 0, f + 0, s + 0 }'
}

# component COMMAND NAME: whether cargo has it.
component() {
    cargo_run "$1" --version >/dev/null 2>&1 && return
    skip "cargo $1" "not installed: rustup component add $2"
    return 1
}

lints() {
    if component fmt rustfmt; then check "format" cargo_run fmt --all --check; fi
    if component clippy clippy; then
        check "lints, without DPDK" cargo_run clippy --locked --all-targets --bench impair -- -D warnings
        $FAST || check "lints, with DPDK" cargo_run clippy --locked --all-targets "${WITH_DPDK[@]}" -- -D warnings
    fi
    if have shellcheck; then
        check "shellcheck" shellcheck -x "$ROOT"/{scripts,tests/scripts,vagrant}/*.sh "$ROOT/.ci/run"
    else
        skip "shellcheck" "the package shellcheck is not installed"
    fi
}

unit_tests() { tests "cargo test" cargo_run test --locked --no-fail-fast "$@" ${FILTER:+"$FILTER"}; }

# The sweep again, over many seeds, with the optimised code that the black-box tests use.
simulation() { tests "simulation, 1,000 seeds" cargo_run test --locked --profile fast "$@" --test simulation sweep; }

host_scripts() {
    if ! have python3; then
        skip "host scripts" "the package python3 is not installed"
        return
    fi
    tests "host scripts" python3 "$ROOT/tests/scripts/run.py" ${FILTER:+"$FILTER"}
}

fuzz_targets() { tests "fuzz targets, briefly" "$ROOT/scripts/fuzz.sh" --brief; }

black_box() {
    if ((EUID != 0)); then
        skip "black-box tests" "they need root: sudo scripts/test.sh"
        return
    fi
    check "build for the black-box tests" cargo_run build --locked --profile fast --features dpdk
    ((STATUS == 0)) || { skip "black-box tests" "no program to test"; return; }
    tests "black-box tests" \
        python3 "$ROOT/tests/blackbox/run.py" --binary "$(target_dir)/fast/penstock" ${FILTER:+"$FILTER"}
}

finish() {
    step "Time"
    printf '%s\n' ${TIMES[@]+"${TIMES[@]}"}
    printf '\n%d passed, %d failed, %d skipped\n' "$PASSED" "$FAILED" "$SKIPPED"
    exit $((FAILED > 0))
}

WITH_DPDK=(--workspace --features dpdk)
if ! $FAST; then
    step "Packages"
    install_packages "${BUILD_PACKAGES[@]}" "${RUN_PACKAGES[@]}" "${TEST_PACKAGES[@]}"
fi
require_rust
if [[ -z $FILTER ]]; then lints; fi
host_scripts
if $FAST; then
    unit_tests
    if [[ -z $FILTER ]]; then simulation; fi
else
    unit_tests "${WITH_DPDK[@]}"
    if [[ -z $FILTER ]]; then fuzz_targets; fi
    black_box
    # After these, whose build it shares.
    if [[ -z $FILTER ]]; then simulation --features dpdk; fi
fi
finish
