//! The kernels of 64-bit Arm.
//!
//! `sdot` and `usmmla` are one line of assembly each, for which the compiler chooses the registers: the Rust that this is written for has no stable
//! intrinsics for them yet (`vdotq_laneq_s32` from 1.98 on). A function with such a line must be inlined into one that has the instruction's
//! feature, or the assembler refuses it.

use std::arch::aarch64::*;
use std::arch::asm;
use std::array::from_fn;

use super::{Added, BLOCK, DepthwiseRow, InstructionSet, Kernel, Levels, QUAD, QuadWeights, Row, Writing, go, go_depthwise};

/// Runs the kernel of `set`.
///
/// # Panics
/// If there is none here. That this processor has it is not asked again: [`Weights::pack`](super::Weights::pack) makes weights for no other.
#[expect(unsafe_code, reason = "instructions that not every processor has")]
pub(super) fn convolve(set: InstructionSet, row: &Row, writing: &mut Writing) {
    // SAFETY: weights are packed only for an instruction set that this processor has.
    match set {
        InstructionSet::NeonI8mm => unsafe { neon_i8mm(row, writing) },
        InstructionSet::NeonDotprod => unsafe { neon_dotprod(row, writing) },
        InstructionSet::Neon => unsafe { neon(row, writing) },
        InstructionSet::Portable => unreachable!("not a kernel of this module"),
    }
}

#[target_feature(enable = "neon,i8mm")]
#[expect(unsafe_code, reason = "it calls a kernel")]
fn neon_i8mm(row: &Row, writing: &mut Writing) {
    // SAFETY: the features of this function are the kernel's.
    unsafe { go::<NeonI8mm>(row, writing) }
}

#[target_feature(enable = "neon,dotprod")]
#[expect(unsafe_code, reason = "it calls a kernel")]
fn neon_dotprod(row: &Row, writing: &mut Writing) {
    // SAFETY: the features of this function are the kernel's.
    unsafe { go::<NeonDotprod>(row, writing) }
}

#[target_feature(enable = "neon")]
#[expect(unsafe_code, reason = "it calls a kernel")]
fn neon(row: &Row, writing: &mut Writing) {
    // SAFETY: the features of this function are the kernel's.
    unsafe { go::<Neon>(row, writing) }
}

/// Runs the depthwise kernel, which is the same for all instruction sets of this module.
#[expect(unsafe_code, reason = "instructions that not every processor has")]
pub(super) fn convolve_depthwise(row: &DepthwiseRow, writing: &mut Writing) {
    // SAFETY: weights are packed only for an instruction set that this processor has, and each of this module's comes with these instructions.
    unsafe { neon_depthwise(row, writing) }
}

#[target_feature(enable = "neon")]
#[expect(unsafe_code, reason = "it calls a kernel")]
fn neon_depthwise(row: &DepthwiseRow, writing: &mut Writing) {
    // SAFETY: the features of this function are the kernel's.
    unsafe { go_depthwise::<Neon>(row, writing) }
}

/// What the depthwise kernel takes the inputs less by: those of every second pixel of a window as [`Neon::CENTERS`] says of the third of a quad.
pub(super) const DEPTHWISE_CENTERS: [u8; 2] = [128, 127];

/// The sums of one pixel for one block, four outputs a vector.
type Vectors = [int32x4_t; BLOCK / 4];

/// A kernel by how it sums; what becomes of the sums is the same for all.
trait Summing {
    /// The most pixels of a tile, up to four: 32 registers hold its sums, its inputs, weights, and what is on the way to the sums.
    const WIDEST: usize;

    /// The sums of the pixels from `first` on, for one block.
    ///
    /// # Safety
    /// As [`Kernel::sum`].
    #[expect(unsafe_code, reason = "it reads through pointers, with instructions that not every processor has")]
    unsafe fn sum<const P: usize>(row: &Row, first: usize, block: usize) -> [Vectors; P];
}

impl<S: Summing> Kernel for S {
    type Sums = Vectors;

