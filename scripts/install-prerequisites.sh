#!/bin/sh
# Installs the Debian packages that building, testing and running need, where they are missing. Says what it installs and what
# for; does nothing when all is there. Arguments: further packages (the examples ask for some, see
# examples/README.md).
set -eu

# What the Swift toolchain itself needs at run time and for C++ (its archive brings neither); what is compiled against; what the
# embedded set-up starts; what tests call.
toolchain="g++ make pkg-config libncurses6 libcurl4 libxml2 libedit2 tzdata"
libraries="libpq-dev libsqlite3-dev zlib1g-dev"
programs="postgresql bubblewrap rclone git"
tests="python3 python3-venv python-is-python3 openssl unzip iptables"
all="$toolchain $libraries $programs $tests $*"

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
  echo "This is no Debian: nothing is installed. The build expects what these Debian packages hold: $all" >&2
else
  # One question for all of them; a package that dpkg has never heard of is an error of that question, and missing.
  # The names are from the fixed lists above, so word splitting is what is wanted, here and below.
  # shellcheck disable=SC2086
  installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' $all 2>/dev/null | sed -n 's/^installed //p')
  missing=""
  for package in $all; do
    printf '%s\n' "$installed" | grep -qxF "$package" || missing="$missing $package"
  done
  if [ -n "$missing" ]; then
    as_root=""
    if [ "$(id -u)" -ne 0 ]; then
      command -v sudo >/dev/null || {
        echo "Debian packages are missing, and sudo is not here. As root: apt-get install -y --no-install-recommends$missing" >&2
        exit 1
      }
      as_root=sudo
    fi
    echo "Installing Debian packages${as_root:+ with sudo}:$missing"
    case $missing in
    *postgresql*) echo "(Debian's postgresql may start a server of its own; Fubini starts private ones and leaves that alone.)" ;;
    esac
    $as_root apt-get -o DPkg::Lock::Timeout=300 -qq update
    # shellcheck disable=SC2086
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 -qq install -y \
      --no-install-recommends $missing
  fi
  # Real Slurm clusters, which can be done without.
  "$(dirname "$0")/install-slurm.sh"
fi

command -v swift >/dev/null || {
  echo "Swift is not in PATH. Install Swift 6.3: https://www.swift.org/install/linux/" >&2
  exit 1
}
version=$(swift --version 2>/dev/null | sed -n 's/.*Swift version \([0-9]*\)\.\([0-9]*\).*/\1 \2/p')
# Two numbers become two words on purpose.
# shellcheck disable=SC2086
set -- ${version:-0 0}
if [ "$1" -lt 6 ] || { [ "$1" -eq 6 ] && [ "$2" -lt 3 ]; }; then
  echo "Swift 6.3 or newer is needed; $(command -v swift) is: $(swift --version 2>&1 | head -n 1)" >&2
  exit 1
fi
