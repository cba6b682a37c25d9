# shellcheck shell=bash
# The audit log from one hour to the next, on a machine whose clock libfaketime sets to
# the last seconds of a year: every write has its lines once, in the file of its hour.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

need_debian faketime faketime
LIBRARY="$(find /usr/lib -name libfaketimeMT.so.1 | head -n 1)"
[ -n "$LIBRARY" ] || fail "libfaketime has no library"

# Only the server lives then; what it measures by is no clock of the wall.
export TZ=UTC
cat >"$DATA/lancegate" <<SH
#!/bin/sh
if [ "\$1" = serve ]; then
    export LD_PRELOAD="$LIBRARY" FAKETIME="@2026-12-31 23:59:45" FAKETIME_DONT_FAKE_MONOTONIC=1 DONT_FAKE_MONOTONIC=1
fi
exec "$LANCEGATE_BIN" "\$@"
SH
chmod +x "$DATA/lancegate"
LANCEGATE_BIN="$DATA/lancegate"

FOLDER="$DATA/audit"
mkdir "$FOLDER"
export LANCEGATE_AUDIT__TO=file LANCEGATE_AUDIT__FOLDER="$FOLDER" LANCEGATE_AUDIT__ROTATION=hourly \
    LANCEGATE_AUDIT__REQUIRED=true LANCEGATE_AUDIT__SYNC=true
start_server
printf 'id,word\n1,one\n' >"$DATA/rows.csv"
insert() { lancegate import words "$DATA/rows.csv" --address "$GRPC" "$@" >/dev/null || fail "the import failed"; }
OLD="$FOLDER/audit.2026-12-31-23.jsonl" NEW="$FOLDER/audit.2027-01-01-00.jsonl"

insert --create
written=1 after=0
# A few in the new hour, and many before it.
while [ "$after" -lt 3 ]; do
    [ "$written" -lt 2000 ] || fail "no new hour has begun: $(ls "$FOLDER")"
    insert
    written=$((written + 1))
    [ ! -e "$NEW" ] || after=$((after + 1))
done
stop_server

expect "the files" "audit.2026-12-31-23.jsonl audit.2027-01-01-00.jsonl audit.newest" "$(cd "$FOLDER" && echo *)"
expect "the newest file" "$NEW" "$(readlink -f "$FOLDER/audit.newest")"
# lines FILE HOUR: the imports that ended then, one line each; no line is of another hour.
lines() {
    jq -s --arg hour "$2" 'if all(.time | startswith($hour)) then . else error("a line of another hour") end
        | map(select(.event == "outcome" and .code == "OK" and (.action | endswith("/Import")))) | length' "$1"
}
before="$(lines "$OLD" 2026-12-31T23)" later="$(lines "$NEW" 2027-01-01T00)"
expect "the imports that have a line" "$written" "$((before + later))"
if [ "$before" -eq 0 ] || [ "$later" -eq 0 ]; then fail "an hour without lines: $before and $later"; fi
expect "versions in the log" "$(cat "$OLD" "$NEW" | jq -s 'map(.version_after // empty) | length')" \
    "$(cat "$OLD" "$NEW" | jq -s 'map(.version_after // empty) | unique | length')"
echo "$before imports before midnight and $later after it, each with its line"
