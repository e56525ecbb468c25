# Shared by the tests of the programs, which run `program=$1; . support.sh`. The tests run in a
# temporary directory that is removed at the end.

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export OMP_WAIT_POLICY=passive

fail() {
  echo "FAILED: $*" >&2
  [ ! -s messages ] || sed 's/^/  | /' messages >&2
  exit 1
}

contains() { grep -qF -e "$2" "$1" || fail "$1 does not contain '$2'"; }
lacks() { ! grep -qF -e "$2" "$1" || fail "$1 contains '$2'"; }

# works ARGUMENT...: standard output goes to `output`, standard error to `messages`.
works() { "$program" "$@" >output 2>messages || fail "exit code $? of: $*"; }

# refuses CODE TEXT ARGUMENT...: exits with that code and a message that contains the text.
refuses() {
  wanted=$1 text=$2
  shift 2
  code=0
  "$program" "$@" >output 2>messages || code=$?
  [ "$code" = "$wanted" ] || fail "exit code $code, not $wanted, of: $*"
  contains messages "$text"
}

# stays_below KIB ARGUMENT...: works, with a limit on resident memory (Linux). A process that
# exceeds it is killed.
stays_below() {
  most=$1
  [ -z "${FOVEA_SANITIZED-}" ] || most=$((3 * most))  # shadow memory and quarantined blocks
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

# start ARGUMENT...: in the background, as $process, until the first validation. (The first message
# is printed before the handlers are set.) A shell's background jobs ignore Ctrl-C by default.
start() {
  : >messages  # contains the validations of the previous run
  env --default-signal=INT "$program" "$@" >output 2>messages &
  process=$!
  until grep -q 'validation' messages; do
    kill -0 $process 2>/dev/null || fail "ended before its first validation: $*"
    sleep 0.02
  done
}

# ended_by SIGNAL CODE ARGUMENT...
ended_by() {
  signal=$1 wanted=$2
  shift 2
  start "$@"
  kill -$signal $process
  code=0
  wait $process || code=$?
  [ "$code" = $wanted ] || fail "exit code $code after SIG$signal"
}

interrupt() { ended_by INT 130 "$@"; }

# signals_save ARGUMENT...: a training ended by a signal and resumed writes the same file as an
# uninterrupted one, and an ignored signal (as with nohup) does not end a training.
signals_save() {
  works "$@" --save undisturbed.st
  for ending in 'TERM 143' 'HUP 129' 'INT 130'; do
    name=${ending% *}.st
    ended_by $ending "$@" --save $name
    contains messages "To resume:"
    [ ! -e .fovea-$name.lock ] || fail "left .fovea-$name.lock"
    command=$(tail -n 1 messages)
    eval "$command" >output 2>messages || fail "the resume command: $command"
    same_file undisturbed.st $name
  done
  (
    trap '' HUP
    start "$@" --save ignored.st
    kill -HUP $process
    wait $process || fail 'ended by a signal that is ignored'
  ) || exit 1
  same_file undisturbed.st ignored.st
}

# trainings_share_a_name ARGUMENT...: two at the same time are an error; one after the other, all
# models are kept under different names.
trainings_share_a_name() {
  start "$@" --save shared.st
  first=$process
  mv messages first_messages  # it goes on writing there
  refuses 1 "shared.st is in use by process $first: must end first" "$@" --save shared.st
  refuses 1 "is in use by process $first: must end first" "$@" --save shared.st --resume
  kill -TERM $first
  wait $first || true
  for n in '' .2 .3; do
    cp shared.st copy$n.st
    works "$@" --save shared.st
    contains messages "shared.st of an earlier training to"
    same_file shared.st.old$n copy$n.st
    [ -f shared.st.last.old$n ] || fail "no shared.st.last.old$n"
  done
  same_file shared.st.old copy.st
}

# write_bytes FILE FROM_END: overwrites bytes of the file with those of standard input.
write_bytes() {
  dd of="$1" bs=1 seek=$(($(wc -c <"$1") - $2)) conv=notrunc 2>/dev/null
}

without_checksums() { LC_ALL=C sed 's/fovea\.xxh64/fovea.other/g'; }

# damaged_models_are_refused MODEL ARGUMENT...: errors of --load for a flipped bit, and for NaN and infinite
# weights, also in a file without checksums.
damaged_models_are_refused() {
  model=$1
  shift
  cp "$model" damaged.st
  last=$(tail -c 1 damaged.st | od -An -tu1 | tr -d ' ')
  printf "\\$(printf %o $((last ^ 1)))" | write_bytes damaged.st 1
  refuses 1 "damaged.st: the checksum of '" --load damaged.st "$@"
  without_checksums <"$model" >plain.st
  works --load plain.st "$@"
  for bytes in '\000\000\300\177' '\000\000\200\177' '\000\000\200\377'; do
    printf "$bytes" | write_bytes plain.st 4
    refuses 1 ': must be finite' --load plain.st "$@"
    contains messages "plain.st: '"
  done
}

# has_profile FILE: checks the trace, and the table of the last run in `messages`.
has_profile() {
  contains "$1" '"ph":"X"'
  contains "$1" '"module":'
  contains messages 'of the time in ops'
  contains messages '(backward engine)'
  contains messages "wrote $1: a trace"
}