    const TWO_BLOCKS: bool = false;
    const WIDEST: usize = S::WIDEST;
    const WIDEST_DEPTHWISE: usize = 4;

    #[inline(always)]
    #[expect(unsafe_code, reason = "it calls a kernel")]
    unsafe fn sum<const P: usize, const V: usize>(row: &Row, first: usize, block: usize) -> [[Self::Sums; V]; P] {
        // SAFETY: the caller's promises; the numbers are overwritten.
        unsafe {
            let mut sums = [[[vdupq_n_s32(0); BLOCK / 4]; V]; P];
            // Not in a closure: assembly has to end up in the function that has the instructions' features.
            for v in 0..V {
                let of_block: [Vectors; P] = <S as Summing>::sum(row, first, block + v);
                for (sums, of_block) in sums.iter_mut().zip(of_block) {
                    sums[v] = of_block;
                }
            }
            sums
        }
    }

    /// Two pixels of the window at a time, whose products are added in 16 bits as [`Neon`] explains.
    #[inline(always)]
    #[expect(unsafe_code, reason = "intrinsics and pointers")]
    unsafe fn sum_depthwise<const P: usize>(row: &DepthwiseRow, first: usize, block: usize) -> [[Self::Sums; 1]; P] {
        // SAFETY: the readings of the pixels and the weights of the block were checked by `super::convolve_depthwise`.
        unsafe {
            let mut weights = row.weights.packed.as_ptr().add(block * row.weights.taps * BLOCK);
            let start = row.weights.start.as_ptr().add(block * BLOCK);
            let mut sums: [[Vectors; 1]; P] = [[from_fn(|i| vld1q_s32(start.add(4 * i)))]; P];
            for pair in row.readings.chunks(2) {
                let [a, b] = [pair[0], pair[pair.len() - 1]];
                let wa = vld1q_s8(weights);
                // The last of an odd number goes with itself, weighed with zeros.
                let wb = if pair.len() == 2 { vld1q_s8(weights.add(BLOCK)) } else { vdupq_n_s8(0) };
                let a_inputs = a.bytes.as_ptr().add(a.offset + first * a.step + block * BLOCK);
                let b_inputs = b.bytes.as_ptr().add(b.offset + first * b.step + block * BLOCK);
                for (pixel, [sums]) in sums.iter_mut().enumerate() {
                    let xa = vreinterpretq_s8_u8(veorq_u8(vld1q_u8(a_inputs.add(pixel * a.step)), vdupq_n_u8(0x80)));
                    let xb = vreinterpretq_s8_u8(veorq_u8(vld1q_u8(b_inputs.add(pixel * b.step)), vdupq_n_u8(0x7f)));
                    let low = vmull_s8(vget_low_s8(xa), vget_low_s8(wa));
                    let low = vmlsl_s8(low, vget_low_s8(xb), vget_low_s8(wb));
                    let high = vmlsl_high_s8(vmull_high_s8(xa, wa), xb, wb);
                    sums[0] = vaddw_s16(sums[0], vget_low_s16(low));
                    sums[1] = vaddw_high_s16(sums[1], low);
                    sums[2] = vaddw_s16(sums[2], vget_low_s16(high));
                    sums[3] = vaddw_high_s16(sums[3], high);
                }
                weights = weights.add(pair.len() * BLOCK);
            }
            sums
        }
    }

