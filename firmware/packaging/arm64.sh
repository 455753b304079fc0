#!/bin/sh
# Builds `autochrome` for arm64 (or armhf) on an x86-64 machine. docs/arm64.md says what for, and what the result runs on.
#
# Three ways, the first that works:
#   native   this machine has that processor: plain cargo
#   rustup   rustup has the target's standard library and a cross gcc is there: plain cargo with --target
#   chroot   Debian's compiler, of RUST_SUITE, in a chroot; it links against the C library of LIBC_SUITE, so that the program runs there too
#
# Crates are fetched by this machine's cargo, with its own settings; the chroot only sees its CARGO_HOME and reaches no registry.
# Safe to run again: each stage leaves a mark when it is whole, and starts anew without one.
set -eu

# The Debian release with a recent enough compiler (in its backports), and the oldest one that the program has to run on.
RUST_SUITE=trixie
LIBC_SUITE=bookworm
LLVM=19

# What the exit code says besides 0 and cargo's own codes.
EXIT_USAGE=2
EXIT_SKIPPED=77

usage() {
    cat <<'TEXT'
usage: arm64.sh [--arch arm64|armhf] [--cache DIR] [--profile NAME] [--way native|rustup|chroot] [VERB]

  build             the program autochrome (the default); prints its path
  tests             the test programs of autochrome-model, for running under emulation; prints their paths
  library           prints the folder with the C library that the program was linked against, for `qemu-aarch64-static -L`
  packages NAME ..  fetches Debian packages of that architecture, from the release that the C library is of; prints their paths

  --cache DIR   chroot, libraries and build outputs; 3 GB (default: target/ARCH in the repository)

Exit code 77: cannot be done here, for the reason in the line before (no root, no packages, compiler too old).
TEXT
}

say() {
    printf 'arm64: %s\n' "$*" >&2
}

skip() {
    say "skipped: $*"
    exit "$EXIT_SKIPPED"
}

have() {
    command -v "$1" >/dev/null 2>&1
}

# Shows what a command printed only if it failed.
quietly() {
    mkdir -p "$cache"
    code=0
    "$@" >"$cache/log" 2>&1 || code=$?
    [ "$code" -eq 0 ] || tail -n 40 "$cache/log" >&2
    return "$code"
}

repository=$(cd "$(dirname "$0")/../.." && pwd)
arch=arm64
cache=
profile=release
way=
verb=build
while [ $# -gt 0 ]; do
    case $1 in
        --arch | --cache | --profile | --way)
            [ $# -ge 2 ] || { usage >&2; exit "$EXIT_USAGE"; }
            case $1 in
                --arch) arch=$2 ;;
                --cache) cache=$2 ;;
                --profile) profile=$2 ;;
                --way) way=$2 ;;
            esac
            shift
            ;;
        build | tests | library) verb=$1 ;;
        packages)
            verb=$1
            shift
            break
            ;;
        -h | --help) usage; exit 0 ;;
        *) usage >&2; exit "$EXIT_USAGE" ;;
    esac
    shift
done

case $arch in
    arm64) triple=aarch64-unknown-linux-gnu gnu=aarch64-linux-gnu machine=aarch64 ;;
    armhf) triple=armv7-unknown-linux-gnueabihf gnu=arm-linux-gnueabihf machine=armv7l ;;
    *) usage >&2; exit "$EXIT_USAGE" ;;
esac
case $way in
    '' | native | rustup | chroot) ;;
    *) usage >&2; exit "$EXIT_USAGE" ;;
esac
mkdir -p "${cache:=$repository/target/$arch}"
cache=$(cd "$cache" && pwd)
chroot=$cache/chroot
library=$cache/library
# The name in environment variables of cargo, of the crate `cc` and of bindgen.
triple_=$(printf %s "$triple" | tr - _)
TRIPLE_=$(printf %s "$triple_" | tr a-z A-Z)

