//! The losses of recovery, iteration by iteration: `trace.parquet`, beside the synthetic images.

use arrow::array::{Float32Array, Float64Array, UInt32Array};

use crate::columns::{Column, Columns, WrongValue, required};
use crate::error::Result;
use crate::provenance::ArtifactKind;
use crate::table::{Row, TableReader, TableWriter};

/// The file.
pub const TRACE_FILE: &str = "trace.parquet";

/// Writes a trace.
pub type TraceWriter = TableWriter<TraceRow>;

/// Reads a trace.
pub type TraceReader = TableReader<TraceRow>;

/// One iteration of one batch.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceRow {
    /// The batch, from 0.
    pub batch: u32,
    /// The batch's iteration, from 0.
    pub iteration: u32,
    /// Learning rate of the step.
    pub lr: f64,
    /// Mean cross-entropy of the active images, or with a barycenter as target the weighted squared distance of their features.
    pub ce: f32,
    /// The weighted sum of BatchNorm terms, and of those of convolutions where they are matched, before alpha_BN.
    pub bn: f32,
}

impl Row for TraceRow {
    const KINDS: &'static [ArtifactKind] = &[ArtifactKind::Synthetic];
    fn to_columns(rows: &[Self]) -> Vec<Column> {
        vec![
            required("batch", UInt32Array::from_iter_values(rows.iter().map(|row| row.batch))),
            required("iteration", UInt32Array::from_iter_values(rows.iter().map(|row| row.iteration))),
            required("lr", Float64Array::from_iter_values(rows.iter().map(|row| row.lr))),
            required("ce", Float32Array::from_iter_values(rows.iter().map(|row| row.ce))),
            required("bn", Float32Array::from_iter_values(rows.iter().map(|row| row.bn))),
        ]
    }

    fn from_columns(columns: &Columns<'_>, row: usize) -> Result<Self> {
        Ok(Self {
            batch: columns.value::<UInt32Array>("batch", row)?,
            iteration: columns.value::<UInt32Array>("iteration", row)?,
            lr: columns.value::<Float64Array>("lr", row)?,
            ce: columns.value::<Float32Array>("ce", row)?,
            bn: columns.value::<Float32Array>("bn", row)?,
        })
    }

    fn check_order(&self, before: Option<&Self>) -> Result<(), WrongValue> {
        let Some(before) = before else { return Ok(()) };
        if self.batch < before.batch {
            let expected = format!("{} or above, since batches ascend from row to row", before.batch);
            return Err(WrongValue::new("batch", self.batch, expected));
        }
        if self.batch == before.batch && self.iteration <= before.iteration {
            let expected = format!("an iteration after {}, that of the row before", before.iteration);
            return Err(WrongValue::new("iteration", self.iteration, expected));
        }
        Ok(())
    }
}
