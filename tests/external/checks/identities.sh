# shellcheck shell=bash
# only when named
# at most 900 s
# Where the credentials of stores come from, on stores that look at them: the environment,
# profile files, the identity of an instance, a container or a pod, keys of service
# accounts; and that a server goes on when they are others and the first are revoked.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
source "$ROOT/tests/external/stores.sh"
need_moto

FOLDER="$DATA/identity"
mkdir -p "$FOLDER"
IDENTITY="http://127.0.0.1:$(a_port)"
"$STORES_VENV/bin/python" "$STORES/identity.py" "${IDENTITY##*:}" "$FOLDER" >"$DATA/identity.log" 2>&1 &

# put FILE TEXT: as who rotates a secret does it.
put() { printf '%s' "$2" >"$1.new" && mv "$1.new" "$1"; }

# give SECONDS SUBJECT [BEARER] [AWS]: what is given from now on.
give() {
    put "$FOLDER/given.json" "$(jq -n --argjson seconds "$1" --arg subject "$2" --arg bearer "${3:-}" \
        --argjson aws "${4:-{\}}" '{seconds: $seconds, subject: $subject, bearer: $bearer, aws: $aws}')"
    rm -f "$FOLDER/asked"
}

asked() { grep -qxF "200 $1" "$FOLDER/asked" 2>/dev/null; }
was_asked() { asked "$1" || fail "nobody asked for $1: $(cat "$FOLDER/asked" "$DATA/said" 2>/dev/null)"; }

# The rows of a file go into a table, whose name says of which store.
insert() { lancegate import "$@" --address "$GRPC" >/dev/null 2>"$DATA/import" || fail "the import failed: $(cat "$DATA/import")"; }
printf 'id,word\n1,one\n2,two\n' >"$DATA/rows.csv"

# start_with CONFIG: a server that has made a table.
start_with() {
    serve_configured
    insert words "$DATA/rows.csv" --create
}

# goes_on WHAT: the server still does what needs credentials.
goes_on() {
    insert words "$DATA/rows.csv"
    healthy || fail "the server is not SERVING"
    stop_server
    echo "$1: a server goes on with others when the first are revoked"
}

# ---- AWS: moto, in which those who sign may do what their policies say.
start_moto
URL="$AWS_ENDPOINT_URL"
prepare dynamodb "$URL"
unset "${!AWS_@}"
KEYS="$DATA/keys.json"
keys() { "$STORES_VENV/bin/python" "$STORES/aws_keys.py" "$URL" "$KEYS" "$@" || fail "moto has no such keys"; }
keys make
key() { jq -c ".$1" "$KEYS"; }
key_id() { jq -r ".$1.AccessKeyId" "$KEYS"; }
secret() { jq -r ".$1.SecretAccessKey" "$KEYS"; }
on_s3() {
    printf '[primary]\nuri = "%s"\n[primary.storage_options]\nallow_http = "true"\naws_region = "us-east-1"\naws_endpoint = "%s"\n' \
        "$1" "$URL" >"$DATA/lancegate.toml"
}

on_s3 s3://lancegate/identities
export AWS_EC2_METADATA_DISABLED=true
says 1 "no credentials were found"
AWS_ACCESS_KEY_ID="$(key_id user1)" AWS_SECRET_ACCESS_KEY=wrong says 1 "the secret key is wrong"
AWS_ACCESS_KEY_ID="$(key_id user1)" AWS_SECRET_ACCESS_KEY="$(secret user1)" says 0 "can delete"
printf '[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n' "$(key_id user1)" "$(secret user1)" >"$DATA/profile"
AWS_SHARED_CREDENTIALS_FILE="$DATA/profile" says 0 "can delete"
unset AWS_EC2_METADATA_DISABLED

give 3600 none "" "$(key role1)"
AWS_EC2_METADATA_SERVICE_ENDPOINT="$IDENTITY" says 0 "can delete"
was_asked "GET /latest/meta-data/iam/security-credentials/role"
give 3600 none "" "$(key role1)"
AWS_CONTAINER_CREDENTIALS_FULL_URI="$IDENTITY/container" says 0 "can delete"
was_asked "GET /container"

