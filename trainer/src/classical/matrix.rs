//! 3x3 matrices, as far as color transfer needs them.

/// Rows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Matrix(pub(super) [[f64; 3]; 3]);

/// Rounds of Jacobi's method: each at least squares what is off the diagonal, so a handful reach the last bit.
const SWEEPS: usize = 12;

impl Matrix {
    pub(super) const IDENTITY: Self = Self([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]);

    pub(super) fn diagonal(values: [f64; 3]) -> Self {
        let mut matrix = Self::default();
        values.iter().enumerate().for_each(|(i, &value)| matrix.0[i][i] = value);
        matrix
    }

    pub(super) fn transposed(&self) -> Self {
        Self(std::array::from_fn(|i| std::array::from_fn(|j| self.0[j][i])))
    }

    pub(super) fn times(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|i| std::array::from_fn(|j| (0..3).map(|k| self.0[i][k] * other.0[k][j]).sum())))
    }

    pub(super) fn plus(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|i| std::array::from_fn(|j| self.0[i][j] + other.0[i][j])))
    }

    pub(super) fn apply(&self, point: [f64; 3]) -> [f64; 3] {
        self.0.map(|row| row.iter().zip(point).map(|(m, v)| m * v).sum())
    }

    /// Of a symmetric matrix: the same eigenvectors with `change` applied to each eigenvalue.
    pub(super) fn with_eigenvalues(&self, change: impl Fn(f64) -> f64) -> Self {
        let (values, vectors) = self.eigen();
        vectors.transposed().times(&Self::diagonal(values.map(change))).times(&vectors)
    }

    /// A symmetric matrix' eigenvalues, the largest first.
    pub(super) fn eigenvalues(&self) -> [f64; 3] {
        let (mut values, _) = self.eigen();
        values.sort_by(|a, b| b.total_cmp(a));
        values
    }

    /// Eigenvalues and, as rows, eigenvectors of a symmetric matrix, by Jacobi's rotations.
    fn eigen(&self) -> ([f64; 3], Self) {
        let (mut matrix, mut vectors) = (*self, Self::IDENTITY);
        for _ in 0..SWEEPS {
            for (p, q) in [(0, 1), (0, 2), (1, 2)] {
                let off = matrix.0[p][q];
                if off == 0.0 {
                    continue;
                }
                // The rotation in the plane of p and q that makes this element zero, by the smaller of its two angles.
                let theta = (matrix.0[q][q] - matrix.0[p][p]) / (2.0 * off);
                let tangent = theta.signum() / (theta.abs() + theta.hypot(1.0));
                let cosine = tangent.hypot(1.0).recip();
                let sine = tangent * cosine;
                let mut rotation = Self::IDENTITY;
                rotation.0[p][p] = cosine;
                rotation.0[q][q] = cosine;
                rotation.0[p][q] = -sine;
                rotation.0[q][p] = sine;
                matrix = rotation.times(&matrix).times(&rotation.transposed());
                vectors = rotation.times(&vectors);
            }
        }
        (std::array::from_fn(|i| matrix.0[i][i]), vectors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_of_a_symmetric_matrix_are_those_of_its_eigenvalues() {
        // By hand: eigenvalues 3 along (1, 1, 0), 1 along (1, -1, 0), and 5.
        let matrix = Matrix([[2.0, 1.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, 5.0]]);
        let values = matrix.eigenvalues();
        assert!(values.iter().zip([5.0, 3.0, 1.0]).all(|(found, expected)| (found - expected).abs() < 1e-12), "{values:?}");
        let full = Matrix([[4.0, 1.0, -2.0], [1.0, 3.0, 0.5], [-2.0, 0.5, 6.0]]);
        let root = full.with_eigenvalues(f64::sqrt);
        let squared = root.times(&root);
        for (found, expected) in squared.0.as_flattened().iter().zip(full.0.as_flattened()) {
            assert!((found - expected).abs() < 1e-12, "{squared:?}");
        }
        assert_eq!(Matrix::default().with_eigenvalues(f64::sqrt), Matrix::default());
    }
}
