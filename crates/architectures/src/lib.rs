//! What is known of each network without running it: plan, keys and cost estimates read it, and `delt-networks` builds from
//! it. No tensor library is known here.
//!
//! - [`Architecture`]: the networks there are, one row each, with their fields as the configuration has them;
//! - [`Description`]: the layers of a network for one size of image and number of classes, in forward order, from which
//!   follow the tensors of PyTorch's `state_dict`, how each starts, the number of parameters and the operations of a pass;
//! - a file for each family (`convnet`, `resnet`, `mobilenet_v2`): the forward pass over shapes, and what was published.
//!
//! To add a network of a known family, add a row to the table in `architecture.rs`. A new family takes a file here, with
//! its `Family`, and one of the same name in `delt-networks`, with its forward pass, and a row in the table of `network.rs`
//! there. `tests/described.rs` of that crate fails until a case of the new row is in it, and where the two halves differ.

mod architecture;
mod convnet;
mod description;
mod family;
mod layer_list;
mod layout;
mod mobilenet_v2;
mod resnet;
mod start;

pub use architecture::Architecture;
pub use convnet::Norm;
pub use description::{Convolution, Description, FeatureMap, Layer, Operation, StateTensor, Window};
pub use family::Bound;
pub use layout::Layout;
pub use resnet::Stem;
pub use start::Start;
