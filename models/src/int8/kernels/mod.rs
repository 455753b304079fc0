//! Direct int8 convolution of rows of pixels: the only module with `unsafe`, one kernel an instruction set.
//!
//! A kernel computes one row of output pixels for blocks of [`BLOCK`] output channels. What an output pixel reads is a list of stretches of
//! consecutive input bytes ([`Reading`]): with the channels innermost (NHWC) and a border around the picture, one row of a 3x3 window is one
//! stretch, and nothing is copied into columns first. Output pixel `i` reads its stretch `i * step` bytes further on, whatever `step` is: that
//! gives strides, and every second pixel of a row whose input is upsampled, without a pass over memory.
//!
//! All kernels give the same bits. The sums are exact, [`Weights::pack`] refuses weights that could overflow an i32, and what becomes of a sum
//! ([`Kernel::quantize`], [`Kernel::scale`]) is the same few float operations in the same order.

#[cfg(target_arch = "aarch64")]
mod aarch64;
mod depthwise;
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::fmt;
use std::ops::Range;

use depthwise::{DepthwiseRow, go_depthwise};
pub(crate) use depthwise::{DepthwiseWeights, convolve_depthwise};

/// Output channels that a kernel computes at once; the channels of a layer are filled up to a multiple of it with zero weights.
pub(crate) const BLOCK: usize = 16;
/// Input bytes that one multiply-accumulate step of a pixel takes.
pub(crate) const QUAD: usize = 4;
/// The most stretches that an output pixel reads.
pub(crate) const READINGS_MAX: usize = 36;

/// An instruction set that there is a kernel for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstructionSet {
    /// 512-bit `vpdpbusd`.
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni,
    /// 256-bit `vpdpbusd` in its VEX form.
    #[cfg(target_arch = "x86_64")]
    AvxVnni,
    /// 256-bit `vpmaddubsw`.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// `usmmla`, a matrix product of bytes.
    #[cfg(target_arch = "aarch64")]
    NeonI8mm,
    /// `sdot`.
    #[cfg(target_arch = "aarch64")]
    NeonDotprod,
    /// `smull` and `sadalp`, which every 64-bit Arm has.
    #[cfg(target_arch = "aarch64")]
    Neon,
    /// Plain Rust.
    Portable,
}

impl InstructionSet {
    /// All that there are kernels for on this architecture, the fastest first.
    pub const ALL: &[Self] = &[
        #[cfg(target_arch = "x86_64")]
        Self::Avx512Vnni,
        #[cfg(target_arch = "x86_64")]
        Self::AvxVnni,
        #[cfg(target_arch = "x86_64")]
        Self::Avx2,
        #[cfg(target_arch = "aarch64")]
        Self::NeonI8mm,
        #[cfg(target_arch = "aarch64")]
        Self::NeonDotprod,
        #[cfg(target_arch = "aarch64")]
        Self::Neon,
        Self::Portable,
    ];

    /// Whether this processor has it.
    pub fn is_available(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => {
                is_x86_feature_detected!("avx512vnni")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx2")
            }
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni => is_x86_feature_detected!("avxvnni") && is_x86_feature_detected!("avx2"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2"),
            #[cfg(target_arch = "aarch64")]
            Self::NeonI8mm => std::arch::is_aarch64_feature_detected!("i8mm"),
            #[cfg(target_arch = "aarch64")]
            Self::NeonDotprod => std::arch::is_aarch64_feature_detected!("dotprod"),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => std::arch::is_aarch64_feature_detected!("neon"),
            Self::Portable => true,
        }
    }

    /// The fastest that this processor has.
    pub fn detect() -> Self {
        *Self::ALL.iter().find(|set| set.is_available()).expect("the portable kernel runs everywhere")
    }
}

impl fmt::Display for InstructionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => "AVX-512 VNNI",
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni => "AVX-VNNI",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "AVX2",
            #[cfg(target_arch = "aarch64")]
            Self::NeonI8mm => "NEON i8mm",
            #[cfg(target_arch = "aarch64")]
            Self::NeonDotprod => "NEON dotprod",
            #[cfg(target_arch = "aarch64")]
            Self::Neon => "NEON",
            Self::Portable => "portable",
        })
    }
}

