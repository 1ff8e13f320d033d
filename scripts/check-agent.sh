#!/bin/sh
# Runs the released agent (.build/fubini-agent) where nothing is installed: in a root directory with /proc, a device or two and
# /etc/hosts. Checks its symbols, that it starts, and that it finds a name in /etc/hosts whatever nsswitch.conf says.
set -eu
cd "$(dirname "$0")/.."
agent=$(realpath .build/fubini-agent)
scripts/check-agent-binary.sh "$agent"
command -v bwrap >/dev/null || { echo "bubblewrap is not installed. On Debian: apt-get install bubblewrap" >&2; exit 2; }
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir "$root/etc" "$root/state"
printf '127.0.0.1 somewhere.test\n' > "$root/etc/hosts"
# Modules that are not there: a program that loaded one would find no name.
printf 'hosts: sss myhostname files dns\npasswd: sss files\n' > "$root/etc/nsswitch.conf"
inside() {
  bwrap --unshare-all --share-net --die-with-parent --bind "$root" / --ro-bind "$agent" /fubini-agent --proc /proc --dev /dev \
    --clearenv --setenv HOME /state /fubini-agent "$@"
}
inside version
# Nothing listens on port 1: the agent must find the name, and complain of the port only.
printf 'controlPlane: ["somewhere.test:1"]\n' > "$root/state/agent.yaml"
answer=$(inside doctor --state-dir /state 2>&1 || true)
case "$answer" in
  *"somewhere.test:1 cannot be reached"*) echo "$agent: works in an empty root directory, and finds names" ;;
  *) printf '%s\nThe name in /etc/hosts was not found.\n' "$answer" >&2; exit 1 ;;
esac
