//! What can be wrong with images of others. Each message names the file, what was found, what was expected and what to do.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// A result of this crate.
pub type Result<T, E = ImagesError> = std::result::Result<T, E>;

/// What is wrong with images, or with the tables and folders that hold them.
#[derive(Debug, Error)]
pub enum ImagesError {
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

    /// Not Parquet, or damaged.
    #[error("{}: cannot be read as Parquet; download it again or give the path of another", .path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// Why.
        source: parquet::errors::ParquetError,
    },

    /// Tensors that cannot be read.
    #[error(transparent)]
    Tensors(#[from] delt_guard::WeightsError),

    /// Columns that cannot be decoded.
    #[error("{}: its columns cannot be decoded; download it again", .path.display())]
    Arrow {
        /// The file.
        path: PathBuf,
        /// Why.
        source: arrow::error::ArrowError,
    },

    /// A column that is absent, or of a type that cannot be used.
    #[error("{}: {problem}; correct `{key}`", .path.display())]
    Column {
        /// The file.
        path: PathBuf,
        /// Found and expected.
        problem: String,
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

    /// A class name that is none of the list, or none.
    #[error(
        "{place}: label {found}, expected one of {classes}; correct the data, or give all names in `ingest.source.class_names`"
    )]
    ClassName {
        /// File and row.
        place: String,
        /// The name, or `null`.
        found: String,
        /// The list.
        classes: String,
    },

    /// A channel has one value everywhere, so that images cannot be normalized.
    #[error(
        "channel {channel} has the same value in every training pixel, so its standard deviation is 0; give `ingest.normalization`"
    )]
    FlatChannel {
        /// red, green or blue.
        channel: &'static str,
    },
}

impl ImagesError {
    /// A complaint about the layout of a folder, table or archive.
    pub fn layout(path: &Path, problem: impl Into<String>) -> Self {
        Self::Layout { path: path.to_path_buf(), problem: problem.into() }
    }

    /// Names the table that cannot be read as Parquet.
    pub(crate) fn parquet(path: &Path) -> impl Fn(parquet::errors::ParquetError) -> Self + '_ {
        move |source| Self::Parquet { path: path.to_path_buf(), source }
    }

    /// Names the table whose columns cannot be decoded.
    pub(crate) fn arrow(path: &Path) -> impl FnOnce(arrow::error::ArrowError) -> Self + '_ {
        move |source| Self::Arrow { path: path.to_path_buf(), source }
    }

    /// Names the file that could not be read.
    pub fn reading(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| Self::Read { path: path.to_path_buf(), source }
    }

    /// The same complaint about a column, where another key of the pipeline decides over it.
    #[must_use]
    pub fn with_key(mut self, new: &'static str) -> Self {
        if let Self::Column { key, .. } = &mut self {
            *key = new;
        }
        self
    }
}
