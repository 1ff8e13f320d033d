#!/bin/sh
# Writes docs/reference/cli.md from the commands' own help, so that the two cannot differ. Run through `make reference`.
# With --check nothing is written, and a difference is an error.
set -eu
cd "$(dirname "$0")/.."
target=docs/reference/cli.md
if [ -z "${FUBINI_BIN:-}" ]; then
  swift build --explicit-target-dependency-import-check error --product fubini
  FUBINI_BIN=$(swift build --show-bin-path)/fubini
fi
# The width of help follows the terminal's; the page must not.
export COLUMNS=100
new=$(mktemp)
trap 'rm -f "$new"' EXIT

# The subcommands that a help text lists: names indented by two, after the heading.
subcommands() {
  awk '/^(.* )?SUBCOMMANDS:$/ { on = 1; next } on && /^  [a-z]/ { sub(/,$/, "", $1); print $1 } on && /^$/ { exit }'
}

page() { # page LEVEL WORDS...: one command and, below it, its own
  level=$1
  shift
  help=$("$FUBINI_BIN" "$@" --help)
  printf '%s `%s`\n\n```text\n%s\n```\n\n' "$level" "fubini${*:+ $*}" "$help"
  for name in $(printf '%s\n' "$help" | subcommands); do
    # `help` is the parser's own and says the same as --help.
    [ "$name" = help ] || (page "$level#" "$@" "$name")
  done
}

{
  printf '# The command line\n\nMade by `make reference` from the commands'\'' own help.\n\n'
  cat <<'TEXT'
| exit code | meaning |
|---|---|
| 0 | done |
| 1 | error |
| 2 | wrong usage, or a document that is refused |
| 3 | no cluster can ever take it |
| 4 | the budget does not allow it |
| 5 | the control plane cannot be reached, or did not answer in time |
| 6 | the workflow was run and failed |

| variable | meaning |
|---|---|
| `FUBINI_URL` | the control plane; wins over the current context |
| `FUBINI_TOKEN` | the API token; never give it as an argument |
| `FUBINI_CA` | a PEM file with the authority that signed the server's certificate |
| `FUBINI_PROJECT` | the project of commands without `--project` |
| `NO_COLOR` | no colours |

TEXT
  page '##'
} > "$new"

# One blank line at the end is enough.
sed -i -e :a -e '/^\n*$/{$d;N;ba' -e '}' "$new"
if [ "${1:-}" = --check ]; then
  diff -u "$target" "$new" || { echo "$target is out of date: run make reference" >&2; exit 1; }
else
  mkdir -p "$(dirname "$target")"
  install -m 0644 "$new" "$target"
  echo "Wrote $target"
fi
