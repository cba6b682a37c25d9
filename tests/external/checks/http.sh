# shellcheck shell=bash
# The HTTP port: probes, deep health, and metrics that promtool accepts.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
export LANCEGATE_SHUTDOWN__GRACE=5s
start_server
load_sample
for _ in 1 2 3 4; do
    lancegate search packages --text database --limit 3 --columns title --address "$GRPC" >/dev/null
done

# code PATH: the status of one GET.
code() { curl -sS -m 10 -o "$DATA/body" -w '%{http_code}' "http://$HTTP$1"; }

for path in /livez /readyz /health /ready /health/deep /metrics; do
    expect "GET $path" 200 "$(code "$path")"
done
expect "GET /nothing-here" 404 "$(code /nothing-here)"
expect "POST /livez" 405 "$(curl -sS -m 10 -o /dev/null -w '%{http_code}' -X POST "http://$HTTP/livez")"

code /health/deep >/dev/null
for connection in primary replica-1 replica-2; do
    grep -q "\"$connection\"" "$DATA/body" || fail "/health/deep does not name $connection: $(cat "$DATA/body")"
done

# Row counts are sampled every 5 s.
sampled() { code /metrics >/dev/null && grep -q '^lancedb_table_rows{table="packages"} 2000$' "$DATA/body"; }
wait_until 15 sampled || fail "lancedb_table_rows was not 2000 within 15 s: $(grep lancedb_table_rows "$DATA/body")"
promtool check metrics <"$DATA/body" || fail "promtool found fault with /metrics"
for name in grpc_server_started_total grpc_server_handled_total grpc_server_handling_seconds_bucket \
    lancedb_search_requests_total lancedb_search_latency_seconds_bucket \
    lancegate_build_info process_resident_memory_bytes; do
    grep -q "^$name" "$DATA/body" || fail "/metrics has no $name"
done
counted="$(grep '^lancedb_search_requests_total{' "$DATA/body" | grep 'table="packages"' | awk '{sum += $NF} END {print sum + 0}')"
expect "searches counted in lancedb_search_requests_total" 4 "$counted"

kill -TERM "$SERVER"
not_ready() { [ "$(code /readyz)" = 503 ]; }
wait_until 3 not_ready || fail "/readyz was not 503 within 3 s of SIGTERM"
expect "GET /livez while draining" 200 "$(code /livez)"
await_exit
