//! The kernel in plain Rust, for every processor.

use super::{Added, BLOCK, Kernel, QUAD, QUAD_BYTES, Row, Writing, go};

struct Portable;

impl Kernel for Portable {
    type Sums = [i32; BLOCK];

    const TWO_BLOCKS: bool = false;

    #[inline(always)]
    #[expect(unsafe_code, reason = "the trait's signature; nothing here needs it")]
    unsafe fn sum<const P: usize, const V: usize>(row: &Row, first: usize, block: usize) -> [[Self::Sums; V]; P] {
        let mut sums = [[[0; BLOCK]; V]; P];
        for v in 0..V {
            let start = &row.weights.start[(block + v) * BLOCK..][..BLOCK];
            let length = row.weights.quads * QUAD_BYTES;
            let mut weights = row.weights.packed[(block + v) * length..][..length].chunks_exact(QUAD_BYTES);
            for sums in &mut sums {
                sums[v].copy_from_slice(start);
            }
            for reading in row.readings {
                for quad in 0..reading.quads {
                    let weights = weights.next().expect("as many quads as were packed");
                    for (pixel, sums) in sums.iter_mut().enumerate() {
                        let inputs = &reading.bytes[reading.offset + (first + pixel) * reading.step + quad * QUAD..][..QUAD];
                        for (sum, weights) in sums[v].iter_mut().zip(weights.chunks_exact(QUAD)) {
                            *sum += weights.iter().zip(inputs).map(|(&w, &x)| i32::from(w) * i32::from(x)).sum::<i32>();
                        }
                    }
                }
            }
        }
        sums
    }

    #[inline(always)]
    #[expect(unsafe_code, reason = "a checked conversion of a float that is known to fit costs as much as the rest")]
    unsafe fn quantize(sums: Self::Sums, multipliers: &[f32; BLOCK], added: Option<Added>, zero_point: f32, low: f32) -> [u8; BLOCK] {
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
            let value = value.round_ties_even() + zero_point;
            // Comparisons in place of `max` and `min`: one instruction each, and a NaN ends at `low`.
            let value = if value > low { value } else { low };
            let value = if value < 255.0 { value } else { 255.0 };
            // SAFETY: the value is a number from 0 to 255.
            unsafe { value.to_int_unchecked::<i32>() as u8 }
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
