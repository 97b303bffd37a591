#!/usr/bin/env bash
# Runs one generator in the background. The process is known by its PID file and checked against /proc, never looked
# for by name.
#
#   manager.sh init              build it
#   manager.sh start [OPTION..]  start it; options go to wigwag-generator
#   manager.sh stop              stop it
#   manager.sh status            say whether it runs (0: yes, 3: no, 1: the PID file is stale)
#
# WIGWAG_GENERATOR_STATE   where binary, PID file and log are kept (default: var beside this script)
# WIGWAG_GENERATOR_BINARY  a built generator, to be taken instead of building one
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
state=${WIGWAG_GENERATOR_STATE:-$here/var}
binary=$state/wigwag-generator
pid_file=$state/generator.pid
log=$state/generator.log

# The generator ends within 2 s by itself.
stop_seconds=5

say() { printf 'generator: %s\n' "$*"; }
fail() {
    local status=$1
    shift
    say "$*" >&2
    exit "$status"
}

# Prints what the PID file names: "none", "stale WHY" or "running PID".
state_of() {
    local pid argv0
    if [[ ! -e $pid_file ]]; then
        echo none
        return
    fi
    pid=$(<"$pid_file")
    if [[ ! $pid =~ ^[1-9][0-9]*$ ]]; then
        echo "stale PID file $pid_file holds \"$pid\", which is no PID"
    elif ! argv0=$(tr '\0' '\n' 2>/dev/null <"/proc/$pid/cmdline" | head -n 1) || [[ -z $argv0 ]]; then
        echo "stale PID file $pid_file names process $pid, which is gone"
    elif [[ $argv0 != "$binary" ]]; then
        echo "stale PID file $pid_file names process $pid, which is not the generator but $argv0"
    else
        echo "running $pid"
    fi
}

init() {
    local current built
    current=$(state_of)
    [[ $current != running* ]] || fail 1 "it is running as process ${current#* }; first: manager.sh stop"
    built=${WIGWAG_GENERATOR_BINARY:-}
    if [[ -z $built ]]; then
        command -v cargo >/dev/null || fail 1 "there is no cargo to build with; install Rust, or set WIGWAG_GENERATOR_BINARY"
        (cd -- "$here/.." && cargo build --quiet --package wigwag-generator) || fail 1 "the build failed"
        # A relative one is meant from where cargo ran.
        built=$(cd -- "$here/.." && realpath -m -- "${CARGO_TARGET_DIR:-target}")/debug/wigwag-generator
    fi
    [[ -x $built ]] || fail 1 "$built is not there or cannot be executed"
    # A copy under another name first, so that what stands in its place is always whole.
    cp -- "$built" "$binary.new"
    mv -f -- "$binary.new" "$binary"
    say "ready: $binary"
}

start() {
    local current pid status
    [[ -x $binary ]] || fail 1 "it is not built; first: manager.sh init"
    current=$(state_of)
    case $current in
    running*) fail 1 "it is already running as process ${current#* }; first: manager.sh stop" ;;
    stale*)
        say "removed a stale ${current#stale }"
        rm -f -- "$pid_file"
        ;;
    esac
    # A process group of its own keeps it from a Ctrl-C that is meant for this script.
    set -m
    "$binary" "$@" </dev/null >"$log" 2>&1 9>&- &
    pid=$!
    set +m
    echo "$pid" >"$pid_file"
    sleep 0.5
    if ! kill -0 "$pid" 2>/dev/null; then
        rm -f -- "$pid_file"
        status=0
        wait "$pid" || status=$?
        say "it ended at once with status $status; the end of $log:" >&2
        tail -n 20 -- "$log" >&2
        # One that has sent all of its --count did what it should.
        exit $((status == 0 ? 0 : 1))
    fi
    say "started as process $pid (PID file $pid_file); it logs to $log"
}

stop() {
    local current pid deadline
    current=$(state_of)
    case $current in
    none) fail 1 "it is not running, nothing to stop" ;;
    stale*) fail 1 "stale ${current#stale }; nothing was stopped, the next start removes the file" ;;
    esac
    pid=${current#* }
    kill -TERM "$pid"
    deadline=$((SECONDS + stop_seconds + 1))
    while [[ $(state_of) == running* ]]; do
        ((SECONDS < deadline)) || fail 1 "process $pid still runs $stop_seconds s after SIGTERM; see $log"
        sleep 0.1
    done
    rm -f -- "$pid_file"
    say "stopped process $pid"
    # What it counted.
    grep ' done ' -- "$log" | tail -n 1 || true
}

status() {
    local current
    current=$(state_of)
    case $current in
    running*)
        say "it is running as process ${current#* }; the end of $log:"
        tail -n 1 -- "$log"
        ;;
    stale*) fail 1 "stale ${current#stale }; it is not running" ;;
    none)
        [[ -x $binary ]] || fail 3 "it is not built and not running; first: manager.sh init"
        fail 3 "it is not running"
        ;;
    esac
}

usage="use init|start|stop|status"
word=${1:-}
[[ -n $word ]] || fail 64 "nothing to do; $usage"
case $word in
init | start | stop | status) ;;
*) fail 64 "\"$word\" is unknown; $usage" ;;
esac
shift
[[ $word == start || $# -eq 0 ]] || fail 64 "\"$1\" is too much; only start takes options"

mkdir -p -- "$state"
# Two of these at once would each see no PID file.
exec 9>"$state/lock"
flock -w 30 9 || fail 1 "another manager.sh is at work on $state"
"$word" "$@"
