//! The image files of a folder tree, in an order that every machine agrees on, and what else lies there.

use std::io::Read;
use std::path::{Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

use crate::error::{ImagesError, Result};
use crate::passed_over::{PassedOver, Reason};
use crate::stored_image;

/// Endings of image files. Those of formats that are not read are listed too, so that they are refused by name
/// and not passed over; a file with another ending, or none, is an image if its first bytes say so.
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
    /// Where it begins in the archive at that path; none for a file of its own.
    pub start: Option<u64>,
}

/// The image files of a tree, and how much else there is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// The images, sorted by their path relative to the root.
    pub files: FoundFiles,
    /// All other files, and what is hidden.
    pub passed_over: PassedOver,
}

/// Image files below a folder: 24 bytes each beside the name, since a class may have half of a million.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FoundFiles {
    root: PathBuf,
    /// The paths relative to the root, one after the other as they were found.
    names: String,
    each: Vec<Found>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    /// Where its name begins and how long it is.
    name: (usize, u32),
    bytes: u64,
}

impl FoundFiles {
    fn push(&mut self, relative: &str, bytes: u64) {
        self.each.push(Found { name: (self.names.len(), relative.len() as u32), bytes });
        self.names.push_str(relative);
    }

    fn sort(&mut self) {
        let Self { names, each, .. } = self;
        each.sort_unstable_by(|a, b| a.name_in(names).cmp(b.name_in(names)));
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.each.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.each.is_empty()
    }

    /// Their paths relative to the root.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.each.iter().map(|found| found.name_in(&self.names))
    }

    /// The files.
    pub fn iter(&self) -> impl Iterator<Item = ImageFile> {
        self.each.iter().zip(self.names()).map(|(Found { bytes, .. }, name)| ImageFile {
            relative: name.to_owned(),
            path: self.root.join(name),
            bytes: *bytes,
            start: None,
        })
    }
}

impl Found {
    fn name_in<'a>(&self, names: &'a str) -> &'a str {
        let (start, length) = self.name;
        &names[start..start + length as usize]
    }
}

/// The files of [`look_through`] alone.
///
/// # Errors
/// As [`look_through`].
pub fn below<E: From<ImagesError>>(
    folder: &Path,
    root: &Path,
    may_go_on: impl FnMut() -> Result<(), E>,
) -> Result<Vec<ImageFile>, E> {
    look_through(folder, root, may_go_on).map(|listing| listing.files.iter().collect())
}

/// Lists the image files anywhere below `folder`, sorted by their path relative to `root`, and counts all other files. Links are
/// followed; hidden files and folders are passed over. `may_go_on` is asked before each entry.
///
/// # Errors
/// A folder that cannot be listed, a link named as an image that leads nowhere, or a name that is not UTF-8.
pub fn look_through<E: From<ImagesError>>(
    folder: &Path,
    root: &Path,
    mut may_go_on: impl FnMut() -> Result<(), E>,
) -> Result<Listing, E> {
    let mut listing = Listing::default();
    listing.files.root = root.to_path_buf();
    let mut walk = WalkDir::new(folder).follow_links(true).min_depth(1).into_iter();
    while let Some(entry) = walk.next() {
        may_go_on()?;
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                let path = error.path().unwrap_or(folder).to_path_buf();
                let error = ImagesError::reading(folder)(error.into());
                listing.passed_over.add(reason_of_link(&path, error)?, shown(&path, root));
                continue;
            }
        };
        if is_hidden(&entry) {
            listing.passed_over.add(Reason::Hidden, shown(entry.path(), root));
            if entry.file_type().is_dir() {
                walk.skip_current_dir();
            }
        } else if entry.file_type().is_file() {
            let metadata =
                entry.metadata().map_err(std::io::Error::from).map_err(ImagesError::reading(entry.path()))?;
            match reason_against(entry.path(), metadata.len()) {
                Some(reason) => listing.passed_over.add(reason, shown(entry.path(), root)),
                None => listing.files.push(&relative(entry.path(), root)?, metadata.len()),
            }
        }
    }
    listing.files.sort();
    Ok(listing)
}

