//! Matrices of 64-bit floats, row by row, and their products on all threads.
//!
//! The rows of a product are divided into blocks whose size does not depend on the number of threads.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par, Side};
use rayon::prelude::*;

/// Rows of a product that a task computes.
const BLOCK: usize = 64;

/// A matrix, row by row.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    rows: usize,
    columns: usize,
    values: Vec<f64>,
}

impl Matrix {
    /// A matrix of these values.
    ///
    /// # Panics
    /// Where they do not fill it.
    pub fn new(rows: usize, columns: usize, values: Vec<f64>) -> Self {
        assert_eq!(values.len(), rows * columns, "values of a matrix of {rows} x {columns}");
        Self { rows, columns, values }
    }

    /// A matrix of the values of a tensor.
    ///
    /// # Panics
    /// Where they do not fill it.
    pub fn from_f32(rows: usize, columns: usize, values: &[f32]) -> Self {
        Self::new(rows, columns, values.iter().map(|value| f64::from(*value)).collect())
    }

    /// A matrix of zeros.
    pub fn zeros(rows: usize, columns: usize) -> Self {
        Self::new(rows, columns, vec![0.0; rows * columns])
    }

    /// The values for a tensor.
    pub fn to_f32(&self) -> Vec<f32> {
        self.values.iter().map(|value| *value as f32).collect()
    }

    /// Rows and columns.
    pub fn dims(&self) -> [usize; 2] {
        [self.rows, self.columns]
    }

    /// The values, row by row.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// The values, row by row, to be changed.
    pub fn values_mut(&mut self) -> &mut [f64] {
        &mut self.values
    }

    /// The product with another matrix.
    pub fn times(&self, right: &Self) -> Self {
        Self::product(self.view(), right.view())
    }

    /// The product of this matrix, transposed, with another.
    pub fn transposed_times(&self, right: &Self) -> Self {
        Self::product(self.view().transpose(), right.view())
    }

    /// Adds `factor` times the product of two matrices.
    pub fn add_product(&mut self, factor: f64, left: &Self, right: &Self) {
        let [_, columns] = self.dims();
        add_product(&mut self.values, columns, factor, left.view(), right.view());
    }

    /// This matrix less another one.
    pub fn minus(mut self, other: &Self) -> Self {
        assert_eq!(self.dims(), other.dims(), "matrices of one shape");
        self.values.iter_mut().zip(&other.values).for_each(|(value, other)| *value -= other);
        self
    }

    /// Sum of the products of values at the same place, row by row.
    pub fn dot(&self, other: &Self) -> f64 {
        assert_eq!(self.dims(), other.dims(), "matrices of one shape");
        self.values.iter().zip(&other.values).map(|(a, b)| a * b).sum()
    }

    /// The eigenvectors of a symmetric matrix, one a row; none where a value is NaN or infinite.
    pub fn eigenvectors(&self) -> Option<Self> {
        let is_finite = self.values.iter().all(|value| value.is_finite());
        let eigen = is_finite.then(|| self.view().self_adjoint_eigen(Side::Lower).ok()).flatten()?;
        let (vectors, side) = (eigen.U(), self.rows);
        let entries = (0..side * side).map(|place| vectors[(place % side, place / side)]);
        Some(Self::new(side, side, entries.collect()))
    }

    /// Refuses values that are NaN or infinite.
    pub(crate) fn check(&self, what: &'static str) -> Result<(), crate::RidgeError> {
        match self.values.iter().position(|value| !value.is_finite()) {
            Some(at) => Err(crate::RidgeError::NotFinite { what, row: at / self.columns }),
            None => Ok(()),
        }
    }

    pub(crate) fn view(&self) -> MatRef<'_, f64> {
        MatRef::from_row_major_slice(&self.values, self.rows, self.columns)
    }

    pub(crate) fn product(left: MatRef<'_, f64>, right: MatRef<'_, f64>) -> Self {
        let mut product = Self::zeros(left.nrows(), right.ncols());
        add_product(&mut product.values, right.ncols(), 1.0, left, right);
        product
    }
}

/// Adds `factor` times `left` times `right` to values of so many `columns`, row by row.
fn add_product(
    values: &mut [f64],
    columns: usize,
    factor: f64,
    left: MatRef<'_, f64>,
    right: MatRef<'_, f64>,
) {
    assert_eq!((left.nrows() * columns, left.ncols(), right.ncols()), (values.len(), right.nrows(), columns));
    values.par_chunks_mut((BLOCK * columns).max(1)).enumerate().for_each(|(at, values)| {
        let rows = values.len() / columns;
        let left = left.subrows(at * BLOCK, rows);
        let values = MatMut::from_row_major_slice_mut(values, rows, columns);
        matmul(values, Accum::Add, left, right, factor, Par::Seq);
    });
}

/// A symmetric matrix plus `left` times its own transpose: only the blocks on and below the diagonal are computed.
pub(crate) fn add_square(values: &mut [f64], left: MatRef<'_, f64>) {
    let side = left.nrows();
    assert_eq!(values.len(), side * side);
    values.par_chunks_mut((BLOCK * side).max(1)).enumerate().for_each(|(at, values)| {
        let rows = values.len() / side;
        let until = at * BLOCK + rows;
        let values = MatMut::from_row_major_slice_mut(values, rows, side).subcols_mut(0, until);
        let (own, others) = (left.subrows(at * BLOCK, rows), left.subrows(0, until));
        matmul(values, Accum::Add, own, others.transpose(), 1.0, Par::Seq);
    });
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Numbers without a pattern in -1..1.
    pub(crate) fn numbers(rows: usize, columns: usize, seed: u64) -> Matrix {
        let next = |state: &mut u64| {
            *state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            Some((*state >> 11) as f64 / (1_u64 << 52) as f64 - 1.0)
        };
        let values = std::iter::from_fn({
            let mut state = seed;
            move || next(&mut state)
        });
        Matrix::new(rows, columns, values.take(rows * columns).collect())
    }

    #[test]
    fn products_are_sums_over_the_inner_dimension() {
        let (a, b) = (numbers(131, 5, 1), numbers(5, 7, 2));
        let product = a.times(&b);
        for (row, column) in [(0, 0), (64, 3), (130, 6)] {
            let sum: f64 = (0..5).map(|k| a.values()[row * 5 + k] * b.values()[k * 7 + column]).sum();
            assert!((product.values()[row * 7 + column] - sum).abs() < 1e-14);
        }
        let mut square = Matrix::zeros(131, 131);
        add_square(square.values_mut(), a.view());
        let whole = Matrix::product(a.view(), a.view().transpose());
        for row in 0..131 {
            for column in 0..=row {
                let at = row * 131 + column;
                assert!((square.values()[at] - whole.values()[at]).abs() < 1e-14);
            }
        }
    }
}
