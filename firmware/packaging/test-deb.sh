#!/bin/sh
# Checks a package that deb.sh made for this machine: installs it into a small Debian of its own, runs it there, upgrades, removes and purges it.
# Nothing outside of the folder of --cache is touched. Exit code 77: cannot be done here.
set -eu

# The oldest system that the package is for.
SUITE=bookworm

EXIT_USAGE=2
EXIT_SKIPPED=77

say() {
    printf 'test-deb: %s\n' "$*" >&2
}

fail() {
    say "FAILED: $*"
    exit 1
}

skip() {
    say "skipped: $*"
    exit "$EXIT_SKIPPED"
}

repository=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
cache=$repository/target/test-deb
if [ "${1-}" = --cache ] && [ $# -ge 2 ]; then
    cache=$2
    shift 2
fi
[ $# -eq 1 ] || { echo 'usage: test-deb.sh [--cache DIR] PACKAGE.deb' >&2; exit "$EXIT_USAGE"; }
[ -f "$1" ] || fail "there is no $1"
package=$(CDPATH='' cd -- "$(dirname -- "$1")" && pwd)/$(basename "$1")

[ "$(id -u)" -eq 0 ] || skip "a chroot needs root"
command -v debootstrap >/dev/null || skip "debootstrap is not installed"
[ "$(dpkg-deb -f "$package" Architecture)" = "$(dpkg --print-architecture)" ] || skip "$(basename "$package") is for another architecture"

base=$cache/$SUITE
root=$cache/root
mkdir -p "$cache"
if [ ! -e "$base/.whole" ]; then
    say "making a small $SUITE in $base"
    rm -rf "$base"
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Origin: Debian' 'Created-By: Packages' 2>/dev/null | grep -v security | head -n 1)
    # shellcheck disable=SC2086
    debootstrap --variant=minbase --include=systemd,udev,bash-completion "$SUITE" "$base" $mirror >"$cache/log" 2>&1 || skip "debootstrap: $(tail -n 1 "$cache/log")"
    : >"$base/.whole"
fi
rm -rf "$root"
cp -a "$base" "$root"

# In a mount name space of its own: nothing stays mounted.
inside() {
    # shellcheck disable=SC2016
    unshare --mount --pid --fork sh -eu -c 'root=$1; shift; mount -t proc proc "$root/proc"; exec chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C "$@"' \
        sh "$root" "$@"
}

# All files but those that dpkg keeps its own account in.
listing() {
    (cd "$root" && find . -path ./var/lib/dpkg -prune -o -path ./var/log -prune -o -path ./run -prune -o -print | sort)
}

listing >"$cache/before"
cp "$package" "$root/tmp/autochrome.deb"
inside dpkg -i /tmp/autochrome.deb >"$cache/log" 2>&1 || fail "install: $(tail -n 3 "$cache/log")"
rm "$root/tmp/autochrome.deb"

said=$(inside autochrome --version) || fail "the program does not run on $SUITE"
say "installed on $SUITE: $said, $(dpkg-deb -f "$package" Installed-Size) KiB"
for model in "$root"/usr/share/autochrome/models/*.onnx; do
    inside autochrome model info "${model#"$root"}" >/dev/null || fail "model info ${model#"$root"}"
done
inside autochrome demo --frames 2 --listen none --out /tmp/pairs >/dev/null 2>"$cache/log" || fail "demo: $(tail -n 1 "$cache/log")"
[ -n "$(find "$root/tmp/pairs" -name '*.png' -size +1k)" ] || fail "the demo wrote no pictures"
rm -r "$root/tmp/pairs"

inside systemd-analyze verify --man=no /usr/lib/systemd/system/autochrome.service >"$cache/log" 2>&1 || fail "the unit: $(cat "$cache/log")"
! grep -q autochrome "$cache/log" || fail "the unit: $(cat "$cache/log")"
if inside systemctl is-enabled autochrome.service >/dev/null 2>&1; then
    fail "the unit was enabled, and nobody asked for it"
fi
[ -n "$(inside dpkg-query -W -f '${Conffiles}' autochrome | grep /etc/autochrome/config.toml)" ] || fail "config.toml is no conffile"
inside bash -c '. /usr/share/bash-completion/completions/autochrome && complete -p autochrome' >/dev/null || fail "no completion"
gzip -t "$root/usr/share/man/man1/autochrome.1.gz" || fail "no man page"

say "upgrade keeps a changed configuration"
echo '# changed' >>"$root/etc/autochrome/config.toml"
inside systemctl enable autochrome.service >/dev/null 2>&1 || fail "the unit cannot be enabled"
cp "$package" "$root/tmp/autochrome.deb"
inside dpkg -i /tmp/autochrome.deb >"$cache/log" 2>&1 || fail "install over itself: $(tail -n 3 "$cache/log")"
rm "$root/tmp/autochrome.deb"
grep -q '^# changed$' "$root/etc/autochrome/config.toml" || fail "the configuration was overwritten"
inside systemctl is-enabled autochrome.service >/dev/null 2>&1 || fail "the unit is not enabled any more"

say "removal and purge"
mkdir -p "$root/var/lib/private/autochrome"
ln -s private/autochrome "$root/var/lib/autochrome"
inside dpkg -r autochrome >"$cache/log" 2>&1 || fail "remove: $(tail -n 3 "$cache/log")"
[ -e "$root/etc/autochrome/config.toml" ] || fail "removing took the configuration away"
[ ! -e "$root/usr/bin/autochrome" ] || fail "removing left the program"
inside dpkg -P autochrome >"$cache/log" 2>&1 || fail "purge: $(tail -n 3 "$cache/log")"
listing | diff "$cache/before" - >"$cache/left" || fail "purge left: $(cat "$cache/left")"

if command -v lintian >/dev/null; then
    say "lintian: $(lintian "$package" 2>&1 | grep -c '^E:' || true) errors"
    lintian "$package" 2>&1 | grep -E '^[EW]:' >&2 || true
fi
rm -rf "$root"
say "all passed"
