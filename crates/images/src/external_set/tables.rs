//! A set in Parquet tables.

use std::ops::ControlFlow;
use std::path::Path;

use super::{ExternalImage, ExternalSet, Read, classes};
use crate::error::{ImagesError, Result};
use crate::image_table::{self, Columns, Footer};
use crate::label_column::{LabelKind, Labels};
use crate::stored_image::Content;

/// Where the path is named; the columns have fixed names here.
const KEY: &str = "synthesize.import";
/// What the columns are called, the first that a file has.
const IMAGE: [&str; 2] = ["image", "img"];
const LABEL: [&str; 3] = ["label", "class_id", "labels"];

/// All rows of all files, one after the other.
pub(super) fn open(paths: &[impl AsRef<Path>], teacher: &[String], read: Read) -> Result<ExternalSet> {
    let mut set = ExternalSet::default();
    let mut is_by_number = false;
    for path in paths {
        let path = path.as_ref();
        let (columns, footer) = described(path)?;
        let (names, values) = match footer.labels {
            LabelKind::Names => {
                let names: Vec<String> =
                    image_table::names(file(path)?, path, &columns)?.into_iter().collect();
                (names.clone(), Labels::of_names(&names))
            }
            _ => {
                let names = footer.class_names.unwrap_or_default();
                let most = if names.is_empty() { teacher.len() } else { names.len() };
                (names, Labels::Numbers(most))
            }
        };
        let found = image_table::labels(file(path)?, path, &columns, &values)?;
        let labels = teachers(&found, &names, teacher, path, &mut is_by_number)?;
        let place = |row: usize| format!("{} row {row}", path.display());
        let image =
            |(row, label): (usize, &u32)| ExternalImage { label: *label, place: place(row), content: None };
        let first = set.images.len();
        set.images.extend(labels.iter().enumerate().map(image));
        if read == Read::Images {
            let mut keep = |row: image_table::Row| {
                let image = &mut set.images[first + row.index as usize];
                // files beside a table are no part of the digest that the set is known by
                if row.bytes.is_empty() {
                    let problem = format!(
                        "row {} holds no bytes of its image; embed the images, or give folders of image files",
                        row.index
                    );
                    return Err(ImagesError::layout(path, problem));
                }
                image.content = Some(Content::Encoded(row.bytes));
                Ok::<_, ImagesError>(ControlFlow::Continue(()))
            };
            image_table::visit(file(path)?, path, &columns, &values, &mut keep).map(drop)?;
        }
    }
    if is_by_number {
        set.notes.push(classes::by_number("the labels are", teacher));
    }
    Ok(set)
}

/// The labels of a file as those of the teacher: by the file's own class names, else as they are.
fn teachers(
    found: &[u32],
    names: &[String],
    teacher: &[String],
    path: &Path,
    is_by_number: &mut bool,
) -> Result<Vec<u32>> {
    if names.is_empty() {
        *is_by_number = true;
        return Ok(found.to_vec());
    }
    let matched = classes::of_labels(found, names, teacher);
    let matched = matched.map_err(|problem| ImagesError::layout(path, problem))?;
    *is_by_number |= matched.is_by_number;
    Ok(matched.labels)
}

/// The columns of a file by their usual names, and its footer.
fn described(path: &Path) -> Result<(Columns, Footer)> {
    let mut first = None;
    for (image, label) in IMAGE.iter().flat_map(|image| LABEL.iter().map(move |label| (image, label))) {
        let columns = Columns { image: (*image).to_owned(), label: (*label).to_owned() };
        match image_table::footer(file(path)?, path, &columns) {
            Ok(footer) => return Ok((columns, footer)),
            Err(error @ ImagesError::Column { .. }) => first = first.or(Some(error)),
            Err(error) => return Err(error),
        }
    }
    Err(first.map_or_else(|| ImagesError::layout(path, "has no columns"), |error| error.with_key(KEY)))
}

fn file(path: &Path) -> Result<std::fs::File> {
    Ok(fs_err::File::open(path)?.into_file())
}
