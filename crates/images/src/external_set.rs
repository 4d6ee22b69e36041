//! A synthetic set that another project made, found and labeled but not decoded: a folder for each class, Parquet tables, tensors
//! of PyTorch.

mod classes;
mod folders;
mod shards;
mod tables;
mod tensors;
mod zca;

use std::path::Path;

use delt_formats::teacher::Normalization;

use crate::error::{ImagesError, Result};
use crate::stored_image::Content;

/// Endings of files of tensors.
const TENSORS: [&str; 4] = ["pt", "pth", "safetensors", "tar"];

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

/// The space that tensors lie in, where they are not pixels from 0 to 1: whitened, normalized, or both.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Space<'a> {
    /// What was taken from each channel, and what it was divided by.
    pub normalization: Option<Normalization>,
    /// The file that undoes whitening.
    pub zca: Option<&'a Path>,
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
/// A folder has a folder for each class, itself or in its `train/`, or Parquet files; a file is Parquet, or has tensors of images
/// and labels. Classes are matched by name, and by number only where the set has no names. `space` is that of tensors.
///
/// # Errors
/// Nothing that can be read, several kinds at once, classes that are not among `classes`.
pub fn open(path: &Path, classes: &[String], space: Option<&Space<'_>>, read: Read) -> Result<ExternalSet> {
    let ending = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    if TENSORS.contains(&ending.as_str()) && path.is_file() {
        let mut set = tensors::open(path, classes, space, read)?;
        set.images.sort_by_key(|image| image.label);
        return Ok(set);
    }
    if space.is_some() {
        let problem = "has no tensors (.pt, .pth, .safetensors), and synthesize.import_tensors says how they become pixels; leave \
                       it out";
        return Err(ImagesError::layout(path, problem));
    }
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
