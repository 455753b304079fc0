//! The kernels of x86-64.

use std::arch::x86_64::*;

use super::{Added, BLOCK, DepthwiseRow, InstructionSet, Kernel, Levels, QUAD, QUAD_BYTES, QuadWeights, Row, Writing, go, go_depthwise};

/// Runs the kernel of `set`.
///
/// # Panics
/// If there is none here. That this processor has it is not asked again: [`Weights::pack`](super::Weights::pack) makes weights for no other.
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

/// Runs the depthwise kernel of `set`.
///
/// # Panics
/// As [`convolve`].
#[expect(unsafe_code, reason = "instructions that not every processor has")]
pub(super) fn convolve_depthwise(set: InstructionSet, row: &DepthwiseRow, writing: &mut Writing) {
    // SAFETY: weights are packed only for an instruction set that this processor has.
    match set {
        InstructionSet::Avx512Vnni => unsafe { avx512_vnni_depthwise(row, writing) },
        InstructionSet::AvxVnni => unsafe { avx_vnni_depthwise(row, writing) },
        InstructionSet::Avx2 => unsafe { avx2_depthwise(row, writing) },
        InstructionSet::Portable => unreachable!("not a kernel of this module"),
    }
}

#[target_feature(enable = "avx2,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
#[expect(unsafe_code, reason = "it calls a kernel")]
fn avx512_vnni_depthwise(row: &DepthwiseRow, writing: &mut Writing) {
    // SAFETY: the features of this function are the kernel's.
    unsafe { go_depthwise::<Avx512Vnni>(row, writing) }
}

#[target_feature(enable = "avx2,avxvnni")]
#[expect(unsafe_code, reason = "it calls a kernel")]
fn avx_vnni_depthwise(row: &DepthwiseRow, writing: &mut Writing) {
    // SAFETY: the features of this function are the kernel's.
    unsafe { go_depthwise::<AvxVnni>(row, writing) }
}

