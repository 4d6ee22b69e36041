//! The distilled images: `synthetic.parquet`, made by `delt-synthesize`. The losses beside it are in [`crate::trace`].

use arrow::array::UInt32Array;
use serde::{Deserialize, Serialize};

use crate::columns::{Column, Columns, WrongValue, check_label, check_slot, required};
use crate::dataset::IMAGE_GROUP_ROWS;
use crate::error::Result;
use crate::initial::slot_columns;
use crate::provenance::ArtifactKind;
use crate::table::{Row, TableReader, TableWriter};

/// The file.
pub const SYNTHETIC_FILE: &str = "synthetic.parquet";

/// What the manifest of synthetic images says about them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

    fn from_columns(columns: &Columns<'_>, row: usize) -> Result<Self> {
        Ok(Self {
            png: columns.image(row)?.0,
            label: columns.label(row)?,
            slot: columns.value::<UInt32Array>("slot", row)?,
            round: columns.value::<UInt32Array>("round", row)?,
            iterations: columns.value::<UInt32Array>("iterations", row)?,
        })
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
}
