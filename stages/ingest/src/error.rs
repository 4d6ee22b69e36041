//! What can be wrong with a source of images. Each message names the file, what was found, what was expected and what
//! to do.

use std::io;
use std::path::{Path, PathBuf};

use delt_formats::error::FormatError;
use delt_images::ImagesError;
use delt_images::stored_image::StoredImageError;
use delt_pipeline::watch::Interrupted;
use thiserror::Error;

/// A result of this stage.
pub type Result<T, E = IngestError> = std::result::Result<T, E>;

/// What is wrong with a source.
#[derive(Debug, Error)]
pub enum IngestError {
    /// The images themselves, or the files that hold them.
    #[error(transparent)]
    Images(#[from] ImagesError),

    /// Nothing lies at the path.
    #[error("{}: not found, expected {expected}; correct `ingest.source.path` or give DATA=path", .path.display())]
    SourceMissing {
        /// The path of the pipeline.
        path: PathBuf,
        /// What should be there.
        expected: String,
    },

    /// A dry run downloads nothing.
    #[error("{0} is not downloaded yet")]
    NotDownloaded(String),

    /// A dry run unpacks nothing.
    #[error("{} is not unpacked yet", .0.display())]
    NotUnpacked(PathBuf),

    /// An image is of a format that is not read, or no image.
    #[error("{place}: {problem}, or set `ingest.skip_broken: true` to count and leave out such images")]
    OtherFormat {
        /// File, or file and row.
        place: String,
        /// Found, expected, and what to do.
        problem: StoredImageError,
    },

    /// An image cannot be decoded.
    #[error(
        "{place}: cannot be decoded as an image; fix or delete it, or set `ingest.skip_broken: true` to count and leave out such images"
    )]
    RgbImage {
        /// File, or file and row.
        place: String,
        /// Why.
        source: StoredImageError,
    },

    /// A row of a table has no image.
    #[error("{place}: {problem}; or set `ingest.skip_broken: true` to count and leave out such rows")]
    NoImage {
        /// File and row.
        place: String,
        /// What is missing, and what to do.
        problem: String,
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
    #[error("class name `{0}` stands for two classes of the source; give each class a name of its own")]
    DuplicateClass(String),

    /// A class without training images.
    #[error("class `{0}` has no training image; add some, or leave it out with `ingest.classes`")]
    EmptyClass(String),

    /// No test images.
    #[error("no test image is left; check the source and `ingest.classes`")]
    NoTestImage,

    /// No mirror gave the archive.
    #[error("{file} could not be downloaded: {}; what has arrived is kept and the next run resumes from there; or fetch the file yourself and give DATA=path", .failures.join("; "))]
    AllMirrors {
        /// Name of the archive.
        file: String,
        /// What happened, mirror by mirror.
        failures: Vec<String>,
    },

    /// A downloaded archive cannot be written or read again.
    #[error("{}: cannot be written", .path.display())]
    Write {
        /// The partial file, or the folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },

    /// The user asked to stop during a download.
    #[error("interrupted; what has arrived is kept and the same command resumes from there")]
    DownloadInterrupted,

    /// The artifact cannot be written.
    #[error(transparent)]
    Format(#[from] FormatError),

    /// The user asked to stop. A dataset is written in one go and has no checkpoint.
    #[error(
        "interrupted; only a downloaded archive is kept, the same command reads the source from its start"
    )]
    Interrupted,
}

impl From<io::Error> for IngestError {
    fn from(error: io::Error) -> Self {
        ImagesError::from(error).into()
    }
}

/// The cause is not kept: it says of other stages that their finished work is.
impl From<Interrupted> for IngestError {
    fn from(_: Interrupted) -> Self {
        Self::Interrupted
    }
}

impl IngestError {
    /// Whether the source is not there yet, and reading it would bring it.
    pub fn is_to_come(&self) -> bool {
        matches!(self, Self::NotDownloaded(_) | Self::NotUnpacked(_))
    }

    /// Whether nothing lies where the source should be.
    pub fn is_missing_source(&self) -> bool {
        matches!(self, Self::SourceMissing { .. })
    }

    /// A complaint about the layout of a folder or archive.
    pub(crate) fn layout(path: &Path, problem: impl Into<String>) -> Self {
        ImagesError::layout(path, problem).into()
    }

    /// Nobody says what the classes are called; `texts` are columns that may.
    pub(crate) fn no_class_names(path: &Path, column: &str, texts: &[String]) -> Self {
        let mut problem = format!(
            "names no classes for column `{column}` in its metadata; give `ingest.source.class_names`"
        );
        if !texts.is_empty() {
            problem +=
                &format!(", or a column of names as `ingest.source.label_column`: {}", texts.join(", "));
        }
        Self::layout(path, problem)
    }

    /// Names the file that could not be written.
    pub(crate) fn writing(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| Self::Write { path: path.to_path_buf(), source }
    }

    /// Names the file that could not be read.
    pub(crate) fn reading(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| ImagesError::reading(path)(source).into()
    }
}
