//! The kernels of x86-64.

use std::arch::x86_64::*;

use super::{BLOCK, InstructionSet, Kernel, QUAD, Row, Sums, Writing, go};

/// Runs the kernel of `set`.
///
/// # Panics
/// If there is none here, or this processor does not have it: [`Weights::pack`](super::Weights::pack) has made sure.
#[expect(unsafe_code, reason = "instructions that not every processor has")]
pub(super) fn convolve(set: InstructionSet, row: &Row, writing: &mut Writing) {
    // SAFETY: weights are packed only for an instruction set that this processor has.
    match set {
        InstructionSet::Avx512Vnni => unsafe { avx512_vnni(row, writing) },
        InstructionSet::AvxVnni => unsafe { avx_vnni(row, writing) },
        InstructionSet::Avx2 => unsafe { avx2(row, writing) },
        InstructionSet::Portable => unreachable!("not a kernel of this module"),
    }
}

#[target_feature(enable = "avx2,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
#[expect(unsafe_code, reason = "it calls a kernel")]
fn avx512_vnni(row: &Row, writing: &mut Writing) {
    // SAFETY: the features of this function are the kernel's.
    unsafe { go::<Avx512Vnni>(row, writing) }
}

#[target_feature(enable = "avx2,avxvnni")]
#[expect(unsafe_code, reason = "it calls a kernel")]
fn avx_vnni(row: &Row, writing: &mut Writing) {
    // SAFETY: the features of this function are the kernel's.
    unsafe { go::<AvxVnni>(row, writing) }
}

#[target_feature(enable = "avx2")]
#[expect(unsafe_code, reason = "it calls a kernel")]
fn avx2(row: &Row, writing: &mut Writing) {
    // SAFETY: the features of this function are the kernel's.
    unsafe { go::<Avx2>(row, writing) }
}

/// Four bytes of input, for all lanes.
///
/// # Safety
/// `at` points to four readable bytes.
#[inline(always)]
#[expect(unsafe_code, reason = "it reads through a pointer")]
unsafe fn quad_at(at: *const u8) -> i32 {
    // SAFETY: the caller's promise; no alignment is needed.
    unsafe { at.cast::<i32>().read_unaligned() }
}

/// `vpdpbusd` of 64 bytes: unsigned inputs times signed weights, four products to each of 16 sums.
struct Avx512Vnni;

impl Kernel for Avx512Vnni {
    const TWO_BLOCKS: bool = true;

    #[inline(always)]
    #[expect(unsafe_code, reason = "intrinsics and pointers")]
    unsafe fn sum<const P: usize, const V: usize>(row: &Row, first: usize, block: usize) -> Sums<P, V> {
        let block_bytes = row.weights.quads * Self::QUAD_BYTES;
        let mut sums: Sums<P, V> = [[[0; BLOCK]; V]; P];
        // SAFETY: the readings of the pixels and the weights of the blocks were checked by `super::convolve`.
        unsafe {
            let mut weights: [*const u8; V] = std::array::from_fn(|v| row.weights.packed.as_ptr().add((block + v) * block_bytes));
            let start: [__m512i; V] =
                std::array::from_fn(|v| _mm512_loadu_si512(row.weights.start.as_ptr().add((block + v) * BLOCK).cast()));
            let mut accumulators = [start; P];
            for reading in row.readings {
                let inputs = reading.bytes.as_ptr().add(reading.offset + first * reading.step);
                for quad in 0..reading.quads {
                    let inputs = inputs.add(quad * QUAD);
                    let w: [__m512i; V] = std::array::from_fn(|v| _mm512_loadu_si512(weights[v].cast()));
                    for (pixel, accumulators) in accumulators.iter_mut().enumerate() {
                        let x = _mm512_set1_epi32(quad_at(inputs.add(pixel * reading.step)));
                        for v in 0..V {
                            accumulators[v] = _mm512_dpbusd_epi32(accumulators[v], x, w[v]);
                        }
                    }
                    weights = weights.map(|w| w.add(Self::QUAD_BYTES));
                }
            }
            for (sums, accumulators) in sums.iter_mut().zip(accumulators) {
                for (sums, accumulator) in sums.iter_mut().zip(accumulators) {
                    _mm512_storeu_si512(sums.as_mut_ptr().cast(), accumulator);
                }
            }
        }
        sums
    }
}

