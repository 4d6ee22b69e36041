//! Section `synthesize`: EarlyLate recovery (DELT, section 3).

use serde::{Deserialize, Serialize};

use super::{Invalid, lr_and_epsilon};

/// Section `synthesize`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Synthesize {
    /// MI: iterations of the images that join first; 0 keeps the initial images.
    pub max_iterations: u32,
    /// RI: iterations of one round; the number of rounds is MI / RI.
    pub round_iterations: u32,
    /// Deal the images of a class to rounds; off: all images get all iterations.
    pub early_late: bool,
    /// Images optimised together, contiguous in class order.
    pub batch: u32,
    /// alpha_BN: weight of the BatchNorm-statistics term.
    pub bn_matching_weight: f64,
    /// Weight of the first BatchNorm layer against the others (published: 10).
    pub first_bn_multiplier: f64,
    /// Peak learning rate of Adam.
    pub lr: f64,
    /// Adam's first-moment decay.
    pub beta_1: f64,
    /// Adam's second-moment decay.
    pub beta_2: f64,
    /// Adam's denominator guard.
    pub epsilon: f64,
    /// Smallest area share of the crop at the end of the easy2hard curriculum; 1 turns cropping off.
    pub min_crop_scale: f64,
    /// Share of the iterations after which the crop's lower bound has reached `min_crop_scale`; 0: from the start.
    pub milestone: f64,
    /// Mirror the batch in half of the iterations.
    pub flip: bool,
    /// Roll the batch by 0 to so many pixels down and right (SRe2L on CIFAR: 4).
    pub jitter: u32,
    /// What the images start from.
    pub init: Init,
    /// Whose steps Adam counts.
    pub optimizer_state: OptimizerState,
    /// Over which span the cosine learning rate runs.
    pub lr_schedule: LrSchedule,
    /// Fewest iterations of the first image of a class: the number of rounds of each class is then drawn at random
    /// from `min_iterations / RI ..= MI / RI`. Absent: all classes have all rounds.
    #[serde(default)]
    pub min_iterations: Option<u32>,
}

/// What the images start from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Init {
    /// The images of init-select.
    Selected,
    /// Standard normal noise in normalised space (SRe2L, CDA).
    Noise,
}

/// Whose steps Adam's bias correction counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OptimizerState {
    /// One counter for the batch: the first step of a late image is about 1.58 times lr, as published.
    PerBatch,
    /// Each image counts its own steps.
    PerImage,
}

/// Over which span the cosine learning rate runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LrSchedule {
    /// Over all iterations of the batch, as published: late images start low.
    PerBatch,
    /// Anew in each round (what `--round-lr-reset` of the published code was meant to do).
    PerRound,
}

impl Synthesize {
    pub(super) fn validate(&self, ipc: u32) -> Result<(), Invalid> {
        let at = |key: &str| format!("synthesize.{key}");
        if self.batch == 0 {
            return Err(Invalid::new(&at("batch"), "found 0, expected at least 1 image"));
        }
        if self.max_iterations > 0 && self.early_late && ipc > 1 {
            if self.round_iterations == 0 || !self.max_iterations.is_multiple_of(self.round_iterations) {
                return Err(Invalid::new(
                    &at("round_iterations"),
                    format!(
                        "{} iterations are not a multiple of rounds of {}; choose a divisor",
                        self.max_iterations, self.round_iterations
                    ),
                ));
            }
            if let Some(least) = self.min_iterations
                && (least == 0 || least > self.max_iterations || !least.is_multiple_of(self.round_iterations))
            {
                return Err(Invalid::new(
                    &at("min_iterations"),
                    format!(
                        "found {least}, expected a multiple of round_iterations ({}) up to max_iterations ({})",
                        self.round_iterations, self.max_iterations
                    ),
                ));
            }
        }
        if !(self.min_crop_scale > 0.0 && self.min_crop_scale <= 1.0) {
            let problem = format!(
                "found {}, expected a share of the area, more than 0, at most 1",
                self.min_crop_scale
            );
            return Err(Invalid::new(&at("min_crop_scale"), problem));
        }
        if !(0.0..=1.0).contains(&self.milestone) {
            let problem = format!("found {}, expected a share of the iterations, 0 to 1", self.milestone);
            return Err(Invalid::new(&at("milestone"), problem));
        }
        let unit = |key: &str, value: f64| {
            if (0.0..1.0).contains(&value) {
                Ok(())
            } else {
                Err(Invalid::new(&at(key), format!("found {value}, expected 0 or more, less than 1")))
            }
        };
        unit("beta_1", self.beta_1)?;
        unit("beta_2", self.beta_2)?;
        if !(self.lr > 0.0 && self.epsilon > 0.0) {
            return Err(Invalid::new(&at("lr"), lr_and_epsilon(self.lr, self.epsilon)));
        }
        Ok(())
    }
}
