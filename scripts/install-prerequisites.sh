#!/bin/sh
# Installs the Debian packages that building, testing and running need, where they are missing. Says what it installs; does
# nothing when all is there. Arguments: further packages (the molecular-dynamics example asks for lammps).
set -eu
missing=""
for package in pkg-config libpq-dev libsqlite3-dev postgresql bubblewrap rclone python3 openssl unzip "$@"; do
  dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
as_root=""
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "Missing packages:$missing. Ask an administrator to install them." >&2; exit 1; }
  as_root=sudo
fi
echo "Installing Debian packages:$missing"
export DEBIAN_FRONTEND=noninteractive
$as_root apt-get -o DPkg::Lock::Timeout=300 -qq update
# The names were made above from a fixed list, so word splitting is what is wanted.
# shellcheck disable=SC2086
$as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 -qq install -y --no-install-recommends $missing
