# shellcheck shell=bash
# Mutual TLS with clients that are not ours: grpc_health_probe, grpcurl, curl, Python
# and openssl, with certificates that openssl makes, and renews under the server.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

make_authority
certificate server "DNS:localhost,IP:127.0.0.1"
certificate client "URI:spiffe://check/client"

export LANCEGATE_SERVER__TLS__CERT_FILE="$DATA/server.crt" LANCEGATE_SERVER__TLS__KEY_FILE="$DATA/server.key"
export LANCEGATE_SERVER__TLS__CLIENT_CA_FILE="$CA" LANCEGATE_SERVER__TLS__CLIENT_AUTH=required
export LANCEGATE_SERVER__HTTP_TLS__CERT_FILE="$DATA/server.crt" LANCEGATE_SERVER__HTTP_TLS__KEY_FILE="$DATA/server.key"
export LANCEGATE_SERVER__TLS__RELOAD_INTERVAL=200ms
# For lancegate as a client, also in the functions of lib.sh.
export LANCEGATE_TLS=true LANCEGATE_CA_FILE="$CA"
export LANCEGATE_CERT_FILE="$DATA/client.crt" LANCEGATE_KEY_FILE="$DATA/client.key"
start_server
load_sample

# probe WANTED_EXIT_CODE FLAGS...
probe() {
    local wanted="$1" status=0
    shift
    "$GO_BIN/grpc_health_probe" -addr="$GRPC" -connect-timeout=5s -rpc-timeout=5s "$@" >/dev/null 2>&1 || status=$?
    expect "exit code of grpc_health_probe $*" "$wanted" "$status"
}
mine=(-tls -tls-ca-cert "$CA" -tls-client-cert "$DATA/client.crt" -tls-client-key "$DATA/client.key")
probe 0 "${mine[@]}"
probe 0 "${mine[@]}" -tls-server-name localhost
probe 2 "${mine[@]}" -tls-server-name other.example
probe 2 -tls -tls-ca-cert "$CA"
probe 2

rows="$("$GO_BIN/grpcurl" -cacert "$CA" -cert "$DATA/client.crt" -key "$DATA/client.key" \
    -d '{"table":"packages"}' "$GRPC" lancegate.v1.SearchService/Count | jq -r .count)"
[ "$rows" -gt 0 ] || fail "grpcurl counted $rows rows"
expect "the answer of the HTTP port" ok "$(curl -sS --cacert "$CA" "https://$HTTP/livez")"
PYTHONPATH="$WORK/py" "$PYTHON" - "$GRPC" "$DATA" "$rows" <<'PY'
import pathlib, sys
import grpc
from lancegate.v1 import search_pb2, search_pb2_grpc
address, folder, rows = sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3])
read = lambda name: (folder / name).read_bytes()
known = grpc.ssl_channel_credentials(read("ca.crt"), read("client.key"), read("client.crt"))
stub = search_pb2_grpc.SearchServiceStub(grpc.secure_channel(address, known))
assert stub.Count(search_pb2.CountRequest(table="packages"), timeout=60).count == rows
nobody = grpc.secure_channel(address, grpc.ssl_channel_credentials(read("ca.crt")))
try:
    search_pb2_grpc.SearchServiceStub(nobody).Count(search_pb2.CountRequest(table="packages"), timeout=60)
except grpc.RpcError as error:
    assert error.code() == grpc.StatusCode.UNAVAILABLE, error
else:
    raise AssertionError("somebody without a certificate was answered")
PY

# serial: of the certificate that a new connection is shown.
serial() {
    openssl s_client -connect "$GRPC" -CAfile "$CA" -cert "$DATA/client.crt" -key "$DATA/client.key" \
        -alpn h2 </dev/null 2>/dev/null | openssl x509 -noout -serial
}
before="$(serial)"
certificate server "DNS:localhost,IP:127.0.0.1"
renewed() { [ "$(serial)" != "$before" ]; }
wait_until 20 renewed || fail "the renewed certificate is not shown within 20 s"
probe 0 "${mine[@]}"
stop_server
