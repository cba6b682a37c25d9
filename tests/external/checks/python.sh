# shellcheck shell=bash
# A Python program with generated stubs: every kind of write and read.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
start_server
PYTHONPATH="$WORK/py" "$PYTHON" "$ROOT/tests/external/python/main.py" "$GRPC"
stop_server
