#!/bin/sh
# Prints the path of a Python that has the clients of Tests/Clients/requirements.txt. They are installed from PyPI once, into a
# cache outside the repository. Ends with 3, and says why on standard error, where that is not possible.
set -eu
cd "$(dirname "$0")/.."
requirements=Tests/Clients/requirements.txt
sum=$(sha256sum "$requirements" | cut -c 1-12)
cache=${FUBINI_CLIENTS_CACHE:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/fubini}/argo-clients-$sum
# Two suites may ask at once.
mkdir -p "${cache%/*}"
exec 9>"$cache.lock"
flock 9
if [ ! -e "$cache/ready" ]; then
  rm -rf "$cache"
  mkdir -p "$cache"
  for python in /usr/bin/python3 python3; do
    "$python" -m venv "$cache/venv" >"$cache/log" 2>&1 && break
  done
  [ -x "$cache/venv/bin/pip" ] || { echo "python3 cannot make a virtual environment: see $cache/log" >&2; exit 3; }
  timeout 900 "$cache/venv/bin/pip" install --quiet --disable-pip-version-check -r "$requirements" >>"$cache/log" 2>&1 || {
    # That is our fault, and no reason to skip.
    if grep -q ResolutionImpossible "$cache/log"; then
      echo "the versions in $requirements contradict each other: see $cache/log" >&2
      exit 1
    fi
    echo "PyPI is not there: see $cache/log" >&2
    exit 3
  }
  touch "$cache/ready"
fi
echo "$cache/venv/bin/python"
