//! Section `experts`: networks trained on the real images whose weights are kept after each epoch, for trajectory matching.

use delt_augment::dsa::Strategy;
use serde::{Deserialize, Serialize};

use super::method::TrajectoryMatching;
use super::{Invalid, range};

/// Section `experts`. Their network and what their images go through is that of `synthesize.matching`; they are trained by SGD
/// without momentum and weight decay, at one learning rate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experts {
    /// How many (published: 100).
    pub count: u32,
    /// Epochs of each, all of which are kept (published: 50, of which none is read after the last start and `expert_epochs` more).
    pub epochs: u32,
    /// Images of a step.
    pub batch: u32,
    /// Learning rate.
    pub lr: f64,
    /// Strategies of which one is drawn for each batch, with draws of its own for each image (DSA); empty: no augmentation.
    pub augmentation: Vec<Strategy>,
}

impl Experts {
    pub(super) fn validate(&self, method: &TrajectoryMatching) -> Result<(), Invalid> {
        let at = |key: &str| format!("experts.{key}");
        range::require(self.count > 0, at("count"), 0, "at least 1 expert")?;
        range::at_most(at("count"), self.count, range::MOST_NETWORKS)?;
        range::at_most(at("epochs"), self.epochs, range::MOST_EPOCHS)?;
        let (epochs, last) = (self.epochs, method.last_epoch());
        let expected = format!(
            "at least {last}: an expert of epoch {} (max_start_epoch - 1) is matched {} epochs (expert_epochs) later",
            method.max_start_epoch.saturating_sub(1),
            method.expert_epochs
        );
        range::require(epochs >= last, at("epochs"), epochs, expected)?;
        range::require(self.batch > 0, at("batch"), 0, "at least 1 image")?;
        range::at_most(at("batch"), self.batch, range::MOST_BATCH)?;
        range::POSITIVE.check(at("lr"), self.lr)?;
        for (index, strategy) in self.augmentation.iter().enumerate() {
            let problem = "names a strategy twice; name each once";
            range::ensure(!self.augmentation[..index].contains(strategy), at("augmentation"), problem)?;
        }
        Ok(())
    }
}
