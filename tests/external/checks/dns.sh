# shellcheck shell=bash
# A name in DNS that gains and loses nodes under load: no read fails. The name is
# in a hosts file of this check's own, over the system's in a mount namespace.
if [ -z "${OWN_HOSTS:-}" ]; then
    OWN_HOSTS="$(mktemp)"
    export OWN_HOSTS
    status=0
    as_root=(); [ "$(id -u)" -eq 0 ] || as_root=(--map-root-user)
    unshare "${as_root[@]}" --mount --propagation private bash "${BASH_SOURCE[0]}" || status=$?
    rm -f "$OWN_HOSTS"
    exit "$status"
fi
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

NAME=lancegate-nodes.test
# hosts ADDRESS...: what the name stands for from now on.
hosts() {
    local address
    {
        echo "127.0.0.1 localhost"
        for address in "$@"; do echo "$address $NAME"; done
    } >"$OWN_HOSTS"
}
hosts 127.0.0.1 127.0.0.2
mount --bind "$OWN_HOSTS" /etc/hosts
getent hosts "$NAME" >/dev/null || fail "the hosts file of this check is not read"

read -ra PORTS <<<"$(free_ports)"
PORT="${PORTS[0]}"
# start NAME ADDRESS VARIABLE=VALUE...: a server whose variables say what it is.
start() {
    local name="$1" address="$2"
    shift 2
    "${CLEAN_ENV[@]}" "$@" "$LANCEGATE_BIN" serve --grpc-address "$address" \
        --http-address "$(free_address)" >>"$LOG" 2>&1 &
    serving() { lancegate healthcheck --address "$address"; }
    wait_until 60 serving || fail "$name was not SERVING within 60 s"
}
# Nodes over one location, as stateless ones over an object store.
start_node() {
    start "the node at $1" "$1:$PORT" LANCEGATE_PRIMARY__URI="$DATA/db" \
        LANCEGATE_REPLICAS__0__URI="$DATA/db" LANCEGATE_REPLICAS__0__MODE=shared
}
start_node 127.0.0.1
lancegate import packages "$ROOT/sample/packages.parquet" --create --address "127.0.0.1:$PORT" >/dev/null
start_node 127.0.0.2
leaving=$!
start_node 127.0.0.3
ROUTER="127.0.0.1:${PORTS[1]}"
start "the router" "$ROUTER" LANCEGATE_PRIMARY__URI="grpc://127.0.0.1:$PORT" \
    LANCEGATE_REPLICAS__0__NAME=nodes LANCEGATE_REPLICAS__0__URI="grpc+dns://$NAME:$PORT" \
    LANCEGATE_NODES__RESOLVE_INTERVAL=200ms LANCEGATE_HEALTH__PROBE_INTERVAL=200ms

# reads ADDRESS: how many reads the node there has answered for the router.
reads() {
    lancegate status --address "$ROUTER" --json |
        jq --arg node "nodes@$1:$PORT" '[.connections[] | select(.name == $node)][0].reads_total // 0 | tonumber'
}
answers_more() { [ "$(reads "$1")" -gt "$2" ]; }
is_gone() { ! lancegate status --address "$ROUTER" --json | grep -q "nodes@$1:"; }

lancegate bench packages --address "$ROUTER" --concurrency 4 --duration 15s --warmup 0s --json >"$DATA/load.json" &
load=$!
wait_until 10 answers_more 127.0.0.2 0 || fail "the node that leaves answered nothing before"
hosts 127.0.0.1 127.0.0.2 127.0.0.3
wait_until 10 answers_more 127.0.0.3 0 || fail "the node that joined answers nothing"
hosts 127.0.0.1 127.0.0.3
wait_until 10 is_gone 127.0.0.2 || fail "the node that left is still in use"
kill -KILL "$leaving"
kill -0 "$load" || fail "the load ended before the nodes changed"
before="$(reads 127.0.0.3)"
wait_until 10 answers_more 127.0.0.3 "$before" || fail "nothing is read after the node is gone"
status=0
wait "$load" || status=$?
jq -c '{requests, errors, p99_ms: .latency.p99_ms}' "$DATA/load.json"
expect "exit code of the load" 0 "$status"
expect "errors" '{}' "$(jq -c '.errors' "$DATA/load.json")"
