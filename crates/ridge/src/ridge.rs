//! Kernel ridge regression on the features of a small set, solved exactly, with the derivatives by hand.
//!
//! With F the features of the set, K = F Fᵀ and R = K + ridge · I, one Cholesky factor of R serves the prediction and every
//! derivative; no matrix of real images by features of the set is ever built.
//!
//! # Paper
//! FRePo (Zhou et al. 2022), equation 4, where the ridge is a share of K's trace; RCIG (Loo et al. 2023), where it is a number.

use faer::Side;
use faer::linalg::solvers::{Llt, LltError, Solve};

use crate::matrix::add_square;
use crate::{Matrix, RidgeError};

/// What is added to the diagonal of a kernel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ridge {
    /// This share of the mean of the diagonal (λ of FRePo).
    Trace(f64),
    /// This number (l₂ of RCIG).
    Absolute(f64),
}

/// The kernel of a set of images, with its ridge, factored.
#[derive(Debug)]
pub struct Kernel {
    features: Matrix,
    ridge: Ridge,
    factor: Llt<f64>,
}

impl Kernel {
    /// The kernel of features.
    ///
    /// # Shapes
    /// `features`: `[n, features]`, n at least 1.
    ///
    /// # Errors
    /// Features that are NaN or infinite; a kernel that is not positive definite, as that of features that are all 0.
    pub fn new(features: Matrix, ridge: Ridge) -> Result<Self, RidgeError> {
        features.check("features")?;
        let [n, _] = features.dims();
        let mut kernel = Matrix::zeros(n, n);
        add_square(kernel.values_mut(), features.view());
        let diagonal = kernel.values_mut().iter_mut().step_by(n + 1);
        let ridge_value = match ridge {
            Ridge::Trace(share) => share * diagonal.map(|value| *value).sum::<f64>() / n as f64,
            Ridge::Absolute(value) => value,
        };
        kernel.values_mut().iter_mut().step_by(n + 1).for_each(|value| *value += ridge_value);
        let factor =
            Llt::new(kernel.view(), Side::Lower).map_err(|LltError::NonPositivePivot { index }| {
                RidgeError::NotPositive { images: n, ridge: ridge_value, row: index }
            })?;
        Ok(Self { features, ridge, factor })
    }

    /// R⁻¹ times a matrix.
    ///
    /// # Shapes
    /// `right` and the result: `[n, columns]`.
    pub fn solve(&self, right: &Matrix) -> Matrix {
        let [n, columns] = right.dims();
        let mut solved = right.clone();
        let view = faer::MatMut::from_row_major_slice_mut(solved.values_mut(), n, columns);
        self.factor.solve_in_place(view);
        solved
    }

    /// What the set predicts for others: F_t Fᵀ A, with A = R⁻¹ Y the weights of its images.
    ///
    /// # Shapes
    /// `others`: `[m, features]`, `weights`: `[n, columns]`; the result: `[m, columns]`.
    pub fn predict(&self, others: &Matrix, weights: &Matrix) -> Matrix {
        others.times(&self.features.transposed_times(weights))
    }

    /// B = R⁻¹ F F_tᵀ E: a gradient E of the prediction, brought back to the labels of the set.
    ///
    /// # Shapes
    /// `others`: `[m, features]`, `gradient`: `[m, columns]`; the result: `[n, columns]`.
    pub fn pull(&self, others: &Matrix, gradient: &Matrix) -> Matrix {
        self.solve(&self.features.times(&others.transposed_times(gradient)))
    }

