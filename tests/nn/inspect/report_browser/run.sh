#!/bin/sh
# run.sh PROGRAM: has PROGRAM write a report, and looks at it in a browser.
set -eu
here=$(dirname "$0")
if ! command -v python3 >/dev/null; then
  echo "SKIPPED: python3 is not installed"
  exit 0
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$1" "$folder/report.html"
python3 -B "$here/report_browser.py" "$folder/report.html"
