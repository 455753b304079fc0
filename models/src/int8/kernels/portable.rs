//! The kernel in plain Rust, for every processor.

use super::{Added, BLOCK, Kernel, QUAD, QUAD_BYTES, QuadWeights, Row, Writing, go};

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
    unsafe fn quantize(sums: Self::Sums, multipliers: &[f32; BLOCK], added: Option<Added>, zero_point: f32, low: f32) -> [u8; BLOCK] {
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
            let value = (value + WHOLE) - WHOLE + zero_point;
            // Comparisons in place of `max` and `min`: one instruction each, and a NaN ends at `low`.
            let value = if value > low { value } else { low };
            let value = if value < 255.0 { value } else { 255.0 };
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
