#!/bin/sh
# Installs what Autochrome needs on Debian, Ubuntu and Raspberry Pi OS, and hands over to `just`. Elsewhere it says what to install by hand.
# Safe to run again: what is there already is left alone. Reads nothing from standard input.
set -eu

# The version built where the distribution packages none.
JUST_VERSION=1.59.0

usage() {
    cat <<'TEXT'
usage: sh bootstrap.sh demo [-- ARGS]    show the demo; ARGS go to the program, e.g. -- --frames 250 --out pictures
       sh bootstrap.sh test              build everything and run all tests
       sh bootstrap.sh test-vm           run the tests that need a QEMU guest: cameras, screen, serial ports

All install first what is missing, and say what they do. Rust has to be there already.
TEXT
}

say() {
    printf 'bootstrap: %s\n' "$*" >&2
}

fail() {
    code=$1
    shift
    say "$@"
    exit "$code"
}

have() {
    command -v "$1" >/dev/null 2>&1
}

# Whether one of the given files exists; globs that match nothing arrive as themselves.
any() {
    for file; do
        [ ! -e "$file" ] || return 0
    done
    return 1
}

# libclang is loaded while the `v4l` crate is built: bindgen reads the kernel's header with it, and with the compiler's own headers.
have_libclang() {
    [ -z "${LIBCLANG_PATH-}" ] || return 0
    any /usr/lib*/libclang.so* /usr/lib*/libclang-[0-9]*.so* /usr/lib*/*/libclang.so* /usr/lib*/*/libclang-[0-9]*.so* \
        /usr/lib/llvm*/lib*/libclang.so* /usr/local/lib/libclang.so* || return 1
    any /usr/lib*/clang/*/include/stddef.h /usr/lib/llvm*/lib*/clang/*/include/stddef.h /usr/local/lib/clang/*/include/stddef.h
}

have_python() {
    python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1
}

# What is missing, one word each. `just` comes last: building it needs the compiler.
missing() {
    have git || echo git
    have cc || echo cc
    any /usr/include/linux/videodev2.h || echo kernel-headers
    have_libclang || echo libclang
    if [ "$verb" = test ]; then
        have_python || echo python
        { have ffmpeg && have ffprobe; } || echo ffmpeg
    fi
    have just || echo just
}

is_debian_like() {
    have apt-get && [ -r /etc/os-release ] || return 1
    # shellcheck source=/dev/null
    family=$(. /etc/os-release && echo " ${ID-} ${ID_LIKE-} ")
    case $family in
        *' debian '* | *' ubuntu '* | *' raspbian '*) return 0 ;;
        *) return 1 ;;
    esac
}

may_install() {
    [ "$(id -u)" -eq 0 ] || have sudo
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@" </dev/null
    else
        sudo "$@" </dev/null
    fi
}

# What apt says, in English whatever the user's language.
apt_cache() {
    LC_ALL=C apt-cache "$@" 2>/dev/null
}

# Shows what a command printed only if it failed.
quietly() {
    log=$(mktemp)
    code=0
    "$@" >"$log" 2>&1 || code=$?
    [ "$code" -eq 0 ] || cat "$log" >&2
    rm -f "$log"
    return "$code"
}

apt_offers() {
    apt_cache policy "$1" | grep -q '^  Candidate: [^(]'
}

# The two small packages of one LLVM release: the one that the distribution is built around, else the newest; else the large package.
libclang_packages() {
    usual=$(apt_cache depends libclang1 | sed -n 's/^  Depends: libclang1-\([0-9][0-9]*\).*/\1/p' | head -n 1)
    newest=$(apt_cache search --names-only '^libclang1-[0-9]+$' | sed 's/^libclang1-\([0-9]*\) .*/\1/' | sort -rn)
    for release in $usual $newest; do
        if apt_offers "libclang1-$release" && apt_offers "libclang-common-$release-dev"; then
            echo "libclang1-$release libclang-common-$release-dev"
            return
        fi
    done
    echo libclang-dev
}

packages_for() {
    for thing; do
        case $thing in
            git) echo git ca-certificates ;;
            cc) echo gcc libc6-dev ;;
            kernel-headers) echo linux-libc-dev ;;
            libclang) libclang_packages ;;
            python) echo python3 python3-venv ;;
            ffmpeg) echo ffmpeg ;;
            just) if apt_offers just; then echo just; fi ;;
        esac
    done
}

