//! Linear algebra in 64 bits on the host: kernel ridge regression with its derivatives, and whitening.
//!
//! Takes features or images as plain numbers, row by row; knows no tensor library. Features of a network come in 32 bits, but the
//! kernel of a few similar images is so ill-conditioned that its inverse needs 64.
//!
//! | module | content |
//! |---|---|
//! | [`matrix`] | matrices row by row, and their products on all threads |
//! | [`ridge`] | the kernel of a set, solving with it, and the derivatives by hand: FRePo, RCIG |
//! | [`whitening`] | ZCA of a data set, its inverse, and both on images |
//!
//! Results are the same bytes for any number of threads.

mod error;
pub mod matrix;
pub mod ridge;
pub mod whitening;

pub use error::RidgeError;
pub use matrix::Matrix;
pub use ridge::{Kernel, Regression, Ridge, regression};
pub use whitening::{Kind, Moments, Whitening};
