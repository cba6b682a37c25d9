# shellcheck shell=bash
# A Go program with generated stubs: the round trip, SearchStream and health Watch.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
start_server
"$WORK/go-client" roundtrip "$GRPC"
stop_server
