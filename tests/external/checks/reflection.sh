# shellcheck shell=bash
# grpcurl without any .proto file: what is there, and a search, by reflection.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
start_server
load_sample
grpcurl() { "$GO_BIN/grpcurl" -plaintext -max-time 10 "$@"; }

services="$(grpcurl "$GRPC" list)"
for service in grpc.health.v1.Health grpc.reflection.v1.ServerReflection \
    grpc.reflection.v1alpha.ServerReflection lancegate.v1.ClusterService \
    lancegate.v1.SearchService lancegate.v1.TableService lancegate.v1.WriteService; do
    grep -qxF "$service" <<<"$services" || fail "grpcurl does not list $service, only: $services"
done
grpcurl "$GRPC" describe lancegate.v1.SearchRequest >/dev/null

request='{"table":"packages","query":{"full_text":{"text":"database"},"limit":3,"columns":["title"]},"row_format":"ROW_FORMAT_TYPED"}'
answer="$(grpcurl -d "$request" "$GRPC" lancegate.v1.SearchService/Search)"
expect "rows of the search" 3 "$(jq .numRows <<<"$answer")"
jq -e '.rows.typed.rows | all(.values[0].stringValue | test("database"; "i"))' <<<"$answer" >/dev/null ||
    fail "not every title has the word: $answer"
jq -e '.served.connection | startswith("replica-")' <<<"$answer" >/dev/null || fail "no replica answered: $answer"

# grpcurl asks v1 and falls back to v1alpha; each must answer by itself.
for version in v1 v1alpha; do
    found="$(grpcurl -d '{"listServices":"*"}' "$GRPC" "grpc.reflection.$version.ServerReflection/ServerReflectionInfo" |
        jq -r '.listServicesResponse.service[].name')"
    grep -qxF lancegate.v1.SearchService <<<"$found" || fail "reflection $version does not name SearchService"
done
stop_server