/// The weights of a layer, in the order in which a kernel reads them.
#[derive(Clone, Debug)]
pub(crate) struct Weights {
    set: InstructionSet,
    /// Of each block of outputs: what [`InstructionSet::pack_block`] made of it.
    packed: Vec<i8>,
    /// Of each block: the quads that are read a second time, in their order, where an instruction set cannot take their weights at once.
    again: Vec<Vec<Again>>,
    /// What the sums start from, of each output channel, filled up to whole blocks.
    start: Vec<i32>,
    quads: usize,
    blocks: usize,
}

impl Weights {
    /// Packs weights for `set`.
    ///
    /// `rows` holds the weights of each output channel, in the order in which its inputs are read, each row a multiple of [`QUAD`] long;
    /// `bias` is in units of the products; `zero_point` is the inputs'. `None` where a sum could overflow an i32.
    pub(crate) fn pack(set: InstructionSet, rows: &[Vec<i8>], bias: &[i32], zero_point: u8) -> Option<Self> {
        assert!(set.is_available(), "this processor has no {set}");
        let length = rows.first()?.len();
        assert!(length > 0 && length % QUAD == 0 && rows.iter().all(|row| row.len() == length) && rows.len() == bias.len());
        let (quads, blocks) = (length / QUAD, rows.len().div_ceil(BLOCK));
        let centers = set.centers();
        let mut start = vec![0; blocks * BLOCK];
        for ((row, &bias), start) in rows.iter().zip(bias).zip(&mut start) {
            *start = start_of(row, bias, zero_point, &centers)?;
        }
        let (mut packed, mut again) = (Vec::with_capacity(blocks * quads * BLOCK * QUAD), Vec::new());
        for block in rows.chunks(BLOCK) {
            let mut weights = vec![[[0; QUAD]; BLOCK]; quads];
            for (output, row) in block.iter().enumerate() {
                for (weights, quad) in weights.iter_mut().zip(row.chunks_exact(QUAD)) {
                    weights[output].copy_from_slice(quad);
                }
            }
            let mut twice = Vec::new();
            for (quad, weights) in weights.iter_mut().enumerate() {
                if let Some(rest) = set.split(weights) {
                    twice.push(Again { quad, weights: rest });
                }
            }
            set.pack_block(&weights, &mut packed);
            again.push(twice);
        }
        Some(Self { set, packed, again, start, quads, blocks })
    }

    /// How many blocks of [`BLOCK`] output channels there are.
    pub(crate) fn blocks(&self) -> usize {
        self.blocks
    }

    /// How much memory they take, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let again: usize = self.again.iter().map(|again| size_of_val(&again[..])).sum();
        self.packed.len() + again + 4 * self.start.len()
    }
}

/// What the sum of an output channel starts from, where its kernel takes the inputs less by `centers`, in turn. `None` if it could overflow an i32.
fn start_of(row: &[i8], bias: i32, zero_point: u8, centers: &[u8]) -> Option<i32> {
    let sum: i64 = row.iter().map(|&w| i64::from(w)).sum();
    let reach: i64 = row.iter().map(|&w| i64::from(w).abs() * 255).sum();
    // Both what the sum starts from and everything on the way to its end stay within an i32, for signed and unsigned inputs.
    let highest = reach + i64::from(bias).abs() + 255 * sum.abs();
    i32::try_from(highest).ok()?;
    let from_centers = row.iter().zip(centers.iter().cycle()).map(|(&w, &c)| i64::from(w) * (i64::from(c) - i64::from(zero_point)));
    i32::try_from(i64::from(bias) + from_centers.sum::<i64>()).ok()
}

impl InstructionSet {
    /// What its kernel takes the input bytes of a quad less by: 0 where it reads them unsigned.
    fn centers(self) -> [u8; QUAD] {
        match self {
            #[cfg(target_arch = "aarch64")]
            Self::NeonDotprod => aarch64::NeonDotprod::CENTERS,
            #[cfg(target_arch = "aarch64")]
            Self::Neon => aarch64::Neon::CENTERS,
            _ => [0; QUAD],
        }
    }

