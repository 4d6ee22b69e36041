//! Which class each folder is: names of two splits that mean one class, and names that only look alike.

use std::collections::BTreeMap;
use std::path::Path;

use delt_images::image_files;
use unicode_normalization::UnicodeNormalization;

use super::layout::listed;
use crate::error::{IngestError, Result};
use crate::labeled_files::below;
use crate::source::Split;
use crate::split_names::part_of;

/// The folders of a tree, at least two, no two of which look alike.
pub(super) fn class_names(tree: &Path, root: &Path) -> Result<Vec<String>> {
    let names = image_files::folders_in(tree)?;
    let problem = match &names[..] {
        [] => format!(
            "holds {} images and no folders, expected one folder per class; sort them into such folders, correct \
             `ingest.source.path` or give DATA=path",
            below(tree, tree)?.files.len()
        ),
        [only] => of_one(tree, root, only)?,
        _ => {
            let mut seen = BTreeMap::new();
            let twin = names.iter().find_map(|name| Some((seen.insert(composed(name), name)?, name)));
            let Some((first, second)) = twin else { return Ok(names) };
            format!(
                "holds two folders whose names differ only by Unicode normalization: `{first}` ({}) and `{second}` ({}); merge them",
                first.escape_unicode(),
                second.escape_unicode()
            )
        }
    };
    Err(IngestError::layout(tree, problem))
}

/// What is wrong with a single folder.
fn of_one(tree: &Path, root: &Path, only: &str) -> Result<String> {
    let inner = tree.join(only);
    let deeper = image_files::folders_in(&inner)?;
    let training = deeper.iter().find(|name| part_of(name).is_some_and(|(split, _)| split == Split::Train));
    let advice = |holds: &str| {
        format!("holds only the folder {only}, and that holds {holds}; give DATA={}", inner.display())
    };
    Ok(match training {
        Some(training) if tree == root => advice(&format!("{training}/")),
        None if tree == root && deeper.len() > 1 => advice(&format!("the folders {}", listed(&deeper))),
        _ => format!(
            "holds a single class `{only}`, expected at least two; correct `ingest.source.path` or give DATA=path"
        ),
    })
}

/// The label of each test folder, by label. Names that differ from a class only by Unicode normalization are that class (macOS
/// and Linux write é in two ways), and are named in `notes`.
pub(super) fn test_labels(
    train: &Path,
    test: &Path,
    classes: &[String],
    notes: &mut Vec<String>,
) -> Result<Vec<(u32, String)>> {
    let composed_classes: BTreeMap<String, u32> =
        classes.iter().map(|name| composed(name)).zip(0..).collect();
    let mut labels = Vec::new();
    let mut strangers = Vec::new();
    for name in image_files::folders_in(test)? {
        let label = composed_classes.get(&composed(&name)).copied();
        if let Some(label) = label {
            if classes[label as usize] != name {
                notes.push(format!(
                    "the folders of class `{}` in {} and {} differ by Unicode normalization and are read as one class",
                    classes[label as usize],
                    train.display(),
                    test.display()
                ));
            }
            labels.push((label, name));
        } else {
            strangers.push(name);
        }
    }
    let alike = |name: &String| classes.iter().find(|class| class.to_lowercase() == name.to_lowercase());
    let problem = if let Some((name, class)) = strangers.iter().find_map(|name| Some((name, alike(name)?))) {
        format!(
            "has class `{name}` and {} has `{class}`, which differ only in case; rename one of them",
            train.display()
        )
    } else if strangers.is_empty() {
        labels.sort();
        return Ok(labels);
    } else {
        format!("has classes that {} lacks: {}; make them agree", train.display(), strangers.join(", "))
    };
    Err(IngestError::layout(test, problem))
}

fn composed(name: &str) -> String {
    name.nfc().collect()
}
