#!/bin/sh
# Lists the cases that were skipped and why. With NOSKIP set, as in CI, a
# skip is a failure.
set -u
logs=$1
out=$(cat "$logs"/*.log | grep -B2 -E '^ *--- SKIP' | grep -vE '^--$|^=== ')
[ -n "$out" ] || exit 0
echo "skipped:"
echo "$out"
[ -z "${NOSKIP:-}" ] || { echo "check: nothing may be skipped here"; exit 1; }
