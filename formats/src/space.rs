//! The space in which methods learn images: what a network takes in place of pixels.

use serde::{Deserialize, Serialize};

use crate::canonical::Digest;
use crate::teacher::Normalization;

/// How pixels become what a network takes: normalized by channel, then whitened where that is asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Space {
    /// The first step.
    pub normalization: Normalization,
    /// The second step, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whitening: Option<WhitenedBy>,
}

/// Which whitening images went through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WhitenedBy {
    /// What kind it is, as the pipeline names it: `trace`, `absolute` or `unit_length`.
    pub kind: String,
    /// Content digest of the artifact that holds its mean and its matrix.
    pub artifact: Digest,
}
