//! The Frechet distance between two clouds of features, as FID takes it.

use anyhow::ensure;
use rayon::prelude::*;

/// The Frechet distance of the Gaussians that have two samples' means and covariances: |m1 - m2|² + tr(S1 + S2 - 2 (S1 S2)^1/2).
///
/// Each sample is a list of feature vectors of one length. With S1 = F1ᵀ F1 and S2 = F2ᵀ F2 the root's trace is the sum of the singular values
/// of F1 F2ᵀ, so that no root of a matrix is needed. Covariances divide by n - 1, as the published code does.
///
/// # Errors
/// If a sample holds fewer than two vectors, or vectors are of different lengths or not finite.
pub fn frechet_distance(first: &[Vec<f32>], second: &[Vec<f32>]) -> anyhow::Result<f64> {
    let size = first.first().map_or(0, Vec::len);
    ensure!(
        first.len() >= 2 && second.len() >= 2,
        "a Frechet distance needs two pictures on each side, found {} and {}",
        first.len(),
        second.len()
    );
    let fits = |v: &Vec<f32>| v.len() == size && v.iter().all(|x| x.is_finite());
    ensure!(size > 0 && first.iter().chain(second).all(fits), "features must be finite and all of one length ({size})");
    let (mean_first, factor_first) = mean_and_factor(first, size);
    let (mean_second, factor_second) = mean_and_factor(second, size);
    let apart: f64 = mean_first.iter().zip(&mean_second).map(|(a, b)| (a - b).powi(2)).sum();
    let trace = |factor: &[Vec<f64>]| factor.iter().map(|row| dot(row, row)).sum::<f64>();
    let across = products_of_rows(&factor_first, &factor_second);
    let squared = products_of_rows(&across, &across);
    let root: f64 = eigenvalues(squared.concat(), factor_first.len()).iter().map(|v| v.max(0.0).sqrt()).sum();
    Ok(apart + trace(&factor_first) + trace(&factor_second) - 2.0 * root)
}

/// A sample's mean, and the rows of an F with Fᵀ F its covariance: no more of them than vectors or features.
fn mean_and_factor(sample: &[Vec<f32>], size: usize) -> (Vec<f64>, Vec<Vec<f64>>) {
    let count = sample.len() as f64;
    let mean: Vec<f64> = (0..size).map(|i| sample.iter().map(|v| f64::from(v[i])).sum::<f64>() / count).collect();
    let scale = (count - 1.0).sqrt();
    let centered: Vec<Vec<f64>> = sample.iter().map(|v| v.iter().zip(&mean).map(|(x, m)| (f64::from(*x) - m) / scale).collect()).collect();
    if sample.len() <= size {
        return (mean, centered);
    }
    let features = transposed(&centered);
    let lower = cholesky(products_of_rows(&features, &features));
    (mean, transposed(&lower))
}

/// The sum of the products; in eight parts, which a processor adds at once.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (a, b) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f64 = a.remainder().iter().zip(b.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a.zip(b) {
        sums.iter_mut().zip(a.iter().zip(b)).for_each(|(sum, (a, b))| *sum += a * b);
    }
    rest + sums.iter().sum::<f64>()
}

fn transposed(matrix: &[Vec<f64>]) -> Vec<Vec<f64>> {
    (0..matrix.first().map_or(0, Vec::len)).map(|column| matrix.iter().map(|row| row[column]).collect()).collect()
}

/// `left` times the transpose of `right`: each value is the product of two rows.
fn products_of_rows(left: &[Vec<f64>], right: &[Vec<f64>]) -> Vec<Vec<f64>> {
    left.par_iter().map(|row| right.iter().map(|other| dot(row, other)).collect()).collect()
}

/// The lower triangle L with L Lᵀ = `matrix`, which is symmetric and has no negative eigenvalue; some may be 0, as where a feature is always
/// the same. What a zero pivot would divide is then zero itself, but for rounding.
fn cholesky(mut matrix: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    let largest = matrix.iter().enumerate().map(|(i, row)| row[i]).fold(0.0, f64::max);
    for i in 0..matrix.len() {
        let (above, rest) = matrix.split_at_mut(i);
        let row = &mut rest[0];
        for (j, other) in above.iter().enumerate() {
            row[j] = if other[j] > 0.0 { (row[j] - dot(&row[..j], &other[..j])) / other[j] } else { 0.0 };
        }
        let pivot = row[i] - dot(&row[..i], &row[..i]);
        row[i] = if pivot > 1e-12 * largest { pivot.sqrt() } else { 0.0 };
        row[i + 1..].fill(0.0);
    }
    matrix
}

