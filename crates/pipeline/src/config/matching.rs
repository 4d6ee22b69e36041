//! Key `synthesize.matching`: what the methods that match batches of real images share.

use delt_augment::dsa::Strategy;
use delt_formats::Whitening;
use delt_formats::teacher::{Architecture, Norm};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::image_optimizer::ImageOptimizer;
use super::method::Method;
use super::teacher::check_fit;
use super::{Invalid, range};

/// Section `synthesize.matching`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Matching {
    /// The network that images are matched under, with weights drawn anew as the method says.
    pub network: Architecture,
    /// Steps of the images.
    pub iterations: u32,
    /// What the real images go through behind normalization; the synthetic ones live in the space behind it.
    pub whitening: Whitening,
    /// Strategies of which one is drawn for each batch (DSA); empty: no augmentation.
    pub augmentation: Vec<Strategy>,
    /// What the images start from.
    pub init: Start,
    /// How they are moved.
    pub image_optimizer: ImageOptimizer,
    /// Whether their targets move too.
    pub labels: Targets,
    /// How.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_optimizer: Option<ImageOptimizer>,
}

/// What images start from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// The images of init-select.
    Selected,
    /// Standard normal noise.
    Noise,
    /// Normal noise, each image scaled to unit length: the space of whitening `unit_length` (RaT-BPTT).
    NoiseUnitLength,
}

/// What images are labeled by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Targets {
    /// Their class.
    Hard,
    /// A row of numbers, one for each class, learned with the images.
    Learned,
}

impl Matching {
    /// Whether images are whitened.
    pub fn is_whitened(&self) -> bool {
        self.whitening != Whitening::None
    }

    /// Refuses what does not fit the method, or images of `size` px.
    pub(super) fn validate(&self, method: Method, size: u32) -> Result<(), Invalid> {
        let at = |key: &str| format!("synthesize.matching.{key}");
        self.validate_network(method, size)?;
        range::require(self.iterations > 0, at("iterations"), 0, "at least 1")?;
        range::at_most(at("iterations"), self.iterations, range::MOST_ITERATIONS)?;
        let augments = !matches!(method, Method::Frepo(_) | Method::Rcig(_));
        let expected =
            format!("[]: {} augments by mirror images alone (synthesize.method.mirror)", method.title());
        range::require(
            augments || self.augmentation.is_empty(),
            at("augmentation"),
            json!(self.augmentation),
            expected,
        )?;
        for (index, strategy) in self.augmentation.iter().enumerate() {
            let problem = "names a strategy twice; name each once";
            range::ensure(!self.augmentation[..index].contains(strategy), at("augmentation"), problem)?;
        }
        let fits = self.init != Start::NoiseUnitLength || self.whitening == Whitening::UnitLength;
        let problem = "found noise_unit_length without whitening: unit_length, whose images have unit length; set that, or init: \
            noise";
        range::ensure(fits, at("init"), problem)?;
        self.image_optimizer.validate(&at("image_optimizer"))?;
        self.validate_labels(method)
    }

    fn validate_network(&self, method: Method, size: u32) -> Result<(), Invalid> {
        let place = "synthesize.matching.network";
        let Architecture::ConvNet { norm, .. } = self.network else {
            let expected = "a convnet, whose derivative along a direction in weight space is known here";
            return range::require(false, place, self.network.name(), expected);
        };
        let fits = matches!(norm, Norm::Batch | Norm::Instance | Norm::None);
        range::require(fits, format!("{place}.norm"), json!(norm), "batch, instance or none")?;
        let by_batch = norm == Norm::Batch;
        match method {
            Method::TrajectoryMatching(_) => {
                let problem =
                    "found batch, whose running statistics no expert keeps; set it to instance or none";
                range::ensure(!by_batch, format!("{place}.norm"), problem)?;
            }
            Method::GradientMatching(it) => {
                let problem = "is for networks with batch normalization, and needed by them; write it for those only (published: 16)";
                let fits = by_batch == it.statistics_batch.is_some();
                range::ensure(fits, "synthesize.method.statistics_batch", problem)?;
            }
            _ => {}
        }
        check_fit(&self.network, size, place)
    }

    fn validate_labels(&self, method: Method) -> Result<(), Invalid> {
        let at = |key: &str| format!("synthesize.matching.{key}");
        if self.labels == Targets::Hard {
            let problem =
                "found with labels: hard, which stay as they are; leave it out, or set labels: learned";
            return range::ensure(self.label_optimizer.is_none(), at("label_optimizer"), problem);
        }
        let expected = format!("hard: {} has no gradient on labels", method.title());
        range::require(method.learns_labels(), at("labels"), "learned", expected)?;
        if let Method::TrajectoryMatching(it) = method {
            let problem = "found learned with method.expert_labels, which are renewed in each iteration; set one of them otherwise";
            range::ensure(!it.expert_labels, at("labels"), problem)?;
        }
        let Some(optimizer) = &self.label_optimizer else {
            let problem = "is missing with labels: learned; write it, e.g. {kind: sgd, lr: 0.1, momentum: 0.5}, or set labels: hard";
            return Err(Invalid::new(at("label_optimizer"), problem));
        };
        optimizer.validate(&at("label_optimizer"))
    }
}
