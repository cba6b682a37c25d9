# shellcheck shell=bash
# The contract keeps buf's STANDARD rules.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
buf="$(dirname "$PYTHON")/buf"
"$buf" --version
(cd "$ROOT/proto" && "$buf" lint)
