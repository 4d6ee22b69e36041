//! The images recovery starts from, in slot order: `initial.parquet`, made by `init-select`.

use arrow::array::{Float32Array, UInt32Array, UInt64Array};

use crate::columns::{
    Column, Columns, WrongValue, check_label, check_probability, check_slot, image_and_label, required,
};
use crate::dataset::IMAGE_GROUP_ROWS;
use crate::error::Result;
use crate::provenance::ArtifactKind;
use crate::table::{Row, TableReader, TableWriter};

/// The file.
pub const INITIAL_FILE: &str = "initial.parquet";

/// Writes initial images.
pub type InitialWriter = TableWriter<InitialRow>;

/// Reads initial images.
pub type InitialReader = TableReader<InitialRow>;

/// One selected real image.
#[derive(Clone, Debug, PartialEq)]
pub struct InitialRow {
    /// The image, fitted to the teacher's size, as PNG.
    pub png: Vec<u8>,
    /// Index into the class list.
    pub label: u32,
    /// Place in the class, from 0; slot 0 is optimized longest.
    pub slot: u32,
    /// The training image it was.
    pub image_id: u64,
    /// The teacher's softmax probability of the true class.
    pub probability: f32,
}

impl Row for InitialRow {
    const KINDS: &'static [ArtifactKind] = &[ArtifactKind::Initial];
    const GROUP_ROWS: usize = IMAGE_GROUP_ROWS;

    fn to_columns(rows: &[Self]) -> Vec<Column> {
        let [image, label] = slot_columns(rows.iter().map(|row| (row.png.as_slice(), row.label, row.slot)));
        vec![
            image,
            label,
            required("slot", UInt32Array::from_iter_values(rows.iter().map(|row| row.slot))),
            required("image_id", UInt64Array::from_iter_values(rows.iter().map(|row| row.image_id))),
            required("probability", Float32Array::from_iter_values(rows.iter().map(|row| row.probability))),
        ]
    }

    fn from_columns(columns: &Columns<'_>, row: usize) -> Result<Self> {
        Ok(Self {
            png: columns.image(row)?.0,
            label: columns.label(row)?,
            slot: columns.value::<UInt32Array>("slot", row)?,
            image_id: columns.value::<UInt64Array>("image_id", row)?,
            probability: columns.value::<Float32Array>("probability", row)?,
        })
    }

    fn check(&self, _index: u64, classes: usize) -> Result<(), WrongValue> {
        check_label(self.label, classes)?;
        check_probability("probability", self.probability)
    }

    fn check_order(&self, before: Option<&Self>) -> Result<(), WrongValue> {
        check_slot((self.label, self.slot), before.map(|row| (row.label, row.slot)))
    }

    fn picture_bytes(&self) -> usize {
        self.png.len()
    }
}

/// The columns `image` and `label` of images with slots, each under the file name by which it is shown and exported.
pub(crate) fn slot_columns<'a>(rows: impl Iterator<Item = (&'a [u8], u32, u32)> + Clone) -> [Column; 2] {
    let path = |(_, label, slot)| format!("class{label:05}_slot{slot:05}.png");
    image_and_label(
        rows.clone().map(|(png, ..)| png),
        rows.clone().map(path),
        rows.map(|(_, label, _)| label),
    )
}