#[target_feature(enable = "avx2")]
#[expect(unsafe_code, reason = "it calls a kernel")]
fn avx2_depthwise(row: &DepthwiseRow, writing: &mut Writing) {
    // SAFETY: the features of this function are the kernel's.
    unsafe { go_depthwise::<Avx2>(row, writing) }
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
    type Sums = __m512i;

    const TWO_BLOCKS: bool = true;
    const WIDEST_DEPTHWISE: usize = 8;
    const WIDEST_DEPTHWISE_PAIR: usize = 6;

    #[inline(always)]
    #[expect(unsafe_code, reason = "intrinsics and pointers")]
    unsafe fn sum<const P: usize, const V: usize>(row: &Row, first: usize, block: usize) -> [[Self::Sums; V]; P] {
        let block_bytes = row.weights.quads * QUAD_BYTES;
        // SAFETY: the readings of the pixels and the weights of the blocks were checked by `super::convolve`.
        unsafe {
            let mut weights: [*const i8; V] = std::array::from_fn(
                #[inline(always)]
                |v| row.weights.packed.as_ptr().add((block + v) * block_bytes),
            );
            let start: [__m512i; V] = std::array::from_fn(
                #[inline(always)]
                |v| _mm512_loadu_si512(row.weights.start.as_ptr().add((block + v) * BLOCK).cast()),
            );
            let mut accumulators = [start; P];
            for reading in row.readings {
                let inputs = reading.bytes.as_ptr().add(reading.offset + first * reading.step);
                for quad in 0..reading.quads {
                    let inputs = inputs.add(quad * QUAD);
                    let w: [__m512i; V] = std::array::from_fn(
                        #[inline(always)]
                        |v| _mm512_loadu_si512(weights[v].cast()),
                    );
                    for (pixel, accumulators) in accumulators.iter_mut().enumerate() {
                        let x = _mm512_set1_epi32(quad_at(inputs.add(pixel * reading.step)));
                        for (sums, &w) in accumulators.iter_mut().zip(&w) {
                            *sums = _mm512_dpbusd_epi32(*sums, x, w);
                        }
                    }
                    weights = weights.map(|w| w.add(QUAD_BYTES));
                }
            }
            accumulators
        }
    }

    #[inline(always)]
    #[expect(unsafe_code, reason = "intrinsics and pointers")]
    unsafe fn sum_depthwise<const P: usize>(row: &DepthwiseRow, first: usize, block: usize) -> [[Self::Sums; 1]; P] {
        // SAFETY: the caller's promises are passed on; this processor has the instruction.
        unsafe {
            let halves = depthwise_by_halves::<P>(
                row,
                first,
                block,
                #[inline(always)]
                |sums, x, w| _mm256_dpwssd_epi32(sums, x, w),
            );
            let mut sums = [[_mm512_setzero_si512()]; P];
            for ([sums], [[low, high]]) in sums.iter_mut().zip(halves) {
                *sums = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high);
            }
            sums
        }
    }

    #[inline(always)]
    #[expect(unsafe_code, reason = "intrinsics and pointers")]
    unsafe fn sum_depthwise_pair<const P: usize>(row: &DepthwiseRow, first: usize, block: usize) -> [[Self::Sums; 2]; P] {
        // SAFETY: the caller's promises are passed on; this processor has the instruction.
        unsafe {
            let pairs = depthwise_pair_by_halves::<P>(
                row,
                first,
                block,
                #[inline(always)]
                |sums, x, w| _mm256_dpbusd_epi32(sums, x, w),
            );
            let mut sums = [[_mm512_setzero_si512(); 2]; P];
            for (sums, halves) in sums.iter_mut().zip(pairs) {
                for (sums, [low, high]) in sums.iter_mut().zip(halves) {
                    *sums = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high);
                }
            }
            sums
        }
    }

    #[inline(always)]
    #[expect(unsafe_code, reason = "intrinsics and pointers")]
    unsafe fn quantize(sums: Self::Sums, multipliers: &[f32; BLOCK], added: Option<Added>, levels: Levels) -> [u8; BLOCK] {
        let mut bytes = [0; BLOCK];
        // SAFETY: the caller's promise; the pointers are those of arrays of 16 elements.
        unsafe {
            let sums = _mm512_cvtepi32_ps(sums);
            let mut values = _mm512_mul_ps(sums, _mm512_loadu_ps(multipliers.as_ptr()));
            if let Some((bytes, zero_point, factor)) = added {
                let bytes = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(bytes.as_ptr().cast())));
                let bytes = _mm512_mul_ps(_mm512_sub_ps(bytes, _mm512_set1_ps(zero_point)), _mm512_set1_ps(factor));
                values = _mm512_add_ps(values, bytes);
            }
            // The limits are integers: it makes no difference that they come before the rounding. The second operand is what a NaN becomes.
            let lowest = _mm512_set1_ps(levels.low - levels.zero_point);
            let values = _mm512_min_ps(_mm512_max_ps(values, lowest), _mm512_set1_ps(levels.high - levels.zero_point));
            let words = _mm512_cvt_roundps_epi32::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(values);
            let words = _mm512_add_epi32(words, _mm512_set1_epi32(levels.zero_point as i32));
            _mm_storeu_si128(bytes.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(words));
        }
        bytes
    }

    #[inline(always)]
    #[expect(unsafe_code, reason = "intrinsics and pointers")]
    unsafe fn scale(sums: Self::Sums, multipliers: &[f32; BLOCK]) -> [f32; BLOCK] {
        let mut values = [0.0; BLOCK];
        // SAFETY: the caller's promise; the pointers are those of arrays of 16 elements.
        unsafe {
            let sums = _mm512_cvtepi32_ps(sums);
            _mm512_storeu_ps(values.as_mut_ptr(), _mm512_mul_ps(sums, _mm512_loadu_ps(multipliers.as_ptr())));
        }
        values
    }

    #[inline(always)]
    fn transpose(rows: [[f32; 4]; 4]) -> [[f32; 4]; 4] {
        transpose(rows)
    }
}

/// `vpdpbusd` of 32 bytes, for processors that have it without AVX-512.
struct AvxVnni;

impl Kernel for AvxVnni {
    type Sums = Halves;

