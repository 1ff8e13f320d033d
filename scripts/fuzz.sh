#!/bin/sh
# The readers of untrusted texts, fed with ROUNDS mutated inputs each: no crash, none that takes above 50 ms of the processor, no
# growth. An optimised build of WorkflowCore alone, in a package of its own under .build.
#   scripts/fuzz.sh [TARGET|all] [ROUNDS] [SEED]
set -eu
cd "$(dirname "$0")/.."
target=${1:-all}; rounds=${2:-10000000}; seed=${3:-1}
root=$PWD
package=${FUBINI_FUZZ_BUILD:-$root/.build/fuzz}
checkouts=${FUBINI_CHECKOUTS:-$root/.build/checkouts}
[ -d "$checkouts/Yams" ] || swift package resolve
mkdir -p "$package/Sources/fuzz"
ln -sfn "$root/Sources/FederationModel" "$package/Sources/FederationModel"
ln -sfn "$root/Sources/WorkflowCore" "$package/Sources/WorkflowCore"
cp Tests/FuzzDriver/main.swift Tests/WorkflowCoreTests/Fuzz/FuzzTarget.swift "$package/Sources/fuzz/"
# The zones and the generator of the tests, without the tests.
sed -n '/^enum TestZones/,/^}/p' Tests/WorkflowCoreTests/Cron/TimeZoneRulesTests.swift |
  { printf 'import FederationModel\nimport Foundation\n@testable import WorkflowCore\n'; cat; } >"$package/Sources/fuzz/TestZones.swift"
sed -n '/^struct SeededGenerator/,/^}/p' Tests/WorkflowCoreTests/Machine/MachineDriver.swift >"$package/Sources/fuzz/SeededGenerator.swift"
cat >"$package/Package.swift" <<P
// swift-tools-version: 6.2
import PackageDescription
let settings: [SwiftSetting] = [
  .enableUpcomingFeature("ExistentialAny"), .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("MemberImportVisibility"), .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
]
let package = Package(
  name: "fuzz", platforms: [.macOS(.v15)], dependencies: [.package(path: "$checkouts/Yams")],
  targets: [
    .target(name: "FederationModel", swiftSettings: settings),
    .target(
      name: "WorkflowCore", dependencies: ["FederationModel", .product(name: "Yams", package: "Yams")], swiftSettings: settings),
    .executableTarget(name: "fuzz", dependencies: ["FederationModel", "WorkflowCore"], swiftSettings: settings),
  ], swiftLanguageModes: [.v6])
P
nice -n 19 swift build --package-path "$package" -c release -Xswiftc -enable-testing
note=$package/last-input
if nice -n 19 "$package/.build/release/fuzz" "$target" "$rounds" "$seed" "$note"; then exit 0; fi
status=$?
echo "fuzz: status $status; the last input was:" >&2
tr '\000' '\n' <"$note" | head -c 4000 | sed '/^$/q' >&2
exit 1
