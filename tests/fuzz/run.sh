#!/bin/sh
# run.sh FOLDER SECONDS [TARGET...]: runs the fuzz targets of FOLDER one after another, each for
# SECONDS seconds. Failing inputs go to FOLDER/found/TARGET, new inputs to FOLDER/new/TARGET.
set -eu
folder=$1 seconds=$2
shift 2
here=$(cd "$(dirname "$0")" && pwd)
[ $# -gt 0 ] || set -- $(cd "$here" && ls ./*_fuzz.cpp | sed 's|./\(.*\)_fuzz.cpp|\1|')

# The file limits has the maximum memory and time of a reader for an input of 1 kB. Without entropic
# scheduling, a target that takes microseconds runs 1.3 times as often.
limits=$(cat "$here/limits")
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive
failed=
for target; do
  mkdir -p "$folder/found/$target" "$folder/new/$target"
  set -- $limits -max_total_time="$seconds" -max_len=1024 -entropic=0 -print_final_stats=1 -verbosity=0 \
    -artifact_prefix="$folder/found/$target/" "$folder/new/$target" "$here/corpus/$target"
  [ ! -f "$here/$target.dict" ] || set -- -dict="$here/$target.dict" "$@"
  status=ok
  "$folder/${target}_fuzz" "$@" >"$folder/found/$target.log" 2>&1 || status=FAILED
  count=$(sed -n 's/^stat::number_of_executed_units: *//p' "$folder/found/$target.log")
  echo "$target: $status, ${count:-no} executions"
  [ $status = ok ] || failed="$failed $target"
done
[ -z "$failed" ] || {
  echo "failing inputs are in $folder/found:$failed" >&2
  exit 1
}