    const TWO_BLOCKS: bool = false;
    const WIDEST_DEPTHWISE: usize = 4;
    const WIDEST_DEPTHWISE_PAIR: usize = 2;

    #[inline(always)]
    #[expect(unsafe_code, reason = "intrinsics and pointers")]
    unsafe fn sum<const P: usize, const V: usize>(row: &Row, first: usize, block: usize) -> [[Self::Sums; V]; P] {
        // SAFETY: the caller's promises are passed on; this processor has the instruction.
        unsafe {
            sum_by_halves(
                row,
                first,
                block,
                #[inline(always)]
                |sums, x, w| _mm256_dpbusd_avx_epi32(sums, x, w),
            )
        }
    }

    #[inline(always)]
    #[expect(unsafe_code, reason = "intrinsics and pointers")]
    unsafe fn sum_depthwise<const P: usize>(row: &DepthwiseRow, first: usize, block: usize) -> [[Self::Sums; 1]; P] {
        // SAFETY: the caller's promises are passed on; this processor has the instruction.
        unsafe {
            depthwise_by_halves(
                row,
                first,
                block,
                #[inline(always)]
                |sums, x, w| _mm256_dpwssd_avx_epi32(sums, x, w),
            )
        }
    }

    #[inline(always)]
    #[expect(unsafe_code, reason = "intrinsics and pointers")]
    unsafe fn sum_depthwise_pair<const P: usize>(row: &DepthwiseRow, first: usize, block: usize) -> [[Self::Sums; 2]; P] {
        // SAFETY: the caller's promises are passed on; this processor has the instruction.
        unsafe {
            depthwise_pair_by_halves(
                row,
                first,
                block,
                #[inline(always)]
                |sums, x, w| _mm256_dpbusd_avx_epi32(sums, x, w),
            )
        }
    }

    #[inline(always)]
    #[expect(unsafe_code, reason = "intrinsics and pointers")]
    unsafe fn quantize(sums: Self::Sums, multipliers: &[f32; BLOCK], added: Option<Added>, levels: Levels) -> [u8; BLOCK] {
        // SAFETY: the caller's promise.
        unsafe { quantize_by_halves(sums, multipliers, added, levels) }
    }

    #[inline(always)]
    fn transpose(rows: [[f32; 4]; 4]) -> [[f32; 4]; 4] {
        transpose(rows)
    }

    #[inline(always)]
    #[expect(unsafe_code, reason = "intrinsics and pointers")]
    unsafe fn scale(sums: Self::Sums, multipliers: &[f32; BLOCK]) -> [f32; BLOCK] {
        // SAFETY: the caller's promise.
        unsafe { scale_by_halves(sums, multipliers) }
    }
}

/// [`Kernel::quantize`] for AVX2.
///
/// # Safety
/// The processor has AVX2.
#[inline(always)]
#[expect(unsafe_code, reason = "intrinsics and pointers")]
unsafe fn quantize_by_halves(sums: Halves, multipliers: &[f32; BLOCK], added: Option<Added>, levels: Levels) -> [u8; BLOCK] {
    let mut words = [sums[0]; 2];
    let mut bytes = [0; BLOCK];
    // SAFETY: the caller's promise; the pointers are those of arrays of 16 elements, and each half has eight.
    unsafe {
        for (half, (words, sums)) in words.iter_mut().zip(sums).enumerate() {
            let mut values = _mm256_mul_ps(_mm256_cvtepi32_ps(sums), _mm256_loadu_ps(multipliers.as_ptr().add(8 * half)));
            if let Some((bytes, zero_point, factor)) = added {
                let bytes = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(bytes.as_ptr().add(8 * half).cast())));
                let bytes = _mm256_mul_ps(_mm256_sub_ps(bytes, _mm256_set1_ps(zero_point)), _mm256_set1_ps(factor));
                values = _mm256_add_ps(values, bytes);
            }
            // The limits are integers: it makes no difference that they come before the rounding. The second operand is what a NaN becomes.
            let lowest = _mm256_set1_ps(levels.low - levels.zero_point);
            let values = _mm256_min_ps(_mm256_max_ps(values, lowest), _mm256_set1_ps(levels.high - levels.zero_point));
            // To nearest, ties to even: Rust knows no other mode.
            *words = _mm256_add_epi32(_mm256_cvtps_epi32(values), _mm256_set1_epi32(levels.zero_point as i32));
        }
        // From 0 to 255 already, so nothing saturates; the packs go by halves of 128 bits, which the permutation undoes.
        let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packus_epi32(words[0], words[1]));
        let packed = _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
        _mm_storeu_si128(bytes.as_mut_ptr().cast(), packed);
    }
    bytes
}

