//! Everything that can be wrong with an artifact's file. Each message names the file, what was found, what was expected
//! and what to do.

use std::path::PathBuf;

use arrow::error::ArrowError;
use parquet::errors::ParquetError;
use thiserror::Error;

use crate::canonical::Digest;
use crate::provenance::{ArtifactKind, METADATA_KEY};
use crate::rgb_image::{MOST_ASPECT, MOST_RGB_BYTES};

/// A result of this crate's file formats.
pub type Result<T, E = FormatError> = std::result::Result<T, E>;

/// What is wrong with an artifact's file.
#[derive(Debug, Error)]
pub enum FormatError {
    /// The system refused; the message names the file and what was tried.
    #[error(transparent)]
    Io(#[from] std::io::Error),

    /// A text meant as a digest is none.
    #[error("`{found}` is not a digest: expected 64 lower-case hex digits")]
    Digest {
        /// The text.
        found: String,
    },

    /// A file meant to be Parquet is something else.
    #[error("{}: not a Parquet file: it does not begin with `PAR1`; {}", .path.display(), rerun(.kinds))]
    NotParquet {
        /// The file.
        path: PathBuf,
        /// The artifacts it may belong to.
        kinds: &'static [ArtifactKind],
    },

    /// A Parquet file lost its end.
    #[error("{}: cut off: its end is not a Parquet footer; {}", .path.display(), rerun(.kinds))]
    Truncated {
        /// The file.
        path: PathBuf,
        /// The artifacts it may belong to.
        kinds: &'static [ArtifactKind],
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

    /// The file says nothing about its making.
    #[error("{}: has no metadata key `{METADATA_KEY}`, so no stage of this workspace wrote it; {}", .path.display(), rerun(.kinds))]
    NoProvenance {
        /// The file.
        path: PathBuf,
        /// The artifacts it may belong to.
        kinds: &'static [ArtifactKind],
    },

    /// JSON in or beside the file does not have the fields it should.
    #[error("{}: its JSON is not what this build writes; check it with `delt-store verify` or make it again", .path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },

    /// A checkpoint has other bytes than those that were kept.
    #[error("{}: its content has digest {found}, expected {expected} as when it was kept", .path.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// Its digest.
        found: Digest,
        /// The digest it was kept with.
        expected: Digest,
    },

    /// The file belongs to another artifact.
    #[error("{}: belongs to artifact {found}, expected {}; give the file made by {}", .path.display(), names(.kinds), stages(.kinds))]
    WrongArtifact {
        /// The file.
        path: PathBuf,
        /// What it says it is.
        found: ArtifactKind,
        /// What it should be.
        kinds: &'static [ArtifactKind],
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

    /// A manifest's own content was changed.
    #[error("{}: damaged: its content has digest {found}, expected {expected} as the file itself states; restore it from a copy or re-run {} with FORCE=1", .path.display(), .kind.stage())]
    DamagedManifest {
        /// The manifest.
        path: PathBuf,
        /// Its artifact.
        kind: ArtifactKind,
        /// The digest of what it holds.
        found: Digest,
        /// The digest it states.
        expected: Digest,
    },

    /// Class names or their order differ.
    #[error("{}: {}; re-run {} on the same dataset", .path.display(), class_difference(.found, .expected), .kind.stage())]
    WrongClasses {
        /// The file.
        path: PathBuf,
        /// Its artifact.
        kind: ArtifactKind,
        /// Its class list.
        found: Vec<String>,
        /// The class list needed.
        expected: Vec<String>,
    },

    /// The file was made from another input.
    #[error("{}: made from {}, expected {expected}; re-run {} on this {input}", .path.display(), input_found(.input, .found.as_ref()), .kind.stage())]
    WrongInput {
        /// The file.
        path: PathBuf,
        /// Its artifact.
        kind: ArtifactKind,
        /// The role of the input.
        input: String,
        /// The digest it names.
        found: Option<Digest>,
        /// The digest needed.
        expected: Digest,
    },

    /// A column is absent.
    #[error("{}: has no column `{column}` ({expected}), found {}; {}", .path.display(), .found.join(", "), rerun(.kinds))]
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

    /// A column has another type.
    #[error("{}: column `{column}` holds {found}, expected {expected}; {}", .path.display(), rerun(.kinds))]
    WrongColumn {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// The type found.
        found: String,
        /// The type needed.
        expected: String,
        /// The artifacts it may belong to.
        kinds: &'static [ArtifactKind],
    },

    /// A value cannot be.
    #[error("{}: row {row}, column `{column}`: found {found}, expected {expected}; {}", .path.display(), rerun(.kinds))]
    Value {
        /// The file.
        path: PathBuf,
        /// The row, from 0.
        row: u64,
        /// The column.
        column: &'static str,
        /// The value found.
        found: String,
        /// What it should be.
        expected: String,
        /// The artifacts it may belong to.
        kinds: &'static [ArtifactKind],
    },

    /// An epoch was asked for that the labels do not hold.
    #[error("{}: has no epoch {epoch}, it holds {found} epochs; re-run relabel with more epochs", .path.display())]
    NoEpoch {
        /// The file.
        path: PathBuf,
        /// The epoch asked for.
        epoch: u32,
        /// How many epochs there are.
        found: usize,
    },

    /// Views are handed over out of order.
    #[error("{}: views of epoch {found} cannot follow epoch {last}: write each epoch once, in ascending order", .path.display())]
    EpochOrder {
        /// The file.
        path: PathBuf,
        /// The epoch handed over.
        found: u32,
        /// The epoch written last.
        last: u32,
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
        "the image cannot be decoded or encoded: expected a complete JPEG or PNG; replace or leave out this image"
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

    /// A tensor has an element type the project has no use for.
    #[error("{}: tensor `{tensor}` holds {found}, expected a float of 16 to 64 bits, an integer or bool; convert it", .path.display())]
    TensorType {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its element type.
        found: String,
    },

    /// A tensor's values do not fill its shape.
    #[error("{}: tensor `{tensor}` of shape {shape:?} has {found} values, expected {expected}", .path.display())]
    TensorSize {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its shape.
        shape: Vec<usize>,
        /// Values found.
        found: usize,
        /// Values needed.
        expected: usize,
    },
}

fn names(kinds: &[ArtifactKind]) -> String {
    kinds.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ")
}

fn stages(kinds: &[ArtifactKind]) -> String {
    let mut stages: Vec<&str> = kinds.iter().map(|kind| kind.stage()).collect();
    stages.dedup();
    stages.join(" or ")
}

fn rerun(kinds: &[ArtifactKind]) -> String {
    format!("re-run {}", stages(kinds))
}

fn input_found(input: &str, found: Option<&Digest>) -> String {
    found.map_or_else(|| format!("no {input} at all"), |digest| format!("{input} {digest}"))
}

/// Says in a few words how two class lists differ; a list of a thousand names helps nobody.
fn class_difference(found: &[String], expected: &[String]) -> String {
    if found.len() != expected.len() {
        return format!("has {} classes, expected {}", found.len(), expected.len());
    }
    let first = found.iter().zip(expected).enumerate().find(|(_, (a, b))| a != b);
    first.map_or_else(
        || "has the expected classes".to_owned(),
        |(index, (a, b))| format!("class {index} is `{a}`, expected `{b}`"),
    )
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