choose_way() {
    if [ "$(uname -m)" = "$machine" ]; then
        echo native
    elif have rustup && have "$gnu-gcc" && rustup target list --installed 2>/dev/null | grep -qx "$triple"; then
        echo rustup
    else
        echo chroot
    fi
}

# Runs a command inside the chroot, in a mount name space of its own: nothing stays mounted, however this ends. The repository has its own path there,
# so that test programs find their files outside too.
inside() {
    # shellcheck disable=SC2016
    unshare --mount sh -eu -c '
        root=$1 repository=$2 cache=$3 cargo_home=$4
        shift 4
        mkdir -p "$root$repository" "$root/cache" "$root/cargo"
        mount --bind "$repository" "$root$repository"
        mount --bind "$cache" "$root/cache"
        [ ! -d "$cargo_home" ] || mount --bind "$cargo_home" "$root/cargo"
        mount -t proc proc "$root/proc"
        exec chroot "$root" "$@"
    ' sh "$chroot" "$repository" "$cache" "${CARGO_HOME:-$HOME/.cargo}" "$@"
}

apt() {
    inside env DEBIAN_FRONTEND=noninteractive LC_ALL=C apt-get -o APT::Sandbox::User=root -qq "$@"
}

# The Debian mirror that this machine's apt uses; none said: debootstrap knows one.
mirror() {
    apt-get indextargets --format '$(REPO_URI)' 'Origin: Debian' 'Created-By: Packages' 2>/dev/null | grep -v security | head -n 1
}

make_chroot() {
    [ ! -e "$chroot/.whole" ] || return 0
    [ "$(id -u)" -eq 0 ] || skip "making a chroot needs root"
    have debootstrap || skip "debootstrap is not installed"
    start=$(date +%s)
    say "making a $RUST_SUITE chroot in $chroot"
    rm -rf "$chroot"
    # shellcheck disable=SC2046
    quietly debootstrap --variant=minbase "$RUST_SUITE" "$chroot" $(mirror) || skip "debootstrap found no whole $RUST_SUITE"
    cp -L /etc/resolv.conf /etc/hosts "$chroot/etc/"
    # For a mirror over https.
    [ ! -e /etc/ssl/certs/ca-certificates.crt ] || install -D -m 644 /etc/ssl/certs/ca-certificates.crt "$chroot/etc/ssl/certs/ca-certificates.crt"
    uri=$(awk '$1 == "deb" { print $2; exit }' "$chroot/etc/apt/sources.list")
    own=$(chroot "$chroot" dpkg --print-architecture)
    # Of the other architecture, the standard library comes from the backports, in the compiler's version, and the C library from the old release.
    cat >"$chroot/etc/apt/sources.list" <<SOURCES
deb [arch=$own] $uri $RUST_SUITE main
deb [arch=$own,$arch] $uri $RUST_SUITE-backports main
deb [arch=$arch] $uri $LIBC_SUITE main
SOURCES
    chroot "$chroot" dpkg --add-architecture "$arch"
    quietly apt update || skip "no package lists of $RUST_SUITE-backports and $LIBC_SUITE"
    quietly apt install --no-install-recommends -t "$RUST_SUITE-backports" cargo rustc || skip "the backports' compiler does not install"
    quietly apt install --no-install-recommends gcc libc6-dev "gcc-$gnu" "libclang1-$LLVM" "libclang-common-$LLVM-dev" ||
        skip "the cross compiler or libclang does not install"
    # These are only unpacked: installed, they would draw in programs of the other architecture.
    version=$(inside dpkg-query -W -f '${Version}' rustc)
    rm -rf "$cache/packages" "$library"
    mkdir -p "$library"
    package=$(fetch_package libstd-rust-dev "=$version")
    [ "$(dpkg-deb -f "$package" Version)" = "$version" ] || skip "the backports' rustc is $version, its library for $arch is another"
    dpkg-deb -x "$package" "$chroot"
    for name in libc6 libc6-dev linux-libc-dev libgcc-s1; do
        package=$(fetch_package "$name")
        dpkg-deb -x "$package" "$library"
    done
    inside apt-get clean
    : >"$chroot/.whole"
    say "chroot: $(du -sh "$chroot" | cut -f 1), $(($(date +%s) - start)) s"
}