/// The sums of one pixel for the first and the second half of a block.
type Halves = [__m256i; 2];

/// The sums of a tile in groups of as many pixels as 16 registers hold: each group reads all of its weights anew.
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
) -> [[Halves; V]; P] {
    // SAFETY: AVX is among the caller's instructions.
    let mut sums = [[[unsafe { _mm256_setzero_si256() }; 2]; V]; P];
    for v in 0..V {
        let mut pixel = 0;
        while pixel < P {
            // SAFETY: the caller's promises; the pixels are the tile's.
            unsafe {
                pixel += match P - pixel {
                    6 | 10.. => group::<6, P, V>(row, first, block, v, pixel, accumulate, &mut sums),
                    4.. => group::<4, P, V>(row, first, block, v, pixel, accumulate, &mut sums),
                    2.. => group::<2, P, V>(row, first, block, v, pixel, accumulate, &mut sums),
                    _ => group::<1, P, V>(row, first, block, v, pixel, accumulate, &mut sums),
                };
            }
        }
    }
    sums
}

/// Sums `G` pixels of a tile, from its pixel `pixel` on, into `sums`, and gives `G`.
///
/// # Safety
/// As [`Kernel::sum`]; the tile has these pixels.
#[inline(always)]
#[expect(unsafe_code, reason = "intrinsics and pointers")]
unsafe fn group<const G: usize, const P: usize, const V: usize>(
    row: &Row,
    first: usize,
    block: usize,
    v: usize,
    pixel: usize,
    accumulate: impl Fn(__m256i, __m256i, __m256i) -> __m256i,
    sums: &mut [[Halves; V]; P],
) -> usize {
    // SAFETY: the caller's promises.
    let group = unsafe { halves::<G>(row, first + pixel, block + v, accumulate) };
    sums[pixel..][..G].iter_mut().zip(group).for_each(|(sums, group)| sums[v] = group);
    G
}

/// The sums of `P` pixels for one block.
///
/// # Safety
/// As [`Kernel::sum`].
#[inline(always)]
#[expect(unsafe_code, reason = "intrinsics and pointers")]
unsafe fn halves<const P: usize>(
    row: &Row,
    first: usize,
    block: usize,
    accumulate: impl Fn(__m256i, __m256i, __m256i) -> __m256i,
) -> [Halves; P] {
    // SAFETY: the readings of the pixels and the weights of the block were checked by `super::convolve`; the quads that are read again are some of
    // those that are read.
    unsafe {
        let mut weights = row.weights.packed.as_ptr().add(block * row.weights.quads * QUAD_BYTES);
        let mut again = row.weights.again[block].iter().peekable();
        let start = row.weights.start.as_ptr().add(block * BLOCK);
        let mut accumulators = [[_mm256_loadu_si256(start.cast()), _mm256_loadu_si256(start.add(8).cast())]; P];
        let mut quads = 0;
        for reading in row.readings {
            let inputs = reading.bytes.as_ptr().add(reading.offset + first * reading.step);
            for quad in 0..reading.quads {
                let w = [_mm256_loadu_si256(weights.cast()), _mm256_loadu_si256(weights.add(32).cast())];
                for (pixel, accumulators) in accumulators.iter_mut().enumerate() {
                    let x = _mm256_set1_epi32(quad_at(inputs.add(quad * QUAD + pixel * reading.step)));
                    accumulators[0] = accumulate(accumulators[0], x, w[0]);
                    accumulators[1] = accumulate(accumulators[1], x, w[1]);
                }
                weights = weights.add(QUAD_BYTES);
            }
            while let Some(second) = again.next_if(|again| again.quad < quads + reading.quads) {
                let weights = second.weights.as_ptr().cast::<i8>();
                let w = [_mm256_loadu_si256(weights.cast()), _mm256_loadu_si256(weights.add(32).cast())];
                for (pixel, accumulators) in accumulators.iter_mut().enumerate() {
                    let x = _mm256_set1_epi32(quad_at(inputs.add((second.quad - quads) * QUAD + pixel * reading.step)));
                    accumulators[0] = accumulate(accumulators[0], x, w[0]);
                    accumulators[1] = accumulate(accumulators[1], x, w[1]);
                }
            }
            quads += reading.quads;
        }
        accumulators
    }
}

