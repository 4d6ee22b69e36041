//! The batch-to-batch methods: images that are matched to real ones, batch against batch, without a teacher.
//!
//! - [`optimizers`]: what moves images, labels and learned numbers along their gradients.

mod error;
pub mod optimizers;

pub use error::MatchingError;
pub use optimizers::{ImageOptimizer, learning_rate};
