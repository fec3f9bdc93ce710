#!/bin/sh
# Runs the end-to-end cases with the binary that was just built.
set -u
logs=$1
mkdir -p "$logs"
echo "e2e: the real binary against real clients and servers"
CGO_ENABLED=0 GATEPOST="$PWD/gatepost" go test -v -count=1 -timeout 15m ./test/... >"$logs/e2e.log" 2>&1
status=$?
grep -E '^(ok|FAIL)\b' "$logs/e2e.log"
[ $status = 0 ] || grep -vE '^=== (RUN|PAUSE|CONT)' "$logs/e2e.log" | tail -150
exit $status
