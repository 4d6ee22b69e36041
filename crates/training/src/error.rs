//! What can go wrong while a network is trained or measured.

use std::error::Error;
use std::path::PathBuf;

use burn::tensor::TensorReadError;
use delt_augment::AugmentError;
use delt_formats::FormatError;
use delt_networks::NetworkError;
use delt_pipeline::amounts::human_bytes;
use delt_pipeline::watch::Interrupted;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum TrainingError {
    /// The user asked to stop.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
    /// A view could not be drawn or built.
    #[error(transparent)]
    Augment(#[from] AugmentError),
    /// An artifact could not be read.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A network could not be built, read or written.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The system refused; the message names the file.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// What does not fit in memory cannot be kept in a file either.
    #[error(
        "{}: cannot hold a temporary file of {}; make room there, or set TMPDIR to a folder that has it",
        folder.display(),
        human_bytes(*bytes)
    )]
    TemporaryFile {
        /// The folder of temporary files.
        folder: PathBuf,
        /// What the file would have in the end.
        bytes: u64,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// An image could not be decoded.
    #[error("{}: image with image_id {image_id} cannot be decoded; run ingest again", path.display())]
    RgbImage {
        /// The Parquet file.
        path: PathBuf,
        /// The row.
        image_id: u64,
        /// What the decoder said.
        #[source]
        source: FormatError,
    },
    /// A checkpoint is not what was saved, or a part of it could not be read or written.
    #[error("{}: the {what}; remove the folder to start over", path.display())]
    Checkpoint {
        /// The checkpoint, or the file of it.
        path: PathBuf,
        /// What is wrong.
        what: &'static str,
        /// Which file and why, or what Burn or the parser said.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The device did not give a result back.
    #[error("the device did not return {what}")]
    Read {
        /// The result.
        what: &'static str,
        /// What the device said.
        #[source]
        source: TensorReadError,
    },
}
