//! A source of real images, opened: its classes, its fingerprint, and its images one after the other.

use std::fmt::Debug;
use std::ops::ControlFlow;
use std::path::Path;

use delt_formats::canonical::Digest;
use delt_images::stored_image::Content;

use crate::error::{IngestError, Result};

/// Which part of the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// What the teacher learns from and initial images are selected from.
    Train,
    /// What students are tested on.
    Test,
}

impl Split {
    /// `train` or `test`, as in the names of the artifact's files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Test => "test",
        }
    }
}

/// One image as the source has it.
#[derive(Debug)]
pub struct SourceImage {
    /// What it is called: a path relative to the source, with `/`.
    pub path: String,
    /// Where it is found, for messages: that path, or a file and a row.
    pub place: String,
    /// Index into the source's class list.
    pub label: u32,
    /// The image.
    pub content: Content,
}

/// Takes one image; `Break` means that no more are wanted.
pub type Visitor<'a> = dyn FnMut(SourceImage) -> Result<ControlFlow<()>> + 'a;

/// A source whose layout has been checked.
pub trait Source: Debug {
    /// Class names; a label is an index into this list.
    fn classes(&self) -> &[String];

    /// What this source is, for people; never where it lies.
    fn description(&self) -> String;

    /// Tells one content from another, wherever it lies: the digest of archives and of small Parquet files, and the cheap
    /// keys of [`crate::fingerprint`] for large ones and for folders.
    ///
    /// # Errors
    /// If the source cannot be read.
    fn fingerprint(&self) -> Result<Digest>;

    /// How many images a split has before any are left out.
    fn len(&self, split: Split) -> u64;

    /// How many images each class of a split has, where that is known before any is read.
    fn per_class(&self, _split: Split) -> Option<Vec<u64>> {
        None
    }

    /// What the user must know of how it was read, one line each: what was passed over and why, what was chosen where there was
    /// a choice. Asked for after the visits.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    /// Hands over the images of a split, always in the same order, until the visitor breaks.
    ///
    /// # Errors
    /// What the source or the visitor reports.
    fn visit(&self, split: Split, visitor: &mut Visitor<'_>) -> Result<()>;
}

/// Refuses a path at which nothing lies.
pub(crate) fn expect_exists(path: &Path, expected: impl Into<String>) -> Result<()> {
    if path.exists() {
        return Ok(());
    }
    Err(IngestError::SourceMissing { path: path.to_path_buf(), expected: expected.into() })
}

/// Says that a source does not hold as many training and test images as are published, where nothing else vouches for it.
pub(crate) fn counts_note(
    title: &str,
    path: &Path,
    source: &dyn Source,
    published: [u64; 2],
) -> Option<String> {
    let [train, test] = [Split::Train, Split::Test].map(|split| source.len(split));
    let [all_train, all_test] = published;
    ([train, test] != published).then(|| {
        format!(
            "{train} training and {test} test images found in {}, where {title} has {all_train} and {all_test}",
            path.display()
        )
    })
}
