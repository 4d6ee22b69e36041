//! Key `synthesize.target`: what recovery pulls the images to, beside the teacher's statistics.

use serde::{Deserialize, Serialize};

use super::synthesize::{Batches, Synthesize};
use super::{Invalid, is_default, range};

/// What recovery pulls the images to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Target {
    /// Their class, by cross-entropy; statistics are matched to the teacher's running ones. (Braces: serde lets unknown keys
    /// pass beside a unit variant.)
    Label {},
    /// The points of the 2-Wasserstein barycenter of the class's real features, one for each slot, by squared distance;
    /// statistics are matched to those of the class's real images, so a batch holds one class (WMDD, ICCV 2025).
    Barycenter {
        /// Weight of the squared distance of features, mean over the images of the batch. The paper sums: its 1 is our
        /// `select.ipc`.
        weight: f64,
        /// Weight of the cross-entropy to the class beside it; the published code has 1.
        #[serde(default, skip_serializing_if = "is_default")]
        cross_entropy: f64,
    },
}

impl Default for Target {
    fn default() -> Self {
        Self::Label {}
    }
}

impl Target {
    /// Whether statistics and features of the real images are needed.
    pub fn is_barycenter(&self) -> bool {
        matches!(self, Self::Barycenter { .. })
    }

    pub(super) fn validate(&self, synthesize: &Synthesize, ipc: u32) -> Result<(), Invalid> {
        let Self::Barycenter { weight, cross_entropy } = self else { return Ok(()) };
        range::POSITIVE.check("synthesize.target.weight", *weight)?;
        range::NOT_NEGATIVE.check("synthesize.target.cross_entropy", *cross_entropy)?;
        // without iterations no image changes, whatever else is set
        if synthesize.max_iterations == 0 {
            return Ok(());
        }
        let problem = format!(
            "found {} with target.kind barycenter, whose statistics are those of one class; expected select.ipc ({ipc}), so \
             that each batch is a class",
            synthesize.batch
        );
        range::ensure(synthesize.batch == ipc, "synthesize.batch", problem)?;
        let problem = "found across_classes with target.kind barycenter, whose statistics are those of one class; set it to \
            by_class";
        range::ensure(synthesize.batches == Batches::ByClass, "synthesize.batches", problem)
    }
}