    /// Takes from the weights of a quad what its kernel cannot take at once.
    fn split(self, weights: &mut QuadWeights) -> Option<QuadWeights> {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => x86::split(weights),
            _ => {
                let _ = weights;
                None
            }
        }
    }

    /// Appends the weights of each quad of inputs to one block of outputs.
    fn pack_block(self, weights: &[QuadWeights], packed: &mut Vec<i8>) {
        match self {
            #[cfg(target_arch = "aarch64")]
            Self::NeonI8mm => weights.chunks(2).for_each(|quads| aarch64::NeonI8mm::pack_quads(quads, packed)),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => weights.iter().for_each(|quad| aarch64::Neon::pack_quad(quad, packed)),
            Self::Portable => weights.iter().for_each(|quad| portable::Portable::pack_quad(quad, packed)),
            #[allow(unreachable_patterns, reason = "not every architecture has others")]
            _ => packed.extend_from_slice(weights.as_flattened().as_flattened()),
        }
    }
}

/// The weights of one quad of inputs for one block of outputs.
type QuadWeights = [[i8; QUAD]; BLOCK];

/// A quad that is read a second time, with other weights.
#[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "the kernels of other processors take all weights at once"))]
#[derive(Clone, Debug)]
struct Again {
    quad: usize,
    weights: QuadWeights,
}

/// One stretch of input bytes: output pixel `i` of a row reads `4 * quads` bytes at `offset + i * step`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reading<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) offset: usize,
    pub(crate) step: usize,
    pub(crate) quads: usize,
}

/// Where the results of a row go, and what becomes of the sums first.
#[derive(Debug)]
pub(crate) enum Writing<'a> {
    /// Pixel `i` gets the channels of all blocks at `offset + i * step`, as bytes.
    Bytes { bytes: &'a mut [u8], offset: usize, step: usize, quantizing: &'a Quantizing, residual: Option<Residual<'a>> },
    /// Pixel `i` gets channel `c` of the blocks at `offset + i * step + c * plane`, as a float, for so many channels as `channels` says.
    Floats { floats: &'a mut [f32], offset: usize, step: usize, plane: usize, channels: usize, multipliers: &'a [f32] },
}

/// From sums to bytes: `round(sum * multiplier + residual) + zero_point`, from `low` to `high`, ties to even.
#[derive(Clone, Debug)]
pub(crate) struct Quantizing {
    /// For each output channel, filled up to whole blocks.
    pub(crate) multipliers: Vec<f32>,
    /// Of the results.
    pub(crate) zero_point: u8,
    /// The zero point where the sums go through a ReLU, otherwise 0.
    pub(crate) low: u8,
    /// What 6 becomes where they go through a ReLU6, otherwise 255.
    pub(crate) high: u8,
}

/// Bytes that are added to the results: pixel `i` gets `(byte - zero_point) * factor` of the bytes at `offset + i * step`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Residual<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) offset: usize,
    pub(crate) step: usize,
    pub(crate) zero_point: u8,
    pub(crate) factor: f32,
}

/// Computes `pixels` output pixels of the blocks `blocks` of a layer.
///
/// # Panics
/// If the readings are not what the weights were packed for, or anything lies outside of its slice.
pub(crate) fn convolve(weights: &Weights, blocks: Range<usize>, readings: &[Reading], pixels: usize, writing: &mut Writing) {
    if pixels == 0 || blocks.is_empty() {
        return;
    }
    assert!(blocks.end <= weights.blocks && readings.len() <= READINGS_MAX);
    // None is empty, and so the sum cannot wrap.
    assert!(readings.iter().all(|reading| (1..=weights.quads).contains(&reading.quads)));
    assert_eq!(readings.iter().map(|r| r.quads).sum::<usize>(), weights.quads);
    check(&blocks, readings, pixels, writing);
    let row = Row { weights, blocks, readings, pixels };
    match weights.set {
        #[cfg(target_arch = "x86_64")]
        set @ (InstructionSet::Avx512Vnni | InstructionSet::AvxVnni | InstructionSet::Avx2) => x86::convolve(set, &row, writing),
        #[cfg(target_arch = "aarch64")]
        set @ (InstructionSet::NeonI8mm | InstructionSet::NeonDotprod | InstructionSet::Neon) => aarch64::convolve(set, &row, writing),
        InstructionSet::Portable => portable::convolve(&row, writing),
    }
}

