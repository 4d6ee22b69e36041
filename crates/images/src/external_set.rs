//! A synthetic set that another project made, found and labeled but not decoded: a folder for each class, or Parquet tables.

mod classes;
mod folders;
mod tables;

use std::path::Path;

use crate::error::{ImagesError, Result};
use crate::stored_image::Content;

/// The images of a set.
#[derive(Debug, Default)]
pub struct ExternalSet {
    /// In the order of classes, and within one of files and rows.
    pub images: Vec<ExternalImage>,
    /// What a user of the set has to know, a line each.
    pub notes: Vec<String>,
}

/// One image of a set.
#[derive(Debug)]
pub struct ExternalImage {
    /// Index into the class list.
    pub label: u32,
    /// File or row, for messages.
    pub place: String,
    /// What it holds; none where only labels were asked for.
    pub content: Option<Content>,
}

/// What is read of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// Names and labels, to see whether the set fits.
    Labels,
    /// The images too.
    Images,
}

/// Finds the images at `path`, each with its place in `classes`.
///
/// A folder has a folder for each class, itself or in its `train/`, or Parquet files; a file is Parquet. Classes are matched by
/// name, and by number only where the set has no names.
///
/// # Errors
/// Nothing that can be read, several kinds at once, classes that are not among `classes`.
pub fn open(path: &Path, classes: &[String], read: Read) -> Result<ExternalSet> {
    let mut set = if path.is_dir() {
        folders::open(path, classes, read)?
    } else {
        tables::open(&[path], classes, read)?
    };
    if set.images.is_empty() {
        return Err(ImagesError::layout(path, "holds no images; give the path of a set that has some"));
    }
    set.images.sort_by_key(|image| image.label);
    Ok(set)
}

impl ExternalSet {
    /// How many images each class has.
    pub fn per_class(&self, classes: usize) -> Vec<u64> {
        let mut counts = vec![0; classes];
        self.images.iter().for_each(|image| counts[image.label as usize] += 1);
        counts
    }
}