by_hand() {
    say "this is not Debian, Ubuntu or Raspberry Pi OS; please install by hand:"
    for thing; do
        case $thing in
            git) say "  git" ;;
            cc) say "  a C compiler that is called cc (gcc or clang), with the C library's headers" ;;
            kernel-headers) say "  the Linux headers for user programs (the file /usr/include/linux/videodev2.h)" ;;
            libclang) say "  libclang with clang's own headers (LIBCLANG_PATH names its folder where it is not found)" ;;
            python) say "  Python 3.10 or newer with its modules venv and ensurepip" ;;
            ffmpeg) say "  ffmpeg, with ffprobe" ;;
            just) say "  just, the command runner (it is built with cargo otherwise)" ;;
        esac
    done
}

check_rust() {
    needed=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$here/Cargo.toml")
    found=$(cd "$here" && rustc --version 2>/dev/null) || found=
    found=$(printf '%s\n' "$found" | sed -n 's/^rustc \([0-9][0-9]*\.[0-9][0-9]*\).*/\1/p')
    if [ -z "$found" ] || ! have cargo; then
        say "Rust is missing: rustc and cargo, $needed or newer. Two ways to get it:"
        say "  rustup, from the site rustup.rs or your distribution's package of that name; then: rustup default stable"
        say "  your distribution's packages rustc and cargo, if they are $needed or newer"
        exit 2
    fi
    if [ "${found%%.*}" -lt "${needed%%.*}" ] ||
        { [ "${found%%.*}" -eq "${needed%%.*}" ] && [ "${found#*.}" -lt "${needed#*.}" ]; }; then
        say "Rust is too old: found rustc $found, needed $needed or newer"
        say "  with rustup: rustup update stable; a distribution's older rustc can stay beside it"
        exit 2
    fi
    say "found rustc $found"
}

install_missing() {
    # shellcheck disable=SC2046 # one word each
    set -- $(missing)
    [ $# -gt 0 ] || return 0
    say "missing: $*"
    if is_debian_like; then
        if may_install; then
            say "apt-get update"
            quietly as_root apt-get -q update || say "apt-get update failed; going on with the package lists that are there"
        fi
        # shellcheck disable=SC2046 # one word each
        set -- $(packages_for "$@")
        if [ $# -gt 0 ]; then
            may_install || fail 1 "this needs root, and there is no sudo; run as root: apt-get update; apt-get install $*"
            say "apt-get install $*"
            quietly as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install "$@" ||
                fail 1 "apt-get install failed"
        fi
    else
        by_hand "$@"
    fi
    if ! have just && have cc; then
        # Unoptimized: sooner built (50 s of processor time on a server's core), and quick enough to start a command.
        say "cargo install just $JUST_VERSION (a minute on two fast cores)"
        cargo install just --version "$JUST_VERSION" --locked --debug --quiet </dev/null >&2 || fail 1 "cargo install just failed"
    fi
    # shellcheck disable=SC2046 # one word each
    set -- $(missing)
    [ $# -eq 0 ] || fail 1 "still missing: $*"
}

# What the guest of the tests is made from. Not having it fails nothing: those tests leave themselves out, and say so.
install_guest_packages() {
    # shellcheck disable=SC2046 # one word each
    set -- $(sh "$here/tests/vm/guest.sh" --missing)
    if ! is_debian_like || ! may_install; then
        return 0
    fi
    # The lists have to be there too: the kernel's package is downloaded, not installed.
    if [ $# -eq 0 ] && apt_offers linux-image-amd64; then
        return 0
    fi
    say "apt-get update"
    quietly as_root apt-get -q update || say "apt-get update failed; going on with the package lists that are there"
    [ $# -gt 0 ] || return 0
    say "apt-get install $*"
    quietly as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install "$@" || say "apt-get install failed"
}

case ${1-} in
    demo | test | test-vm) verb=$1 ;;
    '' | -h | --help | help)
        usage
        exit 0
        ;;
    *)
        usage >&2
        exit 2
        ;;
esac
shift
[ "${1-}" != -- ] || shift

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
# Rustup and `cargo install` put programs here; a shell that was open before does not know it yet.
PATH=${CARGO_HOME:-${HOME-}/.cargo}/bin:$PATH
export PATH

check_rust
install_missing
[ "$verb" != test-vm ] || install_guest_packages
say "just $verb${*:+ $*}"
exec just --justfile "$here/justfile" "$verb" "$@"
