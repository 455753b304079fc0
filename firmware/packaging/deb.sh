#!/bin/sh
# Makes the Debian package of `autochrome`: for this machine, or for another architecture by arm64.sh. Prints the package's path.
# What goes into it says firmware/Cargo.toml, [package.metadata.deb].
set -eu

CARGO_DEB_VERSION=3.8.0

EXIT_USAGE=2

usage() {
    cat <<'TEXT'
usage: deb.sh [--arch arm64|armhf] [--cache DIR] [--profile NAME]

  --arch ARCH     for another architecture than this machine's; --cache goes to arm64.sh
  --profile NAME  how it is built (default: dist)
TEXT
}

say() {
    printf 'deb: %s\n' "$*" >&2
}

repository=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
arch=
cache=
profile=dist
while [ $# -gt 0 ]; do
    case $1 in
        -h | --help) usage; exit 0 ;;
        --arch | --cache | --profile) [ $# -ge 2 ] || { usage >&2; exit "$EXIT_USAGE"; } ;;
        *) usage >&2; exit "$EXIT_USAGE" ;;
    esac
    case $1 in
        --arch) arch=$2 ;;
        --cache) cache=$2 ;;
        --profile) profile=$2 ;;
    esac
    shift 2
done

target=
case $arch in
    '') ;;
    arm64) target=aarch64-unknown-linux-gnu ;;
    armhf) target=armv7-unknown-linux-gnueabihf ;;
    *) usage >&2; exit "$EXIT_USAGE" ;;
esac
cd "$repository"

tools=$repository/target/tools
cargo_deb=$tools/bin/cargo-deb
if [ "$("$cargo_deb" --version 2>/dev/null)" != "$CARGO_DEB_VERSION" ]; then
    say "building cargo-deb $CARGO_DEB_VERSION in target/tools"
    # Without its own copy of liblzma: the program `xz` does the same.
    CARGO_TARGET_DIR=$tools/build cargo install --quiet --locked --debug --no-default-features --force --root "$tools" \
        "cargo-deb@$CARGO_DEB_VERSION"
    rm -rf "$tools/build"
fi

if [ -n "$target" ]; then
    [ -n "$cache" ] || cache=$repository/target/$arch
    binary=$(sh firmware/packaging/arm64.sh --arch "$arch" --cache "$cache" --profile "$profile" build)
    CARGO_TARGET_DIR=$cache/build
    export CARGO_TARGET_DIR
else
    cargo build --profile "$profile" --locked -p autochrome --bin autochrome
    binary=${CARGO_TARGET_DIR:-target}/$profile/autochrome
fi

# The oldest C library with which each symbol that the program cannot do without is there, against what the package says. A weak symbol may be absent.
needed=$(readelf -W --dyn-syms "$binary" | grep -v ' WEAK ' | sed -n 's/.*@GLIBC_\([0-9.]*\).*/\1/p' | sort -uV | tail -n 1)
declared=$(sed -n 's/^depends = .*libc6 (>= \([0-9.]*\)).*/\1/p' firmware/Cargo.toml)
if [ "$(printf '%s\n%s\n' "$needed" "$declared" | sort -V | tail -n 1)" != "$declared" ]; then
    say "this program needs glibc $needed, and the package says $declared (depends in firmware/Cargo.toml): build it against an older one, with arm64.sh or on Debian 12"
    exit 1
fi

"$cargo_deb" --quiet --locked --no-build --no-strip -p autochrome --profile "$profile" --output "$repository/target/debian/" ${target:+--target "$target"}
