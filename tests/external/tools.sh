# shellcheck shell=bash
# Installs what the external checks use, once, under $CACHE. Sourced by run.sh.
# A tool that cannot be had is an error, not a check that is left out.

GRPCURL=github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.4
PROTOC_GEN_GO=google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12
PROTOC_GEN_GO_GRPC=google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2
GRPC_HEALTH_PROBE=github.com/grpc-ecosystem/grpc-health-probe@v0.4.42

GO_BIN="$CACHE/go-bin"
VENV="$CACHE/external-venv"
PYTHON="$VENV/bin/python"

# need_go_tool NAME MODULE@VERSION: built once per version.
need_go_tool() {
    local name="$1" module="$2"
    [ "$(cat "$GO_BIN/.$name" 2>/dev/null)" = "$module" ] && [ -x "$GO_BIN/$name" ] && return 0
    say "building $name from its Go module"
    (cd / && GOBIN="$GO_BIN" go install "$module") || die "go install $module failed"
    echo "$module" >"$GO_BIN/.$name"
}

# need_go_program NAME MODULE@VERSION [PACKAGE]: the same, under a name of our own. By a
# module that requires this version: `go install` would ask for all versions as well.
need_go_program() {
    local name="$1" module="$2" package="${3:-${2%@*}}" folder
    [ "$(cat "$GO_BIN/.$name" 2>/dev/null)" = "$module" ] && [ -x "$GO_BIN/$name" ] && return 0
    say "building $name from its Go module"
    folder="$(mktemp -d)"
    (cd "$folder" && go mod init tool && go mod edit -require="$module" &&
        go build -mod=mod -o "$GO_BIN/$name" "$package") || die "building $package of $module failed"
    rm -rf "$folder"
    echo "$module" >"$GO_BIN/.$name"
}

# Stubs are generated anew each time, outside the repository.
generate_stubs() {
    local protos=("$ROOT"/proto/lancegate/v1/*.proto)
    mkdir -p "$WORK/py" "$WORK/go"
    # Only our own contract: a generated grpc/health/v1 would hide the Python
    # package grpc, and grpc-go brings its own.
    "$PYTHON" -m grpc_tools.protoc -I "$ROOT/proto" \
        --python_out="$WORK/py" --grpc_python_out="$WORK/py" "${protos[@]}"
    cp "$ROOT"/tests/external/go/* "$WORK/go/"
    PATH="$GO_BIN:$PATH" "$PYTHON" -m grpc_tools.protoc -I "$ROOT/proto" \
        --go_out="$WORK/go" --go_opt=module=github.com/lancegate/lancegate \
        --go-grpc_out="$WORK/go" --go-grpc_opt=module=github.com/lancegate/lancegate "${protos[@]}"
    # Vetted and built here, so that a check only runs.
    (cd "$WORK/go" && go vet ./... && go build -o "$WORK/go-client" .)
}

install_tools() {
    have go || die "go is missing: install Go 1.26 or newer from https://go.dev/dl"
    need_debian curl curl
    need_debian jq jq
    need_debian openssl openssl
    need_debian promtool prometheus
    need_venv "$VENV" "$ROOT/tests/external/requirements.txt"
    mkdir -p "$GO_BIN"
    need_go_tool grpcurl "$GRPCURL"
    need_go_tool protoc-gen-go "$PROTOC_GEN_GO"
    need_go_tool protoc-gen-go-grpc "$PROTOC_GEN_GO_GRPC"
    need_go_program grpc_health_probe "$GRPC_HEALTH_PROBE"
}
