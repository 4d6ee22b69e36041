//! What can go wrong while a network is trained or measured.

use std::path::PathBuf;

use burn::store::RecordError;
use burn::tensor::TensorReadError;
use delt_formats::FormatError;
use delt_networks::NetworkError;
use delt_pipeline::watch::Interrupted;
use thiserror::Error;

/// An error of this crate.
#[derive(Debug, Error)]
pub enum TrainingError {
    /// The user asked to stop.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
    /// An artifact could not be read.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A network could not be built, read or written.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The system refused; the message names the file.
    #[error(transparent)]
    Io(#[from] std::io::Error),
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
    /// A file of a checkpoint is not what was saved.
    #[error("{}: the checkpoint is damaged; remove the folder to start over", path.display())]
    Damaged {
        /// The checkpoint.
        path: PathBuf,
        /// Which file, and why.
        #[source]
        source: FormatError,
    },
    /// The optimizer's part of a checkpoint could not be read or written.
    #[error("{}: the optimizer's state cannot be read or written; remove the folder to start over", path.display())]
    Optimizer {
        /// The file.
        path: PathBuf,
        /// What Burn said.
        #[source]
        source: RecordError,
    },
    /// The counters of a checkpoint could not be read or written.
    #[error("{}: the counters cannot be read or written; remove the folder to start over", path.display())]
    Counters {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        #[source]
        source: serde_yaml::Error,
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
