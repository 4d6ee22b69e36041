//! The networks DELT works with, as Burn modules whose tensors carry PyTorch's names. What a network is stands in
//! `delt-architectures`; here its graph is run.
//!
//! - [`network`]: [`Network`], the tensors and the graph: built, trained, run layer by layer;
//! - `program`: the steps of a graph, in which layers that can be one operation go together;
//! - `pass`: the ways to go through: evaluation, training, through prepared blocks; `chains`: steps that go together there;
//! - `layers`, `shapes`, `attention`: what layers compute; `map`: what goes from one to the next;
//! - [`initialize`]: where new weights come from;
//! - [`named`], `state_dict`: tensors by name, to and from files;
//! - `narrow`: a network that loses channels, and how large the scales of all are;
//! - [`checkpoint`]: the network among the tensors of a file of others;
//! - [`FrozenNetwork`]: a network that does not change any more, built or read from a teacher artifact, prepared for speed;
//! - [`bn_statistics`]: the statistics-matching loss of recovery.
//!
//! No backend is named here: the device that is passed in decides. A network built on a plain device is a constant in
//! any graph; one built on `device.autodiff()` is trainable.

mod attention;
pub mod bn_statistics;
mod chains;
pub mod checkpoint;
pub mod diversity;
mod error;
mod frozen;
pub mod initialize;
mod layers;
mod map;
pub mod named;
pub mod narrow;
pub mod network;
mod pass;
mod program;
mod shapes;
mod state_dict;
mod weights;

pub use delt_conv_norm::on_worker;

pub use bn_statistics::{JoinedStatistics, LayerStatistics, bn_statistics_terms};
pub use error::NetworkError;
pub use frozen::{FrozenNetwork, Recorded};
pub use network::{BatchStatistics, BnLayer, Drawn, Network};
pub use weights::{Fill, Weights};
