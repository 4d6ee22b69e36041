//! The networks DELT works with, as Burn modules whose tensors carry PyTorch's names: ConvNet-d, ResNet-18 and -34,
//! MobileNetV2.
//!
//! - [`network`]: [`Network`], one enum over all architectures: built, run and read back;
//! - `builder`: layers by their PyTorch names, with shapes and windows from `delt-architectures`' description;
//! - [`layers`]: convolution, batch normalization and linear layer, thin modules over Burn's tensor functions;
//! - `block_norm`: what normalizes a block of a ConvNet, which need not be the batch;
//! - [`convnet`], [`resnet`], [`mobilenet_v2`]: the architectures, fields named as in PyTorch's `state_dict`;
//! - [`initialize`]: where new weights come from;
//! - [`named`]: tensors by name, to and from files;
//! - [`checkpoint`]: the network among the tensors of a file of others;
//! - [`FrozenNetwork`]: a network that does not change any more, built or read from a teacher artifact, prepared for speed;
//! - [`bn_statistics`]: the statistics-matching loss of recovery.
//!
//! No backend is named here: the device that is passed in decides. A network built on a plain device is a constant in
//! any graph; one built on `device.autodiff()` is trainable.

mod block_norm;
pub mod bn_statistics;
mod builder;
pub mod checkpoint;
pub mod convnet;
pub mod diversity;
mod error;
mod frozen;
pub mod initialize;
pub mod layers;
pub mod mobilenet_v2;
pub mod named;
pub mod network;
mod pass;
pub mod resnet;

pub use block_norm::{Absent, BlockNorm, GroupNorm, LayerNorm};
pub use bn_statistics::{JoinedStatistics, LayerStatistics, bn_statistics_terms};
pub use builder::Fill;
pub use error::NetworkError;
pub use frozen::{FrozenNetwork, Recorded};
pub use network::{BatchStatistics, BnLayer, Network};
