//! The table as CSV and as Parquet.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, RecordBatch, StringArray, UInt32Array, UInt64Array,
};
use delt_harness::table::Score;
use parquet::arrow::ArrowWriter;

use crate::compare::method::{Cost, Measures, Method};

/// One column for each number; what was not measured is null. Accuracies are percent.
///
/// # Errors
/// Columns that Arrow does not take together, which would be a mistake of this function.
pub fn batch(methods: &[Method]) -> Result<RecordBatch> {
    let text = |of: fn(&Method) -> &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(methods.iter().map(of)))
    };
    let real = |of: &dyn Fn(&Measures) -> Option<f64>| -> ArrayRef {
        Arc::new(methods.iter().map(|m| m.measures.as_ref().and_then(of)).collect::<Float64Array>())
    };
    let whole = |of: &dyn Fn(&Measures) -> Option<u64>| -> ArrayRef {
        Arc::new(methods.iter().map(|m| m.measures.as_ref().and_then(of)).collect::<UInt64Array>())
    };
    let mean = |of: fn(&Measures) -> Option<Score>| real(&|m| of(m).map(|score| score.mean));
    let std = |of: fn(&Measures) -> Option<Score>| real(&|m| of(m).map(|score| score.std));
    let cost = |of: fn(&Cost) -> Option<f64>| real(&|m| m.cost.as_ref().and_then(of));
    let bounds = methods.iter().map(|m| m.measures.as_ref()?.cost.map(|cost| cost.is_lower_bound));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("pipeline", text(|m| &m.pipeline)),
        ("method", text(|m| &m.name)),
        ("ipc", Arc::new(UInt32Array::from_iter_values(methods.iter().map(|m| m.ipc)))),
        ("teacher", text(|m| &m.teacher)),
        ("student", text(|m| &m.student)),
        ("students", whole(&|m| Some(m.last.n as u64))),
        ("last_top1", mean(|m| Some(m.last))),
        ("last_top1_std", std(|m| Some(m.last))),
        ("best_top1", mean(|m| Some(m.best))),
        ("best_top1_std", std(|m| Some(m.best))),
        ("hard_label_top1", mean(|m| m.hard)),
        ("hard_label_top1_std", std(|m| m.hard)),
        ("label_robust_score", real(&|m| m.lrs)),
        ("augmentation_robust_score", real(&|m| m.ars)),
        ("cosine_to_centroid", real(&|m| Some(m.cosine_to_centroid))),
        ("pairwise_cosine", real(&|m| Some(m.pairwise_cosine))),
        ("images", whole(&|m| Some(m.images))),
        ("image_iterations", whole(&|m| Some(m.image_iterations))),
        ("seconds", cost(|cost| Some(cost.seconds))),
        ("cpu_seconds", cost(|cost| cost.cpu_seconds)),
        ("seconds_are_lower_bound", Arc::new(bounds.collect::<BooleanArray>())),
        ("peak_memory_bytes", whole(&|m| m.cost.and_then(|cost| cost.peak_memory_bytes))),
        ("image_bytes", whole(&|m| Some(m.image_bytes))),
        ("label_bytes_per_student", whole(&|m| Some(m.label_bytes))),
    ];
    Ok(RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)),
    )?)
}

/// Writes the batch as a Parquet file.
///
/// # Errors
/// A file that cannot be written.
pub fn write_parquet(path: &Path, batch: &RecordBatch) -> Result<()> {
    let mut writer = ArrowWriter::try_new(fs_err::File::create(path)?, batch.schema(), None)?;
    writer.write(batch)?;
    writer.close()?;
    Ok(())
}

/// Writes the batch as CSV with a header.
///
/// # Errors
/// A file that cannot be written.
pub fn write_csv(path: &Path, batch: &RecordBatch) -> Result<()> {
    Ok(arrow::csv::Writer::new(fs_err::File::create(path)?).write(batch)?)
}
