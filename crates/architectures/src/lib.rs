//! What is known of each network without running it: plan, keys and cost estimates read it, and `delt-networks` builds from
//! it. No tensor library is known here.
//!
//! - [`Architecture`]: the networks there are, one row each, with their fields as the configuration has them;
//! - [`Description`]: a network as a graph of layers for one size of image and number of classes, from which follow the tensors
//!   of PyTorch's `state_dict`, how each starts, the number of parameters, the operations of a pass, and, in `delt-networks`,
//!   the pass itself;
//! - a file for each family (`convnet`, `resnet`, `mobilenet_v2`, ...): the way of an image through it, and what was published.
//!
//! To add a network of a known family, add a row to the table in `architecture.rs`; a new family is one file more. A new kind of
//! layer is a variant of [`Operation`], a method of `Builder` and an arm in `delt-networks`.

mod architecture;
mod builder;
mod convnet;
mod dc;
mod densenet;
mod efficientnet;
mod family;
mod graph;
mod inverted_residual;
mod layout;
mod mnasnet;
mod mobilenet_v2;
mod mobilenet_v2_small;
mod narrow;
mod regnet;
mod resnet;
mod resnet_cifar;
mod shufflenet_v2;
mod start;
mod swin;
mod vgg;
mod vit;
mod wide_resnet;

pub use architecture::Architecture;
pub use convnet::Norm;
pub use family::Bound;
pub use graph::{
    Activation, Convolution, Description, FeatureMap, Layer, Operation, StateTensor, Window, WindowAttention,
};
pub use layout::Layout;
pub use mnasnet::BnMomentum;
pub use narrow::{Narrowed, kept_channels};
pub use resnet::{Conv1Start, Stem};
pub use start::Start;
pub use vit::VitStart;
