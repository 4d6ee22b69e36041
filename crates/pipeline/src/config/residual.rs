//! Key `synthesize.residual`: images are blended again with the images that they started from (FADRM, NeurIPS 2025).

use serde::{Deserialize, Serialize};

use super::synthesize::{Init, Synthesize};
use super::{Invalid, range};

/// The data residual: after every block of iterations but the last, x ← share · x + (1 − share) · initial image.
///
/// # Paper
/// FADRM, section 3 (adjustable residual connections). Published for CIFAR-100: share 0.5 and four blocks of 500 iterations.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Residual {
    /// α: share of the optimized image that stays.
    pub share: f64,
    /// Iterations of the batch in one block.
    pub every: u32,
    /// Adam starts each block without moments and counts its steps anew, as published.
    pub restart_adam: bool,
}

impl Residual {
    /// Whether images are blended once so many of the batch's iterations are done: at the end of every block but the last.
    pub fn is_due(&self, done: u32, iterations: u32) -> bool {
        done > 0 && done < iterations && done.is_multiple_of(self.every)
    }

    /// Iterations since the block of an iteration began.
    pub fn within_block(&self, iteration: u32) -> u32 {
        iteration % self.every
    }

    pub(super) fn validate(&self, synthesize: &Synthesize) -> Result<(), Invalid> {
        let at = |key: &str| format!("synthesize.residual.{key}");
        range::BETWEEN.check(at("share"), self.share)?;
        range::require(self.every > 0, at("every"), 0, "at least 1 iteration")?;
        // without iterations no image changes, whatever else is set
        if synthesize.max_iterations == 0 {
            return Ok(());
        }
        let (every, most) = (self.every, synthesize.max_iterations);
        let problem = format!(
            "found {every}, which no image reaches before its last iteration; expected less than max_iterations ({most})"
        );
        range::ensure(every < most, at("every"), problem)?;
        let problem = "found with init: noise, which has no real image to blend with; set init: selected";
        range::ensure(synthesize.init == Init::Selected, "synthesize.residual", problem)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_blended_at_the_end_of_every_block_but_the_last() {
        let residual = Residual { share: 0.5, every: 500, restart_adam: true };
        let due: Vec<u32> = (0..=2000).filter(|done| residual.is_due(*done, 2000)).collect();
        assert_eq!(due, [500, 1000, 1500]);
        let due: Vec<u32> = (0..=1700).filter(|done| residual.is_due(*done, 1700)).collect();
        assert_eq!(due, [500, 1000, 1500]);
        assert_eq!((residual.within_block(499), residual.within_block(500)), (499, 0));
    }
}
