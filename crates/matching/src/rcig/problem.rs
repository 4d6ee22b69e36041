//! The inner problem of an iteration: a network linear in its weights τ about θ, whose last layer is solved. It is convex, and each
//! product with its second derivatives is a product with J, a solution and a product with Jᵀ.
//!
//! ℓ(τ) = c/2 [tr (y − Jτ)ᵀ α + |τ|²] with α = R⁻¹ (y − Jτ), R = F Fᵀ + l₂ I and c = l₂/(n'C); features F are those of θ, and n'
//! counts mirror images. The matrix of the last layer has no tangent: it is what is solved for.

use std::ops::Range;

use burn::tensor::{Int, Tensor, TensorData};
use delt_ridge::{Kernel, Matrix, Ridge};
use delt_tangent::unrolled_adam::State;
use delt_tangent::unrolled_sgd::{Set, SetGradient};
use delt_tangent::{Function, Linearized, Norms, dot, total};

use super::cross_entropy::cross_entropy;
use super::partial::Partial;
use crate::MatchingError;
use crate::pool::adam;
use crate::regression::{PART, folded, folded_targets, host, matrix, mirrored_set, tensor};

/// Images whose graph is kept at once while pixels are differentiated.
const PIXEL_PART: usize = 100;

/// The problem of one network and one set.
#[derive(Debug)]
pub struct Problem<'a> {
    function: &'a Function,
    theta: &'a Tensor<1>,
    norms: Norms<'a>,
    /// With mirror images, as all that follows.
    images: Tensor<4>,
    labels: Matrix,
    mirror: bool,
    linear: Linearized<'a>,
    kernel: Kernel,
    /// c.
    scale: f64,
    /// Where the matrix of the last layer lies.
    solved: Range<usize>,
    partial: Partial,
}

/// The inner loss at a τ.
#[derive(Debug)]
pub struct Inner {
    /// ℓ.
    pub loss: f64,
    /// ∇ℓ.
    pub gradient: Tensor<1>,
    /// α, `[n', classes]`.
    pub alpha: Matrix,
}

/// The loss of real images at a τ, and its gradients.
#[derive(Debug)]
pub struct Outer {
    /// Their cross-entropy.
    pub loss: f64,
    /// Of the loss, on κ.
    pub log_temperature: f64,
    /// On τ.
    pub tau: Tensor<1>,
    /// U: on the predictions, `[m, classes]`.
    of_predictions: Matrix,
    /// Features of the real images.
    others: Matrix,
    /// B = R⁻¹ F F_tᵀ U: on the labels.
    pulled: Matrix,
}

impl<'a> Problem<'a> {
    /// The problem at `theta` with ridge `l2` for each image.
    ///
    /// # Errors
    /// A kernel that cannot be solved; what the device reports.
    pub fn new(
        function: &'a Function,
        (theta, norms): (&'a Tensor<1>, Norms<'a>),
        set: &Set,
        (l2, mirror): (f64, bool),
        partial: Partial,
    ) -> Result<Self, MatchingError> {
        let l2 = l2 * set.images.dims()[0] as f64;
        let Set { images, targets } = mirrored_set(set, mirror);
        let labels = matrix(&targets, "labels")?;
        let linear = Linearized::new(function, theta, images.clone(), norms);
        let kernel = Kernel::new(matrix(&linear.features, "features")?, Ridge::Absolute(l2))?;
        let scale = l2 / labels.values().len() as f64;
        let slot = function.form.slots().into_iter().find(|slot| slot.name == "classifier.weight");
        let solved = slot.map_or(0..0, |slot| slot.range);
        Ok(Self { function, theta, norms, images, labels, mirror, linear, kernel, scale, solved, partial })
    }

    /// α and ℓ, of J τ.
    fn solution(&self, tau: &Tensor<1>, moved: &Tensor<2>) -> Result<(Matrix, f64), MatchingError> {
        let residual = self.labels.clone().minus(&matrix(moved, "predictions")?);
        let alpha = self.kernel.solve(&residual);
        let loss = self.scale / 2.0 * (residual.dot(&alpha) + read("|τ|²", dot(tau, tau))?);
        Ok((alpha, loss))
    }

    /// ℓ with its gradient.
    ///
    /// # Errors
    /// What the device reports.
    pub fn inner(&mut self, tau: &Tensor<1>) -> Result<Inner, MatchingError> {
        let rows = self.partial.rows();
        let mut solution = None;
        let (_, pulled) = self.linear.there_and_back(tau, |moved| {
            let (alpha, _) = solution.insert(self.solution(tau, moved)?);
            Ok::<_, MatchingError>(self.cotangent(alpha, 1.0, rows.as_deref()))
        })?;
        let (alpha, loss) = solution.expect("it was inserted");
        Ok(Inner { loss, gradient: self.free((tau.clone() - pulled) * self.scale), alpha })
    }

