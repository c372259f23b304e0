#!/usr/bin/env bash
# Fuzzes the parsers of bytes from outside: for long by hand, briefly as a part of scripts/test.sh.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

FUZZ=$ROOT/fuzz
SECONDS_EACH=60
RUNS=-1
BRIEF=false
REPLAY=
TARGETS=()

usage() {
    cat <<'TEXT'
usage: scripts/fuzz.sh [--seconds N] [TARGET...]
       scripts/fuzz.sh --replay FILE TARGET
       scripts/fuzz.sh --brief [TARGET...]
       scripts/fuzz.sh --list

Tries inputs on every TARGET, or on all of them, for N seconds each (60). A target panics when an input shows a mistake;
fuzz/README.md says what each checks.

  --seconds N    seconds for each target
  --replay FILE  try this one input, and print what it shows
  --brief        what scripts/test.sh runs: the seeds, then a fixed number of runs, 3 seconds for each target at most
  --list         the targets

libFuzzer guides the inputs by the code they reach; it builds with stable Rust and a C++ compiler. Without that compiler,
seeds are changed blindly, which finds less. What reached new code stays in fuzz/corpus, and the next run begins there.

An input that fails is made smaller and put into fuzz/seeds/TARGET: commit it with the fix, and it is tried in every test
run from then on. Over night, for example:

  scripts/fuzz.sh --seconds 3600 worker session config
TEXT
}

# names: the targets, one a line; with a word, what an input of each is, too.
names() {
    local pattern='s/^ *Target \{ name: "([a-z_]+)", says: "(.*)", run: .*/\1/p'
    [[ -z ${1-} ]] || pattern=${pattern/'\1/p'/'\1\t\2/p'}
    sed -nE "$pattern" "$FUZZ/src/lib.rs"
}

