# shellcheck shell=bash
# Object stores to test with, on loopback ports of their own. Sourced after lib.sh.
# start_STORE sets STORE_PID and exports LANCEGATE_TEST_STORE and its options, and
# what opens LanceDB beside the servers: see tests/it/place.rs.

source "$ROOT/tests/external/tools.sh"

SEAWEEDFS=github.com/seaweedfs/seaweedfs@v0.0.0-20261109003541-7506e5f91cd6
MINIO=github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c
AZURITE=azurite@3.37.0
# Published with it: no secret.
AZURITE_KEY=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==
STORES_VENV="$CACHE/stores-venv"
STORES="$ROOT/tests/external/stores"
AZURITE_FOLDER="$CACHE/$AZURITE"

# What each store is made from. All that is built is built once.
need_moto() { need_venv "$STORES_VENV" "$STORES/requirements.txt"; }

# Both take several minutes.
need_seaweedfs() { need_go_program weed "$SEAWEEDFS" github.com/seaweedfs/seaweedfs/weed; }
need_minio() { need_go_program minio "$MINIO"; }

need_gcs() {
    local wanted
    wanted="$(cat "$ROOT"/tests/external/gcs/* | sha256sum)"
    [ "$(cat "$GO_BIN/.gcs" 2>/dev/null)" = "$wanted" ] && [ -x "$GO_BIN/gcs" ] && return 0
    say "building a Google Cloud Storage on fake-gcs-server"
    (cd "$ROOT/tests/external/gcs" && go vet . && go build -o "$GO_BIN/gcs" .) || die "building it failed"
    echo "$wanted" >"$GO_BIN/.gcs"
}

need_azurite() {
    [ -x "$AZURITE_FOLDER/node_modules/.bin/azurite-blob" ] && return 0
    have npm || die "npm is missing: install Node.js 20 or newer"
    say "installing Azurite"
    rm -rf "$AZURITE_FOLDER"
    mkdir -p "$AZURITE_FOLDER"
    npm install --silent --no-audit --no-fund --prefix "$AZURITE_FOLDER" "$AZURITE" ||
        die "npm install $AZURITE failed"
}

# Its own workspace, with its own folder of what was built.
need_s3s() {
    S3S="$CACHE/s3s/debug/lancegate-s3s"
    say "building s3s-fs"
    cargo build --quiet --locked --manifest-path "$ROOT/tests/external/s3s/Cargo.toml" \
        --target-dir "$CACHE/s3s" || die "building s3s-fs failed"
}

prepare() { "$STORES_VENV/bin/python" "$STORES/prepare.py" "$@" || fail "the store cannot be used"; }

# the_store URI OPTIONS: what the tests are told.
the_store() {
    export LANCEGATE_TEST_STORE="$1" LANCEGATE_TEST_STORE_OPTIONS="$2"
}

s3_environment() {
    export AWS_ENDPOINT_URL="$1" AWS_ALLOW_HTTP=true AWS_REGION=us-east-1 \
        AWS_ACCESS_KEY_ID=testkey AWS_SECRET_ACCESS_KEY=testsecret
}

s3_options() {
    printf '{"aws_endpoint":"%s","allow_http":"true","aws_region":"us-east-1","aws_access_key_id":"testkey","aws_secret_access_key":"testsecret"}' "$1"
}

# s3_at URL: an S3 store that was started there, with its bucket.
s3_at() {
    prepare s3 "$1"
    s3_environment "$1"
    the_store s3://lancegate/run "$(s3_options "$1")"
}

a_port() {
    local ports
    read -ra ports <<<"$(free_ports)"
    echo "${ports[0]}"
}

# moto: S3 and DynamoDB in Python.
start_moto() {
    local url
    need_moto
    url="http://127.0.0.1:$(a_port)"
    "$STORES_VENV/bin/python" "$STORES/s3_and_dynamodb.py" -H 127.0.0.1 -p "${url##*:}" >"$DATA/moto.log" 2>&1 &
    STORE_PID=$!
    s3_at "$url"
}

# The same, with versions committed by DynamoDB.
start_moto_dynamodb() {
    start_moto
    prepare dynamodb "$AWS_ENDPOINT_URL"
    export DYNAMODB_ENDPOINT="$AWS_ENDPOINT_URL"
    the_store "s3+ddb://lancegate/run?ddbTableName=commits" "$(
        printf '%s,"dynamodb_endpoint":"%s"}' "$(s3_options "$AWS_ENDPOINT_URL" | sed 's/}$//')" "$AWS_ENDPOINT_URL"
    )"
}

# Four free ports, each with the one 10000 above it, where SeaweedFS has its gRPC.
ports_with_a_twin() {
    "$PYTHON" - <<'PY'
import random
import socket

ports = []
while len(ports) < 4:
    port = random.randint(12000, 19000)
    try:
        with socket.socket() as a, socket.socket() as b:
            a.bind(("127.0.0.1", port))
            b.bind(("127.0.0.1", port + 10000))
    except OSError:
        continue
    if port not in ports:
        ports.append(port)
print(*ports)
PY
}

# SeaweedFS: an S3 store that people run, on disk, several servers in one process.
start_seaweedfs() {
    local url ports
    need_seaweedfs
    need_moto
    read -ra ports <<<"$(ports_with_a_twin)"
    url="http://127.0.0.1:${ports[3]}"
    rm -rf "$DATA/weed"
    mkdir -p "$DATA/weed"
    cat >"$DATA/weed.json" <<'JSON'
{"identities": [{"name": "tests", "actions": ["Admin", "Read", "Write", "List", "Tagging"],
  "credentials": [{"accessKey": "testkey", "secretKey": "testsecret"}]}]}
JSON
    "$GO_BIN/weed" -v=0 server -ip=127.0.0.1 -ip.bind=127.0.0.1 -dir="$DATA/weed" \
        -master.port="${ports[0]}" -volume.port="${ports[1]}" -filer -filer.port="${ports[2]}" \
        -volume.max=50 -master.volumeSizeLimitMB=64 -s3 -s3.port="${ports[3]}" \
        -s3.config="$DATA/weed.json" >"$DATA/weed.log" 2>&1 &
    STORE_PID=$!
    s3_at "$url"
}

