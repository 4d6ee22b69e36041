//! A folder per class: `train/<class>/*` beside `val/<class>/*`, or `<class>/*` with a seeded split.

use std::path::Path;

use delt_images::image_files;
use delt_pipeline::config::ingest::ImageFolder;

use crate::error::{IngestError, Result};
use crate::labeled_files::{LabeledFile, LabeledFiles, below};
use crate::seeded_split::{SeededSplit, refuse_beside};
use crate::source::{Split, expect_exists};

/// Name of the training folder.
const TRAIN: &str = "train";
/// Names of the folder of test images, the first that is there; `test` comes last because published test folders often
/// have no labels.
const TEST: [&str; 4] = ["val", "valid", "validation", "test"];

/// Lists the tree. Classes are the folder names, sorted by code point as torchvision sorts them; images may lie deeper in a
/// class's folder.
///
/// # Errors
/// A layout that is none of the two, a split without the settings it needs, or such settings beside a folder of test images.
pub fn open(section: &ImageFolder) -> Result<LabeledFiles> {
    let ImageFolder { path: root, test_fraction, split_seed } = section;
    expect_exists(root, "a folder with one folder per class, or with train/ and val/")?;
    if !root.is_dir() {
        let problem = "is a file, expected a folder with one folder per class; unpack it and give the folder";
        return Err(IngestError::layout(root, problem));
    }
    let train = root.join(TRAIN);
    let has_train = train.is_dir();
    let tree = if has_train { &train } else { root.as_path() };
    let test = TEST.into_iter().map(|name| root.join(name)).find(|path| has_train && path.is_dir());
    if let Some(test) = &test {
        refuse_beside(test, *test_fraction, *split_seed)?;
    }
    let classes = class_names(tree)?;
    let files = match test {
        Some(test) => with_both(root, tree, &test, &classes)?,
        None => with_split(root, tree, &classes, SeededSplit::of(*test_fraction, *split_seed))?,
    };
    Ok(LabeledFiles { description: "image folder", classes, files, texts: None })
}

fn with_both(root: &Path, train: &Path, test: &Path, classes: &[String]) -> Result<Vec<LabeledFile>> {
    let test_folders = image_files::folders_in(test)?;
    if test_folders.is_empty() {
        let problem = format!(
            "holds {} images and no folders, expected <class>/* as {} has (ImageNet-1K is distributed flat); move each \
             image into the folder of its class",
            below(test, root)?.len(),
            train.display()
        );
        return Err(IngestError::layout(test, problem));
    }
    let strangers: Vec<String> =
        test_folders.into_iter().filter(|name| classes.binary_search(name).is_err()).collect();
    if !strangers.is_empty() {
        let problem =
            format!("has classes that {} lacks: {}; make them agree", train.display(), strangers.join(", "));
        return Err(IngestError::layout(test, problem));
    }
    let mut files = Vec::new();
    for (tree, split) in [(train, Split::Train), (test, Split::Test)] {
        for (class, label) in classes.iter().zip(0..) {
            let folder = tree.join(class);
            if folder.is_dir() {
                let found = below(&folder, root)?;
                files.extend(found.into_iter().map(|file| LabeledFile { file, label, split }));
            }
        }
    }
    Ok(files)
}

fn with_split(
    root: &Path,
    tree: &Path,
    classes: &[String],
    split: Option<SeededSplit>,
) -> Result<Vec<LabeledFile>> {
    let Some(split) = split else {
        let problem = "has no val/ or test/ beside train/; for a split of its own give `ingest.source.test_fraction` and \
                       `ingest.source.split_seed`, e.g. 0.2 and 0";
        return Err(IngestError::layout(root, problem));
    };
    let mut files = Vec::new();
    for (class, label) in classes.iter().zip(0..) {
        let folder = tree.join(class);
        let found = below(&folder, root)?;
        let names: Vec<&str> = found.iter().map(|file| file.relative.as_str()).collect();
        let Some(splits) = split.of_class(&names) else {
            let problem = format!("has {} JPEG or PNG files, expected at least 2 to split them", found.len());
            return Err(IngestError::layout(&folder, problem));
        };
        let found = found.into_iter().zip(splits);
        files.extend(found.map(|(file, split)| LabeledFile { file, label, split }));
    }
    Ok(files)
}

/// The folders of a tree, at least two.
fn class_names(tree: &Path) -> Result<Vec<String>> {
    let names = image_files::folders_in(tree)?;
    let problem = match &names[..] {
        [] => format!(
            "holds {} images and no folders, expected one folder per class; sort them into such folders, correct \
             `ingest.source.path` or give DATA=path",
            below(tree, tree)?.len()
        ),
        [only] if tree.join(only).join(TRAIN).is_dir() => {
            let inner = tree.join(only);
            format!("holds only the folder {only}, and that holds train/; give DATA={}", inner.display())
        }
        [only] => format!(
            "holds a single class `{only}`, expected at least two; correct `ingest.source.path` or give DATA=path"
        ),
        _ => return Ok(names),
    };
    Err(IngestError::layout(tree, problem))
}