/// The sums of `P` pixels for one block of a depthwise convolution, two pixels of the window at a time: `accumulate` adds pairs of products of 16 bits.
///
/// # Safety
/// As [`Kernel::sum_depthwise`].
#[inline(always)]
#[expect(unsafe_code, reason = "intrinsics and pointers")]
unsafe fn depthwise_by_halves<const P: usize>(
    row: &DepthwiseRow,
    first: usize,
    block: usize,
    accumulate: impl Fn(__m256i, __m256i, __m256i) -> __m256i,
) -> [[Halves; 1]; P] {
    // SAFETY: the readings of the pixels and the weights of the block were checked by `super::convolve_depthwise`.
    unsafe {
        let mut weights = row.weights.packed.as_ptr().add(block * row.weights.taps * BLOCK);
        let start = row.weights.start.as_ptr().add(block * BLOCK);
        let mut sums = [[[_mm256_loadu_si256(start.cast()), _mm256_loadu_si256(start.add(8).cast())]]; P];
        for pair in row.readings.chunks(2) {
            let [a, b] = [pair[0], pair[pair.len() - 1]];
            let wa = _mm_loadu_si128(weights.cast());
            // The last of an odd number goes with itself, weighed with zeros.
            let wb = if pair.len() == 2 { _mm_loadu_si128(weights.add(BLOCK).cast()) } else { _mm_setzero_si128() };
            let w = [_mm256_cvtepi8_epi16(_mm_unpacklo_epi8(wa, wb)), _mm256_cvtepi8_epi16(_mm_unpackhi_epi8(wa, wb))];
            let a_inputs = a.bytes.as_ptr().add(a.offset + first * a.step + block * BLOCK);
            let b_inputs = b.bytes.as_ptr().add(b.offset + first * b.step + block * BLOCK);
            for (pixel, [sums]) in sums.iter_mut().enumerate() {
                let xa = _mm_loadu_si128(a_inputs.add(pixel * a.step).cast());
                let xb = _mm_loadu_si128(b_inputs.add(pixel * b.step).cast());
                sums[0] = accumulate(sums[0], _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(xa, xb)), w[0]);
                sums[1] = accumulate(sums[1], _mm256_cvtepu8_epi16(_mm_unpackhi_epi8(xa, xb)), w[1]);
            }
            weights = weights.add(pair.len() * BLOCK);
        }
        sums
    }
}

