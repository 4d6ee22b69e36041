//! Reverse through unrolled SGD by hand (MTT; with the path held constant TESLA).

use burn::tensor::IndexingUpdateOp;
use burn::tensor::{Int, Tensor, TensorData};

use crate::forward::Norms;
use crate::function::Function;
use crate::products::{Wanted, dot};

/// An augmentation, differentiable on the images.
pub type View = Box<dyn Fn(Tensor<4>) -> Tensor<4>>;

/// The batch of an inner step.
pub struct InnerBatch {
    /// Which images, in their order.
    pub rows: Vec<usize>,
    /// How they are augmented.
    pub view: View,
}

/// Images and targets that a network is trained on.
#[derive(Clone, Debug)]
pub struct Set {
    /// `[n, 3, size, size]`, plain.
    pub images: Tensor<4>,
    /// `[n, classes]`, plain.
    pub targets: Tensor<2>,
}

/// Gradients on a set.
#[derive(Clone, Debug)]
pub struct SetGradient {
    /// `[n, 3, size, size]`.
    pub images: Tensor<4>,
    /// `[n, classes]`.
    pub targets: Tensor<2>,
}

/// A training by SGD, θ_{t+1} = θ_t − α g_t, with what the backward pass needs.
#[derive(Debug)]
pub struct Path {
    /// θ_0 to θ_N.
    pub weights: Vec<Tensor<1>>,
    /// g_0 to g_{N−1}.
    pub gradients: Vec<Tensor<1>>,
    /// Losses before each step, `[1]` each.
    pub losses: Vec<Tensor<1>>,
}

/// Gradients of a loss of θ_N.
#[derive(Debug)]
pub struct Adjoint {
    /// On the set.
    pub set: SetGradient,
    /// On α, `[1]`.
    pub lr: Tensor<1>,
}

impl Set {
    /// The rows of a batch.
    pub fn batch(&self, rows: &[usize]) -> (Tensor<4>, Tensor<2>) {
        let rows = indices(rows, &self.images.device());
        (self.images.clone().select(0, rows.clone()), self.targets.clone().select(0, rows))
    }
}

impl SetGradient {
    /// Nothing yet.
    pub fn zeros(set: &Set) -> Self {
        Self { images: set.images.zeros_like(), targets: set.targets.zeros_like() }
    }

    /// Adds the gradients of a batch, whose rows may be those of others too.
    pub fn add(&mut self, rows: &[usize], images: Tensor<4>, targets: Option<Tensor<2>>) {
        let rows = indices(rows, &self.images.device());
        self.images = self.images.clone().select_assign(0, rows.clone(), images, IndexingUpdateOp::Add);
        if let Some(targets) = targets {
            self.targets = self.targets.clone().select_assign(0, rows, targets, IndexingUpdateOp::Add);
        }
    }
}

fn indices(rows: &[usize], device: &burn::tensor::Device) -> Tensor<1, Int> {
    let rows: Vec<i64> = rows.iter().map(|row| *row as i64).collect();
    let count = rows.len();
    Tensor::from_data(TensorData::new(rows, [count]), device)
}

/// Trains from `start` for as many steps as there are batches.
pub fn train(function: &Function, start: Tensor<1>, set: &Set, batches: &[InnerBatch], lr: f64) -> Path {
    let (mut weights, mut gradients, mut losses) = (vec![start], Vec::new(), Vec::new());
    for InnerBatch { rows, view } in batches {
        let theta = weights.last().expect("it starts somewhere").clone();
        let (images, targets) = set.batch(rows);
        let found = function.gradient(&theta, view(images), targets, Norms::Own);
        weights.push(theta - found.weights.clone() * lr);
        gradients.push(found.weights);
        losses.push(found.loss);
    }
    Path { weights, gradients, losses }
}

/// Goes back from `lambda`, the gradient of a loss on θ_N: dα −= <λ, g_t>, dx −= α ∇x<λ, g_t>, λ −= α H λ. Without `curvature`
/// the path counts as constant and λ stays (TESLA).
pub fn backward(
    function: &Function,
    path: &Path,
    set: &Set,
    batches: &[InnerBatch],
    (lr, curvature, targets): (f64, bool, bool),
    mut lambda: Tensor<1>,
) -> Adjoint {
    let mut found = SetGradient::zeros(set);
    let mut lr_gradient = Tensor::zeros([1], &set.images.device());
    for (step, InnerBatch { rows, view }) in batches.iter().enumerate().rev() {
        lr_gradient = lr_gradient - dot(&lambda, &path.gradients[step]);
        let (images, labels) = set.batch(rows);
        let wanted = Wanted { weights: curvature && step > 0, targets };
        let theta = &path.weights[step];
        let product = function.product((theta, &lambda), (images, view), labels, Norms::Own, wanted);
        found.add(rows, product.images * -lr, product.targets.map(|targets| targets * -lr));
        if let Some(curved) = product.weights {
            lambda = lambda - curved * lr;
        }
    }
    Adjoint { set: found, lr: lr_gradient }
}