    /// The gradient of ⟨C, R⁻¹ Z⟩ to the features of the set, given `weights` A = R⁻¹ Z and `pulled` B = R⁻¹ C:
    /// −(B Aᵀ + A Bᵀ) F, and through the trace where the ridge follows it.
    ///
    /// # Shapes
    /// `weights`, `pulled`: `[n, columns]`; the result: `[n, features]`.
    pub fn gradient_features(&self, weights: &Matrix, pulled: &Matrix) -> Matrix {
        let [n, features] = self.features.dims();
        let mut gradient = Matrix::zeros(n, features);
        for (left, right) in [(pulled, weights), (weights, pulled)] {
            // [columns, features], by way of the tall product
            let inner = transposed(&self.features.transposed_times(right));
            gradient.add_product(-1.0, left, &inner);
        }
        if let Ridge::Trace(share) = self.ridge {
            let factor = -2.0 * share / n as f64 * weights.dot(pulled);
            let values = gradient.values_mut().iter_mut().zip(self.features.values());
            values.for_each(|(gradient, feature)| *gradient += factor * feature);
        }
        gradient
    }

    /// Adds to a gradient of the features what they do to a prediction beside the kernel: A Eᵀ F_t.
    ///
    /// # Shapes
    /// `gradient`: `[n, features]`, `weights`: `[n, columns]`, `others`: `[m, features]`, `of_prediction`: `[m, columns]`.
    pub fn add_gradient_by_others(
        gradient: &mut Matrix,
        weights: &Matrix,
        others: &Matrix,
        of_prediction: &Matrix,
    ) {
        gradient.add_product(1.0, weights, &transposed(&others.transposed_times(of_prediction)));
    }

    /// The gradient of a prediction to the features of the others: E Aᵀ F.
    ///
    /// # Shapes
    /// As [`Self::add_gradient_by_others`]; the result: `[m, features]`.
    pub fn gradient_others(&self, weights: &Matrix, of_prediction: &Matrix) -> Matrix {
        of_prediction.times(&transposed(&self.features.transposed_times(weights)))
    }
}

/// The loss of a prediction and its gradients.
#[derive(Debug)]
pub struct Regression {
    /// 1/(2m) ‖prediction − labels‖².
    pub loss: f64,
    /// Labels that the set predicts for the others, `[m, classes]`.
    pub prediction: Matrix,
    /// To the features of the set, `[n, features]`.
    pub gradient_features: Matrix,
    /// To the labels of the set, `[n, classes]`.
    pub gradient_labels: Matrix,
}

/// How well a set predicts the labels of others, and what its features and labels do to that.
///
/// # Shapes
/// `features`: `[n, features]`, `labels`: `[n, classes]`; `others`: `[m, features]`, `other_labels`: `[m, classes]`.
///
/// # Errors
/// As [`Kernel::new`]; labels or features of the others that are NaN or infinite.
///
/// # Paper
/// FRePo, equation 4.
pub fn regression(
    features: Matrix,
    labels: &Matrix,
    others: &Matrix,
    other_labels: &Matrix,
    ridge: Ridge,
) -> Result<Regression, RidgeError> {
    labels.check("labels")?;
    others.check("features of the real images")?;
    let [m, _] = others.dims();
    let kernel = Kernel::new(features, ridge)?;
    let weights = kernel.solve(labels);
    let prediction = kernel.predict(others, &weights);
    let mut error = prediction.clone().minus(other_labels);
    let loss = error.dot(&error) / (2.0 * m as f64);
    error.values_mut().iter_mut().for_each(|value| *value /= m as f64);
    let gradient_labels = kernel.pull(others, &error);
    let mut gradient_features = kernel.gradient_features(&weights, &gradient_labels);
    Kernel::add_gradient_by_others(&mut gradient_features, &weights, others, &error);
    Ok(Regression { loss, prediction, gradient_features, gradient_labels })
}

