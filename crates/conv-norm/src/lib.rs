//! Convolution, batch normalization, ReLU and pooling as one operation for Burn's CPU backend (`flex`).
//!
//! Most of the seconds of dataset distillation go into this sequence. Taken as single operations, each reads and writes
//! whole activations; here a task takes one or a few images through all of them while they lie in the cache. Layout is
//! channels last, `[n, h, w, c]`: [`channels_last`] and [`channels_first`] lead there and back.
//! Filters see all channels, a group of them or one ([`Geometry::groups`]).
//!
//! A frozen block ([`conv_norm_frozen`]) has fixed weights and running statistics: the teacher of recovery, of scoring and
//! of labeling. It can also measure how far the batch's statistics lie from the running ones, which is the loss that
//! recovery minimizes. A block in training mode ([`conv_norm_train`]) uses the statistics of the batch and gives gradients
//! of its weights. Either can add an earlier result before its activation. Where nothing but results is wanted,
//! [`chain_frozen`] takes a few images through many blocks, and the squeeze-excitation between them, at a time.
//!
//! [`conv_block`] normalizes by the batch, by each image or not at all, and rounds about as direct sums do;
//! [`conv_block_dual`] gives its derivative along a direction in weight space too, and one backward pass over both: exact
//! second derivatives of whole networks.
//!
//! [`normalize_rows`], [`softmax_rows`] and 1x1 convolutions treat the positions of transformers, [`scale_channels`] is the gate of
//! squeeze-excitation.
//!
//! Sums are taken in an order that depends on sizes only, so results are the same bytes in every run and for any number of
//! threads. Other backends have no use for this crate: [`is_supported`] tells.

mod activation;
mod backward;
mod block;
mod chain;
mod convolution;
mod correlate;
mod depthwise;
mod filters;
mod forward;
mod frozen;
mod gates;
mod memory;
mod operation;
mod plan;
mod rows;
mod shape;
mod squeeze;
mod statistics;
mod train;
mod vectors;
mod weight_gradient;
mod winograd;

use burn::tensor::Tensor;

pub use activation::Activation;
pub use block::Normalize;
pub use block::operation::{BlockWeights, conv_block, conv_block_dual, convolution, value_and_slope};
pub use chain::{FrozenChain, Link, Part};
pub use frozen::FrozenConvNorm;
pub use operation::{
    TrainWeights, chain_frozen, conv_norm_frozen, conv_norm_frozen_statistics, conv_norm_train, is_supported,
    on_worker,
};
pub use rows::{normalize_rows, scale_channels, softmax_rows};
pub use shape::Geometry;
pub use squeeze::FrozenSqueeze;

/// The weights of a frozen block, as plain values.
#[derive(Clone, Debug)]
pub struct FrozenWeights {
    /// Output and input channels.
    pub channels: [usize; 2],
    /// `[outputs, inputs / groups, kernel, kernel]`.
    pub weight: Vec<f32>,
    /// One per output, or none.
    pub bias: Vec<f32>,
    /// Scale per output (γ).
    pub gamma: Vec<f32>,
    /// Shift per output (β).
    pub beta: Vec<f32>,
    /// Running mean per output (μ).
    pub running_mean: Vec<f32>,
    /// Running variance per output (σ²).
    pub running_var: Vec<f32>,
}

/// `[n, c, h, w]` → `[n, h, w, c]`, as a view.
pub fn channels_last(x: Tensor<4>) -> Tensor<4> {
    x.permute([0, 2, 3, 1])
}

/// `[n, h, w, c]` → `[n, c, h, w]`, as a view.
pub fn channels_first(x: Tensor<4>) -> Tensor<4> {
    x.permute([0, 3, 1, 2])
}
