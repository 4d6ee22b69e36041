//! Which folders of a tree hold which split.

use std::path::{Path, PathBuf};

use delt_images::image_files::{beside_folders, folders_in};
use delt_images::passed_over::{PassedOver, Reason};

use crate::error::{IngestError, Result};
use crate::source::Split;
use crate::split_names::{PartName, part_of};

/// How many names a message shows.
const NAMES_SHOWN: usize = 5;

/// The folders that hold the folders of the classes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    /// The training images, or those of both splits.
    pub(super) train: PathBuf,
    /// The test images, where the tree has any.
    pub(super) test: Option<PathBuf>,
    /// What lies beside them.
    pub(super) passed_over: PassedOver,
}

impl Layout {
    /// Finds the splits by their names; without any, the root holds the classes.
    ///
    /// # Errors
    /// Two folders of training images, names of splits in place of classes, or folders of folders that are neither.
    pub(super) fn of(root: &Path) -> Result<Self> {
        let names = folders_in(root)?;
        let mut parts: Vec<(Split, PartName, &String)> =
            names.iter().filter_map(|name| part_of(name).map(|(split, part)| (split, part, name))).collect();
        parts.sort_by_key(|(_, part, _)| *part);
        let of = |wanted| {
            parts.iter().filter(move |(split, ..)| *split == wanted).map(|(_, part, name)| (*part, *name))
        };
        let trains: Vec<_> = of(Split::Train).collect();
        let tests: Vec<&String> = of(Split::Test).map(|(_, name)| name).collect();
        let train = match trains[..] {
            [] => return Self::without_splits(root, &names, parts.len()),
            [(_, only)] => only,
            [(first, name), (second, _), ..] if first < second && name == "train" => name,
            [(_, first), (_, second), ..] => {
                let problem = format!(
                    "holds {first} and {second}, which both say that they hold training images; move one of them away"
                );
                return Err(IngestError::layout(root, problem));
            }
        };
        let train_folder = descend(root.join(train), Split::Train)?;
        let is_class = tests.is_empty() && names.len() > 1 && folders_in(&train_folder)?.is_empty();
        if is_class {
            return Self::without_splits(root, &names, 0);
        }
        let mut test = None;
        for name in &tests {
            let folder = descend(root.join(name), Split::Test)?;
            if !folders_in(&folder)?.is_empty() {
                test = Some((*name, folder));
                break;
            }
        }
        // of folders without classes the first is refused by name
        let test = test.or_else(|| tests.first().map(|name| (*name, root.join(name))));
        let mut passed_over = beside_folders(root, root)?;
        for name in
            names.iter().filter(|name| *name != train && test.as_ref().is_none_or(|(test, _)| test != name))
        {
            passed_over.add(Reason::BesideSplits, format!("{name}/"));
        }
        for folder in [Some(&train_folder), test.as_ref().map(|(_, folder)| folder)].into_iter().flatten() {
            passed_over.extend(beside_folders(folder, root)?);
        }
        Ok(Self { train: train_folder, test: test.map(|(_, folder)| folder), passed_over })
    }

    /// The root holds a folder for each class; `parts` of their names are those of splits.
    fn without_splits(root: &Path, names: &[String], parts: usize) -> Result<Self> {
        if parts == names.len() && parts > 0 {
            let problem = format!(
                "holds {}, and no folder of training images beside; expected train/<class>/*, rename the folder that \
                 holds them to train",
                listed(names)
            );
            return Err(IngestError::layout(root, problem));
        }
        refuse_folders_of_folders(root, names)?;
        Ok(Self { train: root.to_path_buf(), test: None, passed_over: beside_folders(root, root)? })
    }
}

/// What is wrong with a tree that has no test images: where the classes lie in the root, whether a folder of it has a train/.
pub(super) fn without_test(root: &Path, tree: &Path, classes: &[String], cure: &str) -> Result<String> {
    if tree != root {
        return Ok(format!("has no val/ or test/ beside train/; {cure}"));
    }
    let found =
        format!("holds the folders {}, taken as classes, and no train/ with val/ or test/", listed(classes));
    for name in classes {
        let inner = folders_in(&root.join(name))?;
        let is_train = |name: &&String| part_of(name).is_some_and(|(split, _)| split == Split::Train);
        if let Some(train) = inner.iter().find(is_train) {
            let there = root.join(name);
            return Ok(format!("{found}; {name} holds {train}/: give DATA={}", there.display()));
        }
    }
    Ok(format!("{found}; {cure}, or where the classes lie deeper, give their folder as DATA=path"))
}

/// Goes into a folder that holds nothing but a folder of the same part, as archives unpack: `seg_train/seg_train`.
fn descend(mut folder: PathBuf, split: Split) -> Result<PathBuf> {
    loop {
        match &folders_in(&folder)?[..] {
            [only] if part_of(only).is_some_and(|(of, _)| of == split) => folder = folder.join(only),
            _ => return Ok(folder),
        }
    }
}

/// Refuses classes that all hold nothing but several folders: it is these that look like classes. A folder in each, as
/// `<class>/images`, is usual.
fn refuse_folders_of_folders(root: &Path, names: &[String]) -> Result<()> {
    let mut inner = Vec::new();
    for name in names {
        let folder = root.join(name);
        let folders = folders_in(&folder)?;
        if folders.is_empty() || holds_files(&folder)? {
            return Ok(());
        }
        inner.push(folders);
    }
    if names.len() < 2 || inner.iter().all(|folders| folders.len() == 1) {
        return Ok(());
    }
    let is_split = inner.iter().flatten().all(|name| part_of(name).is_some());
    let cure = if is_split {
        "expected train/<class>/* beside test/<class>/*; swap the two levels"
    } else {
        "expected images in the folders of classes; name the splits train and val, give DATA= the folder of the classes, or, if \
         the outer folders are the classes, move them into a folder train"
    };
    let example =
        inner.iter().find(|folders| folders.len() > 1).map_or_else(String::new, |folders| listed(folders));
    let problem = format!("its folders {} hold only folders ({example}); {cure}", listed(names));
    Err(IngestError::layout(root, problem))
}

/// Whether any file lies directly in a folder, but for hidden ones.
fn holds_files(folder: &Path) -> Result<bool> {
    for entry in fs_err::read_dir(folder)? {
        let entry = entry?;
        if !entry.path().is_dir() && !entry.file_name().to_string_lossy().starts_with('.') {
            return Ok(true);
        }
    }
    Ok(false)
}

pub(super) fn listed(names: &[String]) -> String {
    let shown = names.iter().take(NAMES_SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > NAMES_SHOWN { format!("{shown}, ..") } else { shown }
}
