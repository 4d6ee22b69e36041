//! What can go wrong while images are matched.

use burn::tensor::TensorReadError;

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
}
