# shellcheck shell=bash
# Shared by hugepages.sh, nic.sh and tune.sh: changes to the machine that are shown, recorded first and can be undone.
# Sourced after lib.sh, never run. Refuses to know what is changed.
#
# A journal holds one line for each thing that was changed: KIND KEY VALUE, with the value as it was found. The line is
# on disk before the change is made, and only the first one for a key is kept, so that whatever happens in between,
# undoing returns to what was found first.

# Tests put a false machine here. The paths in journals and messages are those below it.
HOST_ROOT=${PENSTOCK_HOST_ROOT-}
STATE_DIR=/var/lib/penstock
DRY_RUN=false

# use_journal NAME: which journal this script keeps.
use_journal() { JOURNAL=$STATE_DIR/$1.undo; }

# begin_changes SCRIPT: what every change needs first: root, and no other script at work.
begin_changes() {
    $DRY_RUN && return
    [[ -n $HOST_ROOT ]] || require_root "$1"
    mkdir -p "$HOST_ROOT$STATE_DIR" || die "$EXIT_ENVIRONMENT" "$STATE_DIR cannot be made" "see mkdir's message above"
    exec 9<"$HOST_ROOT$STATE_DIR"
    flock -n 9 || die "$EXIT_ENVIRONMENT" "another script is changing this machine" "wait until it has ended"
    defer rmdir --ignore-fail-on-non-empty "$HOST_ROOT$STATE_DIR"
}

# --- the journal ------------------------------------------------------------------------------------------------

# remember KIND KEY VALUE: the value as found; a key that is already known keeps its first value.
remember() {
    local lines=()
    recorded "$1" "$2" && return
    read_journal
    lines+=(${RECORDS[@]+"${RECORDS[@]}"} "$1 $2 $3")
    write_journal "${lines[@]}"
}

recorded() { [[ -e $HOST_ROOT$JOURNAL ]] && grep -qF -- "$1 $2 " "$HOST_ROOT$JOURNAL"; }

# forget KIND KEY: drops its line, because the change was not made or is undone.
forget() {
    local record lines=()
    read_journal
    for record in ${RECORDS[@]+"${RECORDS[@]}"}; do
        [[ $record == "$1 $2 "* ]] || lines+=("$record")
    done
    write_journal ${lines[@]+"${lines[@]}"}
}

read_journal() {
    RECORDS=()
    if [[ -e $HOST_ROOT$JOURNAL ]]; then mapfile -t RECORDS <"$HOST_ROOT$JOURNAL"; fi
}

