//! The images recovery starts from, in slot order: `initial.parquet`, made by `init-select`.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, UInt32Array, UInt64Array};
use arrow::datatypes::{DataType, Schema};
use parquet::file::properties::WriterPropertiesBuilder;
use serde_json::Value;

use crate::columns::{
    Columns, WrongValue, check_label, check_probability, check_slot, hugging_face, image_array, image_type,
    label_array, required,
};
use crate::dataset::{IMAGE_GROUP_BYTES, IMAGE_GROUP_ROWS, image_features, image_properties};
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
    const GROUP_BYTES: usize = IMAGE_GROUP_BYTES;

    fn schema() -> Schema {
        Schema::new(vec![
            hugging_face("image", image_type()),
            hugging_face("label", DataType::Int64),
            required("slot", DataType::UInt32),
            required("image_id", DataType::UInt64),
            required("probability", DataType::Float32),
        ])
    }

    fn to_columns(rows: &[Self]) -> Vec<ArrayRef> {
        let paths = rows.iter().map(|row| slot_path(row.label, row.slot));
        vec![
            image_array(rows.iter().map(|row| row.png.as_slice()), paths),
            label_array(rows.iter().map(|row| row.label)),
            Arc::new(UInt32Array::from_iter_values(rows.iter().map(|row| row.slot))),
            Arc::new(UInt64Array::from_iter_values(rows.iter().map(|row| row.image_id))),
            Arc::new(Float32Array::from_iter_values(rows.iter().map(|row| row.probability))),
        ]
    }

    fn from_columns(columns: &Columns<'_>) -> Result<Vec<Self>> {
        let (png, _) = columns.images("image")?;
        let labels = columns.labels("label")?;
        let slot: &UInt32Array = columns.required("slot")?;
        let image_id: &UInt64Array = columns.required("image_id")?;
        let probability: &Float32Array = columns.required("probability")?;
        let row = |index: usize| InitialRow {
            png: png.value(index).to_vec(),
            label: labels[index],
            slot: slot.value(index),
            image_id: image_id.value(index),
            probability: probability.value(index),
        };
        Ok((0..columns.rows()).map(row).collect())
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

    fn features(classes: &[String]) -> Option<Value> {
        let plain = [("slot", "uint32"), ("image_id", "uint64"), ("probability", "float32")];
        Some(image_features(classes, &plain))
    }

    fn properties(builder: WriterPropertiesBuilder) -> WriterPropertiesBuilder {
        image_properties(builder)
    }
}

/// The file name under which an image of a slot is shown and exported.
pub(crate) fn slot_path(label: u32, slot: u32) -> String {
    format!("class{label:05}_slot{slot:05}.png")
}
