//! The kernel in plain Rust, for every processor.

use super::{BLOCK, Kernel, QUAD, Row, Sums, Writing, go};

struct Portable;

impl Kernel for Portable {
    const TWO_BLOCKS: bool = false;

    #[inline(always)]
    #[expect(unsafe_code, reason = "the trait's signature; nothing here needs it")]
    unsafe fn sum<const P: usize, const V: usize>(row: &Row, first: usize, block: usize) -> Sums<P, V> {
        let mut sums = [[[0; BLOCK]; V]; P];
        for v in 0..V {
            let start = &row.weights.start[(block + v) * BLOCK..][..BLOCK];
            let length = row.weights.quads * Self::QUAD_BYTES;
            let mut weights = row.weights.packed[(block + v) * length..][..length].chunks_exact(Self::QUAD_BYTES);
            for sums in &mut sums {
                sums[v].copy_from_slice(start);
            }
            for reading in row.readings {
                for quad in 0..reading.quads {
                    let weights = weights.next().expect("as many quads as were packed");
                    for (pixel, sums) in sums.iter_mut().enumerate() {
                        let inputs = &reading.bytes[reading.offset + (first + pixel) * reading.step + quad * QUAD..][..QUAD];
                        for (sum, weights) in sums[v].iter_mut().zip(weights.chunks_exact(QUAD)) {
                            *sum += weights.iter().zip(inputs).map(|(&w, &x)| i32::from(w as i8) * i32::from(x)).sum::<i32>();
                        }
                    }
                }
            }
        }
        sums
    }
}

#[expect(unsafe_code, reason = "it calls a kernel")]
pub(super) fn convolve(row: &Row, writing: &mut Writing) {
    // SAFETY: the kernel needs no instructions beyond those this was compiled for.
    unsafe { go::<Portable>(row, writing) }
}
