#!/usr/bin/env bash
# Writes target/sbom/lancegate.cdx.json: a CycloneDX list of what the binary is
# built from. Compiles cargo-cyclonedx once.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"

version=0.5.9
tools="$CACHE/cargo-cyclonedx-$version"
if [ ! -x "$tools/bin/cargo-cyclonedx" ]; then
    say "compiling cargo-cyclonedx $version (about three minutes)"
    CARGO_TARGET_DIR="$tools/target" cargo install --quiet cargo-cyclonedx --version "$version" --locked --root "$tools"
    rm -rf "$tools/target"
fi

out="$ROOT/target/sbom/lancegate.cdx.json"
mkdir -p "$(dirname "$out")"
# It writes beside Cargo.toml, under a name without a folder.
trap 'rm -f "$ROOT/lancegate.cdx.json"' EXIT
"$tools/bin/cargo-cyclonedx" cyclonedx --format json --spec-version 1.5 --no-build-deps \
    --target x86_64-unknown-linux-gnu --override-filename lancegate.cdx
mv "$ROOT/lancegate.cdx.json" "$out"

# A list that lacks what everybody knows is there is no list.
for crate in lancedb tonic tokio rustls object_store; do
    jq -e --arg name "$crate" 'any(.components[]; .name == $name and .licenses != null)' "$out" >/dev/null ||
        die "$out does not name $crate with its licence"
done
jq -e 'any(.components[]; .name == "criterion") | not' "$out" >/dev/null ||
    die "$out names criterion, which is for benchmarks only"
say "$(jq '.components | length' "$out") components: ${out#"$ROOT"/}"
