#!/bin/sh
# Checks that an agent binary runs on old systems: either it needs no shared library at all, or no symbol of a glibc newer than
# 2.28 (RHEL 8). Reads the dynamic section and symbol versions only; runs nothing of the binary.
#
# usage: scripts/check-agent-binary.sh BINARY
set -eu
binary=${1:?usage: $0 BINARY}
newest_allowed=2.28
command -v readelf >/dev/null || { echo "readelf is not installed. On Debian: apt-get install binutils" >&2; exit 2; }
readelf --file-header "$binary" >/dev/null 2>&1 || { echo "$binary is no ELF file" >&2; exit 2; }

needed=$(readelf --dynamic --wide "$binary" 2>/dev/null | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | sort | tr '\n' ' ')
versions=$(readelf --version-info --wide "$binary" 2>/dev/null | grep -o 'GLIBC_[0-9][0-9.]*' | sed 's/GLIBC_//' | sort -uV)
if [ -z "$needed" ] && [ -z "$versions" ]; then
  echo "$binary: fully static, needs no glibc"
  exit 0
fi
newest=$(printf '%s\n' "$versions" | tail -n 1)
if [ "$(printf '%s\n%s\n' "$newest" "$newest_allowed" | sort -V | tail -n 1)" != "$newest_allowed" ]; then
  echo "$binary needs GLIBC_$newest, newer than GLIBC_$newest_allowed (libraries: $needed); these symbols ask for it:" >&2
  readelf --dyn-syms --wide "$binary" | grep -o '[^ ]*@GLIBC_[0-9.]*' | sed 's/@*GLIBC_/ /' | while read -r name version; do
    [ "$(printf '%s\n%s\n' "$version" "$newest_allowed" | sort -V | tail -n 1)" = "$newest_allowed" ] ||
      echo "  $name GLIBC_$version" >&2
  done
  exit 1
fi
echo "$binary: needs GLIBC_${newest:-none} at most, libraries: $needed"
