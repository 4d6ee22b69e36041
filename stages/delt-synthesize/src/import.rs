//! Synthetic images that another project made, as an artifact of this one.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use delt_augment::resize::fit;
use delt_formats::{RgbImage, SyntheticRow};
use delt_harness::{external_images, interrupt};
use delt_images::external_set::{ExternalImage, Read};
use delt_images::stored_image::prepare;
use delt_pipeline::config::Branch;
use delt_pipeline::recipe::spread;

/// Names that a note lists before the rest is only counted.
const NAMES_SHOWN: usize = 5;

/// What was imported.
#[derive(Debug, Default)]
pub struct Imported {
    /// The images by class and slot.
    pub rows: Vec<SyntheticRow>,
    /// How many each class has, where a class has others than `select.ipc`.
    pub per_class: Vec<u64>,
    /// What a reader of the results must know.
    pub notes: Vec<String>,
}

/// The images of the branch by class and then in the order of their rows or file names, brought to the teacher's size as test
/// images are. The numbers found hold, whatever `select.ipc` says.
///
/// # Errors
/// Classes that are not the teacher's, images that cannot be read.
pub fn images(branch: &Branch, classes: &[String]) -> Result<Imported> {
    let Some(set) = external_images::of(branch, classes, Read::Images)? else {
        return Ok(Imported::default());
    };
    let (size, ipc) = (branch.pipeline.teacher.size, branch.pipeline.select.ipc);
    let counts = set.per_class(classes.len());
    let mut imported = Imported { notes: set.notes, ..Imported::default() };
    let mut sizes: BTreeMap<(u32, u32), u64> = BTreeMap::new();
    for ExternalImage { label, place, content } in set.images {
        interrupt::check()?;
        let picture = content
            .context("the content was asked for")
            .and_then(|content| Ok(RgbImage::decode(&prepare(content)?.bytes)?));
        let picture = picture.with_context(|| format!("synthesize.import: {place}"))?;
        *sizes.entry((picture.width, picture.height)).or_default() += 1;
        let png = fit(&picture, size).encode_png()?;
        let slot = imported.rows.last().filter(|row| row.label == label).map_or(0, |row| row.slot + 1);
        imported.rows.push(SyntheticRow { png, label, slot, ..SyntheticRow::default() });
    }
    sizes.remove(&(size, size));
    imported.notes.extend(resized(&sizes, size));
    if counts.iter().any(|count| *count > 0 && *count != u64::from(ipc)) {
        imported
            .notes
            .push(format!("{} images per class, select.ipc ({ipc}) does not count", spread(&counts)));
        imported.per_class = counts.clone();
    }
    imported.notes.extend(without_images(&counts, classes));
    Ok(imported)
}

/// What is said of images of other sizes.
fn resized(sizes: &BTreeMap<(u32, u32), u64>, size: u32) -> Option<String> {
    let images: u64 = sizes.values().sum();
    let ((width, height), _) = sizes.iter().max_by_key(|(_, images)| **images)?;
    let more = if sizes.len() > 1 { format!(" and {} other sizes", sizes.len() - 1) } else { String::new() };
    Some(format!("{images} images are {width} x {height}{more}, resized to {size} px"))
}

/// What is said of classes that have no image.
fn without_images(counts: &[u64], classes: &[String]) -> Option<String> {
    let names: Vec<String> = classes
        .iter()
        .zip(counts)
        .filter(|(_, count)| **count == 0)
        .map(|(name, _)| format!("`{name}`"))
        .collect();
    let more = match names.len().saturating_sub(NAMES_SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let shown = names.iter().take(NAMES_SHOWN).cloned().collect::<Vec<_>>().join(", ");
    (!names.is_empty())
        .then(|| format!("no images of {} of {} classes: {shown}{more}", names.len(), classes.len()))
}
