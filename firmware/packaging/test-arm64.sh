#!/bin/sh
# Checks the arm64 program on an x86-64 machine: its pictures and the model's tests under qemu-user, and a capture from the kernel's own `vivid`
# camera in an emulated arm64 machine. What passes is correct; how fast it is cannot be told from emulation.
#
# Exit code 77: cannot be done here, for the reason in the line before.
set -eu

# The oldest system that the program is for: Debian's kernel comes from the same release as the C library.
METAPACKAGE=linux-image-arm64
MODULES='virtio_pci virtio_blk vivid'
# How far the picture may be from this machine's. The luma is the input's own in both, so it is the same. Chroma, in codes of Cb and Cr: with the int8
# models no code was found to differ, because their sums are sums of integers; with the float model one in 70,000 or fewer by one code, because the two
# processors' kernels add up in another order. A sum that falls on the edge between two codes may tip over in either.
MEAN=0.01
MOST=1
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
# The kernels are each processor's own, and so is how they want their weights; which operators they are for is not.
without_kernels() {
    sed 's/^\(fused .*\), [^,]* kernels, [0-9.]* MB of packed weights$/\1/'
}
for model in "$repository"/models/*.onnx; do
    emulated "$program" model info "$model" | without_kernels >"$work/info"
    "$reference" model info "$model" | without_kernels | cmp - "$work/info" || fail "model info $model"
done

# Of a Y4M film of 4:2:0 frames: a header, and for each frame `FRAME`, the luma, both chroma planes at half size.
measure() {
    header=$(head -c 200 "$1" | head -n 1)
    case $header in
        YUV4MPEG2*C420*) ;;
        *) fail "$1 is no 4:2:0 film" ;;
    esac
    width=$(printf %s "$header" | sed 's/.* W\([0-9]*\).*/\1/')
    height=$(printf %s "$header" | sed 's/.* H\([0-9]*\).*/\1/')
    start=$((${#header} + 1))
    luma=$((width * height))
    chroma=$((2 * ((width + 1) / 2) * ((height + 1) / 2)))
    frame=$((6 + luma + chroma))
}

# Colors a film here and there, and compares.
compare() {
    what=$1
    shift
    "$reference" "$@" "$work/here.y4m" 2>"$work/said" || fail "$what here: $(tail -n 1 "$work/said")"
    emulated "$program" "$@" "$work/there.y4m" 2>"$work/said" || fail "$what: $(tail -n 1 "$work/said")"
    measure "$work/here.y4m"
    size=$(wc -c <"$work/here.y4m")
    [ "$(wc -c <"$work/there.y4m")" -eq "$size" ] || fail "$what: another length than here"
    # `cmp -l` prints the place, and both values in octal.
    # shellcheck disable=SC2046
    set -- $({ cmp -l "$work/here.y4m" "$work/there.y4m" || true; } | awk -v start="$start" -v luma="$luma" -v frame="$frame" -v chroma="$chroma" -v size="$size" '
        function code(octal) { return int(octal / 100) * 64 + int(octal / 10) % 10 * 8 + octal % 10 }
        { at = ($1 - 1 - start) % frame }
        $1 <= start || at < 6 + luma { other++; next }
        { d = code($2) - code($3); d = d < 0 ? -d : d; sum += d; if (d > most) most = d }
        END { printf "%d %.6f %d\n", other, sum / (chroma * (size - start) / frame), most }')
    say "$what: $(((size - start) / frame)) frames; $1 luma codes differ; chroma differs by $2 codes in the mean, $3 at most"
    [ "$1" -eq 0 ] || fail "$what: the luma is not the same"
    awk -v mean="$2" -v allowed="$MEAN" 'BEGIN { exit !(mean <= allowed) }' || fail "$what: the chroma differs by more than $MEAN in the mean"
    [ "$3" -le "$MOST" ] || fail "$what: the chroma differs by more than $MOST somewhere"
}

for photo in "$repository"/firmware/assets/demo/*.jpg; do
    rm -f "$work"/photo/*
    cp "$photo" "$work/photo/"
    compare "$(basename "$photo")" run --frames 1 --input "$work/photo" --output
done
# A film, so that the network's memory is in it.
rm -f "$work"/photo/*
for frame in 1 2 3 4 5; do
    cp "$repository/firmware/assets/demo/bw_nagasaki-boats.jpg" "$work/photo/$frame.jpg"
done
"$reference" run --input "$work/photo" --saturation 0 --output "$work/grey.y4m" 2>"$work/said" || fail "$(tail -n 1 "$work/said")"
for model in "$repository"/models/*.onnx; do
    compare "$(basename "$model")" colorize --model "$model" "$work/grey.y4m"
done
emulated "$program" colorize "$photo" "$work/there.png" || fail "colorize a photo"
"$reference" colorize "$photo" "$work/here.png" || fail "colorize a photo here"
[ -s "$work/there.png" ] || fail "colorize wrote no picture"
if cmp -s "$work/here.png" "$work/there.png"; then
    say "colorize $(basename "$photo"): the same file"
else
    say "colorize $(basename "$photo"): another file than here, as the chroma above allows"
fi

say "the model's tests"
tests=$(arm64 tests)
[ -n "$tests" ] || fail "there are none"
for test in $tests; do
    (cd "$repository/models" && emulated "$test" --quiet) || fail "$test"
done

# Each processor has the kernels of those before it, and one more. What a test says about the others goes to its error output; of several threads,
# the lines would mix.
say "the int8 kernels, each on the first processor that has it"
for lacking in 'cortex-a72 NEON dotprod,NEON i8mm' 'cortex-a76 NEON i8mm' 'max '; do
    processor=${lacking%% *}
    : >"$work/results"
    : >"$work/said"
    for test in $tests; do
        (cd "$repository/models" && qemu-aarch64-static -cpu "$processor" -L "$library" "$test" --nocapture --test-threads 1 int8::kernels) \
            >>"$work/results" 2>>"$work/said" || fail "on $processor: $(tail -n 5 "$work/results" "$work/said")"
    done
    grep -q 'test result: ok. [1-9]' "$work/results" || fail "the kernels have no tests"
    untested=$(sed -n 's/: this processor does not have it.*//p' "$work/said" | sort -u | paste -s -d ,)
    [ "$untested" = "${lacking#* }" ] || fail "not tested on $processor: ${untested:-nothing}; it should be: ${lacking#* }"
done

say "a capture from vivid in an emulated machine"
packages=$(arm64 packages "$METAPACKAGE") || skip "no kernel"
kernel=$(dpkg-deb -f "$packages" Depends | sed 's/[ ,(].*//')
packages=$(arm64 packages "$kernel" busybox-static) || skip "no kernel"
# shellcheck disable=SC2086
set -- $packages
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
measure "$guest/disk"
head -c $((start + FRAMES * frame)) "$guest/disk" >"$work/captured.y4m"
"$reference" colorize "$work/captured.y4m" "$work/again.y4m" || fail "the film from the guest cannot be read"
for number in $(seq 0 $((FRAMES - 1))); do
    at=$((start + number * frame))
    [ "$(tail -c "+$((at + 1))" "$work/captured.y4m" | head -c 5)" = FRAME ] || fail "frame $number is not where it should be"
    # The test pattern has bars of many shades, and they get colors.
    shades=$(tail -c "+$((at + 7))" "$work/captured.y4m" | head -c "$luma" | od -An -v -t u1 -w1 | sort -u | wc -l)
    tints=$(tail -c "+$((at + 7 + luma))" "$work/captured.y4m" | head -c "$chroma" | od -An -v -t u1 -w1 | sort -u | wc -l)
    { [ "$shades" -ge 8 ] && [ "$tints" -ge 4 ]; } || fail "frame $number has $shades shades and $tints tints"
done
say "$FRAMES frames of ${width}x$height from vivid, kernel $version; last line of the program: $(grep autochrome "$guest/console" | tail -n 1 | tr -d '\r')"
say "all passed"
