//! FRePo (Zhou, Nezhadarya and Ba, NeurIPS 2022): images and labels from which kernel ridge regression on a network's features
//! predicts the labels of real images. The networks are those of a pool, trained on the images as they are.
//!
//! First order: features leave for the host, where the regression is solved in 64 bits and differentiated by hand, and their
//! gradient comes back. Images live in the space of `trace` whitening; labels are centered, and learned.

use burn::tensor::Tensor;
use delt_formats::NamedTensor;
use delt_pipeline::config::method::Frepo as Config;
use delt_ridge::{Ridge, regression};
use delt_tangent::unrolled_sgd::Set;
use delt_tangent::{Function, Norms, total};
use rand::seq::index;

use crate::MatchingError;
use crate::matching::{Found, Matching, Scene, number};
use crate::pool::{Pool, Rule};
use crate::regression::{features, folded_targets, margin, matrix, mirrored, mirrored_targets, tensor};

/// The method, with its pool.
#[derive(Debug)]
pub struct Frepo {
    scene: Scene,
    config: Config,
    pool: Pool,
}

/// The loss of images and labels, and its gradients.
#[derive(Debug)]
pub struct Regressed {
    /// 1/(2m) ‖F_t Fᵀ R⁻¹ Y − Y_t‖².
    pub error: f64,
    /// −mean of the gap of the two largest labels, no more than 1/C.
    pub margin: f64,
    /// Of their sum on the images.
    pub images: Tensor<4>,
    /// Of their sum on the labels.
    pub targets: Tensor<2>,
}

/// How well images and labels, with their mirror images where `mirror`, predict the labels of real images by ridge regression on
/// the features of a network in evaluation mode; `ridge` is a share of the kernel's mean diagonal.
///
/// # Shapes
/// `real`: images `[m, 3, size, size]` and labels `[m, classes]`.
///
/// # Errors
/// A kernel that cannot be solved; what the device reports.
pub fn regressed(
    function: &Function,
    (theta, norms): (&Tensor<1>, Norms<'_>),
    set: &Set,
    (real, real_labels): (&Tensor<4>, &Tensor<2>),
    (ridge, mirror): (f64, bool),
) -> Result<Regressed, MatchingError> {
    let others = features(function, (theta, norms), real)?;
    let leaf = set.images.clone().autodiff().require_grad();
    let own = function.forward(&function.weights(theta), mirrored(leaf.clone(), mirror), norms).features;
    let labels = matrix(&mirrored_targets(set.targets.clone(), mirror), "labels")?;
    let real_labels = matrix(real_labels, "real labels")?;
    let ridge = Ridge::Trace(ridge);
    let found = regression(matrix(&own, "features")?, &labels, &others, &real_labels, ridge)?;
    let gradients = total(own * tensor(&found.gradient_features, function)).backward();
    let (margin, of_margin) = margin(&matrix(&set.targets, "labels")?, 1.0 / function.form.classes as f64);
    let targets = folded_targets(tensor(&found.gradient_labels, function), mirror);
    Ok(Regressed {
        error: found.loss,
        margin,
        images: leaf.grad(&gradients).unwrap_or_else(|| set.images.zeros_like()),
        targets: targets + tensor(&of_margin, function),
    })
}

impl Frepo {
    /// Before the first iteration.
    pub fn new(scene: Scene, config: Config) -> Self {
        let pool = Pool::new(scene.function.clone(), scene.draws, config.pool, config.pool_spacing);
        Self { scene, config, pool }
    }
}

impl Matching for Frepo {
    fn gradients(&mut self, set: &Set, iteration: u32) -> Result<Found, MatchingError> {
        let network = self.pool.network(self.pool.place(iteration));
        let scene = &self.scene;
        let rows = scene.real_batch(self.config.real_batch, iteration);
        let labels = scene.one_hot(&scene.real.labels(&rows)) - 1.0 / scene.function.form.classes as f64;
        let at = (&network.state.weights, network.norms(&scene.function));
        let how = (self.config.ridge, self.config.mirror);
        let found = regressed(&scene.function, at, set, (&scene.real.images(&rows)?, &labels), how)?;
        let losses = [number("the squared error", found.error)?, found.margin];
        Ok(Found { losses, images: found.images, targets: Some(found.targets) })
    }

    /// Trains the network on the images, without their mirror images; one whose age is past the limit makes room instead.
    fn after(&mut self, set: &Set, iteration: u32) -> Result<(), MatchingError> {
        let place = self.pool.place(iteration);
        if self.pool.age(place) > self.config.pool_steps {
            self.pool.replace(place);
            return Ok(());
        }
        let (all, most) = (self.scene.labels.len(), self.config.train_batch as usize);
        let batch = if all > most {
            let mut rng = self.scene.draws.stream("pool-batch", iteration.into(), 0);
            let mut rows = index::sample(&mut rng, all, most).into_vec();
            rows.sort_unstable();
            let (images, targets) = set.batch(&rows);
            Set { images, targets }
        } else {
            set.clone()
        };
        let rule = Rule { lr: self.config.network_lr, divisor: 1.0, batch_share: self.config.bn_momentum };
        self.pool.train(place, batch, rule);
        Ok(())
    }

    fn save(&self) -> Result<Vec<NamedTensor>, MatchingError> {
        self.pool.save()
    }

    fn restore(&mut self, tensors: &[NamedTensor]) -> Result<(), MatchingError> {
        self.pool.restore(tensors)
    }
}
