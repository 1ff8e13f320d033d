#!/bin/sh
# Regenerates Sources/FederationAPI/Protocol/Generated/ from the .proto files beside it.
#
# The generated code is committed, because running the generators as build plugins makes every cold build minutes longer.
# Needs protoc (Debian: protobuf-compiler); the two generators are built from the package's own dependencies, so that
# their versions are the ones that the generated code is compiled against. Run through `make generate`.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
cd "$root"

command -v protoc >/dev/null || {
  echo "protoc is not installed. On Debian: apt-get install protobuf-compiler" >&2
  exit 1
}

# The flags of every other build: with others all of it would be compiled again, and again afterwards.
swift build --explicit-target-dependency-import-check error --product protoc-gen-swift
swift build --explicit-target-dependency-import-check error --product protoc-gen-grpc-swift-2
generators=$(swift build --show-bin-path)

source_dir=Sources/FederationAPI/Protocol
staging=$(mktemp -d)
trap 'rm -rf "$staging"' EXIT

# Imports carry an access level because the package builds with InternalImportsByDefault.
protoc \
  --proto_path="$source_dir" \
  --plugin="protoc-gen-swift=$generators/protoc-gen-swift" \
  --swift_out="$staging" \
  --swift_opt=Visibility=Public,UseAccessLevelOnImports=true,FileNaming=DropPath \
  --plugin="protoc-gen-grpc-swift=$generators/protoc-gen-grpc-swift-2" \
  --grpc-swift_out="$staging" \
  --grpc-swift_opt=Visibility=Public,UseAccessLevelOnImports=true,Server=true,Client=true,FileNaming=DropPath \
  "$source_dir"/*.proto

# Only whole results replace the old ones.
mkdir -p "$source_dir/Generated"
for file in "$staging"/*.swift; do
  install -m 0644 "$file" "$source_dir/Generated/"
done
echo "Generated $(ls "$staging" | wc -l) files in $source_dir/Generated/"
