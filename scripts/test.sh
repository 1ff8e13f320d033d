#!/bin/sh
# Runs every test of what is built, and repeats at the end what failed.
#
# One at a time: many of them watch clocks (a fence, a half-open connection, a revocation within 2 s), and would watch each
# other's load. In parallel they would take 50 seconds less.
set -u
cd "$(dirname "$0")/.."
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# The end of the pipe is `tee`; the status of the tests goes through a file.
{ timeout -k 10 1800 ${SWIFT:-swift} test --skip-build --no-parallel "$@" 2>&1; echo $? >"$log.status"; } | tee "$log"
status=$(cat "$log.status")
rm -f "$log.status"
if [ "$status" -ne 0 ]; then
  echo
  echo "What failed (status $status):"
  grep -E 'recorded an issue|Fatal error|crashed|error: ' "$log" | tail -40
  tail -1 "$log"
fi
exit "$status"
