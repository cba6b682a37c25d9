#!/usr/bin/env bash
# Runs every self-contained test. Arguments go to cargo test.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"

say "building the tests; the first time it compiles LanceDB and takes about ten minutes on two cores"
quietly cargo test --locked --no-run
say "running the tests"
cargo test --locked "$@"
say "the tests passed"
