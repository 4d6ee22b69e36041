//! Everything that can be wrong with an artifact's file. Each message names the file, what was found, what was expected
//! and what to do.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use arrow::error::ArrowError;
use parquet::errors::ParquetError;
use thiserror::Error;

use crate::provenance::ArtifactKind;
use crate::rgb_image::{MOST_ASPECT, MOST_RGB_BYTES};

/// A result of this crate's file formats.
pub type Result<T, E = FormatError> = std::result::Result<T, E>;

/// What is wrong with an artifact's file.
#[derive(Debug, Error)]
pub enum FormatError {
    /// The system refused; the message names the file and what was tried.
    #[error(transparent)]
    Io(#[from] std::io::Error),

    /// The file is not what it should be, in a way that no caller tells from another: worded where it is found.
    #[error("{}: {problem}", .path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
        /// Found, expected, and what to do.
        problem: String,
    },

    /// A text meant as a digest is none.
    #[error("`{found}` is not a digest: expected 64 lower-case hex digits")]
    Digest {
        /// The text.
        found: String,
    },

    /// The Parquet library refused.
    #[error("{}: cannot be read or written as Parquet; {}", .path.display(), parquet_advice(.source))]
    Parquet {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ParquetError,
    },

    /// The Arrow library refused.
    #[error("{}: cannot be read or written as Arrow columns; if it exists, check it with `delt-store verify`", .path.display())]
    Arrow {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ArrowError,
    },

    /// JSON in or beside the file does not have the fields it should.
    #[error("{}: its JSON is not what this build writes; check it with `delt-store verify` or make it again", .path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },

    /// The file was written by a build with another layout.
    #[error("{}: {kind} of schema version {found}, expected version {expected}; re-run {} with this build", .path.display(), .kind.stage())]
    WrongVersion {
        /// The file.
        path: PathBuf,
        /// Its artifact.
        kind: ArtifactKind,
        /// Its version.
        found: u32,
        /// The version this build reads.
        expected: u32,
    },

    /// A manifest has a layout that this build does not know yet.
    #[error("{}: manifest of format version {found}, this build reads up to {expected}; use the newer build that wrote it, or another store", .path.display())]
    NewerManifest {
        /// The manifest.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The highest version this build reads.
        expected: u32,
    },

    /// A column is absent.
    #[error("{}: has no column `{column}` ({expected}), found {}; re-run {}", .path.display(), .found.join(", "), stages(.kinds))]
    MissingColumn {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// Its type.
        expected: String,
        /// The columns there are.
        found: Vec<String>,
        /// The artifacts it may belong to.
        kinds: &'static [ArtifactKind],
    },

    /// A CSV line cannot be read.
    #[error("{}: line {line}: found `{found}`, expected {expected}; correct the line or export the scores again", .path.display())]
    Csv {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What stands there.
        found: String,
        /// What should.
        expected: String,
    },

    /// Bytes are not an image that can be decoded, or an image cannot be encoded.
    #[error(
        "the image cannot be decoded or encoded: expected a complete JPEG, PNG, WebP, BMP or GIF; replace or leave out this image"
    )]
    RgbImage(#[from] image::ImageError),

    /// An image claims more pixels than are decoded.
    #[error(
        "an image of {width} x {height} pixels takes {bytes} bytes, expected at most {MOST_RGB_BYTES}; scale it down or leave it out"
    )]
    LargeImage {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// Bytes that it would take.
        bytes: u64,
    },

    /// An image is little more than a line.
    #[error(
        "an image of {width} x {height} pixels has one side more than {MOST_ASPECT} times the other; cut it or leave it out"
    )]
    LongImage {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },

    /// An image's bytes do not fill its sides.
    #[error("an image of {width} x {height} pixels has {found} bytes, expected {expected}")]
    ImageSize {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// Bytes found.
        found: usize,
        /// Bytes needed.
        expected: usize,
    },

    /// The safetensors library refused.
    #[error("{}: not a complete safetensors file; download or export it again", .path.display())]
    Safetensors {
        /// The file.
        path: PathBuf,
        /// Why.
        source: safetensors::SafeTensorError,
    },
}

impl FormatError {
    pub(crate) fn unfit(path: &Path, problem: impl Into<String>) -> Self {
        Self::Unfit { path: path.to_owned(), problem: problem.into() }
    }

    /// As [`Self::unfit`], of a file that is to be made again by a stage of one of these artifacts.
    pub(crate) fn unfit_of(path: &Path, kinds: &[ArtifactKind], problem: impl Display) -> Self {
        Self::unfit(path, format!("{problem}; re-run {}", stages(kinds)))
    }
}

/// The stages that make such artifacts.
pub(crate) fn stages(kinds: &[ArtifactKind]) -> String {
    let mut stages: Vec<&str> = kinds.iter().map(|kind| kind.stage()).collect();
    stages.dedup();
    stages.join(" or ")
}

/// A disk that refuses needs another answer than a file that is broken.
fn parquet_advice(error: &ParquetError) -> &'static str {
    let io = match error {
        ParquetError::External(cause) => cause.downcast_ref::<std::io::Error>(),
        _ => None,
    };
    match io.map(std::io::Error::kind) {
        Some(std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded) => {
            "free space on that disk, then start again: finished work is saved"
        }
        Some(_) => "fix the cause, then start again: finished work is saved",
        None => "check it with `delt-store verify`",
    }
}
