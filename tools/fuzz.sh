#!/bin/sh
# Runs every fuzz target for FUZZTIME (10s), as many at a time as there are
# processors, each with one worker.
set -u
logs=$1
time=${FUZZTIME:-10s}
mkdir -p "$logs"
rm -f "$logs"/fuzz-*
targets=$(grep -rE --include='*_test.go' -o '^func Fuzz[A-Za-z0-9_]+' internal cmd | sed 's/:func /:/')
echo "fuzz: $(echo "$targets" | wc -l) targets, $time each"
export CGO_ENABLED=0 logs time
echo "$targets" | xargs -P "$(nproc)" -I{} sh -c '
	file=${1%%:*} name=${1##*:} pkg=./$(dirname "${1%%:*}")
	log="$logs/fuzz-$(basename "$(dirname "$file")")-$name.log"
	go test "$pkg" -run "^$" -fuzz "^$name\$" -fuzztime "$time" -parallel 1 >"$log" 2>&1 || {
		echo "fuzz: $pkg $name failed:"; tail -30 "$log"; exit 1
	}' sh {}
