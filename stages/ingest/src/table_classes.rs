//! The class list of several tables, and the way from the label column of each into it. Names count, never places.

use std::collections::BTreeSet;
use std::path::Path;

use delt_images::class_lists;
use delt_images::image_table::Footer;
use delt_images::label_column::{LabelKind, Labels};

use crate::error::{IngestError, Result};

/// The classes of a column of true and false.
const TRUTH: [&str; 2] = ["false", "true"];

/// The class list: the given one, else that of the first table whose metadata has one, else the texts of the label columns,
/// sorted by code point.
///
/// # Errors
/// Numbers that nothing gives names.
pub(crate) fn list<'a>(
    tables: &[(&'a Path, &'a Footer)],
    given: Option<&[String]>,
    column: &str,
    names: impl Fn(&Path) -> Result<BTreeSet<String>>,
) -> Result<Vec<String>> {
    let described = tables.iter().find_map(|(_, footer)| footer.class_names.as_deref());
    if let Some(list) = given.or(described) {
        return Ok(list.to_vec());
    }
    let mut texts = BTreeSet::new();
    for (path, footer) in tables {
        match footer.labels {
            LabelKind::Numbers => return Err(IngestError::no_class_names(path, column, &footer.texts)),
            LabelKind::Truth => texts.extend(TRUTH.map(str::to_owned)),
            LabelKind::Names => texts.extend(names(path)?),
        }
    }
    // an empty text is no name: such rows are refused when they are read
    Ok(texts.into_iter().filter(|text| !text.is_empty()).collect())
}

/// The way from each table's label column into `classes`. Where these were given, they may also be other names for the list that the
/// first table has, place by place.
///
/// # Errors
/// A table whose class list has names that `classes` lack.
pub(crate) fn join(tables: &[(&Path, &Footer)], classes: &[String], is_given: bool) -> Result<Vec<Labels>> {
    let first = tables.iter().find_map(|(path, footer)| Some((path, footer.class_names.as_ref()?)));
    let is_renamed = |names: &[String]| is_given && class_lists::is_renamed(names, classes);
    let labels = |(path, footer): &(&Path, &Footer)| match (footer.labels, &footer.class_names) {
        (LabelKind::Names, _) => Ok(Labels::of_names(classes)),
        (LabelKind::Truth, _) => {
            let places = class_lists::places(&TRUTH.map(str::to_owned), classes);
            Ok(places.map_or(Labels::Numbers(classes.len()), Labels::Places))
        }
        (LabelKind::Numbers, None) => Ok(Labels::Numbers(classes.len())),
        (LabelKind::Numbers, Some(names)) => {
            if names == classes {
                return Ok(Labels::Numbers(classes.len()));
            }
            if let Some(places) = class_lists::places(names, classes) {
                return Ok(Labels::Places(places));
            }
            let (first_path, list) = first.unwrap_or((path, names));
            if names == list && is_renamed(list) {
                return Ok(Labels::Numbers(classes.len()));
            }
            match class_lists::places(names, list).filter(|_| is_renamed(list)) {
                Some(places) => Ok(Labels::Places(places)),
                None => {
                    Err(disagreement(path, names, classes, if is_given { None } else { Some(first_path) }))
                }
            }
        }
    };
    tables.iter().map(labels).collect()
}

fn disagreement(path: &Path, names: &[String], classes: &[String], other: Option<&Path>) -> IngestError {
    let difference = class_lists::difference(names, classes);
    let (of, cure) = match other {
        Some(other) => (
            format!("as {} has them", other.display()),
            "make the files agree, or give all names in `ingest.source.class_names`",
        ),
        None => (
            "as `ingest.source.class_names` has them".to_owned(),
            "give all names there, or as many other names in the files' order",
        ),
    };
    IngestError::layout(path, format!("{difference}, {of}; {cure}"))
}
