//! Gradient matching (DC, Zhao, Mopuri and Bilen, ICLR 2021; with siamese augmentation DSA, ICML 2021).
//!
//! D(a, b) compares the gradients on synthetic and on real images of a class, row by row of each weight:
//! Σ 1 − a·b / (|a||b| + 1e-6). Biases and normalization do not count. v = ∂D/∂a is written by hand, and ∇x D = ∇x <v, g>.

use burn::tensor::Tensor;
use delt_formats::NamedTensor;
use delt_pipeline::config::method::GradientMatching as Config;
use delt_tangent::unrolled_sgd::{Set, SetGradient};
use delt_tangent::{Form, Function, Norm, Norms, Slot, Start, Statistics, Wanted, total};

use crate::MatchingError;
use crate::distribution::norm;
use crate::matching::{Found, Matching, Scene, finite};
use crate::stored::{floats, vector};

/// Guards the quotient, as published.
const GUARD: f64 = 1e-6;

/// What PyTorch's batch normalization takes of a batch.
const BN_MOMENTUM: f64 = 0.1;

/// The method, with the network of the current iteration.
#[derive(Debug)]
pub struct GradientMatching {
    scene: Scene,
    config: Config,
    theta: Option<Tensor<1>>,
}

/// The distance of two gradients, and its derivative on the first.
#[derive(Debug)]
pub struct Distance {
    /// D, `[1]`.
    pub value: Tensor<1>,
    /// ∂D/∂a, `[parameters]`, 0 where nothing counts.
    pub direction: Tensor<1>,
}

/// D(a, b) over all rows of weights of two or more dimensions.
pub fn distance(form: &Form, a: &Tensor<1>, b: &Tensor<1>) -> Distance {
    let mut value = Tensor::zeros([1], &a.device());
    let mut parts = Vec::new();
    for Slot { shape, range, .. } in form.slots() {
        let part = |of: &Tensor<1>| of.clone().slice([range.clone()]);
        if shape.len() < 2 {
            parts.push(part(a).zeros_like());
            continue;
        }
        let rows = |of| part(of).reshape([shape[0], range.len() / shape[0]]);
        let (a, b) = (rows(a), rows(b));
        let (norm_a, norm_b) = (norms(&a), norms(&b));
        let along = (a.clone() * b.clone()).sum_dim(1);
        let q = norm_a.clone() * norm_b.clone() + GUARD;
        value = value + total(-(along.clone() / q.clone()) + 1.0);
        let is_zero = norm_a.clone().lower_equal_scalar(0.0);
        let unit = a / norm_a.mask_fill(is_zero.clone(), 1.0);
        let pulled = (along * norm_b / q.clone().square()).mask_fill(is_zero, 0.0);
        let direction = pulled * unit - b / q;
        parts.push(direction.reshape([range.len()]));
    }
    Distance { value, direction: Tensor::cat(parts, 0) }
}