# Asked again a minute before they are said to end.
give 65 first "" "$(key role1)"
put "$DATA/token" first
export AWS_WEB_IDENTITY_TOKEN_FILE="$DATA/token" AWS_ROLE_ARN=arn:aws:iam::123456789012:role/any AWS_ENDPOINT_URL_STS="$IDENTITY"
start_with
was_asked "POST /"
give 3600 second "" "$(key role2)"
put "$DATA/token" second
wait_until 60 asked "POST /" || fail "STS was not asked again within 60 s"
keys revoke role1
goes_on "a web identity"
unset "${!AWS_@}"

on_s3 's3+ddb://lancegate/committed?ddbTableName=commits'
printf 'dynamodb_endpoint = "%s"\naws_access_key_id_file = "%s"\naws_secret_access_key_file = "%s"\n' \
    "$URL" "$DATA/id" "$DATA/secret" >>"$DATA/lancegate.toml"
put "$DATA/id" "$(key_id user1)"
put "$DATA/secret" "$(secret user1)"
start_with
put "$DATA/id" "$(key_id user2)"
put "$DATA/secret" "$(secret user2)"
# Files are read again at most every 10 s.
sleep 12
keys revoke user1
# A table of which DynamoDB has more than a page, which comes before its versions.
insert others "$DATA/rows.csv" --create
AWS_ACCESS_KEY_ID="$(key_id user2)" AWS_SECRET_ACCESS_KEY="$(secret user2)" "$STORES_VENV/bin/python" - "$URL" <<'PY'
import decimal
import sys

import boto3

table = boto3.resource("dynamodb", endpoint_url=sys.argv[1], region_name="us-east-1").Table("commits")
bases = {item["base_uri"] for item in table.scan()["Items"] if "others.lance" in item["base_uri"]}
(base,) = bases
with table.batch_writer() as items:
    for i in range(1, 200):
        version = decimal.Decimal(i) / 1000
        items.put_item(Item={"base_uri": base, "version": version, "padding": "x" * 10_000})
PY
drop() {
    "$GO_BIN/grpcurl" -plaintext -d '{"table": "others"}' "$GRPC" lancegate.v1.TableService/DropTable >/dev/null ||
        fail "a table cannot be dropped"
}
drop
insert others "$DATA/rows.csv" --create
drop
goes_on "keys in files, of S3 and DynamoDB"
stop_store

