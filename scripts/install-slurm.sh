#!/bin/sh
# Installs Slurm and munge where they are missing: the tests start real, private Slurm clusters with them. Where they cannot be
# had it says what is left out, and succeeds. Their services are neither started nor enabled: Fubini runs daemons of its own.
set -u

left_out() {
  echo "Slurm is not here ($1): tests on real Slurm clusters are skipped." >&2
  exit 0
}

missing=""
for package in munge slurmctld slurmd slurm-client slurm-wlm-basic-plugins slurmdbd mariadb-server-core slurmrestd; do
  dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

as_root=""
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || left_out "as root: apt-get install -y --no-install-recommends$missing"
  as_root=sudo
fi

# While this file says 101, packages start no service. One that is there already is somebody's decision, and stays.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap '$as_root rm -f "$policy"' EXIT
  trap 'exit 1' INT TERM HUP
  printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null && $as_root chmod 755 "$policy" \
    || left_out "$policy cannot be written"
fi

echo "Installing Debian packages${as_root:+ with sudo}:$missing"
$as_root apt-get -o DPkg::Lock::Timeout=300 -qq update || left_out "the list of packages cannot be fetched"
# The names are from the fixed list above, so word splitting is what is wanted.
# shellcheck disable=SC2086
$as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 -qq install -y \
  --no-install-recommends $missing || left_out "apt-get could not install$missing"

# What has just come must not start with the next boot either; what was there before is left as it is.
if [ -d /run/systemd/system ]; then
  for service in munge slurmctld slurmd slurmdbd slurmrestd; do
    case "$missing " in *" $service "*) $as_root systemctl disable --quiet "$service.service" 2>/dev/null ;; esac
  done
fi
exit 0