    /// τ after so many steps of Adam from 0, with the losses before each.
    ///
    /// # Errors
    /// What the device reports.
    pub fn fit(&mut self, lr: f64, steps: u32) -> Result<(Tensor<1>, Vec<f64>), MatchingError> {
        let mut state = State::new(self.theta.zeros_like());
        let mut losses = Vec::new();
        for _ in 0..steps {
            let found = self.inner(&state.weights)?;
            losses.push(found.loss);
            state = state.step(&adam(lr), found.gradient);
        }
        Ok((state.weights, losses))
    }

    /// α and ℓ at a τ.
    ///
    /// # Errors
    /// What the device reports.
    pub fn at(&self, tau: &Tensor<1>) -> Result<(Matrix, f64), MatchingError> {
        self.solution(tau, &self.linear.along(tau))
    }

    /// H v = c (v + Jᵀ R⁻¹ J v), the same at every τ.
    ///
    /// # Errors
    /// What the device reports.
    pub fn hessian(&mut self, v: &Tensor<1>) -> Result<Tensor<1>, MatchingError> {
        let rows = self.partial.rows();
        let (_, pulled) = self.linear.there_and_back(v, |moved| {
            let solved = self.kernel.solve(&matrix(moved, "predictions")?);
            Ok::<_, MatchingError>(self.cotangent(&solved, 1.0, rows.as_deref()))
        })?;
        Ok(self.free((v.clone() + pulled) * self.scale))
    }

    /// v ≈ H⁻¹ b by so many steps of Adam from 0 on ½ vᵀHv − vᵀb, with vᵀHv − 2vᵀb before each.
    ///
    /// # Errors
    /// What the device reports.
    pub fn inverse(
        &mut self,
        b: &Tensor<1>,
        lr: f64,
        steps: u32,
    ) -> Result<(Tensor<1>, Vec<f64>), MatchingError> {
        let mut state = State::new(b.zeros_like());
        let mut objectives = Vec::new();
        for step in 0..steps {
            let v = &state.weights;
            let curved = if step == 0 { v.clone() } else { self.hessian(v)? };
            let left = curved - b.clone();
            objectives.push(read("the objective of the inverse", dot(v, &(left.clone() - b.clone())))?);
            state = state.step(&adam(lr), left);
        }
        Ok((state.weights, objectives))
    }

    /// The cross-entropy of real images, P = J_t τ + F_t Fᵀ α times e^κ.
    ///
    /// # Errors
    /// What the device reports.
    pub fn outer(
        &mut self,
        (tau, alpha): (&Tensor<1>, &Matrix),
        (real, labels): (&Tensor<4>, &[u32]),
        log_temperature: f64,
    ) -> Result<Outer, MatchingError> {
        let classes = self.function.form.classes;
        let (mut features, mut of_predictions) = (Vec::new(), Vec::new());
        let (mut loss, mut of_temperature) = (0.0, 0.0);
        let mut of_tau = tau.zeros_like();
        for (part, own) in real.clone().split(PART, 0).into_iter().zip(labels.chunks(PART)) {
            let linear = Linearized::new(self.function, self.theta, part, self.norms);
            let others = matrix(&linear.features, "features of real images")?;
            let (_, pulled) = linear.there_and_back(tau, |moved| {
                let mut predicted = self.kernel.predict(&others, alpha);
                let moved = host(moved, "predictions")?;
                let values = predicted.values_mut().iter_mut().zip(moved);
                values.for_each(|(value, moved)| *value += f64::from(moved));
                let found = cross_entropy(&predicted, own, log_temperature, labels.len());
                loss += found.loss;
                of_temperature += found.of_predictions.dot(&predicted);
                of_predictions.extend_from_slice(found.of_predictions.values());
                Ok::<_, MatchingError>(tensor(&found.of_predictions, self.function))
            })?;
            of_tau = of_tau + pulled;
            features.extend_from_slice(others.values());
        }
        let others = Matrix::new(labels.len(), self.function.form.features(), features);
        let of_predictions = Matrix::new(labels.len(), classes, of_predictions);
        let pulled = self.kernel.pull(&others, &of_predictions);
        for rows in self.partial.passes() {
            let cotangent = self.cotangent(&pulled, rows.share, rows.rows.as_deref());
            let (_, own) = self.linear.there_and_back(tau, |_| Ok::<_, MatchingError>(cotangent))?;
            of_tau = of_tau - own;
        }
        let tau = self.free(of_tau);
        Ok(Outer { loss, log_temperature: of_temperature, tau, of_predictions, others, pulled })
    }

