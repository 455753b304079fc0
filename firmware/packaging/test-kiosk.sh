#!/bin/sh
# Runs `autochrome.service` under a real systemd, in a container, and hangs each thread of the program once: the watchdog has to bring the picture back.
# Then looks at what the unit's sandbox lets through. Nothing outside of the folder of --cache is touched. Exit code 77: cannot be done here.
set -eu

# The oldest system that the unit is for.
SUITE=bookworm
ADDRESS=127.0.0.1:18090
# From the hang to a page that says that the picture is live, in seconds.
SECONDS_ALLOWED=15
# Of the container, so that nothing is left behind.
SECONDS_MAX=300
FAULTS='camera@100 color@100 outputs@100 page@5 panel@5 thermal@5'

EXIT_USAGE=2
EXIT_SKIPPED=77

say() {
    printf 'test-kiosk: %s\n' "$*" >&2
}

fail() {
    say "FAILED: $*"
    lines | tail -n 20 >&2
    exit 1
}

skip() {
    say "skipped: $*"
    exit "$EXIT_SKIPPED"
}

repository=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
cache=$repository/target/test-kiosk
if [ "${1-}" = --cache ] && [ $# -ge 2 ]; then
    cache=$2
    shift 2
fi
[ $# -eq 1 ] || { echo 'usage: test-kiosk.sh [--cache DIR] PROGRAM' >&2; exit "$EXIT_USAGE"; }
program=$1
[ "$(id -u)" -eq 0 ] || skip "a container needs root"
for tool in debootstrap systemd-nspawn journalctl curl pgrep; do
    command -v "$tool" >/dev/null || skip "there is no $tool; apt-get install debootstrap systemd-container curl procps"
done

base=$cache/$SUITE
root=$cache/root
mkdir -p "$cache"
if [ ! -e "$base/.whole" ]; then
    say "making a small $SUITE in $base"
    rm -rf "$base"
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Origin: Debian' 'Created-By: Packages' 2>/dev/null | grep -v security | head -n 1)
    # shellcheck disable=SC2086
    debootstrap --variant=minbase --include=systemd,udev "$SUITE" "$base" $mirror >"$cache/log" 2>&1 || skip "debootstrap: $(tail -n 1 "$cache/log")"
    : >"$base/.whole"
fi
rm -rf "$root"
cp -a "$base" "$root"
mkdir -p "$root/etc/autochrome" "$root/etc/systemd/system/autochrome.service.d" "$root/var/log/journal" "$root/etc/systemd/system/multi-user.target.wants"
install -m 755 "$program" "$root/usr/bin/autochrome"
install -m 644 "$repository/firmware/packaging/autochrome.service" "$root/etc/systemd/system/"
ln -s /etc/systemd/system/autochrome.service "$root/etc/systemd/system/multi-user.target.wants/"
echo correct-horse-battery >"$root/etc/autochrome/token"
chmod 600 "$root/etc/autochrome/token"
# The first start with a fault has it, and the next one is well.
cat >"$root/usr/local/bin/once" <<'ONCE'
#!/bin/sh
fault=$(cat /etc/autochrome/fault)
if [ -n "$fault" ] && [ ! -e "/var/lib/autochrome/$fault" ]; then
    : >"/var/lib/autochrome/$fault"
    export AUTOCHROME_INJECT="hang:$fault"
fi
exec "$@"
ONCE
# Each of these has to fail; the unit's own folder has to be writable.
cat >"$root/usr/local/bin/break-out" <<'BREAKOUT'
#!/bin/sh
tried() {
    if "$@" >/dev/null 2>&1; then echo "let through: $*"; else echo "refused: $*"; fi
}
tried cat /etc/shadow
tried cat /etc/autochrome/token
tried head -c 1 /dev/kmsg
tried touch /etc/x
tried touch /usr/x
tried ls /home
tried ls /root
tried cat /proc/1/cmdline
tried mount -t tmpfs none /mnt
tried unshare --user true
tried dmesg
touch /var/lib/autochrome/x
tried chmod u+s /var/lib/autochrome/x
[ -w /var/lib/autochrome ] && echo "its own folder is writable"
exit 0
BREAKOUT
chmod 755 "$root/usr/local/bin/once" "$root/usr/local/bin/break-out"
: >"$root/etc/autochrome/fault"
cat >"$root/etc/systemd/system/autochrome.service.d/test.conf" <<UNIT
[Service]
ExecStartPre=/usr/local/bin/break-out
ExecStart=
ExecStart=/usr/local/bin/once /usr/bin/autochrome run --input test-pattern --output http://$ADDRESS --token-file %d/token --panel /dev/ttyNoSuchBox
UNIT

timeout "$SECONDS_MAX" systemd-nspawn --quiet --register=no --keep-unit --directory "$root" --boot --console=pipe >"$cache/console" 2>&1 </dev/null &
container=$!
trap 'kill "$container" 2>/dev/null || true; wait "$container" 2>/dev/null || true' EXIT

lines() {
    journalctl --directory "$root/var/log/journal" --no-pager --quiet --unit autochrome --output short-unix 2>/dev/null
}

# Waits until a command succeeds.
until_true() {
    tries=600
    until "$@" >/dev/null 2>&1; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] && kill -0 "$container" 2>/dev/null || fail "waited in vain for: $*"
        sleep 0.1
    done
}

count() {
    lines | grep -c "$1" || true
}

is_counted() {
    [ "$(count "$1")" -gt "$2" ]
}

healthy() {
    curl --silent --fail --max-time 1 "http://$ADDRESS/healthz"
}

main_process() {
    pgrep -f "^/usr/bin/autochrome run --input test-pattern --output http://$ADDRESS"
}

until_true healthy
say "what the sandbox lets through"
[ "$(count ' refused: ')" -gt 10 ] || fail "the sandbox was not tried"
[ "$(count ' let through: ')" -eq 0 ] || fail "$(lines | grep ' let through: ')"
[ "$(count 'its own folder is writable')" -eq 1 ] || fail "StateDirectory= cannot be written to"
code=$(curl --silent --output /dev/null --write-out '%{http_code}' -X POST "http://$ADDRESS/set?mix=1")
[ "$code" = 401 ] || fail "the token from the unit is not asked for: $code"

for fault in $FAULTS; do
    thread=${fault%@*}
    echo "$fault" >"$root/etc/autochrome/fault"
    hangs=$(count "hangs the thread $thread here")
    kills=$(count 'Watchdog timeout')
    kill -KILL "$(main_process)"
    until_true is_counted "hangs the thread $thread here" "$hangs"
    hung=$(lines | grep "hangs the thread $thread here" | tail -n 1 | cut -d ' ' -f 1)
    until_true is_counted 'Watchdog timeout' "$kills"
    until_true healthy
    seconds=$(date +%s.%N | awk -v hung="$hung" '{ printf "%.1f", $1 - hung }')
    say "$thread hangs: picture back after $seconds s"
    awk -v seconds="$seconds" -v allowed="$SECONDS_ALLOWED" 'BEGIN { exit !(seconds <= allowed) }' || fail "that is more than $SECONDS_ALLOWED s"
done
kill "$container" && wait "$container" || true
rm -rf "$root"
say "all passed"
