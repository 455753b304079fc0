//! The kernel in plain Rust, for every processor.

use super::{Added, BLOCK, DepthwiseRow, Kernel, Levels, QUAD, QUAD_BYTES, QuadWeights, Row, Writing, go, go_depthwise};

/// Sixteen sums at a time, in loops that compilers make vectors of.
pub(super) struct Portable;

impl Portable {
    /// The weights for the first byte of a quad, those for the second, and so on.
    pub(super) fn pack_quad(weights: &QuadWeights, packed: &mut Vec<i8>) {
        for byte in 0..QUAD {
            packed.extend(weights.iter().map(|weights| weights[byte]));
        }
    }
}

impl Kernel for Portable {
    type Sums = [i32; BLOCK];

    const TWO_BLOCKS: bool = false;
    /// Two times sixteen sums stay in the registers of most processors.
    const WIDEST: usize = 2;
    const WIDEST_DEPTHWISE: usize = 2;

    #[inline(always)]
    #[expect(unsafe_code, reason = "the trait's signature; nothing here needs it")]
    unsafe fn sum<const P: usize, const V: usize>(row: &Row, first: usize, block: usize) -> [[Self::Sums; V]; P] {
        let mut sums = [[[0; BLOCK]; V]; P];
        for v in 0..V {
            let start = &row.weights.start[(block + v) * BLOCK..][..BLOCK];
            let length = row.weights.quads * QUAD_BYTES;
            let mut weights = row.weights.packed[(block + v) * length..][..length].chunks_exact(BLOCK);
            for sums in &mut sums {
                sums[v].copy_from_slice(start);
            }
            for reading in row.readings {
                let inputs: [&[u8]; P] =
                    std::array::from_fn(|pixel| &reading.bytes[reading.offset + (first + pixel) * reading.step..][..reading.quads * QUAD]);
                for (byte, weights) in (0..reading.quads * QUAD).zip(&mut weights) {
                    for (sums, inputs) in sums.iter_mut().zip(&inputs) {
                        let x = i16::from(inputs[byte]);
                        for (sum, &w) in sums[v].iter_mut().zip(weights) {
                            // Between -128 * 255 and 127 * 255: 16 bits hold it.
                            *sum += i32::from(i16::from(w) * x);
                        }
                    }
                }
            }
        }
        sums
    }

    #[inline(always)]
    #[expect(unsafe_code, reason = "the trait's signature; nothing here needs it")]
    unsafe fn sum_depthwise<const P: usize>(row: &DepthwiseRow, first: usize, block: usize) -> [[Self::Sums; 1]; P] {
        let length = row.weights.taps * BLOCK;
        let weights = row.weights.packed[block * length..][..length].chunks_exact(BLOCK);
        let start: &[i32; BLOCK] = row.weights.start[block * BLOCK..][..BLOCK].try_into().expect("a block");
        let mut sums = [[*start]; P];
        for (reading, weights) in row.readings.iter().zip(weights) {
            for (pixel, [sums]) in sums.iter_mut().enumerate() {
                let inputs = &reading.bytes[reading.offset + (first + pixel) * reading.step + block * BLOCK..][..BLOCK];
                for ((sum, &w), &x) in sums.iter_mut().zip(weights).zip(inputs) {
                    // Between -128 * 255 and 127 * 255: 16 bits hold it.
                    *sum += i32::from(i16::from(w) * i16::from(x));
                }
            }
        }
        sums
    }

    #[inline(always)]
    #[expect(unsafe_code, reason = "the trait's signature; nothing here needs it")]
    unsafe fn quantize(sums: Self::Sums, multipliers: &[f32; BLOCK], added: Option<Added>, levels: Levels) -> [u8; BLOCK] {
        // Adding this number leaves whole numbers of up to 22 bits in the low bits of the sum, rounded to even; larger ones are cut off in any case.
        // Not every processor has an instruction for rounding, or for a conversion that does not look at what it gets.
        const WHOLE: f32 = 1.5 * (1 << 23) as f32;
        let mut values = [0.0; BLOCK];
        for ((value, sum), &multiplier) in values.iter_mut().zip(sums).zip(multipliers) {
            *value = sum as f32 * multiplier;
        }
        if let Some((bytes, zero_point, factor)) = added {
            for (value, &byte) in values.iter_mut().zip(bytes) {
                *value += (f32::from(byte) - zero_point) * factor;
            }
        }
        values.map(|value| {
            let value = (value + WHOLE) - WHOLE + levels.zero_point;
            // Comparisons in place of `max` and `min`: one instruction each, and a NaN ends at the lowest.
            let value = if value > levels.low { value } else { levels.low };
            let value = if value < levels.high { value } else { levels.high };
            (value + WHOLE).to_bits() as u8
        })
    }

    #[inline(always)]
    #[expect(unsafe_code, reason = "the trait's signature; nothing here needs it")]
    unsafe fn scale(sums: Self::Sums, multipliers: &[f32; BLOCK]) -> [f32; BLOCK] {
        std::array::from_fn(|lane| sums[lane] as f32 * multipliers[lane])
    }
}

#[expect(unsafe_code, reason = "it calls a kernel")]
pub(super) fn convolve(row: &Row, writing: &mut Writing) {
    // SAFETY: the kernel needs no instructions beyond those this was compiled for.
    unsafe { go::<Portable>(row, writing) }
}

#[expect(unsafe_code, reason = "it calls a kernel")]
pub(super) fn convolve_depthwise(row: &DepthwiseRow, writing: &mut Writing) {
    // SAFETY: the kernel needs no instructions beyond those this was compiled for.
    unsafe { go_depthwise::<Portable>(row, writing) }
}
