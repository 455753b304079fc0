#!/bin/sh
# Makes what the test guest boots: DIR/vmlinux and DIR/initramfs.cpio, from Debian's kernel, busybox and v4l2-ctl. What is there and newer than
# its sources is left alone. Exit code 77: it cannot be made here, and one line says why.
#
# usage: sh tests/vm/guest.sh DIR
#        sh tests/vm/guest.sh --missing     prints Debian's packages, if one of the programs is not there
set -eu

# The kernel that this one names is taken, so that no version has to be kept up to date here. The `cloud` kernel has no vivid.
METAPACKAGE=linux-image-amd64
PROGRAMS='qemu-system-x86_64 busybox v4l2-ctl cpio depmod xz zstd'
PACKAGES='qemu-system-x86 busybox-static v4l-utils cpio kmod xz-utils zstd'
# What the guest loads at boot, and what its cases load.
MODULES='virtio_pci virtio_console 9pnet_virtio 9p vivid virtio-gpu bochs xhci-pci ftdi_sio'

cannot() {
    printf 'test-vm: left out: %s\n' "$*" >&2
    exit 77
}

have() {
    command -v "$1" >/dev/null 2>&1
}

# Programs of the administrator too: depmod.
PATH=$PATH:/usr/sbin:/sbin

if [ "${1-}" = --missing ]; then
    for program in $PROGRAMS; do
        have "$program" || {
            echo "$PACKAGES"
            break
        }
    done
    exit 0
fi
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
mkdir -p "$1"
dir=$(CDPATH='' cd -- "$1" && pwd)

[ "$(uname -s) $(uname -m)" = 'Linux x86_64' ] || cannot "the guest is made from this machine's programs, and this is not x86-64 Linux"
for program in $PROGRAMS; do
    have "$program" || cannot "there is no $program; sh bootstrap.sh test-vm installs it, and so does: apt-get install $PACKAGES"
done
busybox=$(command -v busybox)
v4l2_ctl=$(command -v v4l2-ctl)
if ldd "$busybox" >/dev/null 2>&1; then
    cannot "$busybox is not linked statically; install the package busybox-static"
fi

