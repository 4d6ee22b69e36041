//! A synthetic set that another project made, found and labeled but not decoded: a folder for each class, Parquet tables, tensors
//! of PyTorch.

mod classes;
mod folders;
mod record;
mod shards;
mod tables;
mod tensors;
mod zca;

use std::path::{Path, PathBuf};

use delt_formats::teacher::Normalization;

use crate::error::{ImagesError, Result};
use crate::image_files::{files_below, folders_in};
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
/// A folder has a folder for each class, itself or in its `train/`, or Parquet files, or a single file of tensors; a file is
/// Parquet, or has tensors of images and labels. Classes are matched by name, and by number only where the set has no names.
/// `space` is that of tensors.
///
/// # Errors
/// Nothing that can be read, several kinds at once, classes that are not among `classes`.
pub fn open(path: &Path, classes: &[String], space: Option<&Space<'_>>, read: Read) -> Result<ExternalSet> {
    if let Some(file) = file_of_tensors(path)? {
        let mut set = tensors::open(&file, classes, space, read)?;
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

/// The file of tensors at `path`: itself, or the only one of a folder that holds neither folders nor Parquet.
fn file_of_tensors(path: &Path) -> Result<Option<PathBuf>> {
    let ending = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    if path.is_file() {
        return Ok(TENSORS.contains(&ending.as_str()).then(|| path.to_path_buf()));
    }
    if !path.is_dir() || !folders_in(path)?.is_empty() || !files_below(path, &["parquet"])?.is_empty() {
        return Ok(None);
    }
    match &files_below(path, &TENSORS[..3])?[..] {
        [] => Ok(None),
        [only] => Ok(Some(only.path.clone())),
        several => {
            let names = classes::listed(several.iter().map(|file| file.relative.clone()));
            Err(ImagesError::layout(
                path,
                format!("holds the files of tensors {names}; give the path of that of the images"),
            ))
        }
    }
}

impl ExternalSet {
    /// How many images each class has.
    pub fn per_class(&self, classes: usize) -> Vec<u64> {
        let mut counts = vec![0; classes];
        self.images.iter().for_each(|image| counts[image.label as usize] += 1);
        counts
    }
}
