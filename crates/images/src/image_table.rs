//! Parquet tables of images as Hugging Face lays them out: a struct of `bytes` and `path`, integer labels, and class
//! names in the metadata key `huggingface`.

use std::ops::ControlFlow;
use std::path::Path;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, Schema};
use delt_guard::pages::{self, Batches};
use parquet::arrow::ProjectionMask;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::ChunkReader;
use serde_json::Value;

use crate::error::{ImagesError, Result};

/// Metadata key under which the `datasets` library describes the columns.
const METADATA_KEY: &str = "huggingface";
/// Rows decoded at once: bounds the memory.
const ROWS: usize = 256;
const IMAGE_KEY: &str = "ingest.source.image_column";
const LABEL_KEY: &str = "ingest.source.label_column";

/// Which columns hold what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns {
    /// Images: a struct with a binary field `bytes`, or plain binary.
    pub image: String,
    /// Labels: integers.
    pub label: String,
}

/// One row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Number of the row in its file.
    pub index: u64,
    /// Bytes of a JPEG or PNG.
    pub bytes: Vec<u8>,
    /// The image's file name, where the table has one.
    pub path: Option<String>,
    /// The label, checked.
    pub label: u32,
}

/// What a table's footer tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Footer {
    /// Number of rows.
    pub rows: u64,
    /// Class names of the label column, where the metadata has them.
    pub class_names: Option<Vec<String>>,
}

/// Reads a table's footer and checks the columns. `path` names the table in errors.
///
/// # Errors
/// No Parquet, or columns that are absent or of an unusable type.
pub fn footer<R: ChunkReader + 'static>(input: R, path: &Path, columns: &Columns) -> Result<Footer> {
    let builder = pages::open(input).map_err(parquet_error(path))?;
    check_columns(builder.schema(), path, columns)?;
    let file = builder.metadata().file_metadata();
    let described = file.key_value_metadata().into_iter().flatten().find(|entry| entry.key == METADATA_KEY);
    let class_names =
        described.and_then(|entry| entry.value.as_deref()).and_then(|json| names_in(json, &columns.label));
    Ok(Footer { rows: rows_of(builder.metadata()), class_names })
}

/// Hands over the rows of a table in order, decoding a few hundred at a time.
///
/// # Errors
/// As [`footer`]; a label that is null or not below `classes`; an image without bytes; what the visitor reports.
pub fn visit<R: ChunkReader + 'static, E: From<ImagesError>>(
    input: R,
    path: &Path,
    columns: &Columns,
    classes: usize,
    visitor: &mut dyn FnMut(Row) -> Result<ControlFlow<()>, E>,
) -> Result<ControlFlow<()>, E> {
    let (batches, claimed) = batches(input, path, &[&columns.image, &columns.label])?;
    let mut index = 0;
    for batch in batches {
        let rows = decode(&batch.map_err(arrow_error(path))?, path, columns, classes, index)?;
        index += rows.len() as u64;
        for row in rows {
            if visitor(row)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
    }
    check_rows(path, index, claimed)?;
    Ok(ControlFlow::Continue(()))
}

/// Reads the label column alone.
///
/// # Errors
/// As [`visit`].
pub fn labels<R: ChunkReader + 'static>(
    input: R,
    path: &Path,
    columns: &Columns,
    classes: usize,
) -> Result<Vec<u32>> {
    let (batches, claimed) = batches(input, path, &[&columns.label])?;
    let mut labels = Vec::new();
    for batch in batches {
        let batch = batch.map_err(arrow_error(path))?;
        if let Some(column) = batch.column_by_name(&columns.label) {
            let start = labels.len() as u64;
            labels.extend(checked_labels(column, path, classes, start)?);
        }
    }
    check_rows(path, labels.len() as u64, claimed)?;
    Ok(labels)
}

/// The given columns in batches, and how many rows the footer claims.
fn batches<R: ChunkReader + 'static>(input: R, path: &Path, columns: &[&str]) -> Result<(Batches, u64)> {
    let builder = pages::open(input).map_err(parquet_error(path))?;
    let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
    let claimed = rows_of(builder.metadata());
    let batches = Batches::of(builder.with_projection(mask).with_batch_size(ROWS));
    Ok((batches.map_err(parquet_error(path))?, claimed))
}

fn rows_of(metadata: &ParquetMetaData) -> u64 {
    u64::try_from(metadata.file_metadata().num_rows()).unwrap_or(0)
}

/// Refuses a table whose pages end before its rows do.
fn check_rows(path: &Path, found: u64, claimed: u64) -> Result<()> {
    if found == claimed {
        return Ok(());
    }
    Err(ImagesError::layout(
        path,
        format!("holds {found} rows, its footer claims {claimed}; download it again"),
    ))
}

