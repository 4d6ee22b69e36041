//! The matrices that images are whitened by: `whitening.safetensors`, which `ingest` makes of the training images.

use serde::{Deserialize, Serialize};

use crate::teacher::Normalization;

/// The file.
pub const WHITENING_FILE: &str = "whitening.safetensors";

/// Tensor of the mean image, `[dimensions]`.
pub const MEAN: &str = "mean";

/// Tensor of the whitening matrix, `[dimensions, dimensions]`.
pub const MATRIX: &str = "matrix";

/// Tensor of its inverse, `[dimensions, dimensions]`.
pub const INVERSE: &str = "inverse";

/// How images are whitened (ZCA), as the published methods do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Whitening {
    /// Not at all.
    None,
    /// Normalized pixels minus the mean image, regularized by a tenth of the mean variance (FRePo, RCIG).
    Trace,
    /// Pixels from 0 to 1 minus the mean image, regularized by 0.1 (MTT, TESLA).
    Absolute,
    /// Each image minus its own mean and scaled to unit length, second moments regularized as with [`Self::Trace`] (RaT-BPTT).
    UnitLength,
}

impl Whitening {
    /// What comes before it, where the data set normalizes by `own`: the other published kinds see pixels from 0 to 1 (the unit
    /// length of [`Self::UnitLength`] knows no factor).
    #[must_use]
    pub fn normalization(self, own: Normalization) -> Normalization {
        match self {
            Self::None | Self::Trace => own,
            Self::Absolute | Self::UnitLength => Normalization { mean: [0.0; 3], std: [1.0; 3] },
        }
    }
}

/// What the manifest says about the matrices.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WhiteningFacts {
    /// How images are whitened.
    pub kind: Whitening,
    /// Training images that they were made of.
    pub images: u64,
    /// Side of the images, px.
    pub size: u32,
    /// What comes before it.
    pub normalization: Normalization,
}
