//! `imagefolder`: a folder of PNG files for each class, as torchvision's `ImageFolder` reads it.
//!
//! `ImageFolder` numbers the folders in the order of their names. `00000`, `00001` and so on keep the order of our classes; class
//! names have an order of their own, which the record states.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Result;
use delt_formats::SyntheticFacts;
use delt_pipeline::amounts::human_bytes;
use delt_pipeline::dag::Node;
use serde_json::{Map, json};

use super::Written;
use crate::results::Results;

/// Folders `00000`, `00001` and so on, and what stays behind of the set.
pub(super) fn by_number(results: &Results<'_>, folder: &Path) -> Result<Written> {
    let mut written = images_by_number(results, folder)?;
    written.notes.extend(left_out(results)?);
    Ok(written)
}

/// The images alone, for formats that write what belongs to them.
pub(super) fn images_by_number(results: &Results<'_>, folder: &Path) -> Result<Written> {
    let classes = results.classes()?;
    let folders = (0..classes.len()).map(|class| format!("{class:05}")).collect();
    write(results, folder, folders)
}

/// Folders that are called as the classes are.
pub(super) fn by_name(results: &Results<'_>, folder: &Path) -> Result<Written> {
    let classes = results.classes()?;
    let folders = folder_names(&classes);
    let labels = labels_by_name(&folders);
    let is_moved = labels.iter().enumerate().any(|(class, label)| class != *label);
    let mut written = write(results, folder, folders)?;
    if is_moved {
        written.notes.push(
            "ImageFolder numbers classes by the order of their folders' names, not in our order; imagefolder_labels of \
             delt-export.json has its label of each of our classes"
                .to_owned(),
        );
    }
    written.notes.extend(left_out(results)?);
    Ok(written)
}

/// What students of the set learn that is no 8-bit image with its class.
fn left_out(results: &Results<'_>) -> Result<Option<String>> {
    let facts: SyntheticFacts = results.entry(Node::Synthetic)?.manifest.facts_as()?;
    let previews = facts.space.is_some().then(|| {
        "these are 8-bit previews with classes: the numbers that were learned, and learned targets where there are any, are not \
         here; FORMAT=torch and FORMAT=huggingface have them"
            .to_owned()
    });
    Ok(previews.or_else(|| labels_left_out(results)))
}

/// The same of soft labels, where students learn any.
pub(super) fn labels_left_out(results: &Results<'_>) -> Option<String> {
    (!results.branch.pipeline.relabel.is_given()).then(|| {
        "these are images with classes: the soft labels that students of the pipeline learn are not here; FORMAT=fkd has \
         both, where its layout can say the views"
            .to_owned()
    })
}

/// Writes the images as they are in the store, bytes unchanged.
fn write(results: &Results<'_>, folder: &Path, folders: Vec<String>) -> Result<Written> {
    for name in &folders {
        fs_err::create_dir(folder.join(name))?;
    }
    let (mut images, mut bytes, mut empty) = (Map::new(), 0, vec![true; folders.len()]);
    for row in results.images()? {
        let row = row?;
        let class = row.label as usize;
        let file = format!("{}/{:05}.png", folders[class], row.slot);
        fs_err::write(folder.join(&file), &row.png)?;
        bytes += row.png.len() as u64;
        empty[class] = false;
        images.insert(file, row.label.into());
    }
    let mut written = Written {
        summary: format!("{} images of {} classes, {}", images.len(), folders.len(), human_bytes(bytes)),
        ..Written::default()
    };
    let without = empty.iter().filter(|is_empty| **is_empty).count();
    if without > 0 {
        written.notes.push(format!(
            "{without} classes have no image; their folders are there, so that labels stay: ImageFolder takes them with \
             allow_empty=True"
        ));
    }
    written.facts.insert("imagefolder_labels".to_owned(), json!(labels_by_name(&folders)));
    written.facts.insert("folders".to_owned(), json!(folders));
    written.facts.insert("image_classes".to_owned(), images.into());
    Ok(written)
}

/// The label that `ImageFolder` gives each folder: its place among the sorted names.
fn labels_by_name(folders: &[String]) -> Vec<usize> {
    let sorted: BTreeSet<&String> = folders.iter().collect();
    let places: BTreeMap<&String, usize> = sorted.into_iter().zip(0..).collect();
    folders.iter().map(|name| places[name]).collect()
}

/// Class names as folders may be called: what separates folders or is forbidden somewhere becomes `_`; a name that another class
/// has already, where case does not count, gets its number.
fn folder_names(classes: &[String]) -> Vec<String> {
    let mut taken = BTreeSet::new();
    let mut names = Vec::new();
    for (class, name) in classes.iter().enumerate() {
        let is_forbidden = |c: char| c.is_control() || "/\\:*?\"<>|".contains(c);
        let mut own: String = name.chars().map(|c| if is_forbidden(c) { '_' } else { c }).collect();
        if own.starts_with('.') || own.is_empty() {
            own.insert(0, '_');
        }
        if !taken.insert(own.to_lowercase()) {
            own = format!("{own}-{class:05}");
            taken.insert(own.to_lowercase());
        }
        names.push(own);
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn class_names_become_distinct_folders_and_say_which_label_they_get() {
        let classes = ["zebra", "n/a", "Cat", "cat", "..", ""].map(str::to_owned);
        let folders = folder_names(&classes);
        assert_eq!(folders, ["zebra", "n_a", "Cat", "cat-00003", "_..", "_"]);
        // by code points, as Python sorts: upper case, then `_`, then lower case
        assert_eq!(labels_by_name(&folders), [5, 4, 0, 3, 2, 1]);
    }
}
