# shellcheck shell=bash
# What the project's scripts share. Source it; it runs nothing by itself.

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
# Virtual environments, Go tools and build logs: made once, used again.
CACHE="${LANCEGATE_CACHE:-$HOME/.cache/lancegate}"

# A line for the person who waits, with the time since the script began.
say() { printf '==> [%02d:%02d] %s\n' $((SECONDS / 60)) $((SECONDS % 60)) "$*"; }

die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# Runs a command as root: apt-get needs it.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif have sudo; then
        sudo "$@"
    else
        die "this needs root and there is no sudo; run as root: $*"
    fi
}

# need_debian COMMAND PACKAGE...: installs the packages unless the command is there.
need_debian() {
    local command="$1"
    shift
    have "$command" && return 0
    have apt-get || die "$command is missing; install it (on Debian: $*)"
    say "installing $* (for $command)"
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@" >/dev/null
    have "$command" || die "$command is still missing after installing $*"
}

# need_venv DIR REQUIREMENTS: a virtual environment with exactly these packages.
# Made again when the requirements change. Two callers wait for each other.
need_venv() {
    local dir="$1" requirements="$2" wanted
    have python3 || need_debian python3 python3 python3-venv
    wanted="$(sha256sum <"$requirements")"
    mkdir -p "$(dirname "$dir")"
    (
        flock 9
        [ "$(cat "$dir/.requirements" 2>/dev/null)" = "$wanted" ] && exit 0
        say "installing $(basename "$(dirname "$requirements")")/$(basename "$requirements") into $dir" >&2
        rm -rf "$dir"
        python3 -m venv "$dir" || die "python3 cannot make a virtual environment (on Debian: apt-get install python3-venv)"
        "$dir/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps -r "$requirements" >&2
        "$dir/bin/python" -m pip check >&2
        echo "$wanted" >"$dir/.requirements"
    ) 9>"$dir.lock"
}

# Where cargo puts what it builds, whichever of its settings says so.
target_dir() {
    (cd "$ROOT" && cargo metadata --format-version 1 --no-deps --offline) |
        sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p'
}

# The binary of the dev profile, or $LANCEGATE_BIN.
binary() {
    if [ -n "${LANCEGATE_BIN:-}" ]; then echo "$LANCEGATE_BIN"; else echo "$(target_dir)/debug/lancegate"; fi
}

# wait_until SECONDS COMMAND...: asks ten times a second. Its status is the
# command's: 1 when the time is up.
wait_until() {
    local deadline=$(($(date +%s%N) + $1 * 1000000000))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$(date +%s%N)" -lt "$deadline" ] || return 1
        sleep 0.1
    done
}

# quietly COMMAND...: runs a long cargo command. On a terminal cargo shows its
# own progress. Elsewhere its output goes to a log, and every 30 s a line tells
# how far it is; a failure shows the log's end.
quietly() {
    if [ -t 2 ]; then
        "$@"
        return
    fi
    local log began=$SECONDS next=$((SECONDS + 30)) pid status=0 crates
    mkdir -p "$CACHE"
    log="$(mktemp "$CACHE/cargo-XXXXXX.log")"
    "$@" >"$log" 2>&1 &
    pid=$!
    while kill -0 "$pid" 2>/dev/null; do
        sleep 1
        if [ "$SECONDS" -ge "$next" ]; then
            crates="$(grep -cE '^ +(Compiling|Checking) ' "$log" || true)"
            say "still building: $((SECONDS - began)) s, $crates of about $(crates_in_all) crates begun"
            next=$((SECONDS + 30))
        fi
    done
    wait "$pid" || status=$?
    if [ "$status" -ne 0 ]; then
        tail -n 80 "$log" >&2
        printf 'error: "%s" failed; its whole output is in %s\n' "$*" "$log" >&2
        return "$status"
    fi
    # Warnings of this project's own code are worth seeing.
    grep -A 12 '^warning' "$log" | head -n 60 >&2 || true
    rm -f "$log"
}

# How many crates the lock file names: more than one platform needs.
crates_in_all() { grep -c '^\[\[package\]\]' "$ROOT/Cargo.lock"; }

# lancegate ARGUMENTS...: the binary, without the variables of these scripts:
# a LANCEGATE_* variable that is no configuration key is an error to it.
lancegate() { "${CLEAN_ENV[@]}" "$(binary)" "$@"; }
CLEAN_ENV=(env -u LANCEGATE_CACHE -u LANCEGATE_BIN -u LANCEGATE_RUN_ONCE)

# status_says ADDRESS FILTER [JQ ARGUMENTS...]: whether a filter over status.jq holds.
status_says() {
    local address="$1" filter="$2"
    shift 2
    lancegate status --address "$address" --json |
        jq -e -L "$ROOT/scripts" "$@" "include \"status\"; $filter"
}

# Whether something listens on HOST:PORT already.
is_taken() { (exec 3<>"/dev/tcp/${1%:*}/${1##*:}") 2>/dev/null; }

# HOST:PORT on loopback where nothing listens, below the ports that clients get.
free_address() {
    local address
    while address="127.0.0.1:$((20000 + RANDOM % 10000))" && is_taken "$address"; do :; done
    echo "$address"
}
