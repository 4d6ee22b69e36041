//! What the pixels of EarlyLate recovery minimize, as the section `synthesize` says it, and what is known of each objective before
//! anything runs.

use serde::Deserialize;

use super::matching::Matching;
use super::method::Method;
use super::synthesize::{ConvolutionStatistics, Synthesize};
use super::target::Target;

/// An objective with its own settings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ObjectiveKind {
    /// Labels and the statistics of batch normalization (DELT, SRe2L).
    Labels,
    /// The statistics of what enters the convolutions too (G-VBSM).
    ConvolutionStatistics(ConvolutionStatistics),
    /// Barycenters of real features, statistics by class (WMDD).
    Barycenter {
        /// Weight of the squared distance of features.
        weight: f64,
        /// Weight of the cross-entropy beside it.
        cross_entropy: f64,
    },
}

/// What a column of the trace holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceName {
    /// Beside a progress bar.
    pub short: &'static str,
    /// As the title of a chart.
    pub long: &'static str,
}

/// What a synthesis reads beside its initial images; plan and key name these as inputs. A method that brings another kind adds a
/// field here and its input in the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// The teacher's weights.
    pub teacher: bool,
    /// Real training images, and not only what the teacher has learned from them.
    pub real_images: bool,
    /// The weights of experts after each epoch of their training.
    pub experts: bool,
    /// The matrices that real images are whitened by.
    pub whitening: bool,
}

impl ObjectiveKind {
    /// What the objective reads.
    pub fn needs(self) -> Needs {
        Needs { teacher: true, real_images: self != Self::Labels, experts: false, whitening: false }
    }

    /// What the columns `ce` and `bn` of the trace hold.
    pub fn trace_names(self) -> [TraceName; 2] {
        let name = |short, long| TraceName { short, long };
        let labels = name("ce", "cross-entropy");
        let statistics = name("bn", "BN-statistics loss");
        match self {
            Self::Labels => [labels, statistics],
            Self::ConvolutionStatistics(_) => {
                [labels, name("conv+bn", "convolution- and BN-statistics loss")]
            }
            Self::Barycenter { cross_entropy: 0.0, .. } => {
                [name("barycenter", "distance to the barycenter"), statistics]
            }
            Self::Barycenter { .. } => {
                [name("barycenter+ce", "distance to the barycenter and cross-entropy"), statistics]
            }
        }
    }
}

/// What the columns `ce` and `bn` of a stored trace hold, by the configuration in its provenance.
pub fn trace_names_of(stored: &serde_json::Value) -> [TraceName; 2] {
    let method = Method::deserialize(&stored["method"]).unwrap_or_default();
    let config = Synthesize::deserialize(stored);
    method.trace_names(config.map_or(ObjectiveKind::Labels, |config| config.objective()))
}

impl Synthesize {
    /// What the pixels minimize.
    pub fn objective(&self) -> ObjectiveKind {
        match (self.target, self.convolution_statistics) {
            (Target::Barycenter { weight, cross_entropy }, _) => {
                ObjectiveKind::Barycenter { weight, cross_entropy }
            }
            (Target::Label {}, Some(matched)) => ObjectiveKind::ConvolutionStatistics(matched),
            (Target::Label {}, None) => ObjectiveKind::Labels,
        }
    }

    /// What the synthesis reads beside its initial images.
    pub fn needs(&self) -> Needs {
        let is_whitened = self.matching.as_ref().is_some_and(Matching::is_whitened);
        self.method.needs(self.objective(), is_whitened)
    }
}
