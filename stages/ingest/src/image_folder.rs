//! A folder per class: `train/<class>/*` beside `val/<class>/*`, or `<class>/*` with a seeded split.

use std::path::Path;

use crate::error::{IngestError, Result};
use crate::picture_files::{self, PictureFile};
use crate::seeded_split;
use crate::source::{LabelledFile, Split, expect_exists};

/// Name of the training folder.
const TRAIN: &str = "train";
/// Names of the folder of test images, the first that is there; `test` comes last because published test folders often
/// have no labels.
const TEST: [&str; 4] = ["val", "valid", "validation", "test"];

/// An image folder whose layout has been checked.
#[derive(Debug)]
pub struct ImageFolder {
    classes: Vec<String>,
    files: Vec<PictureFile>,
    train: Vec<LabelledFile>,
    test: Vec<LabelledFile>,
}

impl ImageFolder {
    /// Lists the tree at `root`. Classes are the folder names, sorted by code point as torchvision sorts them; pictures
    /// may lie deeper in a class's folder.
    ///
    /// # Errors
    /// A layout that is none of the two, a split without the settings it needs, or such settings beside a folder of test
    /// images.
    pub fn open(root: &Path, test_fraction: Option<f64>, split_seed: Option<u64>) -> Result<Self> {
        expect_exists(root, "a folder with one folder per class, or with train/ and val/")?;
        if !root.is_dir() {
            let problem =
                "is a file, expected a folder with one folder per class; unpack it and give the folder";
            return Err(IngestError::layout(root, problem));
        }
        let train = root.join(TRAIN);
        let test = TEST.into_iter().map(|name| root.join(name)).find(|path| path.is_dir());
        match test {
            Some(test) if train.is_dir() => {
                seeded_split::refuse_beside(&test, test_fraction, split_seed)?;
                Self::with_both(root, &train, &test)
            }
            _ => {
                Self::with_split(root, if train.is_dir() { &train } else { root }, test_fraction, split_seed)
            }
        }
    }

    fn with_both(root: &Path, train: &Path, test: &Path) -> Result<Self> {
        let classes = class_names(train)?;
        let test_folders = picture_files::folders_in(test)?;
        if test_folders.is_empty() {
            let problem = format!(
                "holds {} pictures and no folders, expected <class>/* as {} has (ImageNet-1K is distributed flat); move each \
                 picture into the folder of its class",
                picture_files::below(test, root)?.len(),
                train.display()
            );
            return Err(IngestError::layout(test, problem));
        }
        let strangers: Vec<String> =
            test_folders.into_iter().filter(|name| classes.binary_search(name).is_err()).collect();
        if !strangers.is_empty() {
            let problem = format!(
                "has classes that {} lacks: {}; make them agree",
                train.display(),
                strangers.join(", ")
            );
            return Err(IngestError::layout(test, problem));
        }
        let mut folder = Self { classes, files: Vec::new(), train: Vec::new(), test: Vec::new() };
        for label in 0..folder.classes.len() {
            let files = picture_files::below(&train.join(&folder.classes[label]), root)?;
            folder.train.extend(labelled(&files, label));
            folder.files.extend(files);
        }
        for label in 0..folder.classes.len() {
            let class = test.join(&folder.classes[label]);
            if class.is_dir() {
                let files = picture_files::below(&class, root)?;
                folder.test.extend(labelled(&files, label));
                folder.files.extend(files);
            }
        }
        Ok(folder)
    }

    fn with_split(root: &Path, tree: &Path, fraction: Option<f64>, seed: Option<u64>) -> Result<Self> {
        let classes = class_names(tree)?;
        let (Some(fraction), Some(seed)) = (fraction, seed) else {
            let problem = "has no val/ or test/ beside train/; for a split of its own give \
                           `ingest.source.test_fraction` and `ingest.source.split_seed`, e.g. 0.2 and 0";
            return Err(IngestError::layout(root, problem));
        };
        let mut folder = Self { classes, files: Vec::new(), train: Vec::new(), test: Vec::new() };
        for label in 0..folder.classes.len() {
            let class = tree.join(&folder.classes[label]);
            let files = picture_files::below(&class, root)?;
            let names: Vec<&str> = files.iter().map(|file| file.relative.as_str()).collect();
            let Some(is_test) = seeded_split::is_test(&names, fraction, seed) else {
                let problem =
                    format!("has {} JPEG or PNG files, expected at least 2 to split them", files.len());
                return Err(IngestError::layout(&class, problem));
            };
            for (file, is_test) in labelled(&files, label).zip(is_test) {
                if is_test { folder.test.push(file) } else { folder.train.push(file) }
            }
            folder.files.extend(files);
        }
        Ok(folder)
    }

    /// Folder names, sorted.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// The pictures of a split, class by class and by name.
    pub fn images(&self, split: Split) -> &[LabelledFile] {
        match split {
            Split::Train => &self.train,
            Split::Test => &self.test,
        }
    }

    /// All picture files, for the fingerprint.
    pub fn files(&self) -> &[PictureFile] {
        &self.files
    }
}

fn labelled(files: &[PictureFile], label: usize) -> impl Iterator<Item = LabelledFile> + '_ {
    files.iter().map(move |file| LabelledFile::new(file, label as u32))
}

/// The folders of a tree, at least two.
fn class_names(folder: &Path) -> Result<Vec<String>> {
    let names = picture_files::folders_in(folder)?;
    match &names[..] {
        [] => {
            let problem = format!(
                "holds {} pictures and no folders, expected one folder per class; sort them into such folders, correct \
                 `ingest.source.path` or give DATA=path",
                picture_files::below(folder, folder)?.len()
            );
            Err(IngestError::layout(folder, problem))
        }
        [only] => Err(IngestError::layout(folder, single_folder(folder, only))),
        _ => Ok(names),
    }
}

fn single_folder(tree: &Path, only: &str) -> String {
    if tree.join(only).join(TRAIN).is_dir() {
        format!(
            "holds only the folder {only}, and that holds train/; give DATA={}",
            tree.join(only).display()
        )
    } else {
        format!(
            "holds a single class `{only}`, expected at least two; correct `ingest.source.path` or give DATA=path"
        )
    }
}