# write_journal LINE...: whole or not at all.
write_journal() {
    if (($# == 0)); then
        rm -f "$HOST_ROOT$JOURNAL"
    else
        printf '%s\n' "$@" >"$HOST_ROOT$JOURNAL.new" &&
            sync "$HOST_ROOT$JOURNAL.new" &&
            mv "$HOST_ROOT$JOURNAL.new" "$HOST_ROOT$JOURNAL"
    fi || die "$EXIT_ENVIRONMENT" "$JOURNAL cannot be written, so nothing more is changed" "see the message above; is the disk full?"
}

# undo_all: the latest change first. What cannot be undone stays recorded, and the rest is undone all the same.
undo_all() {
    local i kind key value failed=0
    $DRY_RUN || rm -f "$HOST_ROOT$JOURNAL.new"
    read_journal
    ((${#RECORDS[@]})) || { info "nothing to undo: no changes are recorded in $JOURNAL"; return 0; }
    local records=("${RECORDS[@]}")
    for ((i = ${#records[@]} - 1; i >= 0; i--)); do
        read -r kind key value <<<"${records[i]}"
        if ! declare -F "undo_$kind" >/dev/null; then
            warn "$JOURNAL has a line that this script does not know: ${records[i]}"
            failed=1
        elif "undo_$kind" "$key" "$value"; then
            $DRY_RUN || forget "$kind" "$key"
        else
            failed=1
        fi
    done
    ((failed == 0)) || die "$EXIT_ENVIRONMENT" "not everything could be undone; the rest stays in $JOURNAL" \
        "see the messages above, then run --undo again"
    $DRY_RUN || info "everything is as it was found"
}

# --- changes ----------------------------------------------------------------------------------------------------

# now PATH: the value of a file in sysfs or procfs; of a choice such as "always [madvise] never" the chosen one.
now() {
    local value
    { value=$(<"$HOST_ROOT$1"); } 2>/dev/null || return 1
    if [[ $value =~ \[([^]]+)\] ]]; then value=${BASH_REMATCH[1]}; fi
    printf '%s' "$value"
}

# put PATH VALUE: writes it; fails as the kernel does. tee, because its status tells what a redirection's does not.
put() { tee "$HOST_ROOT$1" <<<"$2" >/dev/null 2>&1; }

# show_change TEXT: says what is done, or would be; false in a dry run.
show_change() {
    if $DRY_RUN; then info "would: $1"; else info "$1"; fi
    ! $DRY_RUN
}

# set_value PATH VALUE: fails, without a trace, where the kernel refuses.
set_value() {
    local former
    former=$(now "$1") || return 1
    [[ $former != "$2" ]] || { info "$1 is $2 already"; return 0; }
    show_change "$1: $former -> $2" || return 0
    local known=false
    if recorded value "$1"; then known=true; fi
    remember value "$1" "$former"
    put "$1" "$2" && return
    $known || forget value "$1"
    return 1
}

undo_value() {
    local current
    [[ -e $HOST_ROOT$1 ]] || { info "$1 is gone: nothing to restore"; return 0; }
    current=$(now "$1")
    [[ $current != "$2" ]] || return 0
    show_change "$1: $current -> $2" || return 0
    put "$1" "$2" || { warn "$1 cannot be set back to $2"; return 1; }
}

# set_file PATH CONTENT: a small text file of ours, whole or not at all.
set_file() {
    local former=absent
    if [[ -e $HOST_ROOT$1 ]]; then
        [[ $(<"$HOST_ROOT$1") != "$2" ]] || { info "$1 is there already"; return 0; }
        former=$(base64 -w0 "$HOST_ROOT$1")
    fi
    make_directory "$(dirname "$1")"
    show_change "write $1" || return 0
    printf '     | %s\n' "${2//$'\n'/$'\n     | '}"
    remember file "$1" "$former"
    { printf '%s\n' "$2" >"$HOST_ROOT$1.new" && mv "$HOST_ROOT$1.new" "$HOST_ROOT$1"; } ||
        die "$EXIT_ENVIRONMENT" "$1 cannot be written" "see the message above; --undo removes what is left of it"
}

undo_file() {
    $DRY_RUN || rm -f "$HOST_ROOT$1.new"
    if [[ $2 == absent ]]; then
        [[ -e $HOST_ROOT$1 || -L $HOST_ROOT$1 ]] || return 0
        show_change "remove $1" || return 0
        rm "$HOST_ROOT$1"
    else
        show_change "restore $1" || return 0
        base64 -d <<<"$2" >"$HOST_ROOT$1"
    fi
}

# set_link PATH TARGET: a symbolic link of ours.
set_link() {
    [[ ! -L $HOST_ROOT$1 ]] || { info "$1 is there already"; return 0; }
    make_directory "$(dirname "$1")"
    show_change "link $1 to $2" || return 0
    remember file "$1" absent
    ln -s "$2" "$HOST_ROOT$1" || die "$EXIT_ENVIRONMENT" "$1 cannot be made" "see ln's message above"
}

# make_directory PATH: its parent is there.
make_directory() {
    [[ ! -d $HOST_ROOT$1 ]] || return 0
    show_change "make the folder $1" || return 0
    remember folder "$1" absent
    mkdir "$HOST_ROOT$1" || die "$EXIT_ENVIRONMENT" "$1 cannot be made" "see mkdir's message above"
}

undo_folder() {
    [[ -d $HOST_ROOT$1 ]] || return 0
    show_change "remove the folder $1" || return 0
    rmdir "$HOST_ROOT$1"
}

# load_module NAME
load_module() {
    [[ ! -d $HOST_ROOT/sys/module/${1//-/_} ]] || return 0
    show_change "load the kernel module $1" || return 0
    remember module "$1" absent
    modprobe "$1" && return
    forget module "$1"
    return 1
}

undo_module() {
    [[ -d $HOST_ROOT/sys/module/${1//-/_} ]] || return 0
    show_change "unload the kernel module $1" || return 0
    # Something else may use it by now, and an idle module does no harm.
    modprobe -r "$1" || info "the module $1 is in use: it stays"
}

# --- lists of CPUs ----------------------------------------------------------------------------------------------

# cpus LIST: the numbers of a list such as 0,2-4, one a line, in order; false if it is none.
cpus() {
    local part
    local -a parts
    [[ $1 =~ ^[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*$ ]] || return 1
    IFS=, read -ra parts <<<"$1"
    for part in "${parts[@]}"; do
        ((10#${part%-*} <= 10#${part#*-} && 10#${part#*-} < 8192)) || return 1
        seq "${part%-*}" "${part#*-}"
    done | sort -nu
    return "${PIPESTATUS[0]}"
}

# as_list: numbers, one a line and in order, as a list such as 0,2-4.
as_list() {
    awk 'function flush() { if (n++) printf ","; printf first == last ? "%d" : "%d-%d", first, last }
         NR == 1 { first = last = $1; next }
         $1 == last + 1 { last = $1; next }
         { flush(); first = last = $1 }
         END { if (NR) flush() }'
}

# without LIST LIST: the CPUs of the first that are not in the second, as a list.
without() {
    awk -v all="$1" -v some="$2" '
        function expand(list, set,   n, parts, i, ends, cpu) {
            n = split(list, parts, ",")
            for (i = 1; i <= n; i++) {
                if (split(parts[i], ends, "-") == 1) ends[2] = ends[1]
                for (cpu = ends[1] + 0; cpu <= ends[2] + 0; cpu++) { set[cpu]; if (cpu > last) last = cpu }
            }
        }
        BEGIN {
            expand(all, left); expand(some, taken)
            for (cpu = 0; cpu <= last; cpu++) if (cpu in left && !(cpu in taken)) print cpu
        }' | as_list
}