# Package $1, where it is said in the version `=$2`. Kept, so that nothing is fetched twice.
fetch_package() {
    set -- "$1" "$cache/packages/$1" "$1:$arch${2:-}"
    mkdir -p "$2"
    [ -n "$(find "$2" -name '*.deb')" ] ||
        quietly inside sh -c 'cd "$1" && exec apt-get -o APT::Sandbox::User=root -qq download "$2"' sh "/cache/packages/$1" "$3" ||
        skip "no package $1 for $arch"
    echo "$2"/*.deb
}

# Whether version $1 is at least version $2.
at_least() {
    [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$2" ]
}

check_rustc() {
    found=$("$@" rustc --version | cut -d ' ' -f 2)
    needed=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$repository/Cargo.toml")
    at_least "$found" "$needed" || skip "rustc is $found, $needed is needed"
}

# cargo of the chosen way, with the arguments that follow. In the chroot with a clean environment: what this machine's cargo is told about
# registries has done its work when the crates were fetched.
cargo_for() {
    case $way in
        native) cargo "$@" --target-dir "$cache/build" ;;
        rustup)
            env "CARGO_TARGET_${TRIPLE_}_LINKER=$gnu-gcc" "BINDGEN_EXTRA_CLANG_ARGS_$triple_=--target=$gnu" \
                cargo "$@" --target "$triple" --target-dir "$cache/build"
            ;;
        chroot)
            inside env -i PATH=/usr/sbin:/usr/bin HOME=/root LC_ALL=C.UTF-8 CARGO_HOME=/cargo CARGO_NET_OFFLINE=true \
                "CARGO_TARGET_${TRIPLE_}_LINKER=$gnu-gcc" \
                "CARGO_TARGET_${TRIPLE_}_RUSTFLAGS=-Clink-arg=--sysroot=/cache/library" \
                "CFLAGS_$triple_=--sysroot=/cache/library" \
                "BINDGEN_EXTRA_CLANG_ARGS_$triple_=--target=$gnu --sysroot=/cache/library" \
                cargo "$@" --manifest-path "$repository/Cargo.toml" --target "$triple" --target-dir /cache/build
            ;;
    esac
}

# Builds with the arguments after the first, and prints where the programs of the package in folder $1 are. cargo names them in its messages; in the
# chroot by the chroot's paths.
made_in() {
    folder=$1
    shift
    cargo_for "$@" --profile "$profile" --locked --message-format json-render-diagnostics >"$cache/messages"
    grep "\"package_id\":\"[^\"]*/$folder#" "$cache/messages" | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | sed "s,^/cache/,$cache/,"
}

# Both packages are named even where one is meant: by itself, the model's crate wants its dependencies with other features, and they would all be
# compiled once more.
build_tests() {
    set --
    for file in models/tests/*.rs; do
        set -- "$@" --test "$(basename "$file" .rs)"
    done
    made_in models test --no-run -p autochrome -p autochrome-model --lib "$@"
}

[ -n "$way" ] || way=$(choose_way)
cd "$repository"
if [ "$way" = chroot ]; then
    [ "$(id -u)" -eq 0 ] || skip "working in a chroot needs root"
    make_chroot
    check_rustc inside
    case $verb in
        build | tests) cargo fetch --quiet --locked --target "$triple" ;;
    esac
else
    check_rustc env
fi
case $verb in
    build) made_in firmware build -p autochrome --bin autochrome ;;
    tests) build_tests ;;
    library)
        case $way in
            native) echo / ;;
            rustup) echo "/usr/$gnu" ;;
            chroot) echo "$library" ;;
        esac
        ;;
    packages)
        [ "$way" = chroot ] || skip "packages of $arch come through the chroot only; --way chroot makes it"
        for package; do
            fetch_package "$package"
        done
        ;;
esac
