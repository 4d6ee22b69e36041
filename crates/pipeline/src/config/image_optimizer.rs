//! Keys `synthesize.matching.image_optimizer` and `label_optimizer`: how the batch-to-batch methods move images and labels.

use serde::{Deserialize, Serialize};

use super::{Invalid, range};

/// An optimizer with every value written out.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ImageOptimizer {
    /// Stochastic gradient descent as PyTorch has it.
    Sgd {
        /// Learning rate at the start.
        lr: f64,
        /// Momentum.
        momentum: f64,
        /// Share of `lr` at the end of a cosine over all iterations; absent: `lr` stays.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        final_share: Option<f64>,
    },
    /// Adam.
    Adam {
        /// Learning rate at the start.
        lr: f64,
        /// First-moment decay.
        beta_1: f64,
        /// Second-moment decay.
        beta_2: f64,
        /// Denominator's guard.
        epsilon: f64,
        /// Share of `lr` at the end of a cosine over all iterations; absent: `lr` stays.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        final_share: Option<f64>,
    },
    /// Adam's step, as long as the tensor itself times `lr` (FRePo).
    Lamb {
        /// Learning rate at the start.
        lr: f64,
        /// First-moment decay.
        beta_1: f64,
        /// Second-moment decay.
        beta_2: f64,
        /// Denominator's guard (optax: 1e-6).
        epsilon: f64,
        /// Share of `lr` at the end of a cosine over all iterations (FRePo: 0.1); absent: `lr` stays.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        final_share: Option<f64>,
    },
    /// Adam whose second moment is that of the gradient's distance from its own average (RCIG).
    Adabelief {
        /// Learning rate at the start.
        lr: f64,
        /// First-moment decay.
        beta_1: f64,
        /// Second-moment decay.
        beta_2: f64,
        /// Denominator's guard (optax: 1e-16).
        epsilon: f64,
        /// The guard below the root (optax: 1e-16).
        epsilon_root: f64,
        /// Share of `lr` at the end of a cosine over all iterations; absent: `lr` stays.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        final_share: Option<f64>,
    },
}

impl ImageOptimizer {
    /// Learning rate at the start.
    pub fn lr(&self) -> f64 {
        match self {
            Self::Sgd { lr, .. }
            | Self::Adam { lr, .. }
            | Self::Lamb { lr, .. }
            | Self::Adabelief { lr, .. } => *lr,
        }
    }

    /// Share of the learning rate that is left at the end of a cosine, where there is one.
    pub fn final_share(&self) -> Option<f64> {
        match self {
            Self::Sgd { final_share, .. }
            | Self::Adam { final_share, .. }
            | Self::Lamb { final_share, .. }
            | Self::Adabelief { final_share, .. } => *final_share,
        }
    }

    /// Checks every value.
    ///
    /// # Errors
    /// [`Invalid`] naming the key below `place`.
    pub fn validate(&self, place: &str) -> Result<(), Invalid> {
        let at = |key: &str| format!("{place}.{key}");
        range::POSITIVE.check(at("lr"), self.lr())?;
        if let Some(share) = self.final_share() {
            range::BELOW_ONE.check(at("final_share"), share)?;
        }
        match *self {
            Self::Sgd { momentum, .. } => range::BELOW_ONE.check(at("momentum"), momentum),
            Self::Adam { beta_1, beta_2, epsilon, .. }
            | Self::Lamb { beta_1, beta_2, epsilon, .. }
            | Self::Adabelief { beta_1, beta_2, epsilon, .. } => {
                range::BELOW_ONE.check(at("beta_1"), beta_1)?;
                range::BELOW_ONE.check(at("beta_2"), beta_2)?;
                range::POSITIVE.check(at("epsilon"), epsilon)?;
                let Self::Adabelief { epsilon_root, .. } = *self else { return Ok(()) };
                range::NOT_NEGATIVE.check(at("epsilon_root"), epsilon_root)
            }
        }
    }
}
