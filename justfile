# What a person does with this repository. `sh bootstrap.sh demo` and `sh bootstrap.sh test` install what is missing and come here.
#
# Everything but `dist` is built in the release profile: Burn and Tract are too slow without it, and so they are compiled in one profile, for the
# programs, the tests and training alike (docs/decisions/0009-one-release-profile.md).

set positional-arguments

manifest := justfile_directory() / "Cargo.toml"
python := justfile_directory() / "target/python/bin/python"

# What there is to do
[private]
default:
    @"{{just_executable()}}" --justfile "{{justfile()}}" --list

# The demo: four black-and-white photographs as a live feed, in color on a page. ARGS: --frames N, --out DIR, --listen ADDR
[no-cd]
demo *ARGS:
    cargo run --release --manifest-path "{{manifest}}" -p autochrome -- demo "$@"

# The device: ARGS are --input URI --output URI and so on; see README.md
[no-cd]
run *ARGS:
    cargo run --release --manifest-path "{{manifest}}" -p autochrome -- run "$@"

# Our runtime beside other engines and the machine's peak (docs/benchmarks.md). ARGS: --quick, --rounds N, --only NAME, --append FILE, --plot FILE
bench *ARGS: _peers
    cargo build --release --locked --workspace --bin autochrome
    AUTOCHROME_PEERS="{{justfile_directory()}}/target/peers" cargo bench --locked --workspace --bench peers -- "$@"

# One training step of a recurrent-unet beside PyTorch's, in turns (docs/training-at-scale.md). ARGS: CONFIG --data PACK, --device cuda, --rounds N
[no-cd]
bench-training *ARGS: _torch
    "{{justfile_directory()}}/target/torch/python/bin/python" "{{justfile_directory()}}/tests/bench/training_step.py" "$@"

# How fast the model and the whole pipeline are on this device. ARGS: --model FILE, --frames N, --json
[no-cd]
bench-device *ARGS:
    cargo run --release --manifest-path "{{manifest}}" -p autochrome -- bench "$@"

# The workshop: ARGS are a verb, such as pack, train, eval or export, and what it wants (docs/workshop.md)
[no-cd]
trainer *ARGS:
    cargo run --release --manifest-path "{{manifest}}" -p autochrome-trainer -- "$@"

# All tests, or those whose name holds ARGS, as in `just test stays_grey`
test *ARGS: _python
    AUTOCHROME_PYTHON="{{python}}" cargo test --release --locked --workspace "$@"

# For the whole workspace, as `just test` builds: with a package alone, Tract would be compiled once more with other features. Everything that needs
# a package that is not installed is left out with one line; `sh bootstrap.sh test-vm` installs them.
#
# Cameras, screen and serial ports in a QEMU guest (tests/vm/README.md). ARGS: parts of the cases' names, or --list
test-vm *ARGS:
    [ -n "${AUTOCHROME_PROGRAM-}" ] || cargo build --release --locked --workspace --bin autochrome
    cargo test --release --locked --workspace --test vm -- "$@"

# Clippy and the documentation in the release profile too: they share build scripts and procedural macros with the tests.
#
# What has to pass before a change goes in: format, lints, documentation, tests
check: && test
    cargo fmt --check
    cargo clippy --release --locked --workspace --all-targets -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --release --locked --workspace --no-deps

# Formats the code
fmt:
    cargo fmt

# The program as it goes onto a device: smaller, slower to build
dist:
    cargo build --profile dist --locked -p autochrome
    @cd "${CARGO_TARGET_DIR:-target}/dist" && printf 'dist/autochrome: %s bytes, stripped\n' "$(stat -c %s autochrome)"

# The program for 64-bit ARM boards, built on an x86-64 machine (docs/arm64.md). ARGS: --arch armhf, --profile NAME, --cache DIR
arm64 *ARGS:
    sh firmware/packaging/arm64.sh "$@"

# The arm64 program under emulation: pictures, the model's tests, a capture from a camera. ARGS: --reference FILE, --profile NAME, --cache DIR
test-arm64 *ARGS:
    sh firmware/packaging/test-arm64.sh "$@"

# The Debian package, in target/debian. ARGS: --arch arm64, --profile NAME, --cache DIR
deb *ARGS:
    sh firmware/packaging/deb.sh "$@"

# The unit under a real systemd, in a container; each thread hangs once. Wants root, debootstrap and systemd-container.
test-kiosk:
    cargo build --release --locked --workspace --bin autochrome
    sh firmware/packaging/test-kiosk.sh "${CARGO_TARGET_DIR:-target}/release/autochrome"

# The Debian package, installed, run and purged in a small Debian. ARGS: as of firmware/packaging/test-deb.sh
test-deb *ARGS:
    sh firmware/packaging/test-deb.sh "$@"

# What takes minutes: a million frames, a gigabyte of garbage on the serial line, ten million damaged lines, a hundred thousand damaged models
test-long:
    cargo test --release --locked --workspace --test soak --test panel --test hostile -- --ignored --nocapture

# The workshop for NVIDIA GPUs; building needs no GPU, running needs the CUDA 13 libraries
trainer-cuda:
    CUDARC_CUDA_VERSION=13000 cargo build --release --locked -p autochrome-trainer --features cuda

# The Python that the cross-check of exported models uses; made anew when tests/requirements.txt changes.
_python:
    @cmp -s tests/requirements.txt target/python/requirements.txt && [ -x target/python/bin/python ] || ( \
        set -e; echo "target/python: installing the packages of tests/requirements.txt"; \
        rm -rf target/python; python3 -m venv target/python; \
        target/python/bin/python -m pip install --quiet --disable-pip-version-check --only-binary :all: -r tests/requirements.txt; \
        cp tests/requirements.txt target/python/requirements.txt )

# PyTorch for `just bench-training`: some gigabytes, as its builds for NVIDIA GPUs are.
_torch:
    @cmp -s tests/bench/training-requirements.txt target/torch/requirements.txt && [ -x target/torch/python/bin/python ] || { \
        set -e; rm -rf target/torch; python3 -m venv target/torch/python; \
        target/torch/python/bin/python -m pip install --quiet --disable-pip-version-check --only-binary :all: -r tests/bench/training-requirements.txt; \
        cp tests/bench/training-requirements.txt target/torch/requirements.txt; }

# The engines that `just bench` compares with. What cannot be installed, offline for instance, is skipped there.
_peers:
    @cmp -s tests/bench/requirements.txt target/peers/requirements.txt && [ -x target/peers/python/bin/python ] || { \
        echo "target/peers: installing the packages of tests/bench/requirements.txt" && \
        rm -rf target/peers/python && python3 -m venv target/peers/python && \
        target/peers/python/bin/python -m pip install --quiet --disable-pip-version-check --only-binary :all: -r tests/bench/requirements.txt && \
        cp tests/bench/requirements.txt target/peers/requirements.txt; } || echo "skipped: the Python engines could not be installed"
    @cargo build --release --locked --quiet --manifest-path tests/bench/rten/Cargo.toml --target-dir target/peers/rten \
        || echo "skipped: rten could not be built"