/// Checks that all that is read and written lies inside of its slice.
fn check(blocks: &Range<usize>, readings: &[Reading], pixels: usize, writing: &Writing) {
    let last = pixels - 1;
    let inside = |offset: usize, step: usize, length: usize, whole: usize| {
        last.checked_mul(step).and_then(|far| far.checked_add(offset)?.checked_add(length)).is_some_and(|end| end <= whole)
    };
    for reading in readings {
        assert!(inside(reading.offset, reading.step, QUAD * reading.quads, reading.bytes.len()), "a pixel reads outside of its input");
    }
    match writing {
        Writing::Bytes { bytes, offset, step, quantizing, residual } => {
            assert!(inside(*offset, *step, blocks.end * BLOCK, bytes.len()), "a pixel is written outside of its output");
            assert!(quantizing.multipliers.len() >= blocks.end * BLOCK);
            if let Some(residual) = residual {
                assert!(inside(residual.offset, residual.step, blocks.end * BLOCK, residual.bytes.len()));
            }
        }
        Writing::Floats { floats, offset, step, plane, channels, multipliers } => {
            assert!(*channels > 0 && *channels <= blocks.len() * BLOCK);
            assert!(multipliers.len() >= blocks.end * BLOCK);
            assert!(inside(*offset, *step, (*channels - 1) * *plane + 1, floats.len()), "a pixel is written outside of its output");
        }
    }
}

/// Packed weights of one quad of one block, in bytes.
const QUAD_BYTES: usize = BLOCK * QUAD;

/// One call's work, checked: every pixel of every reading lies inside of its bytes.
struct Row<'a> {
    weights: &'a Weights,
    blocks: Range<usize>,
    readings: &'a [Reading<'a>],
    pixels: usize,
}

/// How an instruction set sums products.
trait Kernel {
    /// The sums of one pixel for one block: [`BLOCK`] numbers of 32 bits, in registers.
    type Sums: Copy;
    /// Whether tiles of two blocks pay.
    const TWO_BLOCKS: bool;
    /// The most pixels of a tile of one block.
    const WIDEST: usize = 16;
    /// The most pixels of a tile of a depthwise convolution.
    const WIDEST_DEPTHWISE: usize;
    /// The same for two blocks at once; 0 where they do not pay.
    const WIDEST_DEPTHWISE_PAIR: usize = 0;

    /// The sums of the pixels from `first` on, for `V` blocks from `block` on.
    ///
    /// # Safety
    /// The processor has the instruction set; pixels `first` to `first + P - 1` are pixels of `row`, the blocks are the weights'.
    #[expect(unsafe_code, reason = "it reads through pointers, with instructions that not every processor has")]
    unsafe fn sum<const P: usize, const V: usize>(row: &Row, first: usize, block: usize) -> [[Self::Sums; V]; P];

    /// As [`sum`](Self::sum), for a depthwise convolution and one block.
    ///
    /// # Safety
    /// As [`sum`](Self::sum).
    #[expect(unsafe_code, reason = "it reads through pointers, with instructions that not every processor has")]
    unsafe fn sum_depthwise<const P: usize>(row: &DepthwiseRow, first: usize, block: usize) -> [[Self::Sums; 1]; P];

