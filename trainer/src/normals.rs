//! Normally distributed numbers that depend on a seed alone: not on the device, the number of threads, or what was drawn before.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A generator of its own for each `seed` and `stream` (for example a step and a lane).
pub(crate) fn generator(seed: u64, stream: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(stream);
    rng
}

/// `count` numbers of mean 0 and deviation 1 (Box and Muller 1958).
pub(crate) fn normals(rng: &mut ChaCha8Rng, count: usize) -> Vec<f32> {
    let mut found = Vec::with_capacity(count + 1);
    while found.len() < count {
        // 1 - u is above 0, so that the logarithm is finite.
        let radius = (-2.0 * (1.0 - rng.random::<f32>()).ln()).sqrt();
        let angle = std::f32::consts::TAU * rng.random::<f32>();
        found.extend([radius * angle.cos(), radius * angle.sin()]);
    }
    found.truncate(count);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_moments_are_those_of_the_normal_distribution() {
        let found = normals(&mut generator(3, 4), 40_001);
        let moment = |power: i32| found.iter().map(|&x| f64::from(x).powi(power)).sum::<f64>() / found.len() as f64;
        assert_eq!(found.len(), 40_001);
        for (power, expected, within) in [(1, 0.0, 0.02), (2, 1.0, 0.03), (3, 0.0, 0.08), (4, 3.0, 0.2)] {
            assert!((moment(power) - expected).abs() < within, "moment {power} is {}", moment(power));
        }
        assert_ne!(normals(&mut generator(3, 5), 4), normals(&mut generator(3, 4), 4));
        assert_eq!(normals(&mut generator(3, 4), 4), normals(&mut generator(3, 4), 4));
    }
}
