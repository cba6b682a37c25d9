#!/usr/bin/env bash
# Makes sure that the project can be built, and installs what Debian has.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

have cargo || die "cargo is missing. Install Rust from https://rustup.rs and open a new shell."
have cc || need_debian cc build-essential

# The same number as rust-version in Cargo.toml, which cargo enforces with a
# message for every crate instead of one.
wanted="$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$ROOT/Cargo.toml")"
found="$(cd "$ROOT" && rustc --version | cut -d' ' -f2)"
if [ "$(printf '%s\n%s\n' "$wanted" "$found" | sort -V | head -n1)" != "$wanted" ]; then
    die "Rust $found is too old: $wanted or newer is needed (rustup update stable)."
fi

# Lance's build scripts and ours compile .proto files. protoc alone is not
# enough: libprotobuf-dev brings google/protobuf/*.proto.
if [ -n "${PROTOC:-}" ]; then
    [ -x "$PROTOC" ] || die "PROTOC=$PROTOC is not a program"
else
    need_debian protoc protobuf-compiler libprotobuf-dev
    [ -e /usr/include/google/protobuf/timestamp.proto ] ||
        [ -e "$(dirname "$(command -v protoc)")/../include/google/protobuf/timestamp.proto" ] ||
        { say "installing libprotobuf-dev (for google/protobuf/*.proto)" &&
            as_root apt-get update -qq &&
            as_root apt-get install -y -qq libprotobuf-dev >/dev/null; }
fi
need_debian jq jq
say "tools are there: cargo $(cargo --version | cut -d' ' -f2), $("${PROTOC:-protoc}" --version), $(jq --version)"
