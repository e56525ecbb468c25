#!/bin/sh
# run.sh BUILD [KILLS]: a training of each program with every fault of every call, and SIGKILL at
# KILLS random times [400].
set -eu
build=$(cd "$1" && pwd) kills=${2:-400} code=0
for program in translate sentiment generate; do
  "$build/tests/faults/faults" $program "$build/examples/$program" \
    "$build/tests/faults/libfault_injection.so" --kills "$kills" || code=1
done
exit $code
