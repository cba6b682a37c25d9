# shellcheck shell=bash
# only when named
# at most 600 s
# What is said of stores in options and the environment: credentials that are wrong,
# rotated, or got for a web identity token, and server-side encryption; and of a store
# that lets several conditional writers win.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
source "$ROOT/tests/external/stores.sh"

configure() {
    printf '[primary]\nuri = "s3://lancegate/options"\n[primary.storage_options]\nallow_http = "true"\naws_region = "us-east-1"\n' >"$DATA/lancegate.toml"
    printf '%s\n' "aws_endpoint = \"$URL\"" "$@" >>"$DATA/lancegate.toml"
}

# ---- SeaweedFS knows its keys.
start_seaweedfs
URL="$AWS_ENDPOINT_URL"
unset "${!AWS_@}"
# Nobody answers there: the machine may be one of a cloud.
export AWS_EC2_METADATA_DISABLED=true

configure 'aws_access_key_id = "testkey"' 'aws_secret_access_key = "wrong-secret-value"'
says 1 "the secret key is wrong"
grep -q wrong-secret-value "$DATA/said" && fail "the secret is told"
configure 'aws_access_key_id = "nobody"' 'aws_secret_access_key = "testsecret"'
says 1 "the store does not know this key id"
configure
says 1 "no credentials were found"

# A key that is rotated while the server runs: wrong for a while, then right again.
echo testsecret >"$DATA/secret"
configure 'aws_access_key_id = "testkey"' "aws_secret_access_key_file = \"$DATA/secret\""
says 0 "can let only one of many writers win"
replace() { echo "$1" >"$DATA/secret.new" && mv "$DATA/secret.new" "$DATA/secret"; }
serve_configured
replace wrong-secret-value
unhealthy() { ! healthy; }
wait_until 60 unhealthy || fail "the wrong key was not read within 60 s"
replace testsecret
wait_until 60 healthy || fail "the right key was not read again within 60 s"
grep -q wrong-secret-value "$LOG" && fail "the secret is in the log"
stop_server
echo "a rotated key is read while the server runs"
stop_store

# ---- moto has an STS, and says how objects are encrypted.
start_moto
URL="$AWS_ENDPOINT_URL"
unset "${!AWS_@}"
export AWS_EC2_METADATA_DISABLED=true
configure
says 1 "no credentials were found"
echo "a token of the pod" >"$DATA/token"
export AWS_WEB_IDENTITY_TOKEN_FILE="$DATA/token" AWS_ROLE_ARN=arn:aws:iam::123456789012:role/lancegate \
    AWS_ENDPOINT_URL_STS="$URL" AWS_REGION=us-east-1
says 0 "can delete"
grep -q 'POST / HTTP' "$DATA/moto.log" || fail "moto's STS was not asked"
echo "credentials for a web identity token"
unset "${!AWS_@}"

configure 'aws_access_key_id = "testkey"' 'aws_secret_access_key = "testsecret"' \
    'aws_web_identity_token_file = "/var/run/token"'
expect "exit code" 78 "$(probe "$DATA/lancegate.toml")"
grep -q 'AWS_WEB_IDENTITY_TOKEN_FILE' "$DATA/said" || fail "$(cat "$DATA/said")"

# encryption ALGORITHM OPTION...: what moto says of an object of the server.
encryption() {
    local wanted="$1"
    shift
    configure 'aws_access_key_id = "testkey"' 'aws_secret_access_key = "testsecret"' "$@"
    # Each time another place, whose identity is written anew.
    sed -i "s|lancegate/options|lancegate/${wanted//:/-}|" "$DATA/lancegate.toml"
    serve_configured
    lancegate import packages "$ROOT/sample/packages.parquet" --create --index title:fts --address "$GRPC" >/dev/null ||
        fail "the import failed"
    "$STORES_VENV/bin/python" - "$URL" "${wanted//:/-}/" "$wanted" <<'PY'
import collections
import sys
import boto3

url, prefix, wanted = sys.argv[1:]
s3 = boto3.client("s3", endpoint_url=url, region_name="us-east-1",
                  aws_access_key_id="testkey", aws_secret_access_key="testsecret")
kinds = collections.Counter()
for page in s3.get_paginator("list_objects_v2").paginate(Bucket="lancegate", Prefix=prefix):
    for key in (each["Key"] for each in page["Contents"]):
        found = s3.head_object(Bucket="lancegate", Key=key)
        assert found.get("ServerSideEncryption") == wanted, (key, found)
        kinds[next((part for part in ("data", "_versions", "_indices", "_transactions", "_lancegate")
                    if f"/{part}/" in f"/{key}"), "other")] += 1
# The server's own, and Lance's of each kind.
assert all(kinds[part] for part in ("data", "_versions", "_indices", "_lancegate")), kinds
print(f"{wanted}: all {sum(kinds.values())} objects are encrypted so: {dict(kinds)}")
PY
    stop_server
}
encryption AES256 'aws_server_side_encryption = "AES256"'
encryption aws:kms 'aws_server_side_encryption = "aws:kms"' 'aws_sse_kms_key_id = "1234abcd-12ab-34cd-56ef-1234567890ab"'
stop_store

# ---- s3s-fs looks whether an object is there, and then writes it.
start_s3s
URL="$AWS_ENDPOINT_URL"
configure 'aws_access_key_id = "testkey"' 'aws_secret_access_key = "testsecret"'
says 1 "cannot let only one of many writers win: "
grep -qF "were told that they alone created one object" "$DATA/said" || fail "$(cat "$DATA/said")"
grep -qF "can write only where nothing is" "$DATA/said" || fail "it is refused for another reason: $(cat "$DATA/said")"
stop_store
