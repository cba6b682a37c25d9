#!/usr/bin/env bash
# run.sh PORT REPLICA_DIRS TABLE MODE WORKERS
#
# Starts the web app on 127.0.0.1:PORT and prints "ready" on standard output
# when every worker can answer. Everything else goes to standard error. Stays
# until it is killed: the app replaces this shell, so one signal ends it.
# NPROBES and REFINE_FACTOR in the environment are the app's index options.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
source "$here/../../scripts/lib.sh"

[ $# -eq 5 ] || die "usage: run.sh PORT REPLICA_DIRS TABLE tutorial|tuned WORKERS"
port="$1" workers="$5"
export REPLICAS="$2" TABLE="$3" MODE="$4"
case "$MODE" in tutorial | tuned) ;; *) die "MODE is tutorial or tuned, not '$MODE'" ;; esac

venv="$CACHE/peers-venv"
need_venv "$venv" "$here/requirements.txt" >&2

READY_DIR="$(mktemp -d)"
export READY_DIR PYTHONDONTWRITEBYTECODE=1
app=$$
all_ready() { [ "$(find "$READY_DIR" -type f | wc -l)" -ge "$workers" ] && curl -fsS -m 5 "http://127.0.0.1:$port/health"; }
(
    # The marks are made when a worker has opened its tables.
    for _ in $(seq 600); do
        kill -0 "$app" 2>/dev/null || break
        if all_ready >/dev/null 2>&1; then
            echo ready
            break
        fi
        sleep 0.1
    done
    rm -rf "$READY_DIR"
) &
cd "$here"
exec "$venv/bin/python" -m uvicorn app:app --host 127.0.0.1 --port "$port" \
    --workers "$workers" --no-access-log --log-level warning 1>&2