/// `vpdpbusd` of 32 bytes, for processors that have it without AVX-512.
struct AvxVnni;

impl Kernel for AvxVnni {
    const TWO_BLOCKS: bool = false;

    #[inline(always)]
    #[expect(unsafe_code, reason = "intrinsics and pointers")]
    unsafe fn sum<const P: usize, const V: usize>(row: &Row, first: usize, block: usize) -> Sums<P, V> {
        // SAFETY: the caller's promises are passed on; this processor has the instruction.
        unsafe { sum_by_halves(row, first, block, |sums, x, w| _mm256_dpbusd_avx_epi32(sums, x, w)) }
    }
}

/// The sums of tiles of up to six pixels, eight lanes at a time: 16 registers hold no more.
///
/// # Safety
/// As [`Kernel::sum`].
#[inline(always)]
#[expect(unsafe_code, reason = "intrinsics and pointers")]
unsafe fn sum_by_halves<const P: usize, const V: usize>(
    row: &Row,
    first: usize,
    block: usize,
    accumulate: impl Fn(__m256i, __m256i, __m256i) -> __m256i + Copy,
) -> Sums<P, V> {
    const WIDE: usize = 4;
    let mut sums: Sums<P, V> = [[[0; BLOCK]; V]; P];
    for v in 0..V {
        let mut pixel = 0;
        while pixel < P {
            // SAFETY: the caller's promises; the pixels are the tile's.
            unsafe {
                pixel += if pixel + WIDE <= P {
                    halves::<WIDE>(row, first + pixel, block + v, accumulate, |p, s| sums[pixel + p][v] = s);
                    WIDE
                } else {
                    halves::<1>(row, first + pixel, block + v, accumulate, |p, s| sums[pixel + p][v] = s);
                    1
                };
            }
        }
    }
    sums
}

#[inline(always)]
#[expect(unsafe_code, reason = "intrinsics and pointers")]
unsafe fn halves<const P: usize>(
    row: &Row,
    first: usize,
    block: usize,
    accumulate: impl Fn(__m256i, __m256i, __m256i) -> __m256i,
    mut done: impl FnMut(usize, [i32; BLOCK]),
) {
    // SAFETY: the readings of the pixels and the weights of the block were checked by `super::convolve`.
    unsafe {
        let mut weights = row.weights.packed.as_ptr().add(block * row.weights.quads * BLOCK * QUAD);
        let start = row.weights.start.as_ptr().add(block * BLOCK);
        let mut accumulators = [[_mm256_loadu_si256(start.cast()), _mm256_loadu_si256(start.add(8).cast())]; P];
        for reading in row.readings {
            let inputs = reading.bytes.as_ptr().add(reading.offset + first * reading.step);
            for quad in 0..reading.quads {
                let inputs = inputs.add(quad * QUAD);
                let w = [_mm256_loadu_si256(weights.cast()), _mm256_loadu_si256(weights.add(32).cast())];
                for (pixel, accumulators) in accumulators.iter_mut().enumerate() {
                    let x = _mm256_set1_epi32(quad_at(inputs.add(pixel * reading.step)));
                    for half in 0..2 {
                        accumulators[half] = accumulate(accumulators[half], x, w[half]);
                    }
                }
                weights = weights.add(BLOCK * QUAD);
            }
        }
        for (pixel, accumulators) in accumulators.iter().enumerate() {
            let mut sums = [0; BLOCK];
            _mm256_storeu_si256(sums.as_mut_ptr().cast(), accumulators[0]);
            _mm256_storeu_si256(sums.as_mut_ptr().add(8).cast(), accumulators[1]);
            done(pixel, sums);
        }
    }
}

/// `vpmaddwd` of 16 values of 16 bits. `vpmaddubsw` would take the bytes as they are, but its sums of two products do not fit its 16 bits.
pub(super) struct Avx2;