options() {
    while (($#)); do
        case $1 in
            --seconds | --replay)
                (($# > 1)) || die 2 "$1 wants a value" "scripts/fuzz.sh --help"
                if [[ $1 == --replay ]]; then REPLAY=$2; else SECONDS_EACH=$2; fi
                shift
                ;;
            --brief) BRIEF=true SECONDS_EACH=3 RUNS=20000 ;;
            --list) names all | while IFS=$'\t' read -r name says; do printf '%-16s %s\n' "$name" "$says"; done; exit 0 ;;
            -h | --help) usage; exit 0 ;;
            -*) usage >&2; die 2 "unknown option $1" ;;
            *) names | grep -qxF -- "$1" || die 2 "there is no target $1" "scripts/fuzz.sh --list shows them"; TARGETS+=("$1") ;;
        esac
        shift
    done
    [[ $SECONDS_EACH =~ ^[1-9][0-9]{0,6}$ ]] || die 2 "--seconds is a number from 1, not $SECONDS_EACH"
    if [[ -n $REPLAY ]]; then
        [[ -r $REPLAY ]] || die 2 "cannot read $REPLAY"
        ((${#TARGETS[@]} == 1)) || die 2 "--replay wants one target" "scripts/fuzz.sh --replay FILE TARGET"
    elif ((${#TARGETS[@]} == 0)); then
        mapfile -t TARGETS < <(names)
    fi
}

# build: PROGRAM, guided by coverage where a C++ compiler is. The flags are those of cargo-fuzz, which wants nightly Rust
# for its sanitizers only; the code under test has next to no unsafe blocks to look into.
build() {
    local host flags=() features=()
    host=$(cargo_run -vV | sed -n 's/^host: //p')
    GUIDED=false
    if printf 'int main() {}' | c++ -x c++ -o /dev/null - 2>/dev/null; then
        GUIDED=true
        features=(--features libfuzzer)
        flags=(-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
            -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
            -Cllvm-args=-sanitizer-coverage-trace-compares)
    else
        warn "no C++ compiler: blind changes of the seeds instead of libFuzzer"
    fi
    local out
    out=$(target_dir)/fuzz
    local toml
    toml=$(printf '"%s",' ${flags[@]+"${flags[@]}"})
    # Given a target triple, the flags are for it alone, not for build scripts and macros.
    cargo_run build --locked --release --quiet --manifest-path "$FUZZ/Cargo.toml" --target-dir "$out" --target "$host" \
        --config "build.rustflags=[$toml]" ${features[@]+"${features[@]}"} ||
        die 1 "the fuzz targets do not build"
    PROGRAM=$out/$host/release/penstock-fuzz
}

# program TARGET ARGUMENT...: for LIMIT seconds at most, if there is one.
program() {
    # False machines are many small files.
    PENSTOCK_FUZZ_TARGET=$1 TMPDIR=$SCRATCH RUST_BACKTRACE=0 timeout --foreground "${LIMIT:-0}" "$PROGRAM" "${@:2}"
}

# fuzz TARGET: its seeds and corpus, and what can be made of them.
fuzz() {
    local target=$1 corpus=$FUZZ/corpus/$1 common status=0
    # Brief runs do not depend on what earlier ones left.
    if $BRIEF; then corpus=$SCRATCH/corpus-$target; fi
    mkdir -p "$corpus"
    common=(-seed=1 -max_total_time="$SECONDS_EACH" -runs="$RUNS" -artifact_prefix="$SCRATCH/$target-")
    if $GUIDED; then common+=(-timeout=20 -rss_limit_mb=2048 -print_final_stats=1 "$corpus"); fi
    program "$target" "${common[@]}" "$FUZZ/seeds/$target" >"$SCRATCH/log" 2>&1 || status=$?
    ((status)) || { info "$target: $(figures)"; return 0; }
    failed "$target" "$status"
}

figures() {
    local runs coverage
    runs=$(sed -nE 's/^Done ([0-9]+) runs.*/\1/p' "$SCRATCH/log")
    coverage=$(sed -nE 's/.* cov: ([0-9]+) ft.*/\1/p' "$SCRATCH/log" | tail -n 1)
    printf '%s inputs%s' "${runs:-no}" "${coverage:+, $coverage places in the code reached}"
}

# failed TARGET STATUS: shows what happened, and keeps the input as a seed.
failed() {
    local target=$1 found kept small
    # What the panic says, up to the stack; or libFuzzer's own complaint about time or memory.
    sed -nE '/panicked at/,/^(note: |stack |==|NOTE: )/p' "$SCRATCH/log" | grep -avE '^(note: |stack |==|NOTE: )' ||
        grep -a 'ERROR: libFuzzer' "$SCRATCH/log" || tail -n 20 "$SCRATCH/log"
    found=$(compgen -G "$SCRATCH/$target-*" | head -n 1) || { warn "$target ended with status $2 and no input"; return 1; }
    small=$SCRATCH/small
    cp "$found" "$small"
    if $GUIDED; then
        LIMIT=30 program "$target" -minimize_crash=1 -max_total_time=10 -exact_artifact_path="$SCRATCH/smaller" "$found" \
            >/dev/null 2>&1 || true
        # Only what still fails is kept.
        if [[ -s $SCRATCH/smaller ]] && ! program "$target" "$SCRATCH/smaller" >/dev/null 2>&1; then
            cp "$SCRATCH/smaller" "$small"
        fi
    fi
    kept=$FUZZ/seeds/$target/found-$(sha256sum "$small" | cut -c 1-8)
    cp "$small" "$kept"
    rm -f "$found" "$SCRATCH/smaller"
    warn "$target failed; the input is kept. See it again: scripts/fuzz.sh --replay ${kept#"$ROOT"/} $target"
    return 1
}

options "$@"
require_rust
SCRATCH=$(mktemp -d -p "$([[ -w /dev/shm ]] && echo /dev/shm || echo "${TMPDIR:-/tmp}")")
defer rm -rf "$SCRATCH"
step "Build"
build
if [[ -n $REPLAY ]]; then
    program "${TARGETS[0]}" "$REPLAY"
    exit
fi
PASSED=0
FAILED=0
for target in "${TARGETS[@]}"; do
    step "$target"
    if fuzz "$target"; then PASSED=$((PASSED + 1)); else FAILED=$((FAILED + 1)); fi
done
printf '%d passed, %d failed, 0 skipped\n' "$PASSED" "$FAILED"
exit $((FAILED > 0))
