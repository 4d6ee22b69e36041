//! How training went, epoch by epoch: `history.parquet` of teachers and evaluations.

use arrow::array::{Float64Array, UInt32Array, UInt64Array};
use serde::{Deserialize, Serialize};

use crate::columns::{Column, Columns, WrongValue, nullable, required};
use crate::error::Result;
use crate::provenance::ArtifactKind;
use crate::table::{Row, TableReader, TableWriter};

/// The file.
pub const HISTORY_FILE: &str = "history.parquet";

/// Writes a history.
pub type HistoryWriter = TableWriter<HistoryRow>;

/// Reads a history.
pub type HistoryReader = TableReader<HistoryRow>;

/// One epoch of one network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistoryRow {
    /// The network's seed.
    pub seed: u64,
    /// The epoch, from 0.
    pub epoch: u32,
    /// Learning rate during the epoch.
    pub lr: f64,
    /// Mean training loss of the epoch.
    pub loss: f64,
    /// Test images whose first guess is right, percent; `None` where the epoch was not tested.
    pub top1: Option<f64>,
    /// Test images with the right class among the first five guesses, percent; `None` where the epoch was not tested.
    pub top5: Option<f64>,
}

impl Row for HistoryRow {
    const KINDS: &'static [ArtifactKind] = &[ArtifactKind::Teacher, ArtifactKind::Evaluation];
    fn to_columns(rows: &[Self]) -> Vec<Column> {
        vec![
            required("seed", UInt64Array::from_iter_values(rows.iter().map(|row| row.seed))),
            required("epoch", UInt32Array::from_iter_values(rows.iter().map(|row| row.epoch))),
            required("lr", Float64Array::from_iter_values(rows.iter().map(|row| row.lr))),
            required("loss", Float64Array::from_iter_values(rows.iter().map(|row| row.loss))),
            nullable("top1", rows.iter().map(|row| row.top1).collect::<Float64Array>()),
            nullable("top5", rows.iter().map(|row| row.top5).collect::<Float64Array>()),
        ]
    }

    fn from_columns(columns: &Columns<'_>, row: usize) -> Result<Self> {
        Ok(Self {
            seed: columns.value::<UInt64Array>("seed", row)?,
            epoch: columns.value::<UInt32Array>("epoch", row)?,
            lr: columns.value::<Float64Array>("lr", row)?,
            loss: columns.value::<Float64Array>("loss", row)?,
            top1: columns.optional::<Float64Array>("top1", row),
            top5: columns.optional::<Float64Array>("top5", row),
        })
    }

    fn check(&self, _index: u64, _classes: usize) -> Result<(), WrongValue> {
        for (column, measure) in [("top1", self.top1), ("top5", self.top5)] {
            if let Some(percent) = measure.filter(|percent| !(0.0..=100.0).contains(percent)) {
                return Err(WrongValue::new(column, percent, "a percentage"));
            }
        }
        Ok(())
    }
}
