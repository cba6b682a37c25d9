# shellcheck shell=bash
# A server that takes two requests at once sheds the others, and recovers.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
export LANCEGATE_LIMITS__MAX_CONCURRENT_REQUESTS=2
export LANCEGATE_ADMISSION__MAX_QUEUED=0
start_server
load_sample
PYTHONPATH="$WORK/py" "$PYTHON" "$ROOT/tests/external/python/overload.py" "$GRPC"
stop_server
