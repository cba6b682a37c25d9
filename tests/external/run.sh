#!/usr/bin/env bash
# run.sh [CHECK]...: runs the checks of tests/external/checks against real
# servers with clients that are not ours. All of them when none is named.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../../scripts/lib.sh"
source "$ROOT/tests/external/tools.sh"
cd "$ROOT"

WORK="$(mktemp -d "${TMPDIR:-/tmp}/lancegate-external-XXXXXX")"
trap 'rm -rf "$WORK"' EXIT

# No check hangs: twice what the slowest one takes on two cores. One that takes
# longer says so in a line "# at most SECONDS s".
CHECK_SECONDS=300

install_tools
say "generating stubs and building the Go client"
generate_stubs
if [ -z "${LANCEGATE_BIN:-}" ]; then
    scripts/build.sh
    LANCEGATE_BIN="$(binary)"
fi
[ -x "$LANCEGATE_BIN" ] || die "$LANCEGATE_BIN is no program"
export WORK PYTHON GO_BIN LANCEGATE_BIN PYTHONDONTWRITEBYTECODE=1

if [ $# -eq 0 ]; then
    for file in tests/external/checks/*.sh; do
        name="$(basename "$file" .sh)"
        if grep -q '^# only when named$' "$file"; then
            say "$name: only when it is named (make test-stores)"
        else
            set -- "$@" "$name"
        fi
    done
fi
passed=0 failed=0
for check in "$@"; do
    file="tests/external/checks/$check.sh"
    [ -e "$file" ] || die "there is no check '$check'"
    began=$SECONDS status=0
    limit="$(sed -n 's/^# at most \([0-9]*\) s$/\1/p' "$file")"
    timeout --kill-after=10 "${limit:-$CHECK_SECONDS}" bash "$file" >"$WORK/out" 2>&1 || status=$?
    case "$status" in
    0) passed=$((passed + 1)) verdict=ok ;;
    *) failed=$((failed + 1)) verdict="FAILED ($status)" ;;
    esac
    say "$check: $verdict, $((SECONDS - began)) s"
    sed 's/^/    /' "$WORK/out"
done

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
