#!/bin/sh
# Lists our own Swift files, one a line: all that git knows but generated code.
set -eu
cd "$(dirname "$0")/.."
git ls-files '*.swift' | grep -v '/Generated/'
