//! The batch-to-batch methods: images that are matched to real ones, batch against batch, without a teacher.
//!
//! A method is one file and implements [`Matching`]: gradients on the images and their targets at an iteration, and what is
//! trained beside them. What moves the images ([`optimizers`]), saves and resumes is the same for all.
//!
//! - [`distribution`]: DM, mean features under networks drawn anew;
//! - [`gradient`]: DC and DSA, gradients of one class along a training;
//! - [`trajectory`]: MTT and TESLA, where a training leads from a point of an expert's way;
//! - [`rat_bptt`]: RaT-BPTT, the loss of real images through a window of a training;
//! - [`frepo`]: FRePo, kernel ridge regression on the features of a [`pool`] of networks;
//! - [`rcig`]: RCIG, implicit gradients through networks that are linear in their weights;
//! - [`real_images`]: what batches are drawn of.

pub mod distribution;
mod error;
pub mod frepo;
pub mod gradient;
pub mod matching;
pub mod optimizers;
pub mod pool;
pub mod rat_bptt;
pub mod rcig;
pub mod real_images;
pub mod regression;
pub mod stored;
pub mod trajectory;

pub use error::MatchingError;
pub use matching::{Found, Learned, Matching, Scene};
pub use optimizers::{ImageOptimizer, learning_rate};
pub use real_images::RealImages;