    /// As [`sum_depthwise`](Self::sum_depthwise), for two blocks. Only where [`WIDEST_DEPTHWISE_PAIR`](Self::WIDEST_DEPTHWISE_PAIR) says so.
    ///
    /// # Safety
    /// As [`sum`](Self::sum).
    #[inline(always)]
    #[expect(unsafe_code, reason = "it reads through pointers, with instructions that not every processor has")]
    unsafe fn sum_depthwise_pair<const P: usize>(_: &DepthwiseRow, _: usize, _: usize) -> [[Self::Sums; 2]; P] {
        unreachable!("this kernel takes one block at a time")
    }

    /// What [`Quantizing`] and [`Residual`] say, for one pixel and one block: `added` holds the residual's bytes, their zero point and their factor.
    ///
    /// # Safety
    /// The processor has the instruction set.
    #[expect(unsafe_code, reason = "it takes instructions that not every processor has")]
    unsafe fn quantize(sums: Self::Sums, multipliers: &[f32; BLOCK], added: Option<Added>, levels: Levels) -> [u8; BLOCK];

    /// Sums times multipliers.
    ///
    /// # Safety
    /// The processor has the instruction set.
    #[expect(unsafe_code, reason = "it takes instructions that not every processor has")]
    unsafe fn scale(sums: Self::Sums, multipliers: &[f32; BLOCK]) -> [f32; BLOCK];

    /// Rows to columns.
    #[inline(always)]
    fn transpose(rows: [[f32; 4]; 4]) -> [[f32; 4]; 4] {
        std::array::from_fn(|column| std::array::from_fn(|row| rows[row][column]))
    }
}

/// The zero point, the lowest and the highest of the bytes that are written.
#[derive(Clone, Copy)]
struct Levels {
    zero_point: f32,
    low: f32,
    high: f32,
}

impl Quantizing {
    #[inline(always)]
    fn levels(&self) -> Levels {
        Levels { zero_point: f32::from(self.zero_point), low: f32::from(self.low), high: f32::from(self.high) }
    }
}

/// A residual's bytes for one pixel and one block, their zero point, and their factor.
type Added<'a> = (&'a [u8; BLOCK], f32, f32);

/// Goes through a row in tiles.
///
/// # Safety
/// The processor has `K`'s instructions.
#[inline(always)]
#[expect(unsafe_code, reason = "it calls the kernel")]
unsafe fn go<K: Kernel>(row: &Row, writing: &mut Writing) {
    let mut block = row.blocks.start;
    while block < row.blocks.end {
        let two = K::TWO_BLOCKS && block + 1 < row.blocks.end;
        let mut first = 0;
        while first < row.pixels {
            let left = (row.pixels - first).min(if two { usize::MAX } else { K::WIDEST });
            // SAFETY: `first` plus the tile's width stays within the row, the blocks within the weights; the rest is the caller's promise.
            unsafe {
                first += match (two, left) {
                    (true, 12) | (true, 20..) => tile::<K, 12, 2>(row, first, block, writing),
                    (true, 7) => tile::<K, 7, 2>(row, first, block, writing),
                    (true, 8..) => tile::<K, 8, 2>(row, first, block, writing),
                    (true, 6..) => tile::<K, 6, 2>(row, first, block, writing),
                    (true, 4..) => tile::<K, 4, 2>(row, first, block, writing),
                    (true, 2..) => tile::<K, 2, 2>(row, first, block, writing),
                    (true, _) => tile::<K, 1, 2>(row, first, block, writing),
                    (false, 16..) => tile::<K, 16, 1>(row, first, block, writing),
                    (false, 8..) => tile::<K, 8, 1>(row, first, block, writing),
                    (false, 4..) => tile::<K, 4, 1>(row, first, block, writing),
                    (false, 2..) => tile::<K, 2, 1>(row, first, block, writing),
                    (false, _) => tile::<K, 1, 1>(row, first, block, writing),
                };
            }
        }
        block += if two { 2 } else { 1 };
    }
}

/// One tile of a row, for `V` blocks: gives its width.
///
/// # Safety
/// As [`Kernel::sum`].
#[inline(always)]
#[expect(unsafe_code, reason = "it calls the kernel")]
unsafe fn tile<K: Kernel, const P: usize, const V: usize>(row: &Row, first: usize, block: usize, writing: &mut Writing) -> usize {
    // SAFETY: the caller's promise.
    unsafe {
        let sums = K::sum::<P, V>(row, first, block);
        finish::<K, P, V>(&sums, first, block, row.blocks.start, writing);
    }
    P
}