# Debian's packages are kept: nothing is downloaded twice.
download() {
    have apt-get || return 1
    printf 'test-vm: apt-get download %s\n' "$*" >&2
    mkdir -p "$dir/download"
    (cd "$dir/download" && apt-get -q download "$@" >log 2>&1) || return 1
    mv "$dir"/download/*.deb "$dir/"
    rm -r "$dir/download"
}
depends() {
    LC_ALL=C apt-cache depends "$1" 2>/dev/null | sed -n 's/^ *Depends: \(linux-[^ ]*\)$/\1/p'
}

set -- "$dir"/linux-image-*.deb
if [ ! -e "$1" ]; then
    kernel=$(depends "$METAPACKAGE" | head -n 1)
    [ -n "$kernel" ] || cannot "apt knows no $METAPACKAGE (a Debian package; apt-get update fetches the lists)"
    download "$kernel" || cannot "apt-get download $kernel failed: $(tail -n 1 "$dir/download/log")"
    set -- "$dir"/linux-image-*.deb
fi
package=$1

# v4l2loopback has to be compiled against the kernel's headers. Without it one case is not run.
headers=linux-headers-$(basename "$package" | sed 's/^linux-image-\([^_]*\)_.*/\1/')
if have make && have cc && [ ! -e "$(echo "$dir"/v4l2loopback-dkms_*.deb)" ]; then
    # shellcheck disable=SC2046 # one word each
    download v4l2loopback-dkms "$headers" $(depends "$headers" | grep -e '-common$' -e kbuild) || rm -rf "$dir/download"
fi

newer() {
    [ -e "$1" ] && [ -z "$(find "$package" "$here/guest.sh" "$here/init" "$busybox" "$v4l2_ctl" -newer "$1")" ]
}
if newer "$dir/vmlinux" && newer "$dir/initramfs.cpio"; then
    exit 0
fi

printf 'test-vm: making the guest from %s\n' "$(basename "$package")" >&2
work=$dir/work
rm -rf "$work"
mkdir -p "$work/root"
dpkg-deb -x "$package" "$work/kernel"
[ -d "$work/kernel/lib" ] || ln -s usr/lib "$work/kernel/lib"
version=$(basename "$work"/kernel/lib/modules/*)

# The kernel proper, out of the compressed image: booted by its PVH entry it needs no firmware and no decompression in the guest. Where it
# lies is in the header (Documentation/arch/x86/boot.rst): setup_sects at 0x1f1, payload_offset at 0x248, payload_length at 0x24c.
image=$(echo "$work"/kernel/boot/vmlinuz-*)
number() {
    od -An -t "u$2" -j "$1" -N "$2" "$image" | tr -d ' '
}
start=$((($(number 497 1) + 1) * 512 + $(number 584 4)))
# Four bytes at the end are the unpacked size.
length=$(($(number 588 4) - 4))
tail -c "+$((start + 1))" "$image" | head -c "$length" >"$work/payload"
magic=$(od -An -t x1 -N 4 "$work/payload" | tr -d ' ')
case $magic in
    fd377a58) xz -dc --single-stream ;;
    28b52ffd) zstd -dcq ;;
    1f8b*) gzip -dc ;;
    *) cannot "$image is compressed in a way that is not known here" ;;
esac <"$work/payload" >"$work/vmlinux"

if [ -e "$(echo "$dir"/v4l2loopback-dkms_*.deb)" ]; then
    for part in "$dir"/v4l2loopback-dkms_*.deb "$dir"/linux-headers-*.deb "$dir"/linux-kbuild-*.deb; do
        dpkg-deb -x "$part" "$work/headers"
    done
    source=$work/headers/usr/src
    sed -i "s|/usr/src|$source|" "$source/$headers/Makefile"
    loopback=$(echo "$source"/v4l2loopback-*)
    if make -C "$source/$headers" M="$loopback" CC=cc modules >"$work/log" 2>&1; then
        cp "$loopback/v4l2loopback.ko" "$work/kernel/lib/modules/$version/"
        MODULES="$MODULES v4l2loopback"
    else
        printf 'test-vm: v4l2loopback does not compile: %s\n' "$(grep -m 1 -i error "$work/log")" >&2
    fi
fi

# The modules and all that they need, unpacked, under their own paths.
depmod -b "$work/kernel" "$version"
for module in $MODULES; do
    modprobe -d "$work/kernel" -S "$version" --show-depends "$module" || cannot "$package has no module $module"
done >"$work/needed"
sed -n 's/^insmod \([^ ]*\).*/\1/p' "$work/needed" | sort -u | while read -r file; do
    target=$work/root/lib/modules/$version/${file#*/"$version"/}
    mkdir -p "$(dirname "$target")"
    case $file in
        *.xz) xz -dc "$file" >"${target%.xz}" ;;
        *.zst) zstd -dcq "$file" >"${target%.zst}" ;;
        *) cp "$file" "$target" ;;
    esac
done
cp "$work/kernel/lib/modules/$version"/modules.builtin* "$work/kernel/lib/modules/$version/modules.order" "$work/root/lib/modules/$version/"
depmod -b "$work/root" "$version"

# Programs, and the libraries of v4l2-ctl: those of autochrome are among them.
mkdir -p "$work/root/bin" "$work/root/dev" "$work/root/proc" "$work/root/sys" "$work/root/tmp" "$work/root/share"
install -m 755 "$busybox" "$v4l2_ctl" "$work/root/bin/"
install -m 755 "$here/init" "$work/root/init"
ldd "$v4l2_ctl" | sed -n 's/^[^/]*\(\/[^ ]*\).*/\1/p' | while read -r file; do
    mkdir -p "$work/root$(dirname "$file")"
    cp -L "$file" "$work/root$file"
done
(cd "$work/root" && find . | cpio -o -H newc --quiet -R 0:0) >"$work/initramfs.cpio"

mv "$work/vmlinux" "$work/initramfs.cpio" "$dir/"
rm -rf "$work"
