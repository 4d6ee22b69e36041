//! A set that is a folder: a folder for each class, those in `train/`, or Parquet files.

use std::path::Path;

use super::record::{self, RECORD_FILE, Record};
use super::{ExternalImage, ExternalSet, Read, classes, shards, tables};
use crate::error::{ImagesError, Result};
use crate::image_files::{ImageFile, Listing, beside_folders, files_below, folders_in, look_through};
use crate::passed_over::Reason;
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
            classes::listed(images.names().map(str::to_owned)),
        ));
    }
    if !tables.is_empty() {
        let (tables, note) =
            shards::to_train_with(tables).map_err(|problem| ImagesError::layout(path, problem))?;
        let mut set = tables::open(&tables, teacher, read)?;
        set.notes.extend(note);
        return Ok(set);
    }
    let record = Record::of(path)?;
    let mut folders = folders_in(path)?;
    let deeper = record.as_ref().and_then(|record| record.images.as_ref());
    if let Some(images) = deeper.filter(|images| folders.contains(images)) {
        return of_classes(&path.join(images), record.as_ref(), teacher);
    }
    let is_train = |name: &String| TRAIN.contains(&name.to_ascii_lowercase().as_str());
    if let Some(at) = folders.iter().position(is_train)
        && !folders_in(&path.join(&folders[at]))?.is_empty()
    {
        let train = folders.remove(at);
        let mut set = of_classes(&path.join(&train), record.as_ref(), teacher)?;
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
    of_classes(path, record.as_ref(), teacher)
}

/// A folder for each class; those of an export may be called by number, or hold nothing.
fn of_classes(path: &Path, record: Option<&Record>, teacher: &[String]) -> Result<ExternalSet> {
    let refused = |problem: String| ImagesError::layout(path, problem);
    let mut set = ExternalSet::default();
    let mut others = beside_folders(path, path)?;
    let (mut names, mut files) = (Vec::new(), Vec::new());
    for name in folders_in(path)? {
        let Listing { files: found, passed_over } = listed(&path.join(&name), path)?;
        others.extend(passed_over);
        if !found.is_empty() {
            names.push(record.map_or_else(|| name.clone(), |record| record.class_of(&name)));
            files.push(found);
        } else if record.is_none() {
            return Err(refused(format!("folder `{name}` holds no images; add them or remove it")));
        }
    }
    let matched = classes::matched(&names, teacher, "folders").map_err(refused)?;
    if matched.is_by_number {
        record::refuse_part(path, record)?;
        set.notes.push(classes::by_number("the folders have", teacher));
    }
    if record.is_some() {
        others.forget(Reason::NoImage, RECORD_FILE);
        set.notes.push(format!("classes are named as {RECORD_FILE} says"));
    }
    for (files, label) in files.into_iter().zip(matched.labels) {
        let image = |ImageFile { path, bytes, .. }: ImageFile| ExternalImage {
            label,
            place: path.display().to_string(),
            content: Some(Content::File { path, bytes }),
        };
        set.images.extend(files.iter().map(image));
    }
    set.notes.extend(others.note(set.images.len()));
    Ok(set)
}

fn listed(folder: &Path, root: &Path) -> Result<Listing> {
    look_through(folder, root, || Ok(()))
}