/// The sums of `P` pixels for two blocks of a depthwise convolution, two pixels of the window at a time. The bytes of both, alternating, are quads of two
/// channels; `accumulate` is `vpdpbusd`, with weights of zero for one of the channels. That widens no byte and crosses no lane.
///
/// # Safety
/// As [`Kernel::sum_depthwise_pair`].
#[inline(always)]
#[expect(unsafe_code, reason = "intrinsics and pointers")]
unsafe fn depthwise_pair_by_halves<const P: usize>(
    row: &DepthwiseRow,
    first: usize,
    block: usize,
    accumulate: impl Fn(__m256i, __m256i, __m256i) -> __m256i,
) -> [[Halves; 2]; P] {
    // SAFETY: the readings of the pixels and the weights of both blocks were checked by `super::convolve_depthwise`.
    unsafe {
        let apart = row.weights.taps * BLOCK;
        let mut weights = row.weights.packed.as_ptr().add(block * apart);
        let of_both = |weights: *const i8| _mm256_loadu2_m128i(weights.add(apart).cast(), weights.cast());
        let zero = _mm256_setzero_si256();
        let [even, odd] = [_mm256_set1_epi32(0xffff), _mm256_set1_epi32(!0xffff)];
        // Of the first and of the second eight channels of each block, those with even and those with odd numbers.
        let mut sums = [[[zero; 2]; 2]; P];
        for pair in row.readings.chunks(2) {
            let [a, b] = [pair[0], pair[pair.len() - 1]];
            let wa = of_both(weights);
            // The last of an odd number goes with itself, weighed with zeros.
            let wb = if pair.len() == 2 { of_both(weights.add(BLOCK)) } else { zero };
            let [low, high] = [_mm256_unpacklo_epi8(wa, wb), _mm256_unpackhi_epi8(wa, wb)];
            let w =
                [[_mm256_and_si256(low, even), _mm256_and_si256(low, odd)], [_mm256_and_si256(high, even), _mm256_and_si256(high, odd)]];
            let a_inputs = a.bytes.as_ptr().add(a.offset + first * a.step + block * BLOCK);
            let b_inputs = b.bytes.as_ptr().add(b.offset + first * b.step + block * BLOCK);
            for (pixel, sums) in sums.iter_mut().enumerate() {
                let xa = _mm256_loadu_si256(a_inputs.add(pixel * a.step).cast());
                let xb = _mm256_loadu_si256(b_inputs.add(pixel * b.step).cast());
                let [low, high] = [_mm256_unpacklo_epi8(xa, xb), _mm256_unpackhi_epi8(xa, xb)];
                sums[0][0] = accumulate(sums[0][0], low, w[0][0]);
                sums[0][1] = accumulate(sums[0][1], low, w[0][1]);
                sums[1][0] = accumulate(sums[1][0], high, w[1][0]);
                sums[1][1] = accumulate(sums[1][1], high, w[1][1]);
            }
            weights = weights.add(pair.len() * BLOCK);
        }
        let start = row.weights.start.as_ptr().add(block * BLOCK);
        let start = |half: usize| _mm256_loadu_si256(start.add(8 * half).cast());
        let mut result = [[[zero; 2]; 2]; P];
        for (result, [low, high]) in result.iter_mut().zip(sums) {
            // Four channels of each block in one vector.
            let fours = [
                _mm256_unpacklo_epi32(low[0], low[1]),
                _mm256_unpackhi_epi32(low[0], low[1]),
                _mm256_unpacklo_epi32(high[0], high[1]),
                _mm256_unpackhi_epi32(high[0], high[1]),
            ];
            result[0][0] = _mm256_add_epi32(start(0), _mm256_permute2x128_si256::<0x20>(fours[0], fours[1]));
            result[0][1] = _mm256_add_epi32(start(1), _mm256_permute2x128_si256::<0x20>(fours[2], fours[3]));
            result[1][0] = _mm256_add_epi32(start(2), _mm256_permute2x128_si256::<0x31>(fours[0], fours[1]));
            result[1][1] = _mm256_add_epi32(start(3), _mm256_permute2x128_si256::<0x31>(fours[2], fours[3]));
        }
        result
    }
}

/// `vpmaddubsw` of 32 bytes: unsigned inputs times signed weights, and sums of two products in 16 bits, which [`split`] keeps from overflowing.
struct Avx2;

/// Halves the weights of a quad, if two products of an output could leave 16 bits: the quad is then read twice. The sums stay exact.
pub(super) fn split(weights: &mut QuadWeights) -> Option<QuadWeights> {
    // 255 times 128 is 32,640, the largest multiple of 255 that 16 bits hold.
    let fits = |pair: &[i8]| {
        let (a, b) = (i32::from(pair[0]), i32::from(pair[1]));
        a.max(0) + b.max(0) <= 128 && a.min(0) + b.min(0) >= -128
    };
    if weights.as_flattened().chunks_exact(2).all(fits) {
        return None;
    }
    let mut rest = *weights;
    for (weight, rest) in weights.as_flattened_mut().iter_mut().zip(rest.as_flattened_mut()) {
        *weight /= 2;
        *rest -= *weight;
    }
    Some(rest)
}

