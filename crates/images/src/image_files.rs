//! The image files of a folder tree, in an order that every machine agrees on.

use std::path::{Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

use crate::error::{ImagesError, Result};

/// Endings of image files. Those that are neither JPEG nor PNG are listed too, so that they are refused by name
/// and not passed over in silence; other files (notes, checksums) are.
const PICTURE_ENDINGS: [&str; 14] =
    ["jpg", "jpeg", "jpe", "jfif", "png", "bmp", "gif", "webp", "tif", "tiff", "heic", "avif", "ppm", "pgm"];

/// One image file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFile {
    /// Path relative to the root of the source, with `/`.
    pub relative: String,
    /// Where it lies.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
}

/// Lists the image files anywhere below `folder`, sorted by their path relative to `root`. Links are followed; hidden
/// files and folders are passed over. `may_go_on` is asked before each entry.
///
/// # Errors
/// A folder that cannot be listed, or a name that is not UTF-8.
pub fn below<E: From<ImagesError>>(
    folder: &Path,
    root: &Path,
    may_go_on: impl FnMut() -> Result<(), E>,
) -> Result<Vec<ImageFile>, E> {
    ending_in(&PICTURE_ENDINGS, folder, root, may_go_on)
}

/// Lists the files whose names end so, as [`below`] lists images; `endings` in small letters.
///
/// # Errors
/// As [`below`].
pub fn files_below(folder: &Path, endings: &[&str]) -> Result<Vec<ImageFile>> {
    ending_in(endings, folder, folder, || Ok(()))
}

fn ending_in<E: From<ImagesError>>(
    endings: &[&str],
    folder: &Path,
    root: &Path,
    mut may_go_on: impl FnMut() -> Result<(), E>,
) -> Result<Vec<ImageFile>, E> {
    let mut files = Vec::new();
    let walk = WalkDir::new(folder).follow_links(true).min_depth(1).into_iter();
    for entry in walk.filter_entry(|entry| !is_hidden(entry)) {
        may_go_on()?;
        let entry = entry.map_err(std::io::Error::from).map_err(ImagesError::reading(folder))?;
        if entry.file_type().is_file() && has_ending(entry.path(), endings) {
            let metadata =
                entry.metadata().map_err(std::io::Error::from).map_err(ImagesError::reading(entry.path()))?;
            let relative = relative(entry.path(), root)?;
            files.push(ImageFile { relative, path: entry.into_path(), bytes: metadata.len() });
        }
    }
    files.sort_by(|a, b| a.relative.cmp(&b.relative));
    Ok(files)
}

/// Lists the folders directly in `folder` by name, sorted as Python sorts text (by code point); hidden ones are passed
/// over.
///
/// # Errors
/// As [`below`].
pub fn folders_in(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs_err::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            let name = relative(&path, folder)?;
            if !is_hidden_name(&name) {
                names.push(name);
            }
        }
    }
    names.sort();
    Ok(names)
}

fn has_ending(path: &Path, endings: &[&str]) -> bool {
    let ending = path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
    ending.is_some_and(|ending| endings.contains(&ending.as_str()))
}

fn is_hidden(entry: &DirEntry) -> bool {
    entry.depth() > 0 && entry.file_name().to_str().is_some_and(is_hidden_name)
}

/// Dot files, and what macOS leaves in archives.
fn is_hidden_name(name: &str) -> bool {
    name.starts_with('.') || name == "__MACOSX"
}

fn relative(path: &Path, root: &Path) -> Result<String> {
    let below = path.strip_prefix(root).unwrap_or(path);
    let parts: Option<Vec<&str>> = below.iter().map(|part| part.to_str()).collect();
    let parts =
        parts.ok_or_else(|| ImagesError::layout(path, "the name is not UTF-8; rename the file or folder"))?;
    Ok(parts.join("/"))
}
