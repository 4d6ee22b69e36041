//! ImageNet-1K as image-net.org hands it out, and ImageNet-100 out of it: a tar of a tar for each class, a tar of validation images
//! and their labels in the development kit; or what these unpack to. Nothing is unpacked here: images are read where they lie.

mod members;
mod validation;

use std::collections::BTreeMap;
use std::path::Path;

use delt_formats::canonical::Digest;
use delt_images::image_files::{ImageFile, folders_in};
use delt_pipeline::config::ingest::Imagenet;
use serde_json::json;

use crate::error::{IngestError, Result};
use crate::file_list::{FileList, LabeledFile};
use crate::labeled_files::{LabeledFiles, below};
use crate::source::{Split, counts_note, expect_exists};

const TRAIN: &str = "ILSVRC2012_img_train.tar";

/// Which classes are read.
#[derive(Debug, Clone, Copy)]
pub struct Classes {
    title: &'static str,
    /// WordNet ids in the order of the labels, one a line; all that there are, sorted, where there is no list.
    list: Option<&'static str>,
    /// Images, as they are usually counted.
    published: [u64; 2],
}

/// All thousand.
pub const IMAGENET1K: Classes = Classes { title: "ImageNet-1K", list: None, published: [1_281_167, 50_000] };

/// The hundred that Contrastive Multiview Coding (Tian et al. 2020) drew, in its order: the first ten are IDC's ImageNet-10.
pub const IMAGENET100: Classes = Classes {
    title: "ImageNet-100",
    list: Some(include_str!("imagenet/imagenet100.txt")),
    published: [126_689, 5_000],
};

/// Lists both splits of a folder; the validation images are the test split. Classes are called by their WordNet ids.
///
/// # Errors
/// An archive, folder or class that is missing; archives that are damaged; labels that do not fit the images.
pub fn open(section: &Imagenet, classes: Classes) -> Result<LabeledFiles> {
    let root = section.path.as_path();
    expect_exists(root, format!("the folder of {TRAIN} and the archives beside it, or of train/ and val/"))?;
    let listed: Option<Vec<String>> = classes.list.map(|list| list.lines().map(str::to_owned).collect());
    let mut train = train_images(root, listed.as_deref())?;
    let names = listed.unwrap_or_else(|| train.keys().cloned().collect());
    if let Some(absent) = names.iter().find(|id| !train.contains_key(*id)) {
        let problem =
            format!("holds no training images of {absent}, a class of {}; give all of it", classes.title);
        return Err(IngestError::layout(root, problem));
    }
    let label_of: BTreeMap<&str, u32> = names.iter().map(String::as_str).zip(0..).collect();
    let mut files = FileList::default();
    for (id, label) in names.iter().zip(0..) {
        let images = train.remove(id).unwrap_or_default();
        files.extend(images.iter().map(|file| LabeledFile { label, ..file }));
    }
    let (images, ids) = validation::images(root)?;
    let mut test = Vec::new();
    for (file, id) in images.into_iter().zip(&ids) {
        if let Some(label) = label_of.get(id.as_str()) {
            test.push(LabeledFile { file, label: *label, split: Split::Test });
        }
    }
    test.sort_by_key(|file| file.label);
    files.extend(test);
    let texts = Some(Digest::of_json(&json!([names, ids])));
    let mut listing =
        LabeledFiles { description: classes.title, classes: names, files, texts, notes: Vec::new() };
    listing.notes.extend(counts_note(classes.title, root, &listing, classes.published));
    Ok(listing)
}

/// The training images of the wanted classes, or of all, by WordNet id; their labels are not known yet.
fn train_images(root: &Path, wanted: Option<&[String]>) -> Result<BTreeMap<String, FileList>> {
    let is_wanted = |id: &str| wanted.is_none_or(|wanted| wanted.iter().any(|wanted| wanted == id));
    let labeled = |file| LabeledFile { file, label: 0, split: Split::Train };
    let listed = |files: Vec<ImageFile>| files.into_iter().map(labeled).collect();
    let mut images: BTreeMap<String, FileList> = BTreeMap::new();
    let archive = root.join(TRAIN);
    if archive.is_file() {
        for class in members::of(&archive, None)? {
            if let Some(id) = class.relative.strip_suffix(".tar").filter(|id| is_wanted(id)) {
                images.insert(id.to_owned(), listed(members::within(&class, &format!("train/{id}"))?));
            }
        }
        return Ok(images);
    }
    let folder = root.join("train");
    if !folder.is_dir() {
        return Err(IngestError::layout(
            root,
            format!("holds neither {TRAIN} nor train/; put one of them there"),
        ));
    }
    for id in folders_in(&folder)?.into_iter().filter(|id| is_wanted(id)) {
        let found = below(&folder.join(&id), root)?.files;
        images.insert(id, found.iter().map(labeled).collect());
    }
    // where only the outer archive was unpacked
    for entry in fs_err::read_dir(&folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(id) = name.strip_suffix(".tar").filter(|id| is_wanted(id)) {
            let bytes = fs_err::metadata(&path)?.len();
            let class = ImageFile { relative: name.clone(), path, bytes, start: Some(0) };
            images.insert(id.to_owned(), listed(members::within(&class, &format!("train/{id}"))?));
        }
    }
    Ok(images)
}
