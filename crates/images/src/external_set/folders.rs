//! A set that is a folder: a folder for each class, those in `train/`, or Parquet files.

use std::path::Path;

use super::{ExternalImage, ExternalSet, Read, classes, shards, tables};
use crate::error::{ImagesError, Result};
use crate::image_files::{ImageFile, Listing, beside_folders, files_below, folders_in, look_through};
use crate::stored_image::Content;

/// Folders of the images to train with, in small letters.
const TRAIN: [&str; 2] = ["train", "training"];

pub(super) fn open(path: &Path, teacher: &[String], read: Read) -> Result<ExternalSet> {
    let refused = |problem: String| Err(ImagesError::layout(path, problem));
    let tables = files_below(path, &["parquet"])?;
    let images = listed(path, path)?.files;
    if !tables.is_empty() && !images.is_empty() {
        return refused(format!(
            "holds Parquet ({}) and image files ({}), expected one kind; give the path of the one that is meant",
            classes::listed(tables.iter().map(|file| file.relative.clone())),
            classes::listed(images.iter().map(|file| file.relative.clone())),
        ));
    }
    if !tables.is_empty() {
        let (tables, note) =
            shards::to_train_with(tables).map_err(|problem| ImagesError::layout(path, problem))?;
        let mut set = tables::open(&tables, teacher, read)?;
        set.notes.extend(note);
        return Ok(set);
    }
    let mut folders = folders_in(path)?;
    let is_train = |name: &String| TRAIN.contains(&name.to_ascii_lowercase().as_str());
    if let Some(at) = folders.iter().position(is_train)
        && !folders_in(&path.join(&folders[at]))?.is_empty()
    {
        let train = folders.remove(at);
        let mut set = of_classes(&path.join(&train), teacher)?;
        if !folders.is_empty() {
            let others = classes::listed(folders.iter().map(|name| format!("{name}/")));
            set.notes.insert(0, format!("{train}/ is read, {others} beside it not"));
        }
        return Ok(set);
    }
    if folders.is_empty() {
        return refused(format!(
            "holds {} images and no folders, expected a folder for each class, or Parquet files; sort the images into such folders",
            images.len()
        ));
    }
    of_classes(path, teacher)
}

/// A folder for each class.
fn of_classes(path: &Path, teacher: &[String]) -> Result<ExternalSet> {
    let names = folders_in(path)?;
    let matched =
        classes::matched(&names, teacher, "folders").map_err(|problem| ImagesError::layout(path, problem))?;
    let mut set = ExternalSet::default();
    if matched.is_by_number {
        set.notes.push(classes::by_number("the folders have", teacher));
    }
    let mut others = beside_folders(path, path)?;
    for (name, label) in names.iter().zip(matched.labels) {
        let Listing { files, passed_over } = listed(&path.join(name), path)?;
        others.extend(passed_over);
        if files.is_empty() {
            let problem = format!("folder `{name}` holds no images; add them or remove it");
            return Err(ImagesError::layout(path, problem));
        }
        let image = |ImageFile { path, bytes, .. }: ImageFile| ExternalImage {
            label,
            place: path.display().to_string(),
            content: Some(Content::File { path, bytes }),
        };
        set.images.extend(files.into_iter().map(image));
    }
    set.notes.extend(others.note(set.images.len()));
    Ok(set)
}

fn listed(folder: &Path, root: &Path) -> Result<Listing> {
    look_through(folder, root, || Ok(()))
}
