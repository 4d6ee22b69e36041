//! What the stages that compute share: training a network and measuring it.
//!
//! - [`mod@ahead`]: batches are made and results are stored while the network works;
//! - [`schedule`]: learning rates as pure functions of the step;
//! - [`optimizer`]: AdamW, Adam and SGD with every value written out;
//! - [`dsa`]: differentiable augmentation of batches;
//! - [`losses`]: KL divergence at a temperature, cross-entropy;
//! - [`replicas`]: the same step over parts of a batch, on several devices;
//! - [`mod@side_by_side`]: jobs on several devices;
//! - [`step`]: one training step, running statistics included;
//! - [`accuracy`]: top-1, top-5 and cross-entropy on a set of images;
//! - [`soft_label`]: a teacher's logits of views;
//! - [`speed`]: how fast a device trains a network;
//! - [`image_set`]: a data set decoded and brought to one size;
//! - [`records`]: where it lies, in memory or in a file;
//! - [`training_state`]: network, optimizer and counters, saved together or not at all.

pub mod accuracy;
pub mod ahead;
pub mod dsa;
mod error;
pub mod image_set;
pub mod losses;
mod one_pass;
pub mod optimizer;
pub mod records;
pub mod replicas;
pub mod schedule;
pub mod side_by_side;
pub mod soft_label;
pub mod speed;
pub mod step;
pub mod training_state;
mod warp;

pub use accuracy::{Accuracy, test_accuracy, test_accuracy_on};
pub use ahead::{ahead, behind};
pub use error::TrainingError;
pub use image_set::ImageSet;
pub use optimizer::{given_optimizer, module_optimizer};
pub use records::Floats;
pub use replicas::{Part, data_parallel_step, part_sizes};
pub use side_by_side::side_by_side;
pub use soft_label::Labeler;
pub use step::{Drops, StepLoss, dropping_step, training_step};
pub use training_state::TrainingState;
