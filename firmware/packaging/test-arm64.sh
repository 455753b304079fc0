#!/bin/sh
# Checks the arm64 program on an x86-64 machine: its pictures and the model's tests under qemu-user, and a capture from the kernel's own `vivid`
# camera in an emulated arm64 machine. What passes is correct; how fast it is cannot be told from emulation.
#
# Exit code 77: cannot be done here, for the reason in the line before.
set -eu

# The oldest system that the program is for: Debian's kernel comes from the same release as the C library.
METAPACKAGE=linux-image-arm64
MODULES='virtio_pci virtio_blk vivid'
# The picture in this machine's program and in the arm64 one: the luma is the input's in both, so equal. The chroma comes out of float sums that the two
# processors' kernels add up in another order and with fused multiplications: MEAN and MOST are differences in codes of Cb and Cr.
MEAN=1
MOST=8
FRAMES=3
# Of the guest. It needs about a minute on two quiet cores.
SECONDS_ALLOWED=600

EXIT_USAGE=2
EXIT_SKIPPED=77

usage() {
    cat <<'TEXT'
usage: test-arm64.sh [--reference FILE] [--cache DIR] [--profile NAME]

  --reference FILE   this machine's autochrome, to compare with (default: cargo builds it)
  --cache, --profile go to arm64.sh
TEXT
}

say() {
    printf 'test-arm64: %s\n' "$*" >&2
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
cache=$repository/target/arm64
profile=release
reference=
while [ $# -gt 0 ]; do
    case $1 in
        -h | --help) usage; exit 0 ;;
        --reference | --cache | --profile) [ $# -ge 2 ] || { usage >&2; exit "$EXIT_USAGE"; } ;;
        *) usage >&2; exit "$EXIT_USAGE" ;;
    esac
    case $1 in
        --reference) reference=$2 ;;
        --cache) cache=$2 ;;
        --profile) profile=$2 ;;
    esac
    shift 2
done
PATH=$PATH:/usr/sbin:/sbin

for program in qemu-aarch64-static qemu-system-aarch64 cpio depmod; do
    command -v "$program" >/dev/null || skip "there is no $program; apt-get install qemu-user-static qemu-system-arm cpio kmod"
done

arm64() {
    sh "$repository/firmware/packaging/arm64.sh" --cache "$cache" --profile "$profile" "$@"
}

program=$(arm64 build)
library=$(arm64 library)
emulated() {
    qemu-aarch64-static -cpu cortex-a72 -L "$library" "$@"
}
if [ -z "$reference" ]; then
    (cd "$repository" && cargo build --release --locked -p autochrome --bin autochrome)
    reference=${CARGO_TARGET_DIR:-$repository/target}/release/autochrome
fi

work=$cache/test
rm -rf "$work"
mkdir -p "$work/photo"

say "what it says about itself and its model"
[ "$(emulated "$program" --version)" = "$("$reference" --version)" ] || fail "another version than $reference"
for model in "$repository"/models/*.onnx; do
    emulated "$program" model info "$model" >"$work/info"
    "$reference" model info "$model" | cmp - "$work/info" || fail "model info $model"
done

# A Y4M of one frame: a header, `FRAME`, the luma, both chroma planes at half size.
differences() {
    header=$(head -n 1 "$1")
    width=$(printf %s "$header" | sed 's/.* W\([0-9]*\).*/\1/')
    height=$(printf %s "$header" | sed 's/.* H\([0-9]*\).*/\1/')
    start=$((${#header} + 7))
    chroma=$((2 * ((width + 1) / 2) * ((height + 1) / 2)))
    [ "$(wc -c <"$1")" -eq $((start + width * height + chroma)) ] && [ "$(wc -c <"$2")" -eq "$(wc -c <"$1")" ] || fail "$1 is not one 4:2:0 frame"
    # `cmp -l` prints the place, and both values in octal.
    { cmp -l "$1" "$2" || true; } | awk -v luma=$((start + width * height)) -v chroma="$chroma" '
        function code(octal) { return int(octal / 100) * 64 + int(octal / 10) % 10 * 8 + octal % 10 }
        $1 <= luma { different++; next }
        { d = code($2) - code($3); d = d < 0 ? -d : d; sum += d; most = d > most ? d : most }
        END { printf "%d %.4f %d\n", different, sum / chroma, most }'
}

for photo in "$repository"/firmware/assets/demo/*.jpg; do
    name=$(basename "$photo" .jpg)
    rm -f "$work"/photo/*
    cp "$photo" "$work/photo/"
    "$reference" run --input "$work/photo" --output "$work/here.y4m" --frames 1 2>"$work/said" || fail "$(cat "$work/said")"
    emulated "$program" run --input "$work/photo" --output "$work/there.y4m" --frames 1 2>"$work/said" || fail "$(cat "$work/said")"
    # shellcheck disable=SC2046
    set -- $(differences "$work/here.y4m" "$work/there.y4m")
    say "$name: $1 luma codes differ; chroma differs by $2 codes in the mean, $3 at most"
    [ "$1" -eq 0 ] || fail "the luma is not the same"
    awk -v mean="$2" -v allowed="$MEAN" 'BEGIN { exit !(mean <= allowed) }' || fail "the chroma differs by more than $MEAN in the mean"
    [ "$3" -le "$MOST" ] || fail "the chroma differs by more than $MOST somewhere"
    emulated "$program" colorize "$photo" "$work/there.png" || fail "colorize"
    [ -s "$work/there.png" ] || fail "colorize wrote nothing"
done

say "the model's tests"
for test in $(arm64 tests); do
    (cd "$repository/models" && emulated "$test" --quiet) || fail "$test"
done

say "a capture from vivid in an emulated machine"
packages=$(arm64 packages "$METAPACKAGE") || skip "no kernel"
kernel=$(dpkg-deb -f "$packages" Depends | sed 's/[ ,(].*//')
# shellcheck disable=SC2046
set -- $(arm64 packages "$kernel" busybox-static)
guest=$work/guest
mkdir -p "$guest/kernel" "$guest/root/bin" "$guest/root/lib" "$guest/root/proc" "$guest/root/sys" "$guest/root/dev" "$guest/root/tmp"
dpkg-deb -x "$1" "$guest/kernel"
dpkg-deb -x "$2" "$guest/busybox"
[ -d "$guest/kernel/lib" ] || ln -s usr/lib "$guest/kernel/lib"
version=$(basename "$guest"/kernel/lib/modules/*)
depmod -b "$guest/kernel" "$version"
modules=$(for module in $MODULES; do
    modprobe -d "$guest/kernel" -S "$version" --show-depends "$module" || fail "the kernel has no $module"
done | sed -n 's/^insmod \([^ ]*\).*/\1/p' | awk '!seen[$1]++')
# In the order in which they can be loaded, unpacked.
for module in $modules; do
    name=$(basename "$module")
    case $name in
        *.xz) xz -dc "$module" >"$guest/root/lib/${name%.xz}" ;;
        *.zst) zstd -dcq "$module" >"$guest/root/lib/${name%.zst}" ;;
        *) cp "$module" "$guest/root/lib/" ;;
    esac
    echo "${name%.ko*}.ko" >>"$guest/root/lib/order"
