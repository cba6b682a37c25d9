#!/usr/bin/env bash
# fuzz.sh [SECONDS [TARGET]...]: runs the fuzz targets one after the other, by default
# each for 60 s, from the corpus in fuzz/corpus, which keeps what they find. A crash ends
# it, with the input in fuzz/artifacts.
#
# `cargo fuzz run TARGET` does the same with LanceDB instrumented too, and compiles it
# anew for that. Here only lancegate is: what is looked for is in it, and it takes two
# minutes.
set -euo pipefail

# rustc's wrapper is this script: it asks for coverage where lancegate is compiled.
if [ "${LANCEGATE_FUZZ_WRAPPER:-}" = 1 ]; then
    case " $* " in
    *" --crate-name lancegate "* | *" --crate-name requests "* | *" --crate-name filters "* | \
        *" --crate-name tokens "* | *" --crate-name arrow "*" fuzz_targets/arrow.rs "*)
        exec "$@" --cfg fuzzing -Cpasses=sancov-module \
            -Cllvm-args=-sanitizer-coverage-level=4 \
            -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
            -Cllvm-args=-sanitizer-coverage-pc-table \
            -Cllvm-args=-sanitizer-coverage-trace-compares
        ;;
    *) exec "$@" ;;
    esac
fi

source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT/fuzz"

seconds="${1:-60}"
[ $# -gt 0 ] && shift
[ $# -gt 0 ] || set -- requests filters tokens arrow
# Beside the other builds, whose LanceDB it takes.
target="${CARGO_TARGET_DIR:-$ROOT/target}"
say "building the fuzz targets"
LANCEGATE_FUZZ_WRAPPER=1 RUSTC_WRAPPER="$ROOT/scripts/fuzz.sh" CARGO_TARGET_DIR="$target" CARGO_INCREMENTAL=0 \
    cargo build --locked --bins
for name in "$@"; do
    mkdir -p "corpus/$name" "artifacts/$name"
    say "$name: $seconds s"
    # Values that mean something to a parser of SQL help with filters.
    dictionary=()
    [ -e "dictionaries/$name" ] && dictionary=("-dict=dictionaries/$name")
    "$target/debug/$name" "corpus/$name" "${dictionary[@]}" -artifact_prefix="artifacts/$name/" \
        -max_total_time="$seconds" -timeout=20 -rss_limit_mb=4096 -max_len=4096 \
        -print_final_stats=1 >"artifacts/$name.log" 2>&1 || die "$name: see fuzz/artifacts/$name.log and fuzz/artifacts/$name"
    grep -E '^stat::|DONE' "artifacts/$name.log"
done