    #[inline(always)]
    #[expect(unsafe_code, reason = "intrinsics and pointers")]
    unsafe fn quantize(sums: Self::Sums, multipliers: &[f32; BLOCK], added: Option<Added>, levels: Levels) -> [u8; BLOCK] {
        // Added to a small number, 1.5 * 2^23 rounds it to an integer, ties to even, which is then in the lowest bits; and 2^23 has room for a byte
        // there. These processors convert and round floats at a fraction of the rate at which they add them.
        const INTEGERS: f32 = 12_582_912.0;
        const BYTES: f32 = 8_388_608.0;
        let mut result = [0; BLOCK];
        // SAFETY: the caller's promise; the pointers are those of arrays of 16 elements.
        unsafe {
            // The limits are integers: it makes no difference that they come before the rounding.
            let (lowest, highest) = (vdupq_n_f32(levels.low - levels.zero_point), vdupq_n_f32(levels.high - levels.zero_point));
            let mut values: [float32x4_t; BLOCK / 4] = scaled(sums, multipliers);
            if let Some((bytes, zero_point, factor)) = added {
                let bytes = vld1q_u8(bytes.as_ptr());
                let upper = vdupq_n_u16((BYTES.to_bits() >> 16) as u16);
                let (first, second) = (vmovl_u8(vget_low_u8(bytes)), vmovl_high_u8(bytes));
                let floats = [vzip1q_u16(first, upper), vzip2q_u16(first, upper), vzip1q_u16(second, upper), vzip2q_u16(second, upper)];
                for (value, float) in values.iter_mut().zip(floats) {
                    let float = vsubq_f32(vreinterpretq_f32_u16(float), vdupq_n_f32(BYTES + zero_point));
                    *value = vaddq_f32(*value, vmulq_n_f32(float, factor));
                }
            }
            let integers = values.map(|value| {
                // A NaN ends at the lowest.
                let value = vminnmq_f32(vmaxnmq_f32(value, lowest), highest);
                vreinterpretq_u16_f32(vaddq_f32(value, vdupq_n_f32(INTEGERS)))
            });
            let lowest_bytes = vuzp1q_u8(
                vreinterpretq_u8_u16(vuzp1q_u16(integers[0], integers[1])),
                vreinterpretq_u8_u16(vuzp1q_u16(integers[2], integers[3])),
            );
            vst1q_u8(result.as_mut_ptr(), vaddq_u8(lowest_bytes, vdupq_n_u8(levels.zero_point as u8)));
        }
        result
    }

    #[inline(always)]
    #[expect(unsafe_code, reason = "intrinsics and pointers")]
    unsafe fn scale(sums: Self::Sums, multipliers: &[f32; BLOCK]) -> [f32; BLOCK] {
        let mut values = [0.0; BLOCK];
        for (to, vector) in values.chunks_exact_mut(4).zip(scaled(sums, multipliers)) {
            // SAFETY: four values are written over four.
            unsafe { vst1q_f32(to.as_mut_ptr(), vector) };
        }
        values
    }
}

/// Sums times multipliers.
#[inline(always)]
#[expect(unsafe_code, reason = "intrinsics and pointers")]
fn scaled(sums: Vectors, multipliers: &[f32; BLOCK]) -> [float32x4_t; BLOCK / 4] {
    // SAFETY: every processor of this architecture has these; four multipliers are read of at least four.
    from_fn(|i| unsafe { vmulq_f32(vcvtq_f32_s32(sums[i]), vld1q_f32(multipliers[4 * i..][..4].as_ptr())) })
}

/// A kernel that multiplies the weights of one quad with one of the four quads of a vector of inputs, its lane.
trait ByLane {
    /// As [`Summing::WIDEST`].
    const WIDEST: usize;
    /// What the four bytes of a quad are exclusive-ored with, to be signed.
    const FLIPS: [u8; QUAD];

    /// Adds the products of the inputs in `LANE` with the weights of a quad to the sums of `P` pixels.
    ///
    /// # Safety
    /// The processor has the kernel's instructions, and `weights` points to the packed weights of a quad.
    #[expect(unsafe_code, reason = "it reads through a pointer, with instructions that not every processor has")]
    unsafe fn add<const P: usize, const LANE: i32>(sums: &mut [Vectors; P], inputs: &[int8x16_t; P], weights: *const i8);
}

impl<L: ByLane> Summing for L {
    const WIDEST: usize = L::WIDEST;

