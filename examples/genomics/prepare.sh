#!/bin/sh
# Makes the data set that the workflow mounts: a reference genome with bwa's index beside it. Arguments: the data set's name
# (ecoli-k12), a FASTA file, plain or gzipped (Escherichia coli K-12 MG1655 as the Debian package ragout-examples brings it).
#
# Needs bwa and samtools here and where the workflow runs, and `fubini` in PATH with a control plane to talk to:
#   apt-get install --no-install-recommends bwa samtools ragout-examples
set -eu
name=${1:-ecoli-k12}
fasta=${2:-/usr/share/doc/ragout/examples/E.Coli/references/MG1655-K12.fasta.gz}
for program in bwa samtools fubini; do
  command -v "$program" >/dev/null || { echo "$program is not in PATH" >&2; exit 1; }
done
[ -r "$fasta" ] || { echo "$fasta is not there: install ragout-examples, or name a FASTA file" >&2; exit 1; }

directory=$(mktemp -d)
# Not in the directory, which becomes the data set.
log=$(mktemp)
trap 'rm -rf "$directory" "$log"' EXIT
case $fasta in
*.gz) gzip -dc "$fasta" >"$directory/reference.fa" ;;
*) cp "$fasta" "$directory/reference.fa" ;;
esac
echo "Indexing $(wc -c <"$directory/reference.fa") bytes ..."
bwa index "$directory/reference.fa" 2>"$log" || {
  status=$?
  cat "$log" >&2
  echo "bwa index failed with status $status; above is what it said (a full disk: set TMPDIR)" >&2
  exit 1
}
samtools faidx "$directory/reference.fa"
fubini dataset put "$name" "$directory" --create
