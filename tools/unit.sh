#!/bin/sh
# Runs the unit tests, with the race detector where there is a C compiler.
set -u
logs=$1
mkdir -p "$logs"
race="-race"
if ! command -v gcc >/dev/null; then
	race=""
	echo "--- SKIP: race detector: there is no gcc" >"$logs/race.log"
fi
echo "unit: go test $race -shuffle=on"
# shellcheck disable=SC2086
if [ -n "$race" ]; then export CGO_ENABLED=1; else export CGO_ENABLED=0; fi
go test -v $race -shuffle=on -timeout 15m ./cmd/... ./internal/... >"$logs/unit.log" 2>&1
status=$?
grep -E '^(ok|FAIL)\b' "$logs/unit.log"
[ $status = 0 ] || grep -E -B2 -A40 '^ *--- FAIL|^panic:|DATA RACE|\[build failed\]|^#' "$logs/unit.log" | head -200
exit $status