    #[inline(always)]
    #[expect(unsafe_code, reason = "intrinsics and pointers")]
    unsafe fn sum<const P: usize>(row: &Row, first: usize, block: usize) -> [Vectors; P] {
        // SAFETY: the readings of the pixels and the weights of the block were checked by `super::convolve`.
        unsafe {
            let mut weights = row.weights.packed.as_ptr().add(block * row.weights.quads * BLOCK * QUAD);
            let start = row.weights.start.as_ptr().add(block * BLOCK);
            let flips = vreinterpretq_u8_u32(vdupq_n_u32(u32::from_le_bytes(L::FLIPS)));
            let signed = |inputs: uint8x16_t| vreinterpretq_s8_u8(veorq_u8(inputs, flips));
            let mut sums: [Vectors; P] = [from_fn(|i| vld1q_s32(start.add(4 * i))); P];
            for reading in row.readings {
                let at =
                    |pixel: usize, quad: usize| reading.bytes.as_ptr().add(reading.offset + (first + pixel) * reading.step + quad * QUAD);
                let mut quad = 0;
                while quad + 4 <= reading.quads {
                    let inputs: [int8x16_t; P] = from_fn(|pixel| signed(vld1q_u8(at(pixel, quad))));
                    L::add::<P, 0>(&mut sums, &inputs, weights);
                    L::add::<P, 1>(&mut sums, &inputs, weights.add(BLOCK * QUAD));
                    L::add::<P, 2>(&mut sums, &inputs, weights.add(2 * BLOCK * QUAD));
                    L::add::<P, 3>(&mut sums, &inputs, weights.add(3 * BLOCK * QUAD));
                    weights = weights.add(4 * BLOCK * QUAD);
                    quad += 4;
                }
                // No byte behind the last quad is read.
                while quad < reading.quads {
                    let inputs: [int8x16_t; P] =
                        from_fn(|pixel| signed(vreinterpretq_u8_u32(vdupq_n_u32(at(pixel, quad).cast::<u32>().read_unaligned()))));
                    L::add::<P, 0>(&mut sums, &inputs, weights);
                    weights = weights.add(BLOCK * QUAD);
                    quad += 1;
                }
            }
            sums
        }
    }
}

/// `sdot` of 16 bytes: four signed products to each of four sums.
pub(super) struct NeonDotprod;

impl NeonDotprod {
    /// With an exclusive or, an unsigned byte becomes the signed byte that is less by this.
    pub(super) const CENTERS: [u8; QUAD] = [128; QUAD];
}

impl ByLane for NeonDotprod {
    const WIDEST: usize = 4;
    const FLIPS: [u8; QUAD] = [0x80; QUAD];

    #[inline(always)]
    #[expect(unsafe_code, reason = "intrinsics, assembly and pointers")]
    unsafe fn add<const P: usize, const LANE: i32>(sums: &mut [Vectors; P], inputs: &[int8x16_t; P], weights: *const i8) {
        for i in 0..BLOCK / 4 {
            // SAFETY: the caller's promises; the assembly touches nothing but the registers it names.
            unsafe {
                let weights = vld1q_s8(weights.add(16 * i));
                for (sums, &inputs) in sums.iter_mut().zip(inputs) {
                    asm!(
                        "sdot {sums:v}.4s, {weights:v}.16b, {inputs:v}.4b[{lane}]",
                        sums = inlateout(vreg) sums[i],
                        weights = in(vreg) weights,
                        inputs = in(vreg) inputs,
                        lane = const LANE,
                        options(pure, nomem, nostack, preserves_flags)
                    );
                }
            }
        }
    }
}

/// `smull` and `smlsl` of eight bytes, two products in 16 bits, and `sadalp` of pairs of those to sums of 32: for processors without dot products.
///
/// The product of two signed bytes is from -16,256 to 16,384. The sum of two may be 32,768 and not fit 16 bits, but their difference is from -32,640 to
/// 32,640 and does. So the third and fourth byte of a quad are taken as `127 - v`, and their products subtracted: exact whatever the weights are.
pub(super) struct Neon;

impl Neon {
    /// What the products with an input byte `v` are less by, as if it was less by this: `-(127 - v)` for the latter two.
    pub(super) const CENTERS: [u8; QUAD] = [128, 128, 127, 127];

