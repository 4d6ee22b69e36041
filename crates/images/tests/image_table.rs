//! Tables of images: which columns will do, and the message for each that will not.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its files may panic")]

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, Int32Array, Int64Array, RecordBatch, StringArray, StructArray};
use arrow::datatypes::{DataType, Field, Fields};
use bytes::Bytes;
use delt_images::ImagesError;
use delt_images::image_table::{Columns, Row, footer, labels, visit};
use parquet::arrow::ArrowWriter;

const PATH: &str = "train.parquet";

/// Three rows: text in place of images, labels, and a column that nobody asks for.
fn table(labels: ArrayRef) -> Bytes {
    let bytes: ArrayRef = Arc::new(BinaryArray::from_opt_vec(vec![Some(b"first"), None, Some(b"third")]));
    let paths: ArrayRef = Arc::new(StringArray::from(vec![Some("a.png"), None, Some("")]));
    let fields = Fields::from(vec![
        Field::new("bytes", DataType::Binary, true),
        Field::new("path", DataType::Utf8, true),
    ]);
    let image: ArrayRef = Arc::new(StructArray::new(fields, vec![bytes, paths], None));
    let coarse: ArrayRef = Arc::new(Int64Array::from(vec![7, 8, 9]));
    let columns = [("coarse", coarse), ("image", image), ("label", labels)];
    let batch = RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true)));
    let batch = batch.unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap().into()
}

fn whole() -> Bytes {
    table(Arc::new(Int32Array::from(vec![1, 0, 1])))
}

fn columns(image: &str, label: &str) -> Columns {
    Columns { image: image.to_owned(), label: label.to_owned() }
}

/// The rows, where there are two classes.
fn rows(table: &Bytes) -> Result<Vec<Row>, ImagesError> {
    let mut rows = Vec::new();
    let mut collect = |row| {
        rows.push(row);
        Ok::<_, ImagesError>(ControlFlow::Continue(()))
    };
    let _ = visit(table.clone(), Path::new(PATH), &columns("image", "label"), 2, &mut collect)?;
    Ok(rows)
}

#[test]
fn rows_come_in_order_with_their_paths_and_a_null_picture_is_empty() {
    let rows = rows(&whole()).unwrap();
    assert_eq!(rows.iter().map(|row| (row.index, row.label)).collect::<Vec<_>>(), [(0, 1), (1, 0), (2, 1)]);
    assert_eq!(
        rows.iter().map(|row| row.bytes.as_slice()).collect::<Vec<_>>(),
        [&b"first"[..], b"", b"third"]
    );
    assert_eq!(
        rows.iter().map(|row| row.path.as_deref()).collect::<Vec<_>>(),
        [Some("a.png"), None, Some("")]
    );
    let found = footer(whole(), Path::new(PATH), &columns("image", "label")).unwrap();
    assert_eq!((found.rows, found.class_names), (3, None));
    assert_eq!(labels(whole(), Path::new(PATH), &columns("image", "coarse"), 10).unwrap(), [7, 8, 9]);
}

#[test]
fn a_column_that_is_absent_or_of_another_type_is_named_with_the_key_that_names_it() {
    let refusal = |image: &str, label: &str| {
        footer(whole(), Path::new(PATH), &columns(image, label)).expect_err("refused")
    };
    let refusals = [
        (
            refusal("img", "label"),
            "has no column `img`, found coarse, image, label; correct `ingest.source.image_column`",
        ),
        (
            refusal("label", "label"),
            "column `label` holds Int32, expected a struct with binary `bytes`, or binary; correct \
             `ingest.source.image_column`",
        ),
        (
            refusal("image", "image"),
            "column `image` holds Struct(\"bytes\": Binary, \"path\": Utf8), expected integers; correct \
             `ingest.source.label_column`",
        ),
        (
            refusal("image", "fine").with_key("synthesize.import"),
            "has no column `fine`, found coarse, image, label; correct `synthesize.import`",
        ),
    ];
    for (error, expected) in refusals {
        assert_eq!(error.to_string(), format!("{PATH}: {expected}"));
    }
}

#[test]
fn a_label_that_is_null_or_outside_the_classes_is_named_with_its_row() {
    for (label, found) in [(None, "null"), (Some(2), "2"), (Some(-1), "-1")] {
        let wrong = table(Arc::new(Int64Array::from(vec![Some(0), label, Some(1)])));
        let expected = format!(
            "{PATH} row 1: label {found}, expected 0 to 1, one of 2 classes; correct the data or `ingest.source`"
        );
        assert_eq!(rows(&wrong).expect_err("refused").to_string(), expected);
        let alone = labels(wrong, Path::new(PATH), &columns("image", "label"), 2);
        assert_eq!(alone.expect_err("refused").to_string(), expected);
    }
}

/// Pages are not looked at before they are wanted.
#[test]
fn what_is_no_table_or_damaged_is_named() {
    let error = rows(&Bytes::from_static(b"nothing")).expect_err("refused").to_string();
    assert!(error.starts_with(&format!("{PATH}: cannot be read as Parquet;")), "{error}");
    let mut bytes = whole().to_vec();
    bytes[4..40].fill(0xff);
    assert!(rows(&bytes.clone().into()).is_ok(), "coarse is not read");
    bytes[40..300].fill(0xff);
    let error = rows(&bytes.into()).expect_err("refused").to_string();
    assert_eq!(error, format!("{PATH}: its columns cannot be decoded; download it again"));
}