fn parquet_error(path: &Path) -> impl FnOnce(parquet::errors::ParquetError) -> ImagesError + '_ {
    move |source| ImagesError::Parquet { path: path.to_path_buf(), source }
}

fn arrow_error(path: &Path) -> impl FnOnce(arrow::error::ArrowError) -> ImagesError + '_ {
    move |source| ImagesError::Arrow { path: path.to_path_buf(), source }
}

fn check_columns(schema: &Schema, path: &Path, columns: &Columns) -> Result<()> {
    let wrong = |problem, key| ImagesError::Column { path: path.to_path_buf(), problem, key };
    let kind = |column: &str, key| {
        let names = || schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>();
        let absent = || wrong(format!("has no column `{column}`, found {}", names().join(", ")), key);
        schema.column_with_name(column).map(|(_, field)| field.data_type()).ok_or_else(absent)
    };
    let image = kind(&columns.image, IMAGE_KEY)?;
    let bytes = match image {
        DataType::Struct(fields) => {
            fields.iter().find(|field| field.name() == "bytes").map(|field| field.data_type())
        }
        plain => Some(plain),
    };
    if !matches!(bytes, Some(DataType::Binary | DataType::LargeBinary | DataType::BinaryView)) {
        let expected = "a struct with binary `bytes`, or binary";
        let problem = format!("column `{}` holds {image}, expected {expected}", columns.image);
        return Err(wrong(problem, IMAGE_KEY));
    }
    let label = kind(&columns.label, LABEL_KEY)?;
    if !label.is_integer() {
        let problem = format!("column `{}` holds {label}, expected integers", columns.label);
        return Err(wrong(problem, LABEL_KEY));
    }
    Ok(())
}

fn decode(
    batch: &RecordBatch,
    path: &Path,
    columns: &Columns,
    classes: usize,
    start: u64,
) -> Result<Vec<Row>> {
    check_columns(batch.schema_ref(), path, columns)?;
    let (Some(image), Some(label)) =
        (batch.column_by_name(&columns.image), batch.column_by_name(&columns.label))
    else {
        return Ok(Vec::new());
    };
    let labels = checked_labels(label, path, classes, start)?;
    let (bytes, paths) = match image.as_struct_opt() {
        Some(fields) => (fields.column_by_name("bytes").unwrap_or(image), fields.column_by_name("path")),
        None => (image, None),
    };
    let bytes = cast(bytes, &DataType::LargeBinary).map_err(arrow_error(path))?;
    let bytes = bytes.as_binary::<i64>();
    let paths =
        paths.map(|paths| cast(paths, &DataType::LargeUtf8)).transpose().map_err(arrow_error(path))?;
    let paths = paths.as_ref().and_then(|paths| paths.as_string_opt::<i64>());
    let mut rows = Vec::with_capacity(batch.num_rows());
    for (row, label) in labels.into_iter().enumerate() {
        // a null struct has null bytes too; empty bytes are found broken when they are decoded
        let picture =
            if image.is_null(row) || bytes.is_null(row) { Vec::new() } else { bytes.value(row).to_vec() };
        let name = paths.filter(|paths| !paths.is_null(row)).map(|paths| paths.value(row).to_owned());
        rows.push(Row { index: start + row as u64, bytes: picture, path: name, label });
    }
    Ok(rows)
}

/// The labels of rows from number `start` on, each below `classes`.
fn checked_labels(column: &ArrayRef, path: &Path, classes: usize, start: u64) -> Result<Vec<u32>> {
    let labels = cast(column, &DataType::Int64).map_err(arrow_error(path))?;
    let labels = labels.as_primitive::<Int64Type>();
    let check = |(row, label): (usize, Option<i64>)| {
        let checked = label.and_then(|label| u32::try_from(label).ok());
        checked.filter(|label| (*label as usize) < classes).ok_or_else(|| ImagesError::Label {
            place: format!("{} row {}", path.display(), start + row as u64),
            found: label.map_or_else(|| "null".to_owned(), |label| label.to_string()),
            classes,
        })
    };
    labels.iter().enumerate().map(check).collect()
}

/// `info.features.<column>.names`, a list of text.
fn names_in(json: &str, column: &str) -> Option<Vec<String>> {
    let described: Value = serde_json::from_str(json).ok()?;
    let names = described.get("info")?.get("features")?.get(column)?.get("names")?.as_array()?;
    names.iter().map(|name| name.as_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn class_names_come_from_the_label_columns_feature() {
        let json = r#"{"info": {"features": {"img": {"_type": "Image"},
            "fine_label": {"names": ["apple", "bear"], "_type": "ClassLabel"}}}}"#;
        assert_eq!(names_in(json, "fine_label"), Some(vec!["apple".to_owned(), "bear".to_owned()]));
        assert_eq!(names_in(json, "img"), None);
        assert_eq!(names_in("no json", "img"), None);
    }
}