# MinIO, on one folder.
start_minio() {
    local url
    need_minio
    need_moto
    url="http://127.0.0.1:$(a_port)"
    rm -rf "$DATA/minio"
    mkdir -p "$DATA/minio"
    MINIO_ROOT_USER=testkey MINIO_ROOT_PASSWORD=testsecret MINIO_BROWSER=off MINIO_UPDATE=off \
        "$GO_BIN/minio" --quiet server --address "${url#http://}" "$DATA/minio" >"$DATA/minio.log" 2>&1 &
    STORE_PID=$!
    s3_at "$url"
}

# start_azurite [OPTION...]: Azurite, Microsoft's emulator of Azure Blob Storage; with
# --cert it speaks TLS.
start_azurite() {
    local port url
    need_azurite
    need_moto
    port="$(a_port)"
    case " $* " in *" --cert "*) url="https://127.0.0.1:$port" ;; *) url="http://127.0.0.1:$port" ;; esac
    "$AZURITE_FOLDER/node_modules/.bin/azurite-blob" --silent --disableTelemetry --inMemoryPersistence \
        --skipApiVersionCheck --blobHost 127.0.0.1 --blobPort "$port" "$@" >"$DATA/azurite.log" 2>&1 &
    STORE_PID=$!
    prepare azure "$url"
    export AZURE_STORAGE_ENDPOINT="$url/devstoreaccount1" AZURE_ALLOW_HTTP=true \
        AZURE_STORAGE_ACCOUNT_NAME=devstoreaccount1 AZURE_STORAGE_ACCOUNT_KEY="$AZURITE_KEY"
    the_store az://lancegate/run "$(
        printf '{"azure_storage_endpoint":"%s","allow_http":"true","azure_storage_account_name":"devstoreaccount1","azure_storage_account_key":"%s"}' \
            "$AZURE_STORAGE_ENDPOINT" "$AZURITE_KEY"
    )"
}

# A Google Cloud Storage: tests/external/gcs. It takes any token; without one
# object_store 0.14 would ask the machine's identity for one, even where signatures are
# skipped, before it writes.
start_gcs() {
    local url
    need_gcs
    url="http://127.0.0.1:$(a_port)"
    "$GO_BIN/gcs" "${url#http://}" lancegate >"$DATA/gcs.log" 2>&1 &
    STORE_PID=$!
    export GOOGLE_BASE_URL="$url" GOOGLE_STORAGE_TOKEN=token GOOGLE_ALLOW_HTTP=true
    listens() { curl --silent --output /dev/null "$url/lancegate"; }
    wait_until 30 listens || fail "the store does not listen"
    the_store gs://lancegate/run "$(
        printf '{"google_base_url":"%s","google_storage_token":"token","allow_http":"true"}' "$url"
    )"
}

# s3s-fs on a folder: it answers a condition, and lets several of those win who come
# at once. No tests run on it: it is what must be refused.
start_s3s() {
    local url
    need_s3s
    need_moto
    url="http://127.0.0.1:$(a_port)"
    mkdir -p "$DATA/s3s"
    "$S3S" "${url##*:}" "$DATA/s3s" >"$DATA/s3s.log" 2>&1 &
    STORE_PID=$!
    s3_at "$url"
}

stop_store() {
    kill "$STORE_PID" 2>/dev/null || true
    wait "$STORE_PID" 2>/dev/null || true
    unset LANCEGATE_TEST_STORE LANCEGATE_TEST_STORE_OPTIONS DYNAMODB_ENDPOINT \
        "${!AWS_@}" "${!AZURE_@}" "${!AZURITE_BLOB_@}" "${!GOOGLE_@}"
}

# A lancegate whose stores are those of its configuration.
CONFIGURED=("${CLEAN_ENV[@]}" -u LANCEGATE_TEST_STORE -u LANCEGATE_TEST_STORE_OPTIONS)

# probe FILE: what check-config says of a configuration, in $DATA/said, and its exit code.
probe() {
    local status=0
    "${CONFIGURED[@]}" "$LANCEGATE_BIN" check-config --probe --config "$1" >"$DATA/said" 2>&1 || status=$?
    echo "$status"
}

# says WANTED TEXT: the exit code and a part of what was said of $DATA/lancegate.toml.
says() {
    expect "exit code" "$1" "$(probe "$DATA/lancegate.toml")"
    grep -qF "$2" "$DATA/said" || fail "'$2' is not in: $(cat "$DATA/said")"
    echo "it says: $(grep -F "$2" "$DATA/said" | head -n 1 | cut -c1-200)"
}

# serve_configured: a server of $DATA/lancegate.toml; sets GRPC and SERVER.
serve_configured() {
    local ports
    read -ra ports <<<"$(free_ports)"
    GRPC="127.0.0.1:${ports[0]}"
    "${CONFIGURED[@]}" LANCEGATE_HEALTH__PROBE_INTERVAL=500ms "$LANCEGATE_BIN" serve --config "$DATA/lancegate.toml" \
        --grpc-address "$GRPC" --http-address "127.0.0.1:${ports[1]}" >>"$LOG" 2>&1 &
    # shellcheck disable=SC2034 # lib.sh stops it
    SERVER=$!
    wait_until 60 healthy || fail "the server was not SERVING within 60 s: $(tail -n 5 "$LOG")"
}
