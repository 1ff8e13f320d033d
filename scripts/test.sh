#!/bin/sh
# Runs every test of what is built, and repeats at the end what failed.
#
# In two halves beside each other: those on Slurm, end-to-end ones among them, wait for its timers most of the time, and the others need
# the cores that leaves free. Some of the others go with the first, so that both halves take about as long. Within a half one at a time: many tests watch clocks (a fence, a half-open connection, a revocation within 2 s), and would
# watch each other's load.
set -u
cd "$(dirname "$0")/.."
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
on_slurm='^(SlurmExecutorTests|LocalSlurmTests)\.|^ControlPlaneCoreTests\.FairShareTests/|/(ForeignDataTests|PreemptionTests|MappedSlurmTests|ThreeClusterTests|SlurmFaultTests|SlurmOverlapTests|SiteDefaultTests|GangTests|ApptainerTests|MolecularDynamicsTests|SlurmClientTests|ArgoCorpusTests)/'
tests="$(${SWIFT:-swift} build --show-bin-path "$@")/fubiniPackageTests.xctest"

# half NAME PORTS OPTION PATTERN: each half draws the ports of its servers from a range of its own, below those that Slurm's are drawn from.
half() {
  FUBINI_TEST_PORTS=$2 timeout -k 10 2700 "$tests" --testing-library swift-testing --no-parallel "$3" "$4" >"$logs/$1" 2>&1
  echo $? >"$logs/$1.status"
}

: >"$logs/others"
half slurm 8000-9999 --filter "$on_slurm" &
{ half others 10000-11999 --skip "$on_slurm"; } &
others=$!
# What the longer half says is shown as it comes; the other one's follows whole.
tail -n +1 -f --pid=$others "$logs/others" 2>/dev/null || wait $others
wait
cat "$logs/slurm"
echo
grep -hE 'Test run with' "$logs/others" "$logs/slurm"
# Last, because who reads a long log begins at its end: what failed, by the test's own words and not by those of the programs it started.
status=0
for half in others slurm; do
  code=$(cat "$logs/$half.status")
  [ "$code" -eq 0 ] && continue
  status=$code
  echo
  echo "What failed in the half \"$half\" (status $code):"
  grep -E '^✘ .*recorded an issue|Fatal error:|signal code|^↳ ' "$logs/$half" | cut -c 1-600 | tail -60
  # A half that crashed or was ended says so by the test that had begun last.
  grep -q '^✘ Test run with' "$logs/$half" || grep -E '^◇ Test .*started' "$logs/$half" | tail -n 1
done
exit "$status"
