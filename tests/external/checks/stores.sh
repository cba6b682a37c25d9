# shellcheck shell=bash
# only when named
# at most 7200 s
# The suite's own tests on object stores: those that need no local folder, on each
# store. By default a core of them; all of them with STORES_FULL=1. What is not run
# on stores is in tests/external/stores/local_only.txt, with the reason. ONLY_STORES names
# some of the stores.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
source "$ROOT/tests/external/stores.sh"

CORE=(round_trip:: writes:: replication:: retention:: crossing:: two_routers:: probing::)
ALL_STORES="moto moto_dynamodb minio azurite gcs seaweedfs"

IT="${LANCEGATE_IT_BIN:-$(cargo test --quiet --test it --no-run --message-format=json |
    jq -r 'select(.executable? and .target.name == "it") | .executable')}"
[ -x "$IT" ] || fail "the tests are not built"
"$IT" --list >"$DATA/list"

# Names of tests that stay on local folders, as arguments. One that is no test is a
# fault of the list.
skipped=()
while IFS=$'\t' read -r name reason; do
    case "$name" in '' | '#'*) continue ;; esac
    [ -n "$reason" ] || fail "$name has no reason"
    grep -q "^$name" "$DATA/list" || fail "there is no test $name"
    skipped+=(--skip "$name")
done <"$ROOT/tests/external/stores/local_only.txt"

# What failed: what comes after it is run all the same.
failures=()

# run STORE NAME FILTER...: the tests of these names.
run() {
    local store="$1" what="$2" began=$SECONDS status=0
    shift 2
    # What begins with LANCEGATE_ and is no setting is a fault for the servers.
    env -u LANCEGATE_BIN -u LANCEGATE_IT_BIN LANCEGATE_TEST_RUNS="${LANCEGATE_TEST_RUNS:-20}" \
        "$IT" --test-threads=3 "${skipped[@]}" "$@" >"$DATA/$store-$what" 2>&1 || status=$?
    grep '^test result' "$DATA/$store-$what" | sed "s/^test result/$store, $what/; s/finished.*/$((SECONDS - began)) s/"
    # What the tests have measured.
    grep -hE 'inserts of|amplification|attempts to insert|first search' "$DATA/$store-$what" | sed "s/^/$store: /" || true
    if [ "$status" -ne 0 ]; then
        tail -n 400 "$DATA/$store-$what" >&2
        failures+=("$store: $what")
    elif ! grep -qE '^test result: ok\. [1-9]' "$DATA/$store-$what"; then
        failures+=("$store: $what ran no test")
    fi
}

# All tests, some modules at a time, each time with an empty store: most of them look
# through all that they have for each request.
everything() {
    local store="$1" part=0 modules
    while read -ra modules; do
        part=$((part + 1))
        [ "$part" -eq 1 ] || { stop_store && "start_$store"; }
        run "$store" "part-$part" "${modules[@]}"
    done < <(sed -n 's/^\([a-z_]*::\).*: test$/\1/p' "$DATA/list" | sort -u | xargs -n 6)
}

for store in ${ONLY_STORES:-$ALL_STORES}; do
    "start_$store"
    if [ "${STORES_FULL:-}" = 1 ]; then
        everything "$store"
    else
        run "$store" core "${CORE[@]}"
    fi
    # An empty one: some list all that they have for each request.
    stop_store
    "start_$store"
    faults=(faulty:: disk_cache:: probing::of_a_ times::)
    case "$store" in
    moto_dynamodb) faults+=(dynamo::) ;;
    # A proxy takes conditions out of requests. The others find that their signatures are
    # of other requests.
    moto | gcs) faults+=(probing::conditions_) ;;
    esac
    run "$store" faults --ignored "${faults[@]}" --nocapture
    stop_store
done

# From one kind of store to another: the one that is started last stays, as the other.
across() {
    local first="$1" second="$2" keep_pid other options
    case " ${ONLY_STORES:-$ALL_STORES} " in *" $first "*) ;; *) return 0 ;; esac
    case " ${ONLY_STORES:-$ALL_STORES} " in *" $second "*) ;; *) return 0 ;; esac
    "start_$second"
    other="$LANCEGATE_TEST_STORE" options="$LANCEGATE_TEST_STORE_OPTIONS" keep_pid="$STORE_PID"
    export LANCEGATE_TEST_OTHER_STORE="$other" LANCEGATE_TEST_OTHER_STORE_OPTIONS="$options"
    "start_$first"
    run "$first-to-$second" crossing crossing::
    stop_store
    kill "$keep_pid"
    unset LANCEGATE_TEST_OTHER_STORE LANCEGATE_TEST_OTHER_STORE_OPTIONS
}
across moto azurite
across moto gcs
across gcs azurite
across moto seaweedfs
across minio azurite

[ "${#failures[@]}" -eq 0 ] || fail "${failures[*]}"