/// The eigenvalues of a symmetric matrix, ascending: Householder's reflections make it tridiagonal, then each value is found by bisection,
/// counting by Sturm's sequence how many lie below.
fn eigenvalues(mut matrix: Vec<f64>, size: usize) -> Vec<f64> {
    let mut beside = vec![0.0; size];
    for k in 0..size.saturating_sub(2) {
        let first = k + 1;
        let mut normal: Vec<f64> = (first..size).map(|row| matrix[row * size + k]).collect();
        let length = dot(&normal, &normal).sqrt();
        let reflected = if normal[0] > 0.0 { -length } else { length };
        beside[k] = reflected;
        normal[0] -= reflected;
        let square = dot(&normal, &normal);
        if square == 0.0 {
            continue;
        }
        let scale = 2.0 / square;
        let block = &mut matrix[first * size..];
        let image: Vec<f64> = block.par_chunks(size).map(|row| scale * dot(&row[first..], &normal)).collect();
        let along = 0.5 * scale * dot(&normal, &image);
        let update: Vec<f64> = image.iter().zip(&normal).map(|(p, v)| p - along * v).collect();
        block.par_chunks_mut(size).zip(normal.par_iter().zip(&update)).for_each(|(row, (v, w))| {
            row[first..].iter_mut().zip(normal.iter().zip(&update)).for_each(|(m, (vj, wj))| *m -= v * wj + w * vj);
        });
    }
    if size > 1 {
        beside[size - 2] = matrix[(size - 1) * size + size - 2];
    }
    let diagonal: Vec<f64> = (0..size).map(|i| matrix[i * size + i]).collect();
    let reach = |i: usize| beside[i].abs() + if i > 0 { beside[i - 1].abs() } else { 0.0 };
    let lowest = (0..size).map(|i| diagonal[i] - reach(i)).fold(f64::INFINITY, f64::min);
    let highest = (0..size).map(|i| diagonal[i] + reach(i)).fold(f64::NEG_INFINITY, f64::max);
    let below = |x: f64| {
        let (mut count, mut pivot) = (0, 1.0_f64);
        for i in 0..size {
            let coupling = if i > 0 { beside[i - 1].powi(2) } else { 0.0 };
            pivot = diagonal[i] - x - coupling / pivot;
            if pivot == 0.0 {
                pivot = f64::MIN_POSITIVE.sqrt();
            }
            count += usize::from(pivot < 0.0);
        }
        count
    };
    let find = |index: usize| {
        let (mut low, mut high) = (lowest, highest);
        for _ in 0..100 {
            let middle = 0.5 * (low + high);
            if middle <= low || middle >= high {
                break;
            }
            if below(middle) > index { high = middle } else { low = middle }
        }
        0.5 * (low + high)
    };
    (0..size).into_par_iter().map(find).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(count: usize, size: usize, phase: f64) -> Vec<Vec<f32>> {
        let wave = |i: f64, j: f64| (i * 1.7 + j * 0.9 + phase).sin() * (1.0 + j) + (i * i * 0.37 * (j + 1.0)).cos() + phase * j * 0.1;
        let value = |i: usize, j: usize| wave(i as f64, j as f64) as f32;
        (0..count).map(|i| (0..size).map(|j| value(i, j)).collect()).collect()
    }

    #[test]
    fn eigenvalues_are_those_of_numpy() {
        // numpy 2.4.6: numpy.linalg.eigvalsh of the 5x5 matrix 1 / (i + j + 1), plus i on the diagonal.
        let matrix =
            (0..25).map(|at| 1.0 / ((at / 5 + at % 5) as f64 + 1.0) + if at / 5 == at % 5 { (at / 5) as f64 } else { 0.0 }).collect();
        for (found, expected) in eigenvalues(matrix, 5).iter().zip([
            0.625_065_485_115,
            1.450_210_004_478,
            2.303_323_281_781,
            3.220_403_962_255,
            4.188_298_853_673,
        ]) {
            assert!((found - expected).abs() < 1e-10, "{found} {expected}");
        }
        assert_eq!(eigenvalues(vec![3.0], 1), [3.0]);
    }

    #[test]
    fn the_distance_is_that_of_scipy() {
        // |m1 - m2|² + trace(S1 + S2 - 2 sqrtm(S1 S2)) with scipy 1.17.1's linalg.sqrtm and numpy.cov.
        let found = frechet_distance(&sample(40, 4, 0.3), &sample(30, 4, 1.1)).unwrap();
        assert!((found - 0.278_284_594).abs() < 1e-4, "{found}");
        // A feature that never changes has a pivot of zero, and changes nothing.
        let with_constant =
            |count, phase| sample(count, 4, phase).into_iter().map(|v| [&v[..2], &[7.0], &v[2..]].concat()).collect::<Vec<_>>();
        let found = frechet_distance(&with_constant(40, 0.3), &with_constant(30, 1.1)).unwrap();
        assert!((found - 0.278_284_594).abs() < 1e-4, "{found}");
    }

    #[test]
    fn fewer_pictures_than_features_are_no_trouble() {
        // Moving a sample moves only its mean: 8 features by 0.5.
        let first = sample(5, 8, 0.3);
        let moved: Vec<Vec<f32>> = first.iter().map(|v| v.iter().map(|x| x + 0.5).collect()).collect();
        let found = frechet_distance(&first, &moved).unwrap();
        assert!((found - 8.0 * 0.25).abs() < 1e-4, "{found}");
        assert!(frechet_distance(&first, &first).unwrap().abs() < 1e-4);
    }

    #[test]
    fn features_that_do_not_fit_are_refused() {
        let good = sample(5, 3, 0.1);
        assert!(frechet_distance(&good, &good[..1]).is_err());
        assert!(frechet_distance(&good, &sample(5, 4, 0.1)).is_err());
        assert!(frechet_distance(&good, &[vec![1.0, f32::NAN, 0.0], vec![0.0; 3]]).is_err());
    }
}
