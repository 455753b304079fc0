//! How many 8-bit multiply-adds a second one core can do at most: independent accumulators in registers, nothing read or written.

/// An instruction (or loop) that multiplies and adds, the best this processor has.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Peak {
    /// AVX-512 VNNI: `vpdpbusd` on 64 pairs of bytes.
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni,
    /// AVX-VNNI: `vpdpbusd` on 32 pairs of bytes.
    #[cfg(target_arch = "x86_64")]
    AvxVnni,
    /// AVX2: `vpmaddwd` on 16 pairs of 16-bit words, and the addition.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// What the compiler makes of a plain loop over bytes.
    Portable,
}

/// The best that is detected.
pub(crate) fn best() -> Peak {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512vnni") {
            return Peak::Avx512Vnni;
        }
        if is_x86_feature_detected!("avxvnni") {
            return Peak::AvxVnni;
        }
        if is_x86_feature_detected!("avx2") {
            return Peak::Avx2;
        }
    }
    Peak::Portable
}

/// Accumulators in flight: more than latency (4 or 5 cycles) times instructions a cycle (2), fewer than registers (16).
const CHAINS: usize = 12;

impl Peak {
    /// What it is, for a report.
    pub(crate) fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => "AVX-512 VNNI vpdpbusd",
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni => "AVX-VNNI vpdpbusd",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "AVX2 vpmaddwd + vpaddd",
            Self::Portable => "plain loop",
        }
    }

    /// Does at least `count` of them, and gives a sum so that none can be left out.
    pub(crate) fn multiply_adds(self, count: u64) -> i32 {
        let rounds = |lanes: usize| count.div_ceil((lanes * CHAINS) as u64);
        match self {
            // SAFETY: `best` has found the instructions on this processor.
            #[cfg(target_arch = "x86_64")]
            #[expect(unsafe_code, reason = "instructions that are not in the baseline")]
            Self::Avx512Vnni => unsafe { x86::avx512_vnni(rounds(64)) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            #[expect(unsafe_code, reason = "instructions that are not in the baseline")]
            Self::AvxVnni => unsafe { x86::avx_vnni(rounds(32)) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            #[expect(unsafe_code, reason = "instructions that are not in the baseline")]
            Self::Avx2 => unsafe { x86::avx2(rounds(16)) },
            Self::Portable => portable(rounds(16)),
        }
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
