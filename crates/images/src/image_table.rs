//! Parquet tables of images as Hugging Face lays them out: a struct of `bytes` and `path`, labels, and class names in the metadata
//! key `huggingface`. What else the two columns may hold: [`crate::image_column`], [`crate::label_column`].

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::Path;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Schema};
use delt_guard::pages::{self, Batches, CheckedPages};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::ChunkReader;
use serde_json::Value;

use crate::error::{ImagesError, Result};
use crate::label_column::{self, LabelKind, Labels, text};
use crate::{image_column, not_parquet};

/// Metadata key under which the `datasets` library describes the columns.
const METADATA_KEY: &str = "huggingface";
/// Rows decoded at once: bounds the memory.
const ROWS: usize = 256;
const IMAGE_KEY: &str = "ingest.source.image_column";
const LABEL_KEY: &str = "ingest.source.label_column";
/// More texts than this in a label column are no class names but captions.
const MOST_NAMES: usize = 100_000;

/// Which columns hold what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns {
    /// Images: a struct with a binary field `bytes` or a text `path`, plain binary, or paths.
    pub image: String,
    /// Labels: whole numbers, text, or true and false.
    pub label: String,
}

/// One row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Number of the row in its file.
    pub index: u64,
    /// Bytes of a JPEG or PNG; none where the image is the file that `path` names, see [`image_column::content`].
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
    /// What the label column holds.
    pub labels: LabelKind,
    /// Columns of text, which may name classes.
    pub texts: Vec<String>,
    /// The column of paths, in Parquet's spelling, where images may be files beside the table.
    pub paths: Option<String>,
}

/// Reads a table's footer and checks the columns. `path` names the table in errors.
///
/// # Errors
/// No Parquet, or columns that are absent or of an unusable type.
pub fn footer<R: ChunkReader + 'static>(input: R, path: &Path, columns: &Columns) -> Result<Footer> {
    let builder = open(input, path)?;
    let (image, labels) = check_columns(builder.schema(), path, columns)?;
    let file = builder.metadata().file_metadata();
    let described = file.key_value_metadata().into_iter().flatten().find(|entry| entry.key == METADATA_KEY);
    let class_names =
        described.and_then(|entry| entry.value.as_deref()).and_then(|json| names_in(json, &columns.label));
    let paths = image_column::paths(&columns.image, image, builder.metadata());
    let texts = builder
        .schema()
        .fields()
        .iter()
        .filter(|field| LabelKind::of(field.data_type()) == Some(LabelKind::Names));
    let texts = texts.map(|field| field.name().clone()).collect();
    Ok(Footer { rows: rows_of(builder.metadata()), class_names, labels, texts, paths })
}

/// Hands over the rows of a table in order, decoding a few hundred at a time.
///
/// # Errors
/// As [`footer`]; a label that is null or none of `labels`; what the visitor reports.
pub fn visit<R: ChunkReader + 'static, E: From<ImagesError>>(
    input: R,
    path: &Path,
    columns: &Columns,
    labels: &Labels,
    visitor: &mut dyn FnMut(Row) -> Result<ControlFlow<()>, E>,
) -> Result<ControlFlow<()>, E> {
    each_batch(input, path, &[&columns.image, &columns.label], &mut |batch, start| {
        for row in decode(&batch, path, columns, labels, start)? {
            if visitor(row)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    })
}

/// Reads the label column alone.
///
/// # Errors
/// As [`visit`].
pub fn labels<R: ChunkReader + 'static>(
    input: R,
    path: &Path,
    columns: &Columns,
    labels: &Labels,
) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    let _ = each_column(input, path, &columns.label, &mut |column, start| {
        found.extend(labels.read(column, path, start)?);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(found)
}

/// The distinct texts of the label column.
///
/// # Errors
/// As [`footer`]; more texts than there can be classes.
pub fn names<R: ChunkReader + 'static>(input: R, path: &Path, columns: &Columns) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    let _ = each_column(input, path, &columns.label, &mut |column, _| {
        let found = text(column, path)?;
        for name in found.as_string::<i64>().iter().flatten() {
            if !names.contains(name) {
                names.insert(name.to_owned());
            }
        }
        if names.len() > MOST_NAMES {
            let problem = format!(
                "column `{}` holds more than {MOST_NAMES} texts, expected class names",
                columns.label
            );
            return Err(ImagesError::Column { path: path.to_path_buf(), problem, key: LABEL_KEY });
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(names)
}

/// Whether the labels of a table are withheld: its label column is absent, or all rows hold -1, nothing or an empty text.
///
/// # Errors
/// No Parquet.
pub fn is_unlabeled<R: ChunkReader + 'static>(input: R, path: &Path, columns: &Columns) -> Result<bool> {
    let builder = open(input, path)?;
    if builder.schema().column_with_name(&columns.label).is_none() {
        return Ok(builder.schema().column_with_name(&columns.image).is_some());
    }
    let mut rows = 0;
    let flow = each_column_of(builder, path, &columns.label, &mut |column, _| {
        rows += column.len();
        let is_withheld = label_column::is_withheld(column, path)?;
        Ok(if is_withheld { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    Ok(rows > 0 && flow.is_continue())
}

/// Hands over the paths of images, from the column that [`Footer::paths`] names.
///
/// # Errors
/// As [`footer`].
pub fn each_path<R: ChunkReader + 'static>(
    input: R,
    path: &Path,
    column: &str,
    visitor: &mut dyn FnMut(&str),
) -> Result<()> {
    let flow = each_column(input, path, column, &mut |column, _| {
        let column = column.as_struct_opt().map_or(column, |image| image.column(0));
        text(column, path)?.as_string::<i64>().iter().flatten().for_each(&mut *visitor);
        Ok(ControlFlow::Continue(()))
    });
    flow.map(drop)
}

/// Takes one column of a batch, and the number of its first row.
type ColumnVisitor<'a> = dyn FnMut(&ArrayRef, u64) -> Result<ControlFlow<()>> + 'a;

fn each_column<R: ChunkReader + 'static>(
    input: R,
    path: &Path,
    column: &str,
    visitor: &mut ColumnVisitor<'_>,
) -> Result<ControlFlow<()>> {
    each_column_of(open(input, path)?, path, column, visitor)
}

fn each_column_of<R: ChunkReader + 'static>(
    builder: Builder<R>,
    path: &Path,
    column: &str,
    visitor: &mut ColumnVisitor<'_>,
) -> Result<ControlFlow<()>> {
    each_batch_of(builder, path, &[column], &mut |batch, start| {
        batch.columns().first().map_or(Ok(ControlFlow::Break(())), |column| visitor(column, start))
    })
}

fn each_batch<R: ChunkReader + 'static, E: From<ImagesError>>(
    input: R,
    path: &Path,
    columns: &[&str],
    visitor: &mut dyn FnMut(RecordBatch, u64) -> Result<ControlFlow<()>, E>,
) -> Result<ControlFlow<()>, E> {
    each_batch_of(open(input, path)?, path, columns, visitor)
}