    /// First and second, then third and fourth weight of each output.
    pub(super) fn pack_quad(weights: &QuadWeights, packed: &mut Vec<i8>) {
        for pair in [[0, 1], [2, 3]] {
            packed.extend(weights.iter().flat_map(|w| pair.map(|i| w[i])));
        }
    }
}

impl ByLane for Neon {
    // With four, the compiler has more products on the way than there are registers, and two keep the multiplier as busy.
    const WIDEST: usize = 2;
    const FLIPS: [u8; QUAD] = [0x80, 0x80, 0x7f, 0x7f];

    #[inline(always)]
    #[expect(unsafe_code, reason = "intrinsics and pointers")]
    unsafe fn add<const P: usize, const LANE: i32>(sums: &mut [Vectors; P], inputs: &[int8x16_t; P], weights: *const i8) {
        // SAFETY: the caller's promises.
        unsafe {
            let plus = [vld1q_s8(weights), vld1q_s8(weights.add(16))];
            let minus = [vld1q_s8(weights.add(32)), vld1q_s8(weights.add(48))];
            for (sums, &inputs) in sums.iter_mut().zip(inputs) {
                let pairs = vreinterpretq_s16_s8(inputs);
                let (first, second) = match LANE {
                    0 => (vdupq_laneq_s16::<0>(pairs), vdupq_laneq_s16::<1>(pairs)),
                    1 => (vdupq_laneq_s16::<2>(pairs), vdupq_laneq_s16::<3>(pairs)),
                    2 => (vdupq_laneq_s16::<4>(pairs), vdupq_laneq_s16::<5>(pairs)),
                    _ => (vdupq_laneq_s16::<6>(pairs), vdupq_laneq_s16::<7>(pairs)),
                };
                let (first, second) = (vreinterpretq_s8_s16(first), vreinterpretq_s8_s16(second));
                for half in 0..2 {
                    let low = vmull_s8(vget_low_s8(plus[half]), vget_low_s8(first));
                    let low = vmlsl_s8(low, vget_low_s8(minus[half]), vget_low_s8(second));
                    sums[2 * half] = vpadalq_s16(sums[2 * half], low);
                    let high = vmlsl_high_s8(vmull_high_s8(plus[half], first), minus[half], second);
                    sums[2 * half + 1] = vpadalq_s16(sums[2 * half + 1], high);
                }
            }
        }
    }
}

/// `usmmla`: the products of eight unsigned bytes of two pixels with eight weights of two outputs, twice as many as `usdot` makes.
pub(super) struct NeonI8mm;

impl NeonI8mm {
    /// Of two quads together, the weights of each output: what `usmmla` takes. The last quad of an odd number has a neighbor of zeros.
    pub(super) fn pack_quads(quads: &[QuadWeights], packed: &mut Vec<i8>) {
        for output in 0..BLOCK {
            for quad in 0..2 {
                packed.extend(quads.get(quad).map_or([0; QUAD], |weights| weights[output]));
            }
        }
    }

    /// Adds the products of `inputs`, two pixels each, with the weights of two quads.
    ///
    /// # Safety
    /// The processor has `usmmla`, and `weights` points to the packed weights of two quads.
    #[inline(always)]
    #[expect(unsafe_code, reason = "intrinsics, assembly and pointers")]
    unsafe fn add<const PAIRS: usize>(sums: &mut [[int32x4_t; BLOCK / 2]; PAIRS], inputs: &[uint8x16_t; PAIRS], weights: *const i8) {
        for i in 0..BLOCK / 2 {
            // SAFETY: the caller's promises; the assembly touches nothing but the registers it names.
            unsafe {
                let weights = vld1q_s8(weights.add(16 * i));
                for (sums, &inputs) in sums.iter_mut().zip(inputs) {
                    asm!(
                        "usmmla {sums:v}.4s, {inputs:v}.16b, {weights:v}.16b",
                        sums = inlateout(vreg) sums[i],
                        inputs = in(vreg) inputs,
                        weights = in(vreg) weights,
                        options(pure, nomem, nostack, preserves_flags)
                    );
                }
            }
        }
    }