impl Kernel for Avx2 {
    type Sums = Halves;

    const TWO_BLOCKS: bool = false;
    const WIDEST_DEPTHWISE: usize = 4;

    #[inline(always)]
    #[expect(unsafe_code, reason = "intrinsics and pointers")]
    unsafe fn sum<const P: usize, const V: usize>(row: &Row, first: usize, block: usize) -> [[Self::Sums; V]; P] {
        // SAFETY: the caller's promises are passed on; this processor has the instructions.
        unsafe {
            let ones = _mm256_set1_epi16(1);
            sum_by_halves(
                row,
                first,
                block,
                #[inline(always)]
                |sums, x, w| _mm256_add_epi32(sums, _mm256_madd_epi16(_mm256_maddubs_epi16(x, w), ones)),
            )
        }
    }

    #[inline(always)]
    #[expect(unsafe_code, reason = "intrinsics and pointers")]
    unsafe fn sum_depthwise<const P: usize>(row: &DepthwiseRow, first: usize, block: usize) -> [[Self::Sums; 1]; P] {
        // SAFETY: the caller's promises are passed on; this processor has the instruction.
        unsafe {
            depthwise_by_halves(
                row,
                first,
                block,
                #[inline(always)]
                |sums, x, w| _mm256_add_epi32(sums, _mm256_madd_epi16(x, w)),
            )
        }
    }

    #[inline(always)]
    #[expect(unsafe_code, reason = "intrinsics and pointers")]
    unsafe fn quantize(sums: Self::Sums, multipliers: &[f32; BLOCK], added: Option<Added>, levels: Levels) -> [u8; BLOCK] {
        // SAFETY: the caller's promise.
        unsafe { quantize_by_halves(sums, multipliers, added, levels) }
    }

    #[inline(always)]
    #[expect(unsafe_code, reason = "intrinsics and pointers")]
    unsafe fn scale(sums: Self::Sums, multipliers: &[f32; BLOCK]) -> [f32; BLOCK] {
        // SAFETY: the caller's promise.
        unsafe { scale_by_halves(sums, multipliers) }
    }

    #[inline(always)]
    fn transpose(rows: [[f32; 4]; 4]) -> [[f32; 4]; 4] {
        transpose(rows)
    }
}

/// [`Kernel::scale`] for AVX2.
///
/// # Safety
/// The processor has AVX2.
#[inline(always)]
#[expect(unsafe_code, reason = "intrinsics and pointers")]
unsafe fn scale_by_halves(sums: Halves, multipliers: &[f32; BLOCK]) -> [f32; BLOCK] {
    let mut values = [0.0; BLOCK];
    for (half, sums) in sums.into_iter().enumerate() {
        // SAFETY: the caller's promise; the pointers are those of arrays of 16 elements, and each half has eight.
        unsafe {
            let scaled = _mm256_mul_ps(_mm256_cvtepi32_ps(sums), _mm256_loadu_ps(multipliers.as_ptr().add(8 * half)));
            _mm256_storeu_ps(values.as_mut_ptr().add(8 * half), scaled);
        }
    }
    values
}

/// Rows to columns, with instructions that every x86-64 has.
#[inline(always)]
#[expect(unsafe_code, reason = "intrinsics and pointers")]
fn transpose(rows: [[f32; 4]; 4]) -> [[f32; 4]; 4] {
    let mut columns = [[0.0; 4]; 4];
    // SAFETY: SSE is part of x86-64; the pointers are those of arrays of four elements.
    unsafe {
        let [mut a, mut b, mut c, mut d] = rows.each_ref().map(|row| _mm_loadu_ps(row.as_ptr()));
        _MM_TRANSPOSE4_PS(&mut a, &mut b, &mut c, &mut d);
        for (column, values) in columns.iter_mut().zip([a, b, c, d]) {
            _mm_storeu_ps(column.as_mut_ptr(), values);
        }
    }
    columns
}
