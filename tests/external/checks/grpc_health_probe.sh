# shellcheck shell=bash
# The probe that many charts use: its exit codes while serving and while draining.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

# probe WANTED_EXIT_CODE SERVICE
probe() {
    local status=0
    "$GO_BIN/grpc_health_probe" -addr="$GRPC" -service="$2" -connect-timeout=2s -rpc-timeout=2s || status=$?
    expect "exit code of grpc_health_probe for '$2'" "$1" "$status"
}

export LANCEGATE_SHUTDOWN__GRACE=5s
start_server
for service in "" lancegate.v1.SearchService lancegate.v1.WriteService liveness; do
    probe 0 "$service"
done
kill -TERM "$SERVER"
draining() { ! lancegate healthcheck --address "$GRPC"; }
wait_until 3 draining || fail "still SERVING 3 s after SIGTERM"
probe 4 ""
probe 4 lancegate.v1.SearchService
probe 0 liveness
await_exit