/// D of the gradients on real and synthetic images of a class, each with its targets and both under one augmentation, and its
/// gradient on the synthetic images.
pub fn matched(
    function: &Function,
    (theta, norms): (&Tensor<1>, Norms<'_>),
    real: (Tensor<4>, Tensor<2>),
    (images, targets): (Tensor<4>, Tensor<2>),
    view: &dyn Fn(Tensor<4>) -> Tensor<4>,
) -> (Tensor<1>, Tensor<4>) {
    let b = function.gradient(theta, view(real.0), real.1, norms).weights;
    let a = function.gradient(theta, view(images.clone()), targets.clone(), norms).weights;
    let Distance { value, direction } = distance(&function.form, &a, &b);
    let of = (theta, &direction);
    let product = function.product(of, (images, view), targets, norms, Wanted::default());
    (value, product.images)
}

fn norms(rows: &Tensor<2>) -> Tensor<2> {
    rows.clone().square().sum_dim(1).sqrt()
}

impl GradientMatching {
    /// Before the first iteration.
    pub fn new(scene: Scene, config: Config) -> Self {
        Self { scene, config, theta: None }
    }

    /// The network's place in the run: which network, and its outer step.
    fn place(&self, iteration: u32) -> (u64, u32) {
        (u64::from(iteration / self.config.outer), iteration % self.config.outer)
    }

    /// The network of an iteration: drawn anew in its first outer step.
    fn network(&mut self, iteration: u32) -> Tensor<1> {
        let (network, step) = self.place(iteration);
        let first = || {
            self.scene.function.initialize(Start::Torch, &self.scene.draws, "matching-network", network, 0)
        };
        let theta = if step == 0 { first() } else { self.theta.clone().unwrap_or_else(first) };
        self.theta = Some(theta.clone());
        theta
    }

    /// Statistics by real images of all classes, which batch normalization then keeps.
    ///
    /// # Errors
    /// A disk that does not give them back.
    fn statistics(
        &self,
        theta: &Tensor<1>,
        iteration: u32,
    ) -> Result<Option<Vec<Statistics>>, MatchingError> {
        let scene = &self.scene;
        let has_statistics = scene.function.form.norm == Norm::Batch;
        let Some(count) = self.config.statistics_batch.filter(|_| has_statistics) else { return Ok(None) };
        let rows = scene.classes().into_iter().flat_map(|(class, _)| {
            let mut rng = scene.draws.stream("statistics", iteration.into(), class.into());
            scene.real.of_class(class, count as usize, &mut rng)
        });
        let images = scene.real.images(&rows.collect::<Vec<_>>())?;
        Ok(Some(renewed(&scene.function, theta, images)))
    }
}

/// PyTorch's running statistics after one batch: a tenth of the batch's (variance with n − 1), nine of those a layer starts with.
fn renewed(function: &Function, theta: &Tensor<1>, images: Tensor<4>) -> Vec<Statistics> {
    let [n, ..] = images.dims();
    let (_, layers) = function.forward_with_statistics(&function.weights(theta), images, Norms::Own);
    let moved = |(block, Statistics { mean, variance }): (usize, Statistics)| {
        let values = (n * (function.form.size >> block).pow(2)) as f64;
        let unbiased = variance * (values / (values - 1.0).max(1.0));
        Statistics { mean: mean * BN_MOMENTUM, variance: unbiased * BN_MOMENTUM + (1.0 - BN_MOMENTUM) }
    };
    layers.into_iter().enumerate().map(moved).collect()
}

impl Matching for GradientMatching {
    fn gradients(&mut self, set: &Set, iteration: u32) -> Result<Found, MatchingError> {
        let theta = self.network(iteration);
        let running = self.statistics(&theta, iteration)?;
        let norms = running.as_deref().map_or(Norms::Own, Norms::Running);
        let (scene, function) = (&self.scene, &self.scene.function);
        let mut found = SetGradient::zeros(set);
        let mut loss = Tensor::zeros([1], function.device());
        for (class, rows) in scene.classes() {
            let view = scene.siamese(iteration, class);
            let mut rng = scene.draws.stream("real-images", iteration.into(), class.into());
            let real = scene.real.of_class(class, self.config.real_batch as usize, &mut rng);
            let targets = scene.one_hot(&vec![class; real.len()]);
            let real = (scene.real.images(&real)?, targets);
            let (value, gradient) = matched(function, (&theta, norms), real, set.batch(&rows), &*view);
            found.add(&rows, gradient, None);
            loss = loss + value;
        }
        let losses = [finite("the loss", loss)?, finite("the norm of the gradient", norm(&found.images))?];
        Ok(Found { losses, images: found.images, targets: None })
    }

    /// Trains the network on the images, but after its last outer step, as published.
    fn after(&mut self, set: &Set, iteration: u32) -> Result<(), MatchingError> {
        let (network, step) = self.place(iteration);
        let Some(mut theta) = self.theta.take() else { return Ok(()) };
        if step + 1 == self.config.outer {
            return Ok(());
        }
        let scene = &self.scene;
        for epoch in 0..self.config.inner_epochs {
            let at = u64::from(step) * u64::from(self.config.inner_epochs) + u64::from(epoch);
            for batch in scene.epoch("inner-training", network, at, self.config.network_batch as usize) {
                let (images, targets) = set.batch(&batch.rows);
                let found = scene.function.gradient(&theta, (batch.view)(images), targets, Norms::Own);
                theta = theta - found.weights * self.config.network_lr;
            }
        }
        self.theta = Some(theta);
        Ok(())
    }

    fn save(&self) -> Result<Vec<NamedTensor>, MatchingError> {
        self.theta.iter().map(|theta| floats("network", theta)).collect()
    }

    fn restore(&mut self, tensors: &[NamedTensor]) -> Result<(), MatchingError> {
        let is_kept = tensors.iter().any(|tensor| tensor.name == "network");
        self.theta = is_kept.then(|| vector(tensors, "network", &self.scene.function)).transpose()?;
        Ok(())
    }
}
