#!/bin/sh
# script_test.sh SCRIPT_TEST: which words script/test passes on to CMake, and which it refuses. Run
# with stubs of script/bootstrap, cmake and ctest, so that nothing is installed or built.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/script"
cp "$1" "$work/script/test"
printf '#!/bin/sh\n' >"$work/script/bootstrap"
printf '#!/bin/sh\necho "$@" >>"%s/calls"\n' "$work" >"$work/cmake"
cp "$work/cmake" "$work/ctest"
chmod +x "$work/script/bootstrap" "$work/cmake" "$work/ctest"

# run WORD...: the exit code is in `code`.
run() {
  rm -f "$work/calls"
  code=0
  PATH="$work:$PATH" sh "$work/script/test" "$@" >"$work/output" 2>&1 || code=$?
}

refused() {
  run "$@"
  if [ "$code" != 2 ] || [ -e "$work/calls" ]; then
    echo "not refused: script/test $* (exit code $code)" >&2
    exit 1
  fi
}

refused --asan more
refused --asan-short more
refused --tsan -D
refused --fuzz
refused --fuzz 1s
refused --fuzz 60 more
refused --faults more
refused --coverage -DA=B
refused --none
refused more
for preset in asan tsan release; do
  option=--$preset
  [ $preset != release ] || option=
  run $option -DA=B -DC=D
  if [ "$code" != 0 ] || ! grep -q -x -e "--preset $preset -DA=B -DC=D" "$work/calls"; then
    echo "script/test $option -DA=B -DC=D: exit code $code" >&2
    exit 1
  fi
done
