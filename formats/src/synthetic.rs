//! The distilled images: `synthetic.parquet`, made by `delt-synthesize`. The losses beside it are in [`crate::trace`].

use std::sync::Arc;

use arrow::array::{ArrayRef, UInt32Array};
use arrow::datatypes::{DataType, Schema};
use parquet::file::properties::WriterPropertiesBuilder;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::columns::{
    Columns, WrongValue, check_label, check_slot, hugging_face, image_array, image_type, label_array,
    required,
};
use crate::dataset::{IMAGE_GROUP_BYTES, IMAGE_GROUP_ROWS, image_features, image_properties};
use crate::error::Result;
use crate::initial::slot_path;
use crate::provenance::ArtifactKind;
use crate::table::{Row, TableReader, TableWriter};

/// The file.
pub const SYNTHETIC_FILE: &str = "synthetic.parquet";

/// What the manifest of synthetic images says about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SyntheticFacts {
    /// Images.
    pub images: u64,
    /// Sum over the images of their iterations; 0 where they are real or imported.
    pub image_iterations: u64,
    /// Most rounds that an image was optimized in; none where the method has no rounds.
    pub rounds: Option<u64>,
}

/// Writes synthetic images.
pub type SyntheticWriter = TableWriter<SyntheticRow>;

/// Reads synthetic images.
pub type SyntheticReader = TableReader<SyntheticRow>;

/// One distilled image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntheticRow {
    /// The image as PNG.
    pub png: Vec<u8>,
    /// Index into the class list.
    pub label: u32,
    /// Place in the class, from 0.
    pub slot: u32,
    /// The round at which it joined the optimization, from 0.
    pub round: u32,
    /// How many iterations updated it.
    pub iterations: u32,
}

impl Row for SyntheticRow {
    const KINDS: &'static [ArtifactKind] = &[ArtifactKind::Synthetic];
    const GROUP_ROWS: usize = IMAGE_GROUP_ROWS;
    const GROUP_BYTES: usize = IMAGE_GROUP_BYTES;

    fn schema() -> Schema {
        Schema::new(vec![
            hugging_face("image", image_type()),
            hugging_face("label", DataType::Int64),
            required("slot", DataType::UInt32),
            required("round", DataType::UInt32),
            required("iterations", DataType::UInt32),
        ])
    }

    fn to_columns(rows: &[Self]) -> Vec<ArrayRef> {
        let paths = rows.iter().map(|row| slot_path(row.label, row.slot));
        vec![
            image_array(rows.iter().map(|row| row.png.as_slice()), paths),
            label_array(rows.iter().map(|row| row.label)),
            Arc::new(UInt32Array::from_iter_values(rows.iter().map(|row| row.slot))),
            Arc::new(UInt32Array::from_iter_values(rows.iter().map(|row| row.round))),
            Arc::new(UInt32Array::from_iter_values(rows.iter().map(|row| row.iterations))),
        ]
    }

    fn from_columns(columns: &Columns<'_>) -> Result<Vec<Self>> {
        let (png, _) = columns.images("image")?;
        let labels = columns.labels("label")?;
        let slot: &UInt32Array = columns.required("slot")?;
        let round: &UInt32Array = columns.required("round")?;
        let iterations: &UInt32Array = columns.required("iterations")?;
        let row = |index: usize| SyntheticRow {
            png: png.value(index).to_vec(),
            label: labels[index],
            slot: slot.value(index),
            round: round.value(index),
            iterations: iterations.value(index),
        };
        Ok((0..columns.rows()).map(row).collect())
    }

    fn check(&self, _index: u64, classes: usize) -> Result<(), WrongValue> {
        check_label(self.label, classes)
    }

    fn check_order(&self, before: Option<&Self>) -> Result<(), WrongValue> {
        check_slot((self.label, self.slot), before.map(|row| (row.label, row.slot)))
    }

    fn picture_bytes(&self) -> usize {
        self.png.len()
    }

    fn features(classes: &[String]) -> Option<Value> {
        let plain = [("slot", "uint32"), ("round", "uint32"), ("iterations", "uint32")];
        Some(image_features(classes, &plain))
    }

    fn properties(builder: WriterPropertiesBuilder) -> WriterPropertiesBuilder {
        image_properties(builder)
    }
}
