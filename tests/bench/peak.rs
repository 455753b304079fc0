//! How many 8-bit multiply-adds a second one core can do at most: independent accumulators in registers, nothing read or written.

use autochrome_model::InstructionSet;

/// Accumulators in flight: more than latency (4 or 5 cycles) times instructions a cycle (2), fewer than registers (16).
const CHAINS: usize = 12;

/// What is measured for an instruction set, for a report.
pub(crate) fn name(set: InstructionSet) -> &'static str {
    match set {
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx512Vnni => "vpdpbusd, 512 bits",
        #[cfg(target_arch = "x86_64")]
        InstructionSet::AvxVnni => "vpdpbusd, 256 bits",
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx2 => "vpmaddwd and vpaddd, 256 bits",
        _ => "a plain loop, compiled for the baseline",
    }
}

/// Does at least `count` multiply-adds, and gives a sum so that none can be left out.
///
/// # Panics
/// If this processor does not have the instruction set.
pub(crate) fn multiply_adds(set: InstructionSet, count: u64) -> i32 {
    assert!(set.is_available(), "this processor has no {set}");
    let rounds = |lanes: usize| count.div_ceil((lanes * CHAINS) as u64);
    match set {
        // SAFETY: the processor has the instructions, as asserted.
        #[cfg(target_arch = "x86_64")]
        #[expect(unsafe_code, reason = "instructions that are not in the baseline")]
        InstructionSet::Avx512Vnni => unsafe { x86::avx512_vnni(rounds(64)) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        #[expect(unsafe_code, reason = "instructions that are not in the baseline")]
        InstructionSet::AvxVnni => unsafe { x86::avx_vnni(rounds(32)) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        #[expect(unsafe_code, reason = "instructions that are not in the baseline")]
        InstructionSet::Avx2 => unsafe { x86::avx2(rounds(16)) },
        _ => portable(rounds(16)),
    }
}

fn portable(rounds: u64) -> i32 {
    let mut sums = [[0_i32; 16]; CHAINS];
    for _ in 0..rounds {
        let (a, b) = (std::hint::black_box([3_u8; 16]), [5_i8; 16]);
        for sums in &mut sums {
            for lane in 0..16 {
                sums[lane] = sums[lane].wrapping_add(i32::from(a[lane]) * i32::from(b[lane]));
            }
        }
        std::hint::black_box(&mut sums);
    }
    sums.iter().flatten().fold(0, |all, &sum| all.wrapping_add(sum))
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::asm;
    use std::arch::x86_64::*;
    use std::hint::black_box;

    use super::CHAINS;

    // `black_box` in front of the loop keeps operands and accumulators unknown to the compiler. The accumulators depend on themselves, so no round can
    // be left out, and for all the compiler knows no two begin alike.

    #[target_feature(enable = "avx512f,avx512vnni")]
    pub(super) fn avx512_vnni(rounds: u64) -> i32 {
        let (a, b) = (black_box(_mm512_set1_epi8(3)), black_box(_mm512_set1_epi8(5)));
        let mut sums = black_box([_mm512_setzero_si512(); CHAINS]);
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm512_dpbusd_epi32(*sum, a, b);
            }
        }
        _mm512_reduce_add_epi32(sums.into_iter().reduce(|x, y| _mm512_add_epi32(x, y)).unwrap_or(a))
    }

    #[target_feature(enable = "avx2,avxvnni")]
    pub(super) fn avx_vnni(rounds: u64) -> i32 {
        let (a, b) = (black_box(_mm256_set1_epi8(3)), black_box(_mm256_set1_epi8(5)));
        let mut sums = black_box([_mm256_setzero_si256(); CHAINS]);
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm256_dpbusd_avx_epi32(*sum, a, b);
            }
        }
        lanes(sums)
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn avx2(rounds: u64) -> i32 {
        let (a, b) = (black_box(_mm256_set1_epi16(3)), black_box(_mm256_set1_epi16(5)));
        let mut sums = black_box([_mm256_setzero_si256(); CHAINS]);
        for _ in 0..rounds {
            for sum in &mut sums {
                let product: __m256i;
                // SAFETY: it reads and writes registers only. As an intrinsic it would be computed once, for its operands never change.
                #[expect(unsafe_code, reason = "an instruction that must not be moved out of the loop")]
                unsafe {
                    asm!("vpmaddwd {}, {}, {}", out(ymm_reg) product, in(ymm_reg) a, in(ymm_reg) b, options(nomem, nostack, preserves_flags));
                }
                *sum = _mm256_add_epi32(*sum, product);
            }
        }
        lanes(sums)
    }

    #[target_feature(enable = "avx2")]
    fn lanes(sums: [__m256i; CHAINS]) -> i32 {
        let sum = sums.into_iter().reduce(|x, y| _mm256_add_epi32(x, y)).unwrap_or(_mm256_setzero_si256());
        let half = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256::<1>(sum));
        let pair = _mm_add_epi32(half, _mm_unpackhi_epi64(half, half));
        _mm_cvtsi128_si32(_mm_add_epi32(pair, _mm_shuffle_epi32::<1>(pair)))
    }
}
