//! A set that is a folder: a folder for each class, those in `train/`, or Parquet files.

use std::path::{Path, PathBuf};

use super::{ExternalImage, ExternalSet, Read, classes, tables};
use crate::error::{ImagesError, Result};
use crate::image_files::{ImageFile, below, files_below, folders_in};
use crate::stored_image::Content;

/// Folder of the images to train with.
const TRAIN: &str = "train";

pub(super) fn open(path: &Path, teacher: &[String], read: Read) -> Result<ExternalSet> {
    let refused = |problem: String| Err(ImagesError::layout(path, problem));
    let tables = files_below(path, &["parquet"])?;
    let images = listed(path, path)?;
    if !tables.is_empty() && !images.is_empty() {
        return refused(format!(
            "holds Parquet ({}) and image files ({}), expected one kind; give the path of the one that is meant",
            classes::listed(tables.iter().map(|file| file.relative.clone())),
            classes::listed(images.iter().map(|file| file.relative.clone())),
        ));
    }
    if !tables.is_empty() {
        let paths: Vec<PathBuf> = tables.into_iter().map(|file| file.path).collect();
        return tables::open(&paths, teacher, read);
    }
    let folders = folders_in(path)?;
    let train = path.join(TRAIN);
    if folders.iter().any(|name| name == TRAIN) && !folders_in(&train)?.is_empty() {
        let others: Vec<String> = folders.into_iter().filter(|name| name != TRAIN).collect();
        let mut set = of_classes(&train, teacher)?;
        if !others.is_empty() {
            let others = classes::listed(others.iter().map(|name| format!("{name}/")));
            set.notes.insert(0, format!("{TRAIN}/ is read, {others} beside it not"));
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
    for (name, label) in names.iter().zip(matched.labels) {
        let files = listed(&path.join(name), path)?;
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
    let loose = listed(path, path)?.len() - set.images.len();
    if loose > 0 {
        set.notes.push(format!("{loose} image files lie in no class's folder and are passed over"));
    }
    Ok(set)
}

fn listed(folder: &Path, root: &Path) -> Result<Vec<ImageFile>> {
    below(folder, root, || Ok(()))
}