impl Avx2 {
    /// First and third, then second and fourth weights of each output, as 16 bits.
    pub(super) fn pack_quad(weights: &[[i8; QUAD]; BLOCK], packed: &mut Vec<u8>) {
        for pair in [[0, 2], [1, 3]] {
            packed.extend(weights.iter().flat_map(|w| pair.map(|i| i16::from(w[i]).to_le_bytes())).flatten());
        }
    }
}

impl Kernel for Avx2 {
    const QUAD_BYTES: usize = 2 * BLOCK * QUAD;
    const TWO_BLOCKS: bool = true;

    #[inline(always)]
    #[expect(unsafe_code, reason = "intrinsics and pointers")]
    unsafe fn sum<const P: usize, const V: usize>(row: &Row, first: usize, block: usize) -> Sums<P, V> {
        let mut sums: Sums<P, V> = [[[0; BLOCK]; V]; P];
        let mut pixel = 0;
        while pixel < P {
            // SAFETY: the caller's promises; the pixels are the tile's.
            unsafe {
                let group = |wide: usize| V * wide <= 5 && pixel + wide <= P;
                let mut put = |p: usize, s: [[i32; BLOCK]; V]| sums[pixel + p] = s;
                pixel += if group(4) {
                    Self::pairs::<4, V>(row, first + pixel, block, &mut put);
                    4
                } else if group(2) {
                    Self::pairs::<2, V>(row, first + pixel, block, &mut put);
                    2
                } else {
                    Self::pairs::<1, V>(row, first + pixel, block, &mut put);
                    1
                };
            }
        }
        sums
    }
}

impl Avx2 {
    #[inline(always)]
    #[expect(unsafe_code, reason = "intrinsics and pointers")]
    unsafe fn pairs<const P: usize, const V: usize>(
        row: &Row,
        first: usize,
        block: usize,
        done: &mut impl FnMut(usize, [[i32; BLOCK]; V]),
    ) {
        let block_bytes = row.weights.quads * Self::QUAD_BYTES;
        // SAFETY: the readings of the pixels and the weights of the blocks were checked by `super::convolve`.
        unsafe {
            let mut weights: [*const u8; V] = std::array::from_fn(|v| row.weights.packed.as_ptr().add((block + v) * block_bytes));
            let start: [[__m256i; 2]; V] = std::array::from_fn(|v| {
                let start = row.weights.start.as_ptr().add((block + v) * BLOCK);
                [_mm256_loadu_si256(start.cast()), _mm256_loadu_si256(start.add(8).cast())]
            });
            let even_bytes = _mm256_set1_epi16(0xff);
            let mut accumulators = [start; P];
            for reading in row.readings {
                let inputs = reading.bytes.as_ptr().add(reading.offset + first * reading.step);
                for quad in 0..reading.quads {
                    let inputs = inputs.add(quad * QUAD);
                    for (pixel, accumulators) in accumulators.iter_mut().enumerate() {
                        let x = _mm256_set1_epi32(quad_at(inputs.add(pixel * reading.step)));
                        let (even, odd) = (_mm256_and_si256(x, even_bytes), _mm256_srli_epi16::<8>(x));
                        for v in 0..V {
                            for half in 0..2 {
                                let w = |pair: usize| _mm256_loadu_si256(weights[v].add(64 * pair + 32 * half).cast());
                                let sum = _mm256_add_epi32(accumulators[v][half], _mm256_madd_epi16(even, w(0)));
                                accumulators[v][half] = _mm256_add_epi32(sum, _mm256_madd_epi16(odd, w(1)));
                            }
                        }
                    }
                    weights = weights.map(|w| w.add(Self::QUAD_BYTES));
                }
            }
            for (pixel, accumulators) in accumulators.iter().enumerate() {
                let mut sums = [[0_i32; BLOCK]; V];
                for (sums, halves) in sums.iter_mut().zip(accumulators) {
                    _mm256_storeu_si256(sums.as_mut_ptr().cast(), halves[0]);
                    _mm256_storeu_si256(sums.as_mut_ptr().add(8).cast(), halves[1]);
                }
                done(pixel, sums);
            }
        }
    }
}
