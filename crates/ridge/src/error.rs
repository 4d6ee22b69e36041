//! What cannot be solved.

/// An error of this crate.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RidgeError {
    /// Values that are NaN or infinite.
    #[error("the {what} are NaN or infinite in row {row}; lower the learning rate")]
    NotFinite {
        /// Which values.
        what: &'static str,
        /// The first row with such a value.
        row: usize,
    },
    /// A kernel that has no Cholesky factor.
    #[error(
        "the kernel of {images} images with {ridge:e} on its diagonal is not positive definite at row {row}; raise the ridge"
    )]
    NotPositive {
        /// Rows of the kernel.
        images: usize,
        /// What stands on the diagonal beside the kernel.
        ridge: f64,
        /// The row.
        row: usize,
    },
    /// Moments that have no eigenvectors.
    #[error(
        "the second moments of {images} images have no eigenvectors; look for images with values that are NaN or infinite"
    )]
    NoEigenvectors {
        /// Images that were added.
        images: u64,
    },
    /// Too few images to whiten by.
    #[error("{images} images to whiten by, expected at least 2; ingest more")]
    TooFew {
        /// Images that were added.
        images: u64,
    },
}
