//! Images that lie as files in a folder, each with its class: what every source of files becomes once it is listed.

use std::path::Path;

use delt_formats::canonical::Digest;
use delt_harness::interrupt;
use delt_images::image_files::{self, ImageFile, Listing};
use delt_images::stored_image::Content;
use serde_json::json;

use crate::error::Result;
use crate::file_list::{FileList, LabeledFile};
use crate::fingerprint;
use crate::source::{Source, SourceImage, Split, Visitor};

/// The files of both splits.
#[derive(Debug)]
pub struct LabeledFiles {
    /// What this source is, for people.
    pub description: &'static str,
    /// Names by label.
    pub classes: Vec<String>,
    /// The files in the order in which the fingerprint counts them and each split hands them over.
    pub files: FileList,
    /// Digest of the texts that classes were read from, where they are not the names of folders.
    pub texts: Option<Digest>,
    /// What the user must know of how they were found, one line each.
    pub notes: Vec<String>,
}

impl LabeledFiles {
    fn of(&self, split: Split) -> impl Iterator<Item = LabeledFile> {
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
        let pictures = fingerprint::of_tree(&self.files)?;
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
            let ImageFile { relative, path, bytes, start } = file;
            let content = match start {
                Some(start) => Content::Member { archive: path, start, bytes },
                None => Content::File { path, bytes },
            };
            let place = relative.clone();
            if visitor(SourceImage { path: relative, place, label, content })?.is_break() {
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
