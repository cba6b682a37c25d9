#!/usr/bin/env bash
# Builds the server's dev profile, which starts soonest. Arguments go to cargo.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"

if [ ! -x "$(binary)" ]; then
    say "building lancegate; the first time it compiles LanceDB and takes about ten minutes on two cores"
else
    say "building lancegate"
fi
quietly cargo build --locked --bin lancegate "$@"
say "built $(binary)"