    /// Gradients of the loss of real images on images and labels at a τ that stays.
    pub fn direct(&mut self, (tau, alpha): (&Tensor<1>, &Matrix), outer: &Outer) -> SetGradient {
        let mut of_features = self.kernel.gradient_features(alpha, &outer.pulled);
        Kernel::add_gradient_by_others(&mut of_features, alpha, &outer.others, &outer.of_predictions);
        let of_moved = (tau, &scaled(&outer.pulled, -1.0));
        let images = self.pixels(&of_features, &[of_moved], 1.0);
        SetGradient { images, targets: folded_targets(tensor(&outer.pulled, self.function), self.mirror) }
    }

    /// −∇<v, ∇ℓ> on images and labels: what they change by moving the end of the inner training.
    ///
    /// # Errors
    /// What the device reports.
    pub fn implicit(
        &mut self,
        (tau, alpha): (&Tensor<1>, &Matrix),
        v: &Tensor<1>,
    ) -> Result<SetGradient, MatchingError> {
        let pulled = self.kernel.solve(&matrix(&self.linear.along(v), "predictions")?);
        let of_features = self.kernel.gradient_features(alpha, &pulled);
        let of_moved = [(v, alpha), (tau, &scaled(&pulled, -1.0))];
        let images = self.pixels(&of_features, &of_moved, self.scale);
        let targets = tensor(&scaled(&pulled, self.scale), self.function);
        Ok(SetGradient { images, targets: folded_targets(targets, self.mirror) })
    }

    /// `factor` times the gradient on the images of Σ F ∘ `of_features` + Σ (J d) ∘ u over the pairs (d, u) of `of_moved`.
    fn pixels(&mut self, of_features: &Matrix, of_moved: &[(&Tensor<1>, &Matrix)], factor: f64) -> Tensor<4> {
        let function = self.function;
        let weights = function.weights(self.theta);
        let of_features = tensor(of_features, function);
        let of_moved: Vec<_> =
            of_moved.iter().map(|(d, u)| (function.weights(d), tensor(u, function))).collect();
        let mut gradient = self.images.zeros_like();
        for pass in self.partial.passes() {
            let rows = pass.rows.unwrap_or_else(|| (0..self.images.dims()[0]).collect());
            for rows in rows.chunks(PIXEL_PART) {
                let rows = indices(rows, &self.images);
                let x = self.images.clone().select(0, rows.clone());
                let mut found = x.zeros_like();
                for (at, (direction, cotangent)) in of_moved.iter().enumerate() {
                    let leaf = x.clone().autodiff().require_grad();
                    let dual = function.tangent(&weights, direction, leaf.clone(), self.norms);
                    let mut sum = total(dual.dot.logits * cotangent.clone().select(0, rows.clone()));
                    // the values are the same for every direction
                    if at == 0 {
                        sum = sum + total(dual.value.features * of_features.clone().select(0, rows.clone()));
                    }
                    let gradients = sum.backward();
                    found = leaf.grad(&gradients).map_or(found.clone(), |gradient| found + gradient);
                }
                let found = found * (factor * pass.share);
                gradient = gradient.select_assign(0, rows, found, burn::tensor::IndexingUpdateOp::Add);
            }
        }
        folded(gradient, self.mirror)
    }

    /// A cotangent times `share`, 0 but for some rows.
    fn cotangent(&self, matrix: &Matrix, share: f64, rows: Option<&[usize]>) -> Tensor<2> {
        let Some(rows) = rows else { return tensor(&scaled(matrix, share), self.function) };
        let [n, columns] = matrix.dims();
        let mut kept = Matrix::zeros(n, columns);
        for row in rows {
            let place = row * columns..(row + 1) * columns;
            let of = matrix.values()[place.clone()].iter().map(|value| value * share);
            kept.values_mut()[place].iter_mut().zip(of).for_each(|(kept, value)| *kept = value);
        }
        tensor(&kept, self.function)
    }

    /// A vector without the matrix that is solved for.
    fn free(&self, vector: Tensor<1>) -> Tensor<1> {
        let zeros = Tensor::zeros([self.solved.len()], &vector.device());
        vector.slice_assign([self.solved.clone()], zeros)
    }
}

fn scaled(matrix: &Matrix, factor: f64) -> Matrix {
    let [rows, columns] = matrix.dims();
    Matrix::new(rows, columns, matrix.values().iter().map(|value| value * factor).collect())
}

fn indices(rows: &[usize], images: &Tensor<4>) -> Tensor<1, Int> {
    let values: Vec<i64> = rows.iter().map(|row| *row as i64).collect();
    Tensor::from_data(TensorData::new(values, [rows.len()]), &images.device())
}

/// A number that may be NaN: a search looks for where it begins to be.
fn read(what: &str, value: Tensor<1>) -> Result<f64, MatchingError> {
    let value = value.try_into_scalar::<f32>();
    value.map(f64::from).map_err(|source| MatchingError::Read { what: what.to_owned(), source })
}
