# shellcheck shell=bash
# SIGTERM while eight searches run at all times: none that was accepted fails.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
export LANCEGATE_SHUTDOWN__GRACE=1s
start_server
load_sample
"$WORK/go-client" load "$GRPC" "$DATA/loaded" >"$DATA/load.out" 2>&1 &
load=$!
# The client makes the file when every one of its loops has had answers.
wait_until 30 test -e "$DATA/loaded" || fail "the load did not begin: $(cat "$DATA/load.out")"
kill -TERM "$SERVER"
await_exit
status=0
wait "$load" || status=$?
cat "$DATA/load.out"
expect "exit code of the load" 0 "$status"
