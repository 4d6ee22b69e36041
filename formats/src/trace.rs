//! The losses of recovery, iteration by iteration: `trace.parquet`, beside the synthetic images.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, Float64Array, UInt32Array};
use arrow::datatypes::{DataType, Schema};

use crate::columns::{Columns, WrongValue, required};
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
    const GROUP_ROWS: usize = 65_536;

    fn schema() -> Schema {
        Schema::new(vec![
            required("batch", DataType::UInt32),
            required("iteration", DataType::UInt32),
            required("lr", DataType::Float64),
            required("ce", DataType::Float32),
            required("bn", DataType::Float32),
        ])
    }

    fn to_columns(rows: &[Self]) -> Vec<ArrayRef> {
        vec![
            Arc::new(UInt32Array::from_iter_values(rows.iter().map(|row| row.batch))),
            Arc::new(UInt32Array::from_iter_values(rows.iter().map(|row| row.iteration))),
            Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.lr))),
            Arc::new(Float32Array::from_iter_values(rows.iter().map(|row| row.ce))),
            Arc::new(Float32Array::from_iter_values(rows.iter().map(|row| row.bn))),
        ]
    }

    fn from_columns(columns: &Columns<'_>) -> Result<Vec<Self>> {
        let batch: &UInt32Array = columns.required("batch")?;
        let iteration: &UInt32Array = columns.required("iteration")?;
        let lr: &Float64Array = columns.required("lr")?;
        let ce: &Float32Array = columns.required("ce")?;
        let bn: &Float32Array = columns.required("bn")?;
        let row = |index: usize| TraceRow {
            batch: batch.value(index),
            iteration: iteration.value(index),
            lr: lr.value(index),
            ce: ce.value(index),
            bn: bn.value(index),
        };
        Ok((0..columns.rows()).map(row).collect())
    }

    fn check(&self, _index: u64, _classes: usize) -> Result<(), WrongValue> {
        Ok(())
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
