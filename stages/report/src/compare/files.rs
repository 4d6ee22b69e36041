//! The table as CSV and as Parquet.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, RecordBatch, StringArray, UInt32Array, UInt64Array,
};
use parquet::arrow::ArrowWriter;

use crate::compare::method::Method;

/// One column for each number; what was not measured is null. Accuracies are percent.
fn batch(methods: &[Method]) -> Result<RecordBatch> {
    let text = |of: fn(&Method) -> &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(methods.iter().map(of)))
    };
    let real = |of: fn(&Method) -> Option<f64>| -> ArrayRef {
        Arc::new(methods.iter().map(of).collect::<Float64Array>())
    };
    let whole = |of: fn(&Method) -> Option<u64>| -> ArrayRef {
        Arc::new(methods.iter().map(of).collect::<UInt64Array>())
    };
    let bounds = methods.iter().map(|m| Some(m.cost?.is_lower_bound));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("pipeline", text(|m| &m.pipeline)),
        ("method", text(|m| &m.row.name)),
        ("ipc", Arc::new(UInt32Array::from_iter_values(methods.iter().map(|m| m.ipc)))),
        ("teacher", text(|m| &m.teacher)),
        ("student", text(|m| &m.row.student)),
        ("students", whole(|m| Some(m.row.n()? as u64))),
        ("last_top1", real(|m| Some(m.row.last?.mean))),
        ("last_top1_std", real(|m| Some(m.row.last?.std))),
        ("best_top1", real(|m| Some(m.row.best?.mean))),
        ("best_top1_std", real(|m| Some(m.row.best?.std))),
        ("hard_label_top1", real(|m| Some(m.hard?.mean))),
        ("hard_label_top1_std", real(|m| Some(m.hard?.std))),
        ("label_robust_score", real(|m| m.lrs)),
        ("augmentation_robust_score", real(|m| m.ars)),
        ("cosine_to_centroid", real(|m| m.row.cosine_to_centroid)),
        ("pairwise_cosine", real(|m| m.row.pairwise_cosine)),
        ("images", whole(|m| m.row.images)),
        ("image_iterations", whole(|m| m.row.image_iterations)),
        ("seconds", real(|m| Some(m.cost?.seconds))),
        ("cpu_seconds", real(|m| m.cost?.cpu_seconds)),
        ("seconds_are_lower_bound", Arc::new(bounds.collect::<BooleanArray>())),
        ("peak_memory_bytes", whole(|m| m.cost?.peak_memory_bytes)),
        ("image_bytes", whole(|m| m.row.image_bytes)),
        ("label_bytes_per_student", whole(|m| m.row.label_bytes)),
    ];
    Ok(RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)),
    )?)
}

/// Writes the table beside a page, as CSV with a header and as Parquet.
///
/// # Errors
/// A file that cannot be written.
pub fn write(page: &Path, methods: &[Method]) -> Result<()> {
    let table = batch(methods)?;
    let file = |extension| fs_err::File::create(page.with_extension(extension));
    arrow::csv::Writer::new(file("csv")?).write(&table)?;
    let mut writer = ArrowWriter::try_new(file("parquet")?, table.schema(), None)?;
    writer.write(&table)?;
    writer.close()?;
    Ok(())
}
