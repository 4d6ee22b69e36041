//! Distance of the images' features to the barycenter of their class's real ones, and of their statistics to those of the class
//! (WMDD, ICCV 2025, arXiv 2311.18531, section 3.3). A batch holds one class.

use std::sync::Arc;

use anyhow::Result;
use burn::tensor::Tensor;
use delt_networks::FrozenNetwork;
use delt_pipeline::config::synthesize::Synthesize;
use delt_pipeline::early_late::BatchSchedule;

use super::class_target::RealClasses;
use super::labels::{Labels, cross_entropy, weighted};
use super::{Loss, Moment, Objective, Preparation};

/// The objective of WMDD for all classes: what each batch is pulled to is computed when it begins.
#[derive(Debug)]
pub struct Barycenter {
    /// Of no batch: labels and running statistics.
    labels: Labels,
    real: RealClasses,
    /// Weights of the squared distance of features and of cross-entropy.
    weights: [f64; 2],
}

impl Barycenter {
    /// Sorts the real images by class.
    ///
    /// # Errors
    /// Where the real images were not opened.
    pub fn prepare(network: FrozenNetwork, weights: [f64; 2], preparation: &Preparation<'_>) -> Result<Self> {
        Ok(Self { labels: Labels { network }, real: RealClasses::new(preparation)?, weights })
    }
}

impl Objective for Barycenter {
    fn loss(&self, moment: Moment, images: Tensor<4>, labels: &[u32], config: &Synthesize) -> Loss {
        self.labels.loss(moment, images, labels, config)
    }

    fn of_batch(&self, batch: &BatchSchedule, start: &[f32]) -> Result<Option<Arc<dyn Objective>>> {
        let (network, points) = self.real.target(&self.labels.network, batch.labels[0], start)?;
        Ok(Some(Arc::new(OfClass { network, points, weights: self.weights })))
    }
}

/// The objective of one batch.
#[derive(Debug)]
struct OfClass {
    /// The teacher, whose distances of statistics are from those of the class's real images.
    network: FrozenNetwork,
    /// A point for the features of each slot, `[ipc, features]`.
    points: Tensor<2>,
    weights: [f64; 2],
}

impl Objective for OfClass {
    /// With the class's points b, `weight / n Σ_i ‖features(x_i) − b_i‖²` takes the place of cross-entropy, or stands beside it.
    fn loss(&self, _: Moment, images: Tensor<4>, labels: &[u32], config: &Synthesize) -> Loss {
        let [weight, cross_entropy_weight] = self.weights;
        let (features, terms) = self.network.features_with_bn_terms(images);
        let [active, _] = features.dims();
        let apart = features.clone() - self.points.clone().narrow(0, 0, active);
        let mut target = apart.square().sum_dim(1).mean().mul_scalar(weight);
        if cross_entropy_weight > 0.0 {
            let of_class = cross_entropy(self.network.classify(features), labels);
            target = target + of_class.mul_scalar(cross_entropy_weight);
        }
        let statistics = weighted(terms.into_iter().map(Some).collect(), &target.device(), config);
        Loss::new(target, statistics, config)
    }
}