fn transposed(matrix: &Matrix) -> Matrix {
    let [rows, columns] = matrix.dims();
    let values =
        (0..columns).flat_map(|column| matrix.values().iter().skip(column).step_by(columns).copied());
    Matrix::new(columns, rows, values.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::tests::numbers;

    /// Compares a gradient with central differences of a loss, one value after another.
    fn assert_slopes(at: &Matrix, gradient: &Matrix, loss: impl Fn(Matrix) -> f64) {
        let most = gradient.values().iter().fold(0.0_f64, |most, value| most.max(value.abs()));
        for place in 0..at.values().len() {
            let moved = |by: f64| {
                let mut moved = at.clone();
                moved.values_mut()[place] += by;
                loss(moved)
            };
            let slope = (moved(1e-6) - moved(-1e-6)) / 2e-6;
            let analytic = gradient.values()[place];
            assert!(
                (slope - analytic).abs() < 1e-6 * most.max(1e-3),
                "place {place}: {slope} against {analytic}"
            );
        }
    }

    #[test]
    fn gradients_of_a_regression_agree_with_finite_differences() {
        // fewer images than features, and more
        for (n, features) in [(4, 6), (7, 3)] {
            let set = [numbers(n, features, 1), numbers(n, 2, 2)];
            let real = [numbers(5, features, 3), numbers(5, 2, 4)];
            for ridge in [Ridge::Trace(0.05), Ridge::Absolute(0.02)] {
                let run =
                    |x: Matrix, y: &Matrix| regression(x, y, &real[0], &real[1], ridge).expect("solves");
                let ours = run(set[0].clone(), &set[1]);
                assert_slopes(&set[0], &ours.gradient_features, |x| run(x, &set[1]).loss);
                assert_slopes(&set[1], &ours.gradient_labels, |y| run(set[0].clone(), &y).loss);
            }
        }
    }

    #[test]
    fn gradients_of_a_solution_and_of_the_others_agree_with_finite_differences() {
        let [x, z, c] = [numbers(4, 3, 1), numbers(4, 2, 2), numbers(4, 2, 3)];
        for ridge in [Ridge::Trace(0.05), Ridge::Absolute(0.02)] {
            let kernel = |x: Matrix| Kernel::new(x, ridge).expect("solves");
            let own = kernel(x.clone());
            let gradient = own.gradient_features(&own.solve(&z), &own.solve(&c));
            assert_slopes(&x, &gradient, |x| c.dot(&kernel(x).solve(&z)));
            let (others, e) = (numbers(5, 3, 4), numbers(5, 2, 5));
            let gradient = own.gradient_others(&own.solve(&z), &e);
            assert_slopes(&others, &gradient, |others| e.dot(&own.predict(&others, &own.solve(&z))));
        }
    }

    #[test]
    fn a_singular_kernel_is_solved_thanks_to_the_ridge() {
        // ten images of three features, four of them the same
        let mut features = numbers(10, 3, 1);
        let first = features.values()[..3].to_vec();
        (1..4).for_each(|row| features.values_mut()[3 * row..][..3].copy_from_slice(&first));
        let labels = numbers(10, 2, 2);
        for ridge in [Ridge::Trace(1e-6), Ridge::Absolute(1e-6)] {
            let kernel = Kernel::new(features.clone(), ridge).expect("solves");
            let weights = kernel.solve(&labels);
            let ridge = match ridge {
                Ridge::Trace(share) => share * features.dot(&features) / 10.0,
                Ridge::Absolute(value) => value,
            };
            let mut left = kernel.predict(&features, &weights).minus(&labels);
            left.values_mut()
                .iter_mut()
                .zip(weights.values())
                .for_each(|(left, weight)| *left += ridge * weight);
            assert!(
                left.dot(&left).sqrt() < 1e-8 * weights.dot(&weights).sqrt(),
                "R times the weights are the labels"
            );
        }
    }

    #[test]
    fn what_cannot_be_solved_says_why() {
        let zeros = Kernel::new(Matrix::zeros(3, 2), Ridge::Trace(1e-6)).expect_err("refused");
        let expected = "the kernel of 3 images with 0e0 on its diagonal is not positive definite at row 0; raise the ridge";
        assert_eq!(zeros.to_string(), expected);
        let mut features = numbers(3, 2, 1);
        features.values_mut()[4] = f64::NAN;
        let message = Kernel::new(features, Ridge::Absolute(1.0)).expect_err("refused").to_string();
        assert_eq!(message, "the features are NaN or infinite in row 2; lower the learning rate");
    }
}