/// Lists the files anywhere below `folder` whose names end so, sorted by their path; `endings` in small letters. Hidden ones are
/// passed over.
///
/// # Errors
/// A folder that cannot be listed, or a name that is not UTF-8.
pub fn files_below(folder: &Path, endings: &[&str]) -> Result<Vec<ImageFile>> {
    let mut files = Vec::new();
    let walk = WalkDir::new(folder).follow_links(true).min_depth(1).into_iter();
    for entry in walk.filter_entry(|entry| !is_hidden(entry)) {
        let entry = entry.map_err(std::io::Error::from).map_err(ImagesError::reading(folder))?;
        let ending = entry.path().extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
        if entry.file_type().is_file() && ending.is_some_and(|ending| endings.contains(&ending.as_str())) {
            let metadata =
                entry.metadata().map_err(std::io::Error::from).map_err(ImagesError::reading(entry.path()))?;
            let relative = relative(entry.path(), folder)?;
            files.push(ImageFile { relative, path: entry.into_path(), bytes: metadata.len(), start: None });
        }
    }
    files.sort_by(|a, b| a.relative.cmp(&b.relative));
    Ok(files)
}

/// Counts the files that lie directly in `folder`, beside the folders of the classes.
///
/// # Errors
/// A folder that cannot be listed.
pub fn beside_folders(folder: &Path, root: &Path) -> Result<PassedOver> {
    let mut passed_over = PassedOver::default();
    for entry in fs_err::read_dir(folder)? {
        let path = entry?.path();
        let name = shown(&path, root);
        let reason = if path.file_name().and_then(|name| name.to_str()).is_some_and(is_hidden_name) {
            Reason::Hidden
        } else if path.is_dir() {
            continue;
        } else {
            let bytes = fs_err::metadata(&path).map(|metadata| metadata.len());
            bytes.map_or(Reason::BrokenLink, |bytes| reason_against(&path, bytes).unwrap_or(Reason::NoClass))
        };
        passed_over.add(reason, name);
    }
    Ok(passed_over)
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

/// Why a file is no image; `None` for one.
fn reason_against(path: &Path, bytes: u64) -> Option<Reason> {
    if is_named_as_image(path) {
        return None;
    }
    if bytes == 0 {
        return Some(Reason::Empty);
    }
    let mut first = Vec::new();
    let read = std::fs::File::open(path)
        .and_then(|file| file.take(stored_image::FIRST_BYTES).read_to_end(&mut first));
    match read {
        Err(_) => Some(Reason::Unreadable),
        Ok(_) => (!stored_image::begins_as_image(&first)).then_some(Reason::NoImage),
    }
}

/// Why an entry that cannot be looked at is passed over.
fn reason_of_link(path: &Path, error: ImagesError) -> Result<Reason> {
    if !(path.is_symlink()
        && std::fs::metadata(path).is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound))
    {
        return Err(error);
    }
    if path.file_name().and_then(|name| name.to_str()).is_some_and(is_hidden_name) {
        return Ok(Reason::Hidden);
    }
    if is_named_as_image(path) {
        let problem = "is a link to a file that is not there; fetch it (`git annex get`, `dvc pull`) or delete the link";
        return Err(ImagesError::layout(path, problem));
    }
    Ok(Reason::BrokenLink)
}

fn is_named_as_image(path: &Path) -> bool {
    let ending = path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
    ending.is_some_and(|ending| PICTURE_ENDINGS.contains(&ending.as_str()))
}

fn is_hidden(entry: &DirEntry) -> bool {
    entry.file_name().to_str().is_some_and(is_hidden_name)
}

/// Dot files, and what macOS leaves in archives.
fn is_hidden_name(name: &str) -> bool {
    name.starts_with('.') || name == "__MACOSX"
}

/// A path for people.
fn shown(path: &Path, root: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned()
}

fn relative(path: &Path, root: &Path) -> Result<String> {
    let below = path.strip_prefix(root).unwrap_or(path);
    let parts: Option<Vec<&str>> = below.iter().map(|part| part.to_str()).collect();
    let parts =
        parts.ok_or_else(|| ImagesError::layout(path, "the name is not UTF-8; rename the file or folder"))?;
    Ok(parts.join("/"))
}
