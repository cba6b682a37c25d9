#!/usr/bin/env bash
# Runs every self-contained test. Arguments go to cargo test.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"

# One test holds ten thousand connections; by default a process may have 1,024 files open.
FILES=20000
most="$(ulimit -Hn)"
if [ "$(ulimit -Sn)" != unlimited ] && [ "$(ulimit -Sn)" -lt "$FILES" ]; then
    if [ "$most" = unlimited ] || [ "$most" -ge "$FILES" ]; then most="$FILES"; fi
    ulimit -Sn "$most"
fi

say "building the tests; the first time it compiles LanceDB and takes about ten minutes on two cores"
quietly cargo test --locked --no-run
say "running the tests"
cargo test --locked "$@"
say "the tests passed"
