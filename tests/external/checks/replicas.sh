# shellcheck shell=bash
# A replica's folder is a whole database: copied away from its server and served
# as a primary, it has every row and answers the same.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
start_server
load_sample
"$WORK/go-client" write "$GRPC"
wait_until 60 status_says "$GRPC" 'in_step("packages")' || fail "the replicas did not catch up"
"$WORK/go-client" digest "$GRPC" >"$DATA/before"
stop_server

for replica in replica-1 replica-2; do
    mkdir -p "$DATA/$replica"
    cp -r "$DATA/db/$replica" "$DATA/$replica/primary"
    start_server "$DATA/$replica"
    "$WORK/go-client" digest "$GRPC" >"$DATA/after"
    stop_server
    diff "$DATA/before" "$DATA/after" || fail "$replica answers something else"
    echo "$replica: $(head -n 1 "$DATA/after")"
done