/// Writes what becomes of the sums of the pixels from `first` on, for `V` blocks from `block` on; `start` is the first block of the call.
///
/// # Safety
/// The processor has `K`'s instructions; the pixels and blocks are among those that [`check`] was told of.
#[inline(always)]
#[expect(unsafe_code, reason = "it calls the kernel, and writes through a pointer")]
unsafe fn finish<K: Kernel, const P: usize, const V: usize>(
    sums: &[[K::Sums; V]; P],
    first: usize,
    block: usize,
    start: usize,
    writing: &mut Writing,
) {
    match writing {
        Writing::Bytes { bytes, offset, step, quantizing, residual } => {
            let levels = quantizing.levels();
            for v in 0..V {
                let channel = (block + v) * BLOCK;
                let multipliers: &[f32; BLOCK] = quantizing.multipliers[channel..][..BLOCK].try_into().expect("a block");
                // SAFETY: `check` has seen that all pixels of the row, with all blocks, lie inside of both slices.
                unsafe {
                    let to = bytes.as_mut_ptr().add(*offset + first * *step + channel).cast::<[u8; BLOCK]>();
                    if let Some(Residual { bytes, offset, step: apart, zero_point, factor }) = *residual {
                        let from = bytes.as_ptr().add(offset + first * apart + channel).cast::<[u8; BLOCK]>();
                        for (pixel, sums) in sums.iter().enumerate() {
                            let added = Some((&*from.byte_add(pixel * apart), f32::from(zero_point), factor));
                            *to.byte_add(pixel * *step) = K::quantize(sums[v], multipliers, added, levels);
                        }
                    } else {
                        for (pixel, sums) in sums.iter().enumerate() {
                            *to.byte_add(pixel * *step) = K::quantize(sums[v], multipliers, None, levels);
                        }
                    }
                }
            }
        }
        Writing::Floats { floats, offset, step, plane, channels, multipliers } => {
            for v in 0..V {
                let channel = (block + v) * BLOCK;
                let relative = channel - start * BLOCK;
                let multipliers: &[f32; BLOCK] = multipliers[channel..][..BLOCK].try_into().expect("a block");
                let mut values = [[0.0; BLOCK]; P];
                // Not in a closure: it would be compiled without the kernel's instructions.
                for (values, sums) in values.iter_mut().zip(sums) {
                    // SAFETY: the caller's promise.
                    *values = unsafe { K::scale(sums[v], multipliers) };
                }
                let lanes = BLOCK.min(channels.saturating_sub(relative));
                let at = *offset + relative * *plane + first * *step;
                if *step == 1 && P.is_multiple_of(4) {
                    scatter_rows::<K, P>(&values, lanes, &mut floats[at..], *plane);
                } else {
                    for (pixel, values) in values.iter().enumerate() {
                        for (lane, &value) in values[..lanes].iter().enumerate() {
                            floats[at + lane * *plane + pixel * *step] = value;
                        }
                    }
                }
            }
        }
    }
}

/// Writes the first `lanes` channels of `P` consecutive pixels, each channel into a plane of its own. `P` is a multiple of four.
#[inline(always)]
fn scatter_rows<K: Kernel, const P: usize>(values: &[[f32; BLOCK]; P], lanes: usize, floats: &mut [f32], plane: usize) {
    for lane in (0..lanes).step_by(4) {
        for pixel in (0..P).step_by(4) {
            let row = |row: usize| values[pixel + row][lane..][..4].try_into().expect("four lanes");
            let columns = K::transpose([row(0), row(1), row(2), row(3)]);
            for (column, values) in columns.iter().enumerate().take(lanes - lane) {
                floats[(lane + column) * plane + pixel..][..4].copy_from_slice(values);
            }
        }
    }
}

#[cfg(test)]
mod tests;
