//! Distribution matching (DM, Zhao and Bilen, WACV 2023): mean features of real and synthetic images of each class under a network
//! drawn anew in each iteration.
//!
//! L = Σ over classes ‖mean h(A real) − mean h(A synthetic)‖², h the features before the linear layer, A one augmentation for both
//! sides. First order: no network is trained. Classes do not know each other, so that they are exact shards.

use burn::tensor::Tensor;
use delt_pipeline::config::method::DistributionMatching as Config;
use delt_tangent::unrolled_sgd::{Set, SetGradient};
use delt_tangent::{Function, Norm, Norms, Start, Weights, total};

use crate::MatchingError;
use crate::matching::{Found, Matching, Scene, finite};

/// The method.
#[derive(Debug)]
pub struct DistributionMatching {
    scene: Scene,
    config: Config,
}

impl DistributionMatching {
    /// Without state: each iteration begins anew.
    pub fn new(scene: Scene, config: Config) -> Self {
        Self { scene, config }
    }
}

impl Matching for DistributionMatching {
    fn gradients(&mut self, set: &Set, iteration: u32) -> Result<Found, MatchingError> {
        let (scene, count) = (&self.scene, self.config.real_batch as usize);
        let theta =
            scene.function.initialize(Start::Torch, &scene.draws, "matching-network", iteration.into(), 0);
        let weights = scene.function.weights(&theta);
        let mut pairs = Vec::new();
        for (class, rows) in scene.classes() {
            let view = scene.siamese(iteration, class);
            let mut rng = scene.draws.stream("real-images", iteration.into(), class.into());
            let real = view(scene.real.images(&scene.real.of_class(class, count, &mut rng))?);
            let leaf = set.batch(&rows).0.autodiff().require_grad();
            pairs.push((rows, real, view(leaf.clone()), leaf));
        }
        let real = pairs.iter().map(|pair| pair.1.clone()).collect();
        let synthetic = pairs.iter().map(|pair| pair.2.clone()).collect();
        let loss = distance(&scene.function, &weights, real, synthetic);
        let gradients = loss.clone().backward();
        let mut found = SetGradient::zeros(set);
        for (rows, _, _, leaf) in pairs {
            if let Some(gradient) = leaf.grad(&gradients) {
                found.add(&rows, gradient, None);
            }
        }
        let norm = finite("the norm of the gradient", norm(&found.images))?;
        Ok(Found { losses: [finite("the loss", loss.inner())?, norm], images: found.images, targets: None })
    }
}

/// Σ over classes of ‖mean h(real) − mean h(synthetic)‖², `[1]`: images of each class, augmented.
pub fn distance(
    function: &Function,
    weights: &Weights,
    real: Vec<Tensor<4>>,
    synthetic: Vec<Tensor<4>>,
) -> Tensor<1> {
    let pairs = means(function, weights, real).into_iter().zip(means(function, weights, synthetic));
    let losses = pairs.map(|(real, synthetic)| total((synthetic - real).square()));
    losses.reduce(|sum, loss| sum + loss).unwrap_or_else(|| Tensor::zeros([1], function.device()))
}

/// Mean features `[1, features]` of each group of images; under batch normalization all go through the network at once.
fn means(function: &Function, weights: &Weights, groups: Vec<Tensor<4>>) -> Vec<Tensor<2>> {
    let features = |x| function.forward(weights, x, Norms::Own).features;
    if function.form.norm != Norm::Batch {
        return groups.into_iter().map(|x| features(x).mean_dim(0)).collect();
    }
    let sizes: Vec<usize> = groups.iter().map(|x| x.dims()[0]).collect();
    let all = features(Tensor::cat(groups, 0));
    let mut end = 0;
    let mean = |size: &usize| {
        end += size;
        all.clone().narrow(0, end - size, *size).mean_dim(0)
    };
    sizes.iter().map(mean).collect()
}

/// The norm of a gradient, `[1]`.
pub(crate) fn norm(images: &Tensor<4>) -> Tensor<1> {
    let [n, c, h, w] = images.dims();
    total(images.clone().reshape([n, c * h * w]).square()).sqrt()
}
