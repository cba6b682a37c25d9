# shellcheck shell=bash
# What a check uses: its own server on free ports with its own data.
# run.sh exports WORK (stubs and clients), PYTHON, GO_BIN and LANCEGATE_BIN.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../../scripts/lib.sh"

DATA="$(mktemp -d "${TMPDIR:-/tmp}/lancegate-check-XXXXXX")"
LOG="$DATA/server.log"
SERVER=""
# The machine may be slow: waiting is no fault there.
export LANCEGATE_ADMISSION__MAX_WAIT="${LANCEGATE_ADMISSION__MAX_WAIT:-1m}"

fail() {
    printf 'FAILED: %s\n' "$*" >&2
    exit 1
}

# expect WHAT WANTED FOUND
expect() { [ "$2" = "$3" ] || fail "$1: wanted '$2', found '$3'"; }

# Whatever happens, what runs in the background goes, and the server's log is shown
# if something failed.
finish() {
    local status=$? running
    running="$(jobs -p)"
    if [ -n "$running" ]; then
        # shellcheck disable=SC2086 # a list of processes
        kill -KILL $running 2>/dev/null || true
        wait 2>/dev/null || true
    fi
    if [ "$status" -ne 0 ] && [ -s "$LOG" ]; then
        printf -- '---- the last lines of the server'"'"'s log\n' >&2
        tail -n 60 "$LOG" >&2
    fi
    rm -rf "$DATA"
    exit "$status"
}
trap finish EXIT

# Two ports that nobody has: both held at once, so that they differ.
free_ports() {
    "$PYTHON" - <<'PY'
import socket
held = [socket.socket() for _ in range(2)]
for s in held:
    s.bind(("127.0.0.1", 0))
print(*(s.getsockname()[1] for s in held))
PY
}

healthy() { lancegate healthcheck --address "$GRPC"; }

# start_server [DIRECTORY] [ARGUMENTS...]: sets GRPC, HTTP and SERVER, and
# returns when the server is SERVING.
start_server() {
    local dir="${1:-$DATA/db}" ports
    shift || true
    read -ra ports <<<"$(free_ports)"
    GRPC="127.0.0.1:${ports[0]}" HTTP="127.0.0.1:${ports[1]}"
    mkdir -p "$dir"
    "${CLEAN_ENV[@]}" "$LANCEGATE_BIN" serve --data-dir "$dir" \
        --grpc-address "$GRPC" --http-address "$HTTP" "$@" >>"$LOG" 2>&1 &
    SERVER=$!
    up_or_dead() { ! kill -0 "$SERVER" 2>/dev/null || healthy; }
    wait_until 60 up_or_dead || fail "the server was not SERVING within 60 s"
    kill -0 "$SERVER" 2>/dev/null || fail "the server ended at its start"
}

# Asks the server to stop and checks that it does, with exit code 0, in time.
stop_server() {
    kill -TERM "$SERVER"
    await_exit
}

await_exit() {
    local pid="$SERVER" status=0
    gone() { ! kill -0 "$pid" 2>/dev/null; }
    wait_until 60 gone || fail "the server did not stop within 60 s of SIGTERM"
    wait "$pid" || status=$?
    SERVER=""
    expect "exit code of the server" 0 "$status"
}

# load_sample: the sample, with a full-text index, on the primary and the replicas.
load_sample() {
    lancegate import packages "$ROOT/sample/packages.parquet" --create \
        --index title:fts --address "$GRPC" >/dev/null || fail "the import failed"
    wait_until 60 status_says "$GRPC" 'in_step("packages")' || fail "the replicas did not catch up within 60 s"
}

# make_authority: sets CA, a certificate that `certificate` signs with.
make_authority() {
    CA="$DATA/ca.crt"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=check \
        -keyout "$DATA/ca.key" -out "$CA" 2>/dev/null
}

# certificate NAME SUBJECT_ALT_NAME: NAME.crt and NAME.key, signed by the authority.
certificate() {
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=$1" \
        -keyout "$DATA/$1.key" -out "$DATA/$1.csr" 2>/dev/null
    openssl x509 -req -in "$DATA/$1.csr" -CA "$CA" -CAkey "$DATA/ca.key" -CAcreateserial -days 2 \
        -extfile <(printf 'subjectAltName=%s\n' "$2") -out "$DATA/$1.crt" 2>/dev/null
}
