#!/bin/sh
# Builds the agent as it is released: optimised, fully static, stripped. The program is .build/fubini-agent; it runs on any
# x86-64 or arm64 Linux like the one it was built on, however old its C library. Checks that, and prints the path.
#
# It compiles all dependencies once more (other flags than the debug build): eight minutes on two idle cores the first time.
# The linker warns that getaddrinfo, getpwnam and dlopen need the libraries of this machine's glibc: the agent looks names up
# in /etc/hosts and the DNS only, users nowhere, and loads nothing (docs/adr/0010-static-agent.md).
set -eu
cd "$(dirname "$0")/.."
scratch=${FUBINI_AGENT_SCRATCH:-.build/agent}
build() {
  swift build -c release --scratch-path "$scratch" --static-swift-stdlib -Xswiftc -static-executable -Xlinker --strip-all \
    --explicit-target-dependency-import-check error --product fubini-agent "$@"
}
build
mkdir -p .build
cp "$(build --show-bin-path)/fubini-agent" .build/fubini-agent.new
mv .build/fubini-agent.new .build/fubini-agent
scripts/check-agent-binary.sh .build/fubini-agent
