//! Networks trained on the real images, with their weights after each epoch: `expert-000.safetensors` and so on, made by
//! `teacher-train`, whose tensors are called [`tensor_name`].

use serde::{Deserialize, Serialize};

use crate::teacher::{Architecture, Normalization};
use crate::whitening::Whitening;

/// The file of an expert.
pub fn expert_file(expert: u32) -> String {
    format!("expert-{expert:03}.safetensors")
}

/// What the weights `name` are called after so many epochs; epoch 0 is before the first.
pub fn tensor_name(epoch: u32, name: &str) -> String {
    format!("{epoch}/{name}")
}

/// What the manifest says about the experts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpertsFacts {
    /// Their network.
    pub architecture: Architecture,
    /// Side of its square input, px.
    pub size: u32,
    /// How its input is normalized.
    pub normalization: Normalization,
    /// How it is whitened then.
    pub whitening: Whitening,
    /// Epochs trained; weights are kept before the first and after each.
    pub epochs: u32,
    /// Test images whose first guess is right after the last epoch, percent, of each expert.
    pub test_top1: Vec<f64>,
}
