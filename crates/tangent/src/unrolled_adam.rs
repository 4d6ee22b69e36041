//! Reverse through the last steps of an unrolled training by Adam, by hand (RaT-BPTT).

use burn::tensor::Tensor;

use crate::forward::Norms;
use crate::function::Function;
use crate::products::Wanted;
use crate::unrolled_sgd::{InnerBatch, Set, SetGradient};

/// Adam's numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// Learning rate (α).
    pub lr: f64,
    /// First-moment decay (β₁).
    pub beta_1: f64,
    /// Second-moment decay (β₂).
    pub beta_2: f64,
    /// Denominator guard (ε).
    pub epsilon: f64,
}

/// A training between two steps.
#[derive(Clone, Debug)]
pub struct State {
    /// θ.
    pub weights: Tensor<1>,
    /// m.
    pub first: Tensor<1>,
    /// v.
    pub second: Tensor<1>,
    /// Steps taken.
    pub steps: i32,
}

/// A step of the window, as the backward pass needs it.
#[derive(Debug)]
struct Kept {
    weights: Tensor<1>,
    gradient: Tensor<1>,
    first: Tensor<1>,
    second: Tensor<1>,
    steps: i32,
}

/// A training of which the last steps can be gone back.
#[derive(Debug)]
pub struct Path {
    /// After the last step.
    pub end: State,
    window: Vec<Kept>,
    /// Losses before each step, `[1]` each.
    pub losses: Vec<Tensor<1>>,
}

impl State {
    /// First weights without history.
    pub fn new(weights: Tensor<1>) -> Self {
        let zeros = weights.zeros_like();
        Self { weights, first: zeros.clone(), second: zeros, steps: 0 }
    }

    /// Moves along a gradient as PyTorch does.
    #[must_use]
    pub fn step(self, adam: &Adam, gradient: Tensor<1>) -> Self {
        let Adam { lr, beta_1, beta_2, .. } = *adam;
        let first = self.first * beta_1 + gradient.clone() * (1.0 - beta_1);
        let second = self.second * beta_2 + gradient.clone() * gradient * (1.0 - beta_2);
        let steps = self.steps + 1;
        let (c_1, denominator) = adam.corrected(&second, steps);
        let weights = self.weights - first.clone() / denominator * (lr / c_1);
        Self { weights, first, second, steps }
    }
}

impl Adam {
    /// c₁ = 1 − β₁ᵗ and d = √v / √(1 − β₂ᵗ) + ε.
    fn corrected(&self, second: &Tensor<1>, steps: i32) -> (f64, Tensor<1>) {
        let root = (1.0 - self.beta_2.powi(steps)).sqrt();
        (1.0 - self.beta_1.powi(steps), second.clone().sqrt() / root + self.epsilon)
    }
}

/// Trains from first weights; the last `window` of the steps can be gone back.
pub fn train(
    function: &Function,
    start: Tensor<1>,
    set: &Set,
    batches: &[InnerBatch],
    adam: &Adam,
    window: usize,
) -> Path {
    let mut state = State::new(start);
    let (mut kept, mut losses) = (Vec::new(), Vec::new());
    for (step, InnerBatch { rows, view }) in batches.iter().enumerate() {
        let (images, targets) = set.batch(rows);
        let weights = state.weights.clone();
        let found = function.gradient(&weights, view(images), targets, Norms::Own);
        state = state.step(adam, found.weights.clone());
        losses.push(found.loss);
        if step + window >= batches.len() {
            let State { first, second, steps, .. } = state.clone();
            kept.push(Kept { weights, gradient: found.weights, first, second, steps });
        }
    }
    Path { end: state, window: kept, losses }
}

/// Goes back from `lambda`, the gradient of a loss on the weights at the end, through the window; Adam's moments at its begin are
/// constants.
pub fn backward(
    function: &Function,
    path: &Path,
    set: &Set,
    batches: &[InnerBatch],
    adam: &Adam,
    (mut lambda, targets): (Tensor<1>, bool),
) -> SetGradient {
    let mut found = SetGradient::zeros(set);
    let (mut of_first, mut of_second) = (lambda.zeros_like(), lambda.zeros_like());
    let Adam { lr, beta_1, beta_2, .. } = *adam;
    let begin = batches.len() - path.window.len();
    for (at, kept) in path.window.iter().enumerate().rev() {
        let (c_1, d) = adam.corrected(&kept.second, kept.steps);
        let c_2_root = (1.0 - beta_2.powi(kept.steps)).sqrt();
        of_first = of_first - lambda.clone() / d.clone() * (lr / c_1);
        let root = kept.second.clone().sqrt();
        let is_zero = root.clone().lower_equal_scalar(0.0);
        let curved =
            lambda.clone() * kept.first.clone() / (d.clone() * d * root) * (lr / c_1 / 2.0 / c_2_root);
        of_second = of_second + curved.mask_fill(is_zero, 0.0);
        let direction = of_first.clone() * (1.0 - beta_1)
            + kept.gradient.clone() * of_second.clone() * (2.0 * (1.0 - beta_2));
        of_first = of_first * beta_1;
        of_second = of_second * beta_2;
        let InnerBatch { rows, view } = &batches[begin + at];
        let (images, labels) = set.batch(rows);
        let wanted = Wanted { weights: at > 0, targets };
        let of = (&kept.weights, &direction);
        let product = function.product(of, (images, view), labels, Norms::Own, wanted);
        found.add(rows, product.images, product.targets);
        if let Some(curved) = product.weights {
            lambda = lambda + curved;
        }
    }
    found
}
