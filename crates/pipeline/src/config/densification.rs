//! Section `synthesize.densification`: the images of a class are kept apart (G-VBSM).

use serde::{Deserialize, Serialize};

use super::{Invalid, range};

/// Data densification: for the images of each class in a batch, the divergence of their Gram matrix's eigenvalues under a softmax from
/// the same at a higher temperature, so that none of them outweighs the others.
///
/// # Paper
/// G-VBSM, section 3.1 (nuclear norm). Published: weight 1, temperature 4.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Densification {
    /// Its weight against the cross-entropy.
    pub weight: f64,
    /// τ: by how much the eigenvalues are evened out.
    pub temperature: f64,
}

impl Densification {
    pub(super) fn validate(&self, ipc: u32) -> Result<(), Invalid> {
        let at = |key: &str| format!("synthesize.densification.{key}");
        range::POSITIVE.check(at("weight"), self.weight)?;
        range::ABOVE_ZERO.check(at("temperature"), self.temperature)?;
        let problem = "found with select.ipc 1, where a class has no images to keep apart; leave it out";
        range::ensure(ipc > 1, "synthesize.densification", problem)
    }
}
