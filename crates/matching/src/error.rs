//! What can go wrong while images are matched.

use std::path::PathBuf;

use burn::tensor::TensorReadError;
use delt_formats::FormatError;
use delt_ridge::RidgeError;
use delt_training::TrainingError;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum MatchingError {
    /// A checkpoint does not hold what the configuration asks for.
    #[error("checkpoint: {found}, expected {expected}; remove the checkpoint to start over")]
    State {
        /// What it holds.
        found: String,
        /// What was expected.
        expected: String,
    },
    /// The device did not give a result back.
    #[error("the device did not return {what}")]
    Read {
        /// The result.
        what: String,
        /// What the device said.
        #[source]
        source: TensorReadError,
    },
    /// A value that is NaN or infinite.
    #[error("{what} is {value}")]
    NotFinite {
        /// What it is.
        what: String,
        /// The value.
        value: f64,
    },
    /// The learned learning rate can train nothing any more.
    #[error(
        "the learned learning rate came to {0}, expected a positive number; lower synthesize.method.lr_step.lr"
    )]
    LearnedLr(f64),
    /// There is nothing to match.
    #[error("no class has synthetic images")]
    NoClasses,
    /// The weights of an expert are not what they should be.
    #[error("{}: {problem}; run teacher-train again (FORCE=1)", path.display())]
    Expert {
        /// The file.
        path: PathBuf,
        /// Found and expected.
        problem: String,
    },
    /// A regression that has no solution.
    #[error(transparent)]
    Ridge(#[from] RidgeError),
    /// A file that cannot be read.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// Real images that cannot be read back.
    #[error(transparent)]
    RealImages(#[from] TrainingError),
}
