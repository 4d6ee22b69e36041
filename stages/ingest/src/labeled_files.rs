//! Images that lie as files in a folder, each with its class: what every source of files becomes once it is listed.

use std::path::Path;

use delt_formats::canonical::Digest;
use delt_harness::interrupt;
use delt_images::image_files::{self, ImageFile, Listing};
use delt_images::stored_image::Content;
use serde_json::json;

use crate::error::Result;
use crate::fingerprint;
use crate::source::{Source, SourceImage, Split, Visitor};

/// An image file with its class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabeledFile {
    /// The file.
    pub file: ImageFile,
    /// Index into the class list.
    pub label: u32,
    /// Which part of the data it belongs to.
    pub split: Split,
}

/// The files of both splits.
#[derive(Debug)]
pub struct LabeledFiles {
    /// What this source is, for people.
    pub description: &'static str,
    /// Names by label.
    pub classes: Vec<String>,
    /// The files in the order in which the fingerprint counts them and each split hands them over.
    pub files: Vec<LabeledFile>,
    /// Digest of the texts that classes were read from, where they are not the names of folders.
    pub texts: Option<Digest>,
    /// What the user must know of how they were found, one line each.
    pub notes: Vec<String>,
}

impl LabeledFiles {
    fn of(&self, split: Split) -> impl Iterator<Item = &LabeledFile> {
        self.files.iter().filter(move |file| file.split == split)
    }
}

impl Source for LabeledFiles {
    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn description(&self) -> String {
        self.description.to_owned()
    }

    /// The cheap key of the images, with the whole texts.
    fn fingerprint(&self) -> Result<Digest> {
        let files: Vec<&ImageFile> = self.files.iter().map(|labeled| &labeled.file).collect();
        let pictures = fingerprint::of_tree(&files)?;
        Ok(match &self.texts {
            Some(texts) => Digest::of_json(&json!({ "pictures": pictures, "texts": texts })),
            None => pictures,
        })
    }

    fn len(&self, split: Split) -> u64 {
        self.of(split).count() as u64
    }

    fn per_class(&self, split: Split) -> Option<Vec<u64>> {
        let mut per_class = vec![0; self.classes.len()];
        self.of(split).for_each(|file| per_class[file.label as usize] += 1);
        Some(per_class)
    }

    fn notes(&self) -> Vec<String> {
        self.notes.clone()
    }

    fn visit(&self, split: Split, visitor: &mut Visitor<'_>) -> Result<()> {
        for LabeledFile { file, label, .. } in self.of(split) {
            let (path, bytes) = (file.path.clone(), file.bytes);
            let content = match file.start {
                Some(start) => Content::Member { archive: path, start, bytes },
                None => Content::File { path, bytes },
            };
            let (path, place) = (file.relative.clone(), file.relative.clone());
            if visitor(SourceImage { path, place, label: *label, content })?.is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// What lies anywhere below a folder, until the user asks to stop: [`image_files::look_through`].
///
/// # Errors
/// A folder that cannot be listed.
pub(crate) fn below(folder: &Path, root: &Path) -> Result<Listing> {
    image_files::look_through(folder, root, || Ok(interrupt::check()?))
}
