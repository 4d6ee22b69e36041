//! The validation images of ImageNet-1K and the class of each: by its folder, or by its number from the development kit, whose ids are
//! not the order of the classes, or from a list of WordNet ids.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use delt_images::image_files::{ImageFile, folders_in};

use super::members;
use crate::error::{IngestError, Result};
use crate::labeled_files::below;
use crate::matlab::{self, Value};
use crate::sources::container::Container;
use crate::tar_archive::broken;

const ARCHIVE: &str = "ILSVRC2012_img_val.tar";
const KIT: &str = "ILSVRC2012_devkit_t12";
/// Files of the kit: an id for each image, and what each id means.
const LABELS: &str = "ILSVRC2012_validation_ground_truth.txt";
const META: &str = "meta.mat";
/// A list of WordNet ids, one for each image, as TensorFlow's tools have it.
const LIST: &str = "imagenet_2012_validation_synset_labels.txt";

/// The images, and the WordNet id of each.
///
/// # Errors
/// No images or labels; a name without a number; a label that means nothing.
pub(super) fn images(root: &Path) -> Result<(Vec<ImageFile>, Vec<String>)> {
    let (archive, folder) = (root.join(ARCHIVE), root.join("val"));
    let flat = if archive.is_file() {
        let mut files = members::of(&archive, None)?;
        files.iter_mut().for_each(|file| file.relative = format!("val/{}", file.relative));
        files
    } else if folder.is_dir() {
        let (mut files, mut ids) = (Vec::new(), Vec::new());
        for id in folders_in(&folder)? {
            let found = below(&folder.join(&id), root)?.files;
            ids.extend(vec![id; found.len()]);
            files.extend(found.iter());
        }
        if !files.is_empty() {
            return Ok((files, ids));
        }
        below(&folder, root)?.files.iter().collect()
    } else {
        return Err(IngestError::layout(
            root,
            format!("holds neither {ARCHIVE} nor val/; put one of them there"),
        ));
    };
    let labels = labels(root)?;
    let id = |file: &ImageFile| {
        let stem = file.relative.split('.').next().unwrap_or_default();
        let number = stem.rsplit('_').next().and_then(|number| number.parse::<usize>().ok());
        number.and_then(|number| labels.get(number.checked_sub(1)?)).cloned().ok_or_else(|| {
            let problem = format!(
                "holds `{}`, expected val/ILSVRC2012_val_00000001.JPEG and so on, of which {} have labels; unpack the archive again",
                file.relative,
                labels.len()
            );
            IngestError::layout(root, problem)
        })
    };
    let ids = flat.iter().map(id).collect::<Result<_>>()?;
    Ok((flat, ids))
}

/// WordNet ids by the number of the image, from 1.
fn labels(root: &Path) -> Result<Vec<String>> {
    let list = root.join(LIST);
    if list.is_file() {
        let text = fs_err::read_to_string(&list)?;
        return Ok(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect());
    }
    let (archive, folder) = (root.join(format!("{KIT}.tar.gz")), root.join(KIT).join("data"));
    let kit = if archive.is_file() { Container::Archive(archive) } else { Container::Folder(folder) };
    let (mut numbers, mut meaning) = (String::new(), BTreeMap::new());
    kit.for_each(&[LABELS, META], |name, _, mut input| {
        if name == LABELS {
            input.read_to_string(&mut numbers).map_err(broken(kit.path()))?;
        } else {
            meaning = ids(kit.path(), &mut input)?;
        }
        Ok(ControlFlow::Continue(()))
    })?;
    if numbers.is_empty() || meaning.is_empty() {
        let problem = format!(
            "holds no labels of the validation images, expected {KIT}.tar.gz, {KIT}/data with {LABELS} and {META}, or {LIST}; put one \
             of them there, or move the images into folders of their classes"
        );
        return Err(IngestError::layout(root, problem));
    }
    let id = |(row, line): (usize, &str)| {
        meaning.get(line.trim()).cloned().ok_or_else(|| {
            let problem = format!(
                "{LABELS}: line {}: found `{line}`, expected an id of {META}; download it again",
                row + 1
            );
            IngestError::layout(kit.path(), problem)
        })
    };
    numbers.lines().enumerate().map(id).collect()
}

/// WordNet ids by the kit's number, as text.
fn ids(kit: &Path, input: &mut dyn std::io::Read) -> Result<BTreeMap<String, String>> {
    let mut ids = BTreeMap::new();
    matlab::for_each(kit, input, &mut |array, input| {
        if array.name == "synsets" {
            let fields = array.fields(input, ["ILSVRC2012_ID", "WNID"]).map_err(matlab::broken(kit))?;
            ids.extend(fields.into_iter().filter_map(|[number, id]| match (number, id) {
                (Value::Number(number), Value::Text(id)) => Some((number.to_string(), id)),
                _ => None,
            }));
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(ids)
}
