//! Distance of the images' features to the barycenter of their class's real ones, and of their statistics to those of the class
//! (WMDD, ICCV 2025, arXiv 2311.18531, section 3.3). A batch holds one class.

use std::rc::Rc;

use anyhow::{Context, Result};
use burn::tensor::Tensor;
use delt_networks::FrozenNetwork;
use delt_pipeline::config::synthesize::Synthesize;
use delt_pipeline::early_late::BatchSchedule;

use super::class_target::{ClassTarget, RealClasses};
use super::labels::{self, weighted};
use super::{Loss, Moment, Objective, Preparation};

/// The objective of WMDD for all classes: what each batch is pulled to is computed when it begins.
#[derive(Debug)]
pub struct Barycenter {
    teacher: FrozenNetwork,
    real: Rc<RealClasses>,
    /// Weight of the squared distance of features.
    weight: f64,
}

impl Barycenter {
    /// Sorts the real images by class.
    ///
    /// # Errors
    /// Where the real images were not opened.
    pub fn prepare(teacher: FrozenNetwork, weight: f64, preparation: &Preparation<'_>) -> Result<Self> {
        let Preparation { real, classes, normalization, device, .. } = preparation;
        let images = real.clone().context("the real training images were not opened")?;
        let real = Rc::new(RealClasses::new(images, *classes, *normalization, device));
        Ok(Self { teacher, real, weight })
    }
}

impl Objective for Barycenter {
    /// Of no batch: labels and running statistics.
    fn loss(&self, _: Moment, images: Tensor<4>, labels: &[u32], config: &Synthesize) -> Loss {
        labels::loss(&self.teacher, images, labels, config)
    }

    fn of_batch(&self, batch: &BatchSchedule, start: &[f32]) -> Result<Option<Box<dyn Objective>>> {
        let target = self.real.target(&self.teacher, batch.labels[0], start)?;
        Ok(Some(Box::new(OfClass { target, weight: self.weight })))
    }
}

/// The objective of one batch.
#[derive(Debug)]
struct OfClass {
    target: ClassTarget,
    weight: f64,
}

impl Objective for OfClass {
    /// With the class's points b, `weight / n Σ_i ‖features(x_i) − b_i‖²` takes the place of cross-entropy.
    fn loss(&self, _: Moment, images: Tensor<4>, _: &[u32], config: &Synthesize) -> Loss {
        let (features, terms) = self.target.network.features_with_bn_terms(images);
        let [active, _] = features.dims();
        let apart = features - self.target.points.clone().narrow(0, 0, active);
        let target = apart.square().sum_dim(1).mean().mul_scalar(self.weight);
        Loss::new(target, weighted(terms.into_iter().map(Some).collect(), config), config)
    }
}