    /// The sums of `PAIRS` pairs of pixels from `first` on, the second of each `apart` pixels from the first.
    ///
    /// # Safety
    /// As [`Kernel::sum`].
    #[inline(always)]
    #[expect(unsafe_code, reason = "intrinsics and pointers")]
    unsafe fn pairs<const PAIRS: usize>(row: &Row, first: usize, apart: usize, block: usize) -> [[Vectors; 2]; PAIRS] {
        // SAFETY: the readings of the pixels and the weights of the block were checked by `super::convolve`.
        unsafe {
            let weights = row.weights.packed.as_ptr().add(block * row.weights.quads.next_multiple_of(2) * BLOCK * QUAD);
            let start: *const i64 = row.weights.start.as_ptr().add(block * BLOCK).cast();
            // Of each two outputs, both sums of the first pixel, both of the second.
            let mut sums: [[int32x4_t; BLOCK / 2]; PAIRS] =
                [from_fn(|i| vreinterpretq_s32_s64(vdupq_n_s64(start.add(i).read_unaligned()))); PAIRS];
            // How many quads have been read, of all readings.
            let mut read = 0;
            for reading in row.readings {
                let at =
                    |pixel: usize, quad: usize| reading.bytes.as_ptr().add(reading.offset + (first + pixel) * reading.step + quad * QUAD);
                // One quad, where its neighbor belongs to another reading: zeros take its place. No byte behind the last quad is read.
                let alone =
                    |pixel: usize, quad: usize, shift: u32| vcreate_u8(u64::from(at(pixel, quad).cast::<u32>().read_unaligned()) << shift);
                let mut quad = 0;
                if read % 2 == 1 {
                    let inputs = from_fn(|p| vcombine_u8(alone(2 * p, quad, 32), alone(2 * p + apart, quad, 32)));
                    Self::add(&mut sums, &inputs, weights.add((read - 1) * BLOCK * QUAD));
                    quad = 1;
                }
                while quad + 2 <= reading.quads {
                    let inputs = from_fn(|p| vcombine_u8(vld1_u8(at(2 * p, quad)), vld1_u8(at(2 * p + apart, quad))));
                    Self::add(&mut sums, &inputs, weights.add((read + quad) * BLOCK * QUAD));
                    quad += 2;
                }
                if quad < reading.quads {
                    let inputs = from_fn(|p| vcombine_u8(alone(2 * p, quad, 0), alone(2 * p + apart, quad, 0)));
                    Self::add(&mut sums, &inputs, weights.add((read + quad) * BLOCK * QUAD));
                }
                read += reading.quads;
            }
            sums.map(|sums| {
                let sums = sums.map(|sums| vreinterpretq_s64_s32(sums));
                [
                    from_fn(|i| vreinterpretq_s32_s64(vzip1q_s64(sums[2 * i], sums[2 * i + 1]))),
                    from_fn(|i| vreinterpretq_s32_s64(vzip2q_s64(sums[2 * i], sums[2 * i + 1]))),
                ]
            })
        }
    }
}

impl Summing for NeonI8mm {
    const WIDEST: usize = 4;

    #[inline(always)]
    #[expect(unsafe_code, reason = "it calls the kernel")]
    unsafe fn sum<const P: usize>(row: &Row, first: usize, block: usize) -> [Vectors; P] {
        // SAFETY: the caller's promises; a pixel left over is both of a pair.
        unsafe {
            match P {
                4 => {
                    let pairs = Self::pairs::<2>(row, first, 1, block);
                    from_fn(|pixel| pairs[pixel / 2][pixel % 2])
                }
                1 | 2 => {
                    let [pair] = Self::pairs::<1>(row, first, P - 1, block);
                    from_fn(|pixel| pair[pixel])
                }
                _ => unreachable!("tiles are no wider"),
            }
        }
    }
}
