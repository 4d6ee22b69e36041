//! A folder per class: `train/<class>/*` beside `val/<class>/*`, or `<class>/*` with a seeded split.

mod class_folders;
mod layout;

use std::path::Path;

use delt_images::image_files;
use delt_images::passed_over::PassedOver;
use delt_pipeline::config::ingest::ImageFolder;

use crate::error::{IngestError, Result};
use crate::file_list::{FileList, LabeledFile};
use crate::labeled_files::{LabeledFiles, below};
use crate::seeded_split::{SeededSplit, refuse_beside};
use crate::source::{Split, expect_exists};
use layout::Layout;

/// Lists the tree. Classes are the folder names, sorted by code point as torchvision sorts them; images may lie deeper in a
/// class's folder. Splits are known by their names ([`crate::split_names`]).
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
    let Layout { train, test, mut passed_over } = Layout::of(root)?;
    if let Some(test) = &test {
        refuse_beside(test, *test_fraction, *split_seed)?;
    }
    let classes = class_folders::class_names(&train, root)?;
    let mut notes = Vec::new();
    let files = match test {
        Some(test) => {
            let mut files = FileList::default();
            let train_labels = classes.iter().zip(0..).map(|(class, label)| (label, class.clone())).collect();
            let test_labels = test_labels(root, &train, &test, &classes, &mut notes)?;
            for (tree, split, labels) in
                [(&train, Split::Train, train_labels), (&test, Split::Test, test_labels)]
            {
                for (label, name) in labels {
                    let found = below(&tree.join(name), root)?;
                    passed_over.extend(found.passed_over);
                    files.extend(found.files.iter().map(|file| LabeledFile { file, label, split }));
                }
            }
            files
        }
        None => with_split(root, &train, &classes, section, &mut passed_over)?,
    };
    notes.extend(passed_over.note(files.len()));
    Ok(LabeledFiles { description: "image folder", classes, files, texts: None, notes })
}

fn test_labels(
    root: &Path,
    train: &Path,
    test: &Path,
    classes: &[String],
    notes: &mut Vec<String>,
) -> Result<Vec<(u32, String)>> {
    if image_files::folders_in(test)?.is_empty() {
        let problem = format!(
            "holds {} images and no folders, expected <class>/* as {} has (ImageNet-1K is distributed flat); move each \
             image into the folder of its class",
            below(test, root)?.files.len(),
            train.display()
        );
        return Err(IngestError::layout(test, problem));
    }
    class_folders::test_labels(train, test, classes, notes)
}

fn with_split(
    root: &Path,
    tree: &Path,
    classes: &[String],
    section: &ImageFolder,
    passed_over: &mut PassedOver,
) -> Result<FileList> {
    let Some(split) = SeededSplit::of(section.test_fraction, section.split_seed) else {
        let cure = SeededSplit::cure(section.test_fraction, section.split_seed);
        return Err(IngestError::layout(root, layout::without_test(root, tree, classes, cure)?));
    };
    let mut files = FileList::default();
    for (class, label) in classes.iter().zip(0..) {
        let folder = tree.join(class);
        let found = below(&folder, root)?;
        passed_over.extend(found.passed_over);
        let Some(splits) = split.of_class(found.files.names()) else {
            let problem = format!("has {} image files, expected at least 2 to split them", found.files.len());
            return Err(IngestError::layout(&folder, problem));
        };
        let found = found.files.iter().zip(splits);
        files.extend(found.map(|(file, split)| LabeledFile { file, label, split }));
    }
    Ok(files)
}
