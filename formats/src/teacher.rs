//! A trained network: `weights.safetensors` with torchvision's names and layout, and `history.parquet`.
//!
//! Weights are the one artifact that is not Parquet: the field keeps them in safetensors, and PyTorch loads them as they are.

use std::fmt::{self, Display};

pub use delt_architectures::{Architecture, BnMomentum, Conv1Start, Norm, Stem, VitStart};
use serde::{Deserialize, Serialize};

/// The file of weights.
pub const WEIGHTS_FILE: &str = "weights.safetensors";

/// The constants by which a network's input is normalized: `(pixel / 255 - mean) / std`, per channel.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalization {
    /// Mean of red, green and blue.
    pub mean: [f32; 3],
    /// Standard deviation of red, green and blue.
    pub std: [f32; 3],
}

impl Normalization {
    /// ImageNet's, by which torchvision's weights and many others see images.
    pub const IMAGENET: Self = Self { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
}

impl Display for Normalization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mean {:?} and std {:?}", self.mean, self.std)
    }
}

/// What a teacher's manifest says about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TeacherFacts {
    /// The network.
    pub architecture: Architecture,
    /// Side of its square input, px.
    pub size: u32,
    /// How its input is normalized.
    pub normalization: Normalization,
    /// Test images whose first guess is right, percent.
    pub test_top1: f64,
    /// Test images with the right class among the first five guesses, percent.
    pub test_top5: f64,
    /// Epochs trained here.
    pub epochs: u32,
    /// Whether the weights were imported.
    pub imported: bool,
}
