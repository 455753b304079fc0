//! Depthwise convolution: each output channel reads its own input channel only, so that a pixel reads a block of channels of each pixel of its window.

use std::ops::Range;

#[cfg(target_arch = "aarch64")]
use super::aarch64;
#[cfg(target_arch = "x86_64")]
use super::x86;
use super::{BLOCK, InstructionSet, Kernel, QUAD, READINGS_MAX, Reading, Writing, check, finish, portable, start_of};

/// The weights of a depthwise layer.
#[derive(Clone, Debug)]
pub(crate) struct DepthwiseWeights {
    set: InstructionSet,
    /// Of each block of channels, for each pixel of the window: the channels' weights. The last block is filled up with zeros.
    pub(super) packed: Vec<i8>,
    /// What the sums start from, of each channel, filled up to whole blocks.
    pub(super) start: Vec<i32>,
    /// Pixels of a window.
    pub(super) taps: usize,
    blocks: usize,
}

impl DepthwiseWeights {
    /// Packs weights for `set`.
    ///
    /// `rows` holds the weights of each channel, in the order in which the window's pixels are read; `bias` is in units of the products;
    /// `zero_point` is the inputs'. `None` where a sum could overflow an i32.
    pub(crate) fn pack(set: InstructionSet, rows: &[Vec<i8>], bias: &[i32], zero_point: u8) -> Option<Self> {
        assert!(set.is_available(), "this processor has no {set}");
        let taps = rows.first()?.len();
        assert!((1..=READINGS_MAX).contains(&taps) && rows.iter().all(|row| row.len() == taps) && rows.len() == bias.len());
        let blocks = rows.len().div_ceil(BLOCK);
        let (mut packed, mut start) = (vec![0; blocks * taps * BLOCK], vec![0; blocks * BLOCK]);
        let centers = set.depthwise_centers();
        for (channel, (row, &bias)) in rows.iter().zip(bias).enumerate() {
            start[channel] = start_of(row, bias, zero_point, &centers)?;
            let of_block = &mut packed[channel / BLOCK * taps * BLOCK..];
            for (tap, &weight) in row.iter().enumerate() {
                of_block[tap * BLOCK + channel % BLOCK] = weight;
            }
        }
        Some(Self { set, packed, start, taps, blocks })
    }

    /// How many blocks of [`BLOCK`] channels there are.
    pub(crate) fn blocks(&self) -> usize {
        self.blocks
    }

    /// How much memory they take, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.packed.len() + 4 * self.start.len()
    }
}

impl InstructionSet {
    /// What its kernel takes the input bytes of every first and every second pixel of a window less by: 0 where it reads them unsigned.
    fn depthwise_centers(self) -> [u8; 2] {
        match self {
            #[cfg(target_arch = "aarch64")]
            Self::NeonI8mm | Self::NeonDotprod | Self::Neon => aarch64::DEPTHWISE_CENTERS,
            _ => [0; 2],
        }
    }
}

/// One call's work, checked: every pixel of every reading lies inside of its bytes.
pub(super) struct DepthwiseRow<'a> {
    pub(super) weights: &'a DepthwiseWeights,
    pub(super) blocks: Range<usize>,
    pub(super) readings: &'a [Reading<'a>],
    pub(super) pixels: usize,
}

/// Computes `pixels` output pixels of the blocks `blocks` of a depthwise layer. Each reading is one pixel of the window, with all blocks' channels.
///
/// # Panics
/// If the readings are not what the weights were packed for, or anything lies outside of its slice.
pub(crate) fn convolve_depthwise(
    weights: &DepthwiseWeights,
    blocks: Range<usize>,
    readings: &[Reading],
    pixels: usize,
    writing: &mut Writing,
) {
    if pixels == 0 || blocks.is_empty() {
        return;
    }
    assert!(blocks.end <= weights.blocks && readings.len() == weights.taps);
    assert!(readings.iter().all(|reading| reading.quads == weights.blocks * BLOCK / QUAD));
    check(&blocks, readings, pixels, writing);
    let row = DepthwiseRow { weights, blocks, readings, pixels };
    match weights.set {
        #[cfg(target_arch = "x86_64")]
        set @ (InstructionSet::Avx512Vnni | InstructionSet::AvxVnni | InstructionSet::Avx2) => x86::convolve_depthwise(set, &row, writing),
        #[cfg(target_arch = "aarch64")]
        InstructionSet::NeonI8mm | InstructionSet::NeonDotprod | InstructionSet::Neon => aarch64::convolve_depthwise(&row, writing),
        InstructionSet::Portable => portable::convolve_depthwise(&row, writing),
    }
}

/// Goes through a row in tiles of one block or two.
///
/// # Safety
/// The processor has `K`'s instructions.
#[inline(always)]
#[expect(unsafe_code, reason = "it calls the kernel")]
pub(super) unsafe fn go_depthwise<K: Kernel>(row: &DepthwiseRow, writing: &mut Writing) {
    let mut block = row.blocks.start;
    while block < row.blocks.end {
        let pair = K::WIDEST_DEPTHWISE_PAIR > 0 && block + 1 < row.blocks.end;
        let widest = if pair { K::WIDEST_DEPTHWISE_PAIR } else { K::WIDEST_DEPTHWISE };
        let mut first = 0;
        while first < row.pixels {
            // SAFETY: `first` plus the tile's width stays within the row, the blocks within the weights; the rest is the caller's promise.
            unsafe {
                first += match (pair, (row.pixels - first).min(widest)) {
                    (true, 6..) => tile_of_two::<K, 6>(row, first, block, writing),
                    (true, 4..) => tile_of_two::<K, 4>(row, first, block, writing),
                    (true, 2..) => tile_of_two::<K, 2>(row, first, block, writing),
                    (true, _) => tile_of_two::<K, 1>(row, first, block, writing),
                    (false, 8..) => tile::<K, 8>(row, first, block, writing),
                    (false, 4..) => tile::<K, 4>(row, first, block, writing),
                    (false, 2..) => tile::<K, 2>(row, first, block, writing),
                    (false, _) => tile::<K, 1>(row, first, block, writing),
                };
            }
        }
        block += if pair { 2 } else { 1 };
    }
}

/// One tile of a row, for two blocks: gives its width.
///
/// # Safety
/// As [`Kernel::sum_depthwise_pair`].
#[inline(always)]
#[expect(unsafe_code, reason = "it calls the kernel")]
unsafe fn tile_of_two<K: Kernel, const P: usize>(row: &DepthwiseRow, first: usize, block: usize, writing: &mut Writing) -> usize {
    // SAFETY: the caller's promise.
    unsafe {
        let sums = K::sum_depthwise_pair::<P>(row, first, block);
        finish::<K, P, 2>(&sums, first, block, row.blocks.start, writing);
    }
    P
}

/// One tile of a row: gives its width.
///
/// # Safety
/// As [`Kernel::sum_depthwise`].
#[inline(always)]
#[expect(unsafe_code, reason = "it calls the kernel")]
unsafe fn tile<K: Kernel, const P: usize>(row: &DepthwiseRow, first: usize, block: usize, writing: &mut Writing) -> usize {
    // SAFETY: the caller's promise.
    unsafe {
        let sums = K::sum_depthwise::<P>(row, first, block);
        finish::<K, P, 1>(&sums, first, block, row.blocks.start, writing);
    }
    P
}
