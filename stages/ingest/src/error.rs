//! What can be wrong with a source of images. Each message names the file, what was found, what was expected and what
//! to do.

use std::io;
use std::path::{Path, PathBuf};

use delt_formats::error::FormatError;
use delt_harness::interrupt::Interrupted;
use thiserror::Error;

use crate::download::DownloadError;
use crate::stored_picture::PictureError;

/// A result of this stage.
pub type Result<T, E = IngestError> = std::result::Result<T, E>;

/// What is wrong with a source.
#[derive(Debug, Error)]
pub enum IngestError {
    /// Nothing lies at the path.
    #[error("{}: not found, expected {expected}; correct `ingest.source.path` or give DATA=path", .path.display())]
    SourceMissing {
        /// The path of the pipeline.
        path: PathBuf,
        /// What should be there.
        expected: &'static str,
    },

    /// A dry run downloads nothing.
    #[error("{file} is not downloaded yet")]
    NotDownloaded {
        /// Name of the archive.
        file: String,
    },

    /// The tree, archive or set of files is not laid out as expected.
    #[error("{}: {problem}", .path.display())]
    Layout {
        /// The folder or archive.
        path: PathBuf,
        /// Found, expected, and what to do.
        problem: String,
    },

    /// The system refused; the message names the file and what was tried.
    #[error(transparent)]
    Io(#[from] io::Error),

    /// A file of the source cannot be read.
    #[error("{}: cannot be read; if it was copied or unpacked here, do that again", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },

    /// A picture is of a format that is not read.
    #[error(
        "{place}: found {found}, expected JPEG or PNG; convert it, or set `ingest.skip_broken: true` to count and leave out \
         such pictures"
    )]
    OtherFormat {
        /// File, or file and row.
        place: String,
        /// The format's name.
        found: &'static str,
    },

    /// A picture cannot be decoded.
    #[error(
        "{place}: is no readable picture; mend or remove it, or set `ingest.skip_broken: true` to count and leave out such pictures"
    )]
    Picture {
        /// File, or file and row.
        place: String,
        /// Why.
        source: PictureError,
    },

    /// Not Parquet, or damaged.
    #[error("{}: cannot be read as Parquet; download it again or give the path of another", .path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// Why.
        source: parquet::errors::ParquetError,
    },

    /// Columns that cannot be decoded.
    #[error("{}: its columns cannot be decoded; download it again", .path.display())]
    Arrow {
        /// The file.
        path: PathBuf,
        /// Why.
        source: arrow::error::ArrowError,
    },

    /// A column is absent.
    #[error("{}: has no column `{column}`, found {}; correct `{key}`", .path.display(), .found.join(", "))]
    MissingColumn {
        /// The file.
        path: PathBuf,
        /// The column looked for.
        column: String,
        /// The columns there are.
        found: Vec<String>,
        /// The key of the pipeline that names the column.
        key: &'static str,
    },

    /// A column has a type that cannot be used.
    #[error("{}: column `{column}` holds {found}, expected {expected}; correct `{key}`", .path.display())]
    WrongColumn {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// Its type.
        found: String,
        /// The types that can be used.
        expected: &'static str,
        /// The key of the pipeline that names the column.
        key: &'static str,
    },

    /// A label outside the class list, or none.
    #[error("{place}: label {found}, expected 0 to {last}, one of {classes} classes; correct the data or `ingest.source`", last = .classes.saturating_sub(1))]
    Label {
        /// File and row.
        place: String,
        /// The label, or `null`.
        found: String,
        /// Number of classes.
        classes: usize,
    },

    /// Nobody says what the classes are called.
    #[error("{}: names no classes for column `{column}` in its metadata; give `ingest.source.class_names`", .path.display())]
    NoClassNames {
        /// The first file of the source.
        path: PathBuf,
        /// The label column.
        column: String,
    },

    /// A class was asked for that the source does not have.
    #[error("`ingest.classes`: {}; the source has {}", .unknown.join("; "), .known)]
    UnknownClasses {
        /// One clause per unknown name, with the names near it.
        unknown: Vec<String>,
        /// The first few names of the source.
        known: String,
    },

    /// Two classes of one name.
    #[error("class name `{name}` stands for two classes of the source; give each class a name of its own")]
    DuplicateClass {
        /// The name.
        name: String,
    },

    /// A class without training images.
    #[error("class `{name}` has no training image; add some, or leave it out with `ingest.classes`")]
    EmptyClass {
        /// The class.
        name: String,
    },

    /// A split without images.
    #[error("no {split} image is left; check the source and `ingest.classes`")]
    EmptySplit {
        /// `training` or `test`.
        split: &'static str,
    },

    /// A channel has one value everywhere, so that images cannot be normalised.
    #[error(
        "channel {channel} has the same value in every training pixel, so its standard deviation is 0; give `ingest.normalization`"
    )]
    FlatChannel {
        /// red, green or blue.
        channel: &'static str,
    },

    /// The archive could not be fetched.
    #[error(transparent)]
    Download(#[from] DownloadError),

    /// The artifact cannot be written.
    #[error(transparent)]
    Format(#[from] FormatError),

    /// The user asked to stop. A dataset is written in one go and has no checkpoint.
    #[error(
        "interrupted; only a downloaded archive is kept, the same command reads the source from its start"
    )]
    Interrupted,
}

/// The cause is not kept: it says of other stages that their finished work is.
impl From<Interrupted> for IngestError {
    fn from(_: Interrupted) -> Self {
        Self::Interrupted
    }
}

impl IngestError {
    /// Whether the source is simply not there, as opposed to wrong.
    pub fn is_missing_source(&self) -> bool {
        matches!(self, Self::SourceMissing { .. } | Self::NotDownloaded { .. })
    }

    /// A complaint about the layout of a folder or archive.
    pub(crate) fn layout(path: &Path, problem: impl Into<String>) -> Self {
        Self::Layout { path: path.to_path_buf(), problem: problem.into() }
    }

    /// Names the file that could not be read.
    pub(crate) fn reading(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| Self::Read { path: path.to_path_buf(), source }
    }
}
