# shellcheck shell=bash
# Health as an orchestrator sees it: grpc-go's health client and `lancegate
# healthcheck`, with the same exit codes, while serving and while draining.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

# check_all SERVICE WANTED_EXIT_CODE
check_all() {
    local status=0
    "$WORK/go-client" probe "$GRPC" "$1" || status=$?
    expect "exit code of the grpc-go client for '$1'" "$2" "$status"
    status=0
    lancegate healthcheck --address "$GRPC" --service "$1" || status=$?
    expect "exit code of lancegate healthcheck for '$1'" "$2" "$status"
}

# Long enough to look at every service between SIGTERM and the end.
export LANCEGATE_SHUTDOWN__GRACE=5s
start_server
# 0: SERVING. 4: not SERVING. 3: the call itself failed.
for service in "" lancegate.v1.SearchService lancegate.v1.WriteService liveness; do
    check_all "$service" 0
done
check_all no.such.Service 3

kill -TERM "$SERVER"
draining() { ! lancegate healthcheck --address "$GRPC"; }
wait_until 3 draining || fail "still SERVING 3 s after SIGTERM"
kill -0 "$SERVER" 2>/dev/null || fail "the server was gone before it said NOT_SERVING"
for service in "" lancegate.v1.SearchService lancegate.v1.WriteService; do
    check_all "$service" 4
done
check_all liveness 0
await_exit
# 2: nobody there.
check_all "" 2
