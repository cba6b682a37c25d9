#!/usr/bin/env bash
# `make run`: from a clone to a server with data in it, searched three ways.
#
# LANCEGATE_DATA_DIR                    where the tables go (lancegate-data)
# LANCEGATE_SERVER__GRPC_ADDRESS, ...   as for the server itself
# LANCEGATE_BIN                         a server that is built already
# LANCEGATE_RUN_ONCE=1                  stop after the searches: the exit code
#                                       says whether all of them worked
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"

GRPC="${LANCEGATE_SERVER__GRPC_ADDRESS:-127.0.0.1:50051}"
HTTP="${LANCEGATE_SERVER__HTTP_ADDRESS:-127.0.0.1:9464}"
DATA="${LANCEGATE_DATA_DIR:-lancegate-data}"
# libopendbx1, "Lightweight database access abstraction layer".
ROW=35592
LOG="$DATA/server.log"
SERVER=""

# Stops the server as an operator would, and waits for it.
stop_server() {
    [ -n "$SERVER" ] || return 0
    local pid="$SERVER"
    SERVER=""
    kill -TERM "$pid" 2>/dev/null || true
    wait "$pid"
}

fail() {
    [ -s "$LOG" ] && tail -n 30 "$LOG" >&2
    die "$* (the server's log: $LOG)"
}

start_server() {
    mkdir -p "$DATA"
    # A process group of its own, so that Ctrl-C reaches this script only and
    # the server gets one clean SIGTERM. Nobody else uses it: no long grace.
    set -m
    LANCEGATE_SHUTDOWN__GRACE="${LANCEGATE_SHUTDOWN__GRACE:-100ms}" "${CLEAN_ENV[@]}" \
        "$(binary)" serve --data-dir "$DATA" --grpc-address "$GRPC" --http-address "$HTTP" >"$LOG" 2>&1 &
    SERVER=$!
    set +m
    serving() { ! kill -0 "$SERVER" 2>/dev/null || lancegate healthcheck --address "$GRPC"; }
    wait_until 60 serving || fail "the server was not SERVING within 60 s"
    kill -0 "$SERVER" 2>/dev/null || fail "the server did not start"
}

load_sample() {
    say "loading the sample: 2,000 Debian packages with 384-dimensional embeddings"
    lancegate import packages sample/packages.parquet --create --if-missing \
        --index title:fts --address "$GRPC" || fail "the import failed"
    wait_until 60 status_says "$GRPC" 'in_step("packages")' ||
        fail "the replicas did not have the sample within 60 s"
    say "both replicas have it"
}

# show TITLE ARGUMENTS...: one search, with the command that a person would type.
show() {
    local title="$1"
    shift
    echo
    say "$title"
    printf '    lancegate search %s\n' "$*"
    lancegate search "$@" --address "$GRPC" || fail "that search failed"
}

search_three_ways() {
    local before after
    before="$(status_says "$GRPC" reads -c)"
    show "a vector search: packages like libopendbx1, a database access library" \
        packages --row-id "$ROW" --limit 5 --columns id,package,title
    show "a full-text search" \
        packages --text database --limit 5 --columns id,package,title
    show "a hybrid search: both at once, fused by rank" \
        packages --row-id "$ROW" --text database --limit 5 --columns id,package,title
    after="$(status_says "$GRPC" reads -c)"
    echo
    say "reads answered by each replica: $before before, $after now"
    jq -en --argjson a "$before" --argjson b "$after" \
        '[range($a | length)] | all($b[.] > $a[.])' >/dev/null ||
        fail "the searches were not spread over the replicas"
}

# What to paste next. The Python lines need `pip install grpcio-tools` only.
print_next_steps() {
    local bin
    bin="$(binary)"
    cat <<TEXT

gRPC     $GRPC   (plaintext, reflection on)
HTTP     http://$HTTP/metrics   /livez /readyz /health /ready /health/deep
data     $DATA   log $LOG

CLI      $bin status --address $GRPC
         $bin search packages --text "web server" --limit 5 --address $GRPC
grpcurl  grpcurl -plaintext $GRPC list
         grpcurl -plaintext -d '{"table":"packages","query":{"full_text":{"text":"database"},"limit":3,"columns":["title"]},"row_format":"ROW_FORMAT_TYPED"}' $GRPC lancegate.v1.SearchService/Search
Python   python3 -m venv /tmp/lancegate-py && /tmp/lancegate-py/bin/pip install -q grpcio-tools
         (cd proto && /tmp/lancegate-py/bin/python -m grpc_tools.protoc -I. --python_out=/tmp/lancegate-py --grpc_python_out=/tmp/lancegate-py lancegate/v1/*.proto)
         PYTHONPATH=/tmp/lancegate-py /tmp/lancegate-py/bin/python - <<'PY'
import grpc
from lancegate.v1 import search_pb2 as s, search_pb2_grpc, common_pb2 as c
stub = search_pb2_grpc.SearchServiceStub(grpc.insecure_channel("$GRPC"))
query = s.Query(full_text=s.FullTextQuery(text="database"), limit=3, columns=["title"])
print(stub.Search(s.SearchRequest(table="packages", query=query, row_format=c.ROW_FORMAT_TYPED)))
PY

TEXT
}

scripts/setup.sh
# A binary that was named is taken as it is.
[ -n "${LANCEGATE_BIN:-}" ] || scripts/build.sh
LANCEGATE_BIN="$(binary)"
for address in "$GRPC" "$HTTP"; do
    ! is_taken "$address" || die "$address is in use: stop what listens there, or choose another address with LANCEGATE_SERVER__GRPC_ADDRESS and LANCEGATE_SERVER__HTTP_ADDRESS"
done
trap 'stop_server || true' EXIT
# Ctrl-C is how it is meant to end.
trap 'echo; say "stopping"; exit 0' INT
trap 'exit 143' TERM HUP

say "starting the server"
start_server
load_sample
search_three_ways
print_next_steps

if [ "${LANCEGATE_RUN_ONCE:-}" = 1 ]; then
    stop_server || die "the server did not stop cleanly (its log: $LOG)"
    say "the three searches worked and the server stopped cleanly"
else
    say "the server runs until you press Ctrl-C"
    wait "$SERVER" || fail "the server ended by itself"
fi
