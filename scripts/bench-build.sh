# Sourced by the benchmarks: builds for release, in a place of its own so that the debug build stays as it is, and sets $bin.
# The first time takes about ten minutes on two cores. Builds $products, or all that a benchmark needs.
scratch=${FUBINI_BENCH_SCRATCH:-.build-release}
for product in ${products:-fubini-controlplane fubini-agent fubini-bench}; do
  swift build -c release --scratch-path "$scratch" --explicit-target-dependency-import-check error --product "$product"
done
bin=$(swift build -c release --scratch-path "$scratch" --show-bin-path)
