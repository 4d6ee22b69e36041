//! The distilled images: `synthetic.parquet`, made by `delt-synthesize`. The losses beside it are in [`crate::trace`].
//!
//! Schema version 1 has the image as 8-bit PNG. Methods that learn unbounded images, targets or learning rates write version 2:
//! the PNG is then a preview, and beside it stand the pixels as a network takes them and the learned target.

use arrow::array::UInt32Array;
use arrow::datatypes::Float32Type;
use parquet::file::properties::WriterPropertiesBuilder;
use serde::{Deserialize, Serialize};

use crate::columns::{
    Column, Columns, WrongValue, check_label, check_slot, nullable, optional_list_array, required,
};
use crate::dataset::IMAGE_GROUP_ROWS;
use crate::error::Result;
use crate::initial::slot_columns;
use crate::provenance::{ArtifactKind, SYNTHETIC_WITH_PIXELS};
use crate::space::Space;
use crate::table::{Row, TableReader, TableWriter, without_dictionary};

/// The file.
pub const SYNTHETIC_FILE: &str = "synthetic.parquet";

/// The course of some images, where a method notes it: a row for each moment, from the start to the end.
pub const COURSE_FILE: &str = "course.png";

/// What the manifest of synthetic images says about them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SyntheticFacts {
    /// Images.
    pub images: u64,
    /// Sum over the images of their iterations; 0 where they are real or imported.
    pub image_iterations: u64,
    /// Most rounds that an image was optimized in; none where the method has no rounds.
    pub rounds: Option<u64>,
    /// Images of each class, where they were imported and a class has others than the configured number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub per_class: Vec<u64>,
    /// The space of the rows' pixels, where they have any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub space: Option<Space>,
    /// The learning rate that was learned with the images (MTT, TESLA).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learned_lr: Option<f64>,
    /// The logarithm of the temperature that was learned with the images (RCIG).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_temperature: Option<f64>,
}

/// Images of a class, on average over the classes that have any.
pub fn mean_per_class(per_class: &[u64]) -> f64 {
    let in_use = per_class.iter().filter(|images| **images > 0).count();
    per_class.iter().sum::<u64>() as f64 / in_use.max(1) as f64
}

/// Writes synthetic images.
pub type SyntheticWriter = TableWriter<SyntheticRow>;

/// Reads synthetic images.
pub type SyntheticReader = TableReader<SyntheticRow>;

/// One distilled image.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SyntheticRow {
    /// The image as PNG; where there are pixels, a preview of them.
    pub png: Vec<u8>,
    /// Index into the class list.
    pub label: u32,
    /// Place in the class, from 0.
    pub slot: u32,
    /// The round at which it joined the optimization, from 0.
    pub round: u32,
    /// How many iterations updated it.
    pub iterations: u32,
    /// The image in the space of [`SyntheticFacts::space`]: red, then green, then blue, each row by row. Only in schema version 2.
    pub pixels: Option<Vec<f32>>,
    /// The learned target, a weight for each class. Only in schema version 2; without one the target is the label.
    pub target: Option<Vec<f32>>,
}

impl Row for SyntheticRow {
    const KINDS: &'static [ArtifactKind] = &[ArtifactKind::Synthetic];
    const GROUP_ROWS: usize = IMAGE_GROUP_ROWS;

    fn to_columns(rows: &[Self]) -> Vec<Column> {
        let [image, label] = slot_columns(rows.iter().map(|row| (row.png.as_slice(), row.label, row.slot)));
        vec![
            image,
            label,
            required("slot", UInt32Array::from_iter_values(rows.iter().map(|row| row.slot))),
            required("round", UInt32Array::from_iter_values(rows.iter().map(|row| row.round))),
            required("iterations", UInt32Array::from_iter_values(rows.iter().map(|row| row.iterations))),
        ]
    }

    fn added_columns(rows: &[Self]) -> Vec<Column> {
        let pixels = optional_list_array::<Float32Type>(rows.iter().map(|row| row.pixels.as_deref()));
        let targets = optional_list_array::<Float32Type>(rows.iter().map(|row| row.target.as_deref()));
        vec![nullable("pixels", pixels), nullable("target", targets)]
    }

    fn least_schema_version(&self) -> u32 {
        if self.pixels.is_some() || self.target.is_some() { SYNTHETIC_WITH_PIXELS } else { 1 }
    }

    fn from_columns(columns: &Columns<'_>, row: usize) -> Result<Self> {
        Ok(Self {
            png: columns.image(row)?.0,
            label: columns.label(row)?,
            slot: columns.value::<UInt32Array>("slot", row)?,
            round: columns.value::<UInt32Array>("round", row)?,
            iterations: columns.value::<UInt32Array>("iterations", row)?,
            pixels: columns.optional_list::<Float32Type>("pixels", row),
            target: columns.optional_list::<Float32Type>("target", row),
        })
    }

    fn check(&self, _index: u64, classes: usize) -> Result<(), WrongValue> {
        check_label(self.label, classes)?;
        if let Some(pixels) = &self.pixels {
            let sides = png_sides(&self.png).unwrap_or_default();
            let expected = format!("{}, three for each pixel of the preview", 3 * sides.0 * sides.1);
            check_numbers("pixels", pixels, 3 * sides.0 * sides.1, expected)?;
        }
        if let Some(target) = &self.target {
            check_numbers("target", target, classes, format!("{classes}, one per class"))?;
        }
        Ok(())
    }

    fn check_order(&self, before: Option<&Self>) -> Result<(), WrongValue> {
        check_slot((self.label, self.slot), before.map(|row| (row.label, row.slot)))
    }

    fn picture_bytes(&self) -> usize {
        self.png.len() + self.pixels.as_ref().map_or(0, |pixels| size_of_val(pixels.as_slice()))
    }

    fn properties(builder: WriterPropertiesBuilder) -> WriterPropertiesBuilder {
        let columns = [["image", "bytes"].as_slice(), &["image", "path"], &["pixels", "list", "element"]];
        columns.into_iter().fold(builder, without_dictionary)
    }
}

/// Numbers that are too many or too few, or no numbers.
fn check_numbers(
    column: &'static str,
    numbers: &[f32],
    count: usize,
    expected: String,
) -> Result<(), WrongValue> {
    if numbers.len() != count {
        return Err(WrongValue::new(column, format!("{} values", numbers.len()), expected));
    }
    match numbers.iter().find(|number| !number.is_finite()) {
        Some(number) => Err(WrongValue::new(column, number, "finite numbers")),
        None => Ok(()),
    }
}

/// Width and height of a PNG, from its first chunk.
fn png_sides(png: &[u8]) -> Option<(usize, usize)> {
    let number = |from: usize| Some(u32::from_be_bytes(png.get(from..from + 4)?.try_into().ok()?) as usize);
    Some((number(16)?, number(20)?))
}