/// Hands over the given columns in batches, each with the number of its first row, and counts the rows.
fn each_batch_of<R: ChunkReader + 'static, E: From<ImagesError>>(
    builder: Builder<R>,
    path: &Path,
    columns: &[&str],
    visitor: &mut dyn FnMut(RecordBatch, u64) -> Result<ControlFlow<()>, E>,
) -> Result<ControlFlow<()>, E> {
    let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
    let claimed = rows_of(builder.metadata());
    let batches = Batches::of(builder.with_projection(mask).with_batch_size(ROWS));
    let mut rows = 0;
    for batch in batches.map_err(ImagesError::parquet(path))? {
        let batch = batch.map_err(ImagesError::arrow(path))?;
        let start = rows;
        rows += batch.num_rows() as u64;
        if visitor(batch, start)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    check_rows(path, rows, claimed)?;
    Ok(ControlFlow::Continue(()))
}

type Builder<R> = ParquetRecordBatchReaderBuilder<CheckedPages<R>>;

/// Opens a table; what is none is named.
fn open<R: ChunkReader + 'static>(input: R, path: &Path) -> Result<Builder<R>> {
    let piece = |start: u64, bytes: usize| input.get_bytes(start, bytes).map_err(ImagesError::parquet(path));
    let bytes = input.len();
    let head = piece(0, not_parquet::HEAD.min(usize::try_from(bytes).unwrap_or(usize::MAX)))?;
    let end = piece(bytes.saturating_sub(4), bytes.min(4) as usize)?;
    if let Some(what) = not_parquet::what_is(&head, &end, bytes) {
        return Err(ImagesError::layout(path, what));
    }
    pages::open(input).map_err(ImagesError::parquet(path))
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

/// The type of the image column, and what the label column holds.
fn check_columns<'a>(
    schema: &'a Schema,
    path: &Path,
    columns: &Columns,
) -> Result<(&'a DataType, LabelKind)> {
    let wrong = |problem, key| ImagesError::Column { path: path.to_path_buf(), problem, key };
    let kind = |column: &str, key| {
        let names = || schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>();
        let absent = || wrong(format!("has no column `{column}`, found {}", names().join(", ")), key);
        schema.column_with_name(column).map(|(_, field)| field.data_type()).ok_or_else(absent)
    };
    let image = kind(&columns.image, IMAGE_KEY)?;
    image_column::check(&columns.image, image).map_err(|problem| wrong(problem, IMAGE_KEY))?;
    let label = kind(&columns.label, LABEL_KEY)?;
    let labels = LabelKind::of(label).ok_or_else(|| {
        let problem =
            format!("column `{}` holds {label}, expected integers, text, or true and false", columns.label);
        wrong(problem, LABEL_KEY)
    })?;
    Ok((image, labels))
}

fn decode(
    batch: &RecordBatch,
    path: &Path,
    columns: &Columns,
    labels: &Labels,
    start: u64,
) -> Result<Vec<Row>> {
    check_columns(batch.schema_ref(), path, columns)?;
    let (Some(image), Some(label)) =
        (batch.column_by_name(&columns.image), batch.column_by_name(&columns.label))
    else {
        return Ok(Vec::new());
    };
    let labels = labels.read(label, path, start)?;
    let images = image_column::read(image, path)?;
    let rows = images.into_iter().zip(labels).zip(start..);
    Ok(rows.map(|(((bytes, path), label), index)| Row { index, bytes, path, label }).collect())
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
