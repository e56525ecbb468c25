# What the tests of the programs have in common: they say `program=$1; . support.sh` and then run in
# a new folder that goes away at the end.

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export OMP_WAIT_POLICY=passive

fail() {
  echo "FAILED: $*" >&2
  [ ! -s messages ] || sed 's/^/  | /' messages >&2
  exit 1
}

contains() { grep -qF -e "$2" "$1" || fail "$1 lacks '$2'"; }
lacks() { ! grep -qF -e "$2" "$1" || fail "$1 has '$2'"; }

# works ARGUMENT...: standard output goes to `output`, standard error to `messages`.
works() { "$program" "$@" >output 2>messages || fail "exit code $? of: $*"; }

# refuses CODE TEXT ARGUMENT...: ends with that exit code and a message that has the text.
refuses() {
  wanted=$1 text=$2
  shift 2
  code=0
  "$program" "$@" >output 2>messages || code=$?
  [ "$code" = "$wanted" ] || fail "exit code $code, not $wanted, of: $*"
  contains messages "$text"
}

# stays_below KIB ARGUMENT...: works, and never has more resident memory (Linux). A process that
# exceeds it is ended at once.
stays_below() {
  most=$1
  [ -z "${FOVEA_SANITIZED-}" ] || most=$((3 * most))  # shadow memory, and what was freed is kept
  shift
  "$program" "$@" >output 2>messages &
  process=$!
  while kill -0 $process 2>/dev/null; do
    resident=$(sed -n 's/^VmHWM:[^0-9]*\([0-9]*\) kB/\1/p' /proc/$process/status 2>/dev/null || :)
    if [ "${resident:-0}" -gt "$most" ]; then
      kill -KILL $process
      fail "$resident KiB resident, not $most, of: $*"
    fi
    sleep 0.02
  done
  wait $process || fail "exit code $? of: $*"
}

same_file() { cmp -s "$1" "$2" || fail "$1 and $2 differ"; }
lines_of() { wc -l <"$1" | tr -d ' '; }
has_lines() { [ "$(lines_of "$1")" = "$2" ] || fail "$1 has $(lines_of "$1") lines, not $2"; }

# interrupt ARGUMENT...: Ctrl-C as soon as the first validation is there. (The first line is about
# the data, before the handler is set.)
interrupt() {
  : >messages  # it still has the validations of the run before
  "$program" "$@" >output 2>messages &
  process=$!
  until grep -q 'validation' messages; do
    kill -0 $process 2>/dev/null || fail 'ended before it could be interrupted'
    sleep 0.02
  done
  kill -INT $process
  code=0
  wait $process || code=$?
  [ "$code" = 130 ] || fail "exit code $code after an interrupt"
}

# has_profile FILE: the trace, and in `messages` the table of the last run.
has_profile() {
  contains "$1" '"ph":"X"'
  contains "$1" '"module":'
  contains messages 'of the time in ops'
  contains messages '(backward engine)'
  contains messages "wrote $1: a trace"
}