# ---- Google: the tokens and keys that count are in a folder.
export GCS_ALLOWED="$DATA/allowed"
mkdir -p "$GCS_ALLOWED"
touch "$GCS_ALLOWED/token"
start_gcs
URL="$GOOGLE_BASE_URL"
unset "${!GOOGLE_@}"
on_gcs() {
    printf '[primary]\nuri = "gs://lancegate/identities/%s"\n[primary.storage_options]\nallow_http = "true"\ngoogle_base_url = "%s"\n' \
        "$1" "$URL" >"$DATA/lancegate.toml"
    [ $# -eq 1 ] || echo "$2" >>"$DATA/lancegate.toml"
}
only() { rm -f "$GCS_ALLOWED"/* && touch "$GCS_ALLOWED/$1"; }

on_gcs token 'google_storage_token = "nobody"'
says 1 "the session or identity token is not valid"
export GCE_METADATA_HOST="${IDENTITY#http://}"
only bearer1
give 245 none bearer1
on_gcs metadata
start_with
was_asked "GET /computeMetadata/v1/instance/service-accounts/default/token"
give 3600 none bearer2
touch "$GCS_ALLOWED/bearer2"
wait_until 60 asked "GET /computeMetadata/v1/instance/service-accounts/default/token" ||
    fail "the metadata server was not asked again within 60 s"
only bearer2
goes_on "the identity of a machine"
unset GCE_METADATA_HOST

jq -n --arg url "$IDENTITY/sts" --arg file "$DATA/token" '{type: "external_account", audience: "//iam.googleapis.com/a",
    subject_token_type: "urn:ietf:params:oauth:token-type:jwt", token_url: $url, credential_source: {file: $file, format: {type: "text"}}}' >"$DATA/external.json"
only bearer1
give 125 first bearer1
put "$DATA/token" first
on_gcs external "google_application_credentials = \"$DATA/external.json\""
start_with
was_asked "POST /sts"
give 3600 second bearer2
put "$DATA/token" second
touch "$GCS_ALLOWED/bearer2"
wait_until 60 asked "POST /sts" || fail "STS was not asked again within 60 s"
only bearer2
goes_on "an external account"

# service_account NAME: its key, whose public half is taken.
service_account() {
    local private="$DATA/$1.key"
    openssl genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$private" 2>/dev/null
    openssl pkey -in "$private" -pubout -out "$GCS_ALLOWED/$1.pem"
    put "$DATA/account.json" "$(jq -n --arg id "$1" --rawfile key "$private" '{type: "service_account",
        private_key_id: $id, private_key: $key, client_email: "lancegate@example.com"}')"
}
for option in google_service_account google_application_credentials google_service_account_key_file; do
    rm -f "$GCS_ALLOWED"/*
    service_account one
    on_gcs "$option" "$option = \"$DATA/account.json\""
    start_with
    service_account two
    sleep 12
    rm "$GCS_ALLOWED/one.pem"
    goes_on "$option"
done
stop_store
unset GCS_ALLOWED

# ---- Azure: Azurite looks at what tokens say, and only with TLS.
make_authority
certificate azurite "IP:127.0.0.1"
export SSL_CERT_FILE="$CA"
start_azurite --oauth basic --cert "$DATA/azurite.crt" --key "$DATA/azurite.key"
URL="$AZURE_STORAGE_ENDPOINT"
unset "${!AZURE_@}"

# bearer SECONDS: what Entra ID would write; Azurite does not look at the signature.
bearer() {
    "$PYTHON" - "$1" <<'PY'
import base64
import json
import sys
import time


def part(value):
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


now = int(time.time())
claims = {
    "iss": "https://sts.windows.net/tenant/",
    "aud": "https://storage.azure.com",
    "iat": now,
    "nbf": now - 60,
    "exp": now + int(sys.argv[1]),
}
print(part({"alg": "RS256"}), part(claims), part("none"), sep=".")
PY
}
on_azure() {
    printf '[primary]\nuri = "az://lancegate/identities/%s"\n[primary.storage_options]\nallow_http = "true"\nazure_storage_account_name = "devstoreaccount1"\nazure_storage_endpoint = "%s"\n' \
        "$1" "$URL" >"$DATA/lancegate.toml"
    shift
    printf '%s\n' "$@" >>"$DATA/lancegate.toml"
}

# goes_on_after_the_first WHAT REQUEST: a server whose first token ends after 20 s.
goes_on_after_the_first() {
    start_with
    local began=$SECONDS
    was_asked "$2"
    give 3600 second "$(bearer 3600)"
    put "$DATA/token" second
    wait_until 60 asked "$2" || fail "it was not asked again within 60 s"
    sleep $((SECONDS - began < 21 ? 21 - (SECONDS - began) : 0))
    goes_on "$1"
}

give 3600 none "$(bearer -10)"
on_azure old "azure_msi_endpoint = \"$IDENTITY/msi\""
says 1 "a token or SAS is none that counts"

give 305 none "$(bearer 20)"
on_azure managed "azure_msi_endpoint = \"$IDENTITY/msi\""
goes_on_after_the_first "a managed identity" "GET /msi"

give 305 first "$(bearer 20)"
put "$DATA/token" first
on_azure workload "azure_federated_token_file = \"$DATA/token\"" 'azure_client_id = "client"' \
    'azure_tenant_id = "tenant"' "azure_authority_host = \"$IDENTITY\""
goes_on_after_the_first "workload identity" "POST /tenant/oauth2/v2.0/token"
stop_store
unset SSL_CERT_FILE