done
install -m 755 "$(find "$guest/busybox" -path '*/bin/busybox' -type f)" "$guest/root/bin/busybox"
install -m 755 "$program" "$guest/root/bin/autochrome"
for name in ld-linux-aarch64.so.1 libc.so.6 libm.so.6 libgcc_s.so.1; do
    cp -L "$(find "$library/lib" "$library/usr/lib" -name "$name" 2>/dev/null | head -n 1)" "$guest/root/lib/$name"
done
cat >"$guest/root/init" <<INIT
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
mount -t tmpfs none /tmp
while read -r module; do
    insmod "/lib/\$module"
done </lib/order
autochrome run --input v4l2:/dev/video0 --output /tmp/x.y4m --frames $FRAMES
echo "RC=\$?"
dd if=/tmp/x.y4m of=/dev/vda conv=sync 2>/dev/null
sync
poweroff -f
INIT
chmod 755 "$guest/root/init"
(cd "$guest/root" && find . | cpio -o -H newc --quiet -R 0:0) | gzip -1 >"$guest/initramfs"
truncate -s 64M "$guest/disk"
timeout "$SECONDS_ALLOWED" qemu-system-aarch64 -M virt,gic-version=3 -cpu cortex-a72 -smp 2 -m 1024 -nic none -display none -monitor none -serial stdio \
    -kernel "$(echo "$guest"/kernel/boot/vmlinuz-*)" -initrd "$guest/initramfs" -append 'console=ttyAMA0 rdinit=/init quiet panic=-1' -no-reboot \
    -drive "file=$guest/disk,format=raw,if=virtio" </dev/null >"$guest/console" 2>&1 || fail "the guest did not end by itself: $(tail -n 5 "$guest/console")"
tr -d '\r' <"$guest/console" | grep -qx 'RC=0' || fail "the capture: $(tail -n 5 "$guest/console")"

# Its frames, in this machine's program: a film that breaks off or has another size is refused.
header=$(head -c 200 "$guest/disk" | head -n 1)
case $header in
    YUV4MPEG2*) ;;
    *) fail "no film came out of the guest" ;;
esac
width=$(printf %s "$header" | sed 's/.* W\([0-9]*\).*/\1/')
height=$(printf %s "$header" | sed 's/.* H\([0-9]*\).*/\1/')
frame=$((6 + width * height + 2 * ((width + 1) / 2) * ((height + 1) / 2)))
head -c $((${#header} + 1 + FRAMES * frame)) "$guest/disk" >"$work/captured.y4m"
"$reference" colorize "$work/captured.y4m" "$work/again.y4m" || fail "the film from the guest cannot be read"
for number in $(seq 0 $((FRAMES - 1))); do
    at=$((${#header} + 1 + number * frame))
    [ "$(tail -c "+$((at + 1))" "$work/captured.y4m" | head -c 5)" = FRAME ] || fail "frame $number is not where it should be"
    # The test pattern has bars of many shades, and they get colors.
    shades=$(tail -c "+$((at + 7))" "$work/captured.y4m" | head -c $((width * height)) | od -An -v -t u1 -w1 | sort -u | wc -l)
    tints=$(tail -c "+$((at + 7 + width * height))" "$work/captured.y4m" | head -c $((frame - 6 - width * height)) | od -An -v -t u1 -w1 | sort -u | wc -l)
    [ "$shades" -ge 8 ] && [ "$tints" -ge 4 ] || fail "frame $number has $shades shades and $tints tints"
done
say "$FRAMES frames of ${width}x$height from vivid, kernel $version; last line of the program: $(grep autochrome "$guest/console" | tail -n 1 | tr -d '\r')"
say "all passed"
