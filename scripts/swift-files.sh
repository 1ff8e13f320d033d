#!/bin/sh
# Lists our own Swift files, each ended by a NUL: all that git knows and that are still there, but generated code.
set -eu
cd "$(dirname "$0")/.."
# What is deleted but not yet committed is listed twice, once as deleted, and `uniq -u` leaves both out.
{
  git ls-files -z --cached --others --exclude-standard -- '*.swift' ':!:*/Generated/*'
  git ls-files -z --deleted -- '*.swift' ':!:*/Generated/*'
} | sort -z | uniq -zu
