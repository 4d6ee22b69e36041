//! Tables of images: which columns will do, and the message for each that will not.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its files may panic")]

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, DictionaryArray, Int32Array, Int64Array, ListArray, RecordBatch,
    StringArray, StructArray, UInt64Array,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields, Int8Type, UInt8Type};
use bytes::Bytes;
use delt_images::ImagesError;
use delt_images::image_column::content;
use delt_images::image_table::{Columns, Row, each_path, footer, is_unlabeled, labels, names, visit};
use delt_images::label_column::{LabelKind, Labels};
use delt_images::stored_image::Content;
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
    written(&batch.unwrap())
}

fn written(batch: &RecordBatch) -> Bytes {
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(batch).unwrap();
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
    let _ =
        visit(table.clone(), Path::new(PATH), &columns("image", "label"), &Labels::Numbers(2), &mut collect)?;
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
    assert_eq!(
        labels(whole(), Path::new(PATH), &columns("image", "coarse"), &Labels::Numbers(10)).unwrap(),
        [7, 8, 9]
    );
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
            "column `label` holds Int32, expected a struct with binary `bytes`, binary, or the paths of image files as text; \
             correct `ingest.source.image_column`",
        ),
        (
            refusal("image", "image"),
            "column `image` holds Struct(\"bytes\": Binary, \"path\": Utf8), expected integers, text, or true and \
             false; correct `ingest.source.label_column`",
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
        let alone = labels(wrong, Path::new(PATH), &columns("image", "label"), &Labels::Numbers(2));
        assert_eq!(alone.expect_err("refused").to_string(), expected);
    }
}

#[test]
fn whole_numbers_of_any_width_truth_and_text_are_labels() {
    let numbers = |to: &DataType| cast(&Int64Array::from(vec![1, 0, 1]), to).unwrap();
    let widths = [
        DataType::Int8,
        DataType::Int16,
        DataType::UInt8,
        DataType::UInt16,
        DataType::UInt32,
        DataType::UInt64,
    ];
    let mut cases: Vec<(ArrayRef, LabelKind)> =
        widths.iter().map(|width| (numbers(width), LabelKind::Numbers)).collect();
    cases.push((Arc::new(BooleanArray::from(vec![true, false, true])), LabelKind::Truth));
    for (column, kind) in cases {
        let table = table(column);
        assert_eq!(footer(table.clone(), Path::new(PATH), &columns("image", "label")).unwrap().labels, kind);
        assert_eq!(rows(&table).unwrap().iter().map(|row| row.label).collect::<Vec<_>>(), [1, 0, 1]);
    }
    let text = ["owl", "cat", "owl"];
    let categories: DictionaryArray<Int8Type> = text.into_iter().collect();
    let enumeration: DictionaryArray<UInt8Type> = text.into_iter().collect();
    let columns = columns("image", "label");
    let texts: [ArrayRef; 3] =
        [Arc::new(StringArray::from(text.to_vec())), Arc::new(categories), Arc::new(enumeration)];
    for column in texts {
        let table = table(column);
        let found = footer(table.clone(), Path::new(PATH), &columns).unwrap();
        assert_eq!((found.labels, found.paths.as_deref()), (LabelKind::Names, Some("image.path")));
        let found = names(table.clone(), Path::new(PATH), &columns).unwrap();
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["cat", "owl"]);
        let labels_of = |classes: [&str; 2]| {
            labels(table.clone(), Path::new(PATH), &columns, &Labels::of_names(&classes.map(str::to_owned)))
        };
        assert_eq!(labels_of(["cat", "owl"]).unwrap(), [1, 0, 1]);
        assert_eq!(
            labels_of(["cat", "dog"]).expect_err("refused").to_string(),
            format!(
                "{PATH} row 0: label `owl`, expected one of 2 classes (cat, dog); correct the data, or give all names in \
                 `ingest.source.class_names`"
            )
        );
    }
    let places = Labels::Places(vec![1, 0]);
    assert!(places.is_another_order() && !Labels::Places(vec![0, 1]).is_another_order());
    assert_eq!(labels(whole(), Path::new(PATH), &columns, &places).unwrap(), [0, 1, 0]);
    let large = table(Arc::new(UInt64Array::from(vec![0, u64::MAX, 0])));
    assert!(rows(&large).is_err());
}

#[test]
fn a_table_whose_labels_are_withheld_is_known() {
    let withheld =
        |column: ArrayRef| is_unlabeled(table(column), Path::new(PATH), &columns("image", "label")).unwrap();
    assert!(withheld(Arc::new(Int64Array::from(vec![-1, -1, -1]))));
    assert!(withheld(Arc::new(Int64Array::from(vec![None, Some(-1), None]))));
    assert!(withheld(Arc::new(StringArray::from(vec![Some(""), None, Some("-1")]))));
    assert!(!withheld(Arc::new(Int64Array::from(vec![-1, 0, -1]))));
    assert!(!withheld(Arc::new(StringArray::from(vec!["", "cat", ""]))));
    let no_column = columns("image", "answer");
    assert!(is_unlabeled(whole(), Path::new(PATH), &no_column).unwrap());
}

#[test]
fn images_are_bytes_or_files_that_the_table_names_and_nothing_outside_is_read() {
    let mut paths = Vec::new();
    each_path(whole(), Path::new(PATH), "image.path", &mut |path| paths.push(path.to_owned())).unwrap();
    assert_eq!(paths, ["a.png", ""]);
    let text: ArrayRef = Arc::new(StringArray::from(vec!["train/a.png", "b.png"]));
    let label: ArrayRef = Arc::new(Int32Array::from(vec![1, 0]));
    let table = written(&RecordBatch::try_from_iter([("image", text), ("label", label)]).unwrap());
    let found = footer(table.clone(), Path::new(PATH), &columns("image", "label")).unwrap();
    assert_eq!(found.paths.as_deref(), Some("image"));
    let found = rows(&table).unwrap();
    assert_eq!((found[0].bytes.len(), found[0].path.as_deref()), (0, Some("train/a.png")));

    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("data");
    std::fs::create_dir_all(inner.join("train")).unwrap();
    std::fs::write(inner.join("train/a.png"), "there").unwrap();
    std::fs::write(folder.path().join("b.png"), "in the root").unwrap();
    let content = |name: &str| content(Vec::new(), Some(name), &[&inner, folder.path()]);
    let absolute = inner.join("train/a.png").display().to_string();
    for (name, bytes) in [("train/a.png", 5), ("./train/a.png", 5), ("b.png", 11), (&absolute, 5)] {
        assert!(matches!(content(name), Content::File { bytes: found, .. } if found == bytes), "{name}");
    }
    let refusals = [
        ("c.png", "is not there, looked for ".to_owned() + &inner.join("c.png").display().to_string()),
        ("../b.png", "leads out of its folder, where nothing is read;".to_owned()),
        ("train/../../b.png", "leads out of its folder".to_owned()),
        ("/etc/hostname", "leads out of its folder".to_owned()),
        ("https://host/a.png", "is an address, and nothing is downloaded here".to_owned()),
    ];
    for (name, expected) in refusals {
        let Content::Absent { problem } = content(name) else { panic!("{name} is read") };
        let expected = format!("the table holds no bytes of the image, and its path `{name}` {expected}");
        assert!(problem.starts_with(&expected), "{problem}");
    }
}

#[test]
fn lists_of_images_and_pixels_are_refused_each_with_its_cure() {
    let refusal = |image: ArrayRef| {
        let label: ArrayRef = Arc::new(Int32Array::from(vec![0]));
        let table = written(&RecordBatch::try_from_iter([("image", image), ("label", label)]).unwrap());
        footer(table, Path::new(PATH), &columns("image", "label")).expect_err("refused").to_string()
    };
    let pixels =
        ListArray::from_iter_primitive::<arrow::datatypes::UInt8Type, _, _>([Some([Some(1), Some(2)])]);
    let said = refusal(Arc::new(pixels));
    assert!(
        said.contains("these are pixels; encode them, in Python: ") && said.contains("fromarray"),
        "{said}"
    );
    let bytes: ArrayRef = Arc::new(BinaryArray::from_vec(vec![b"png"]));
    let item = Arc::new(Field::new_list_field(DataType::Binary, true));
    let list = ListArray::new(item, arrow::buffer::OffsetBuffer::from_lengths([1]), bytes, None);
    let said = refusal(Arc::new(list));
    assert!(said.contains("take one of them out of its list, in Python: "), "{said}");
}

#[test]
fn files_that_are_called_parquet_and_are_none_are_named_with_what_helps() {
    let mut cut = whole().to_vec();
    cut.truncate(cut.len() - 20);
    let files: [(&[u8], &str); 8] = [
        (b"", "is empty: its download or copy did not begin, or the disk was full; fetch it again"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
            "is a Git LFS pointer, not Parquet; run `git lfs pull` in its clone",
        ),
        (b"\x1f\x8b\x08\x00packed", "is gzip, not Parquet; unpack it"),
        (b"PK\x03\x04packed", "is a ZIP archive, not Parquet; unpack it"),
        (b"\n<!DOCTYPE html><html>", "is a web page (HTML), not Parquet; a server answered with it"),
        (b"ARROW1\x00\x00", "is an Arrow file; write it as Parquet, in Python: "),
        (
            b"\xff\xff\xff\xff\x10\x00",
            "is an Arrow stream, as `save_to_disk` writes them; write it as Parquet",
        ),
        (&cut, "begins as Parquet and does not end so: its download or copy stopped early; fetch it again"),
    ];
    for (bytes, expected) in files {
        let said = rows(&Bytes::copy_from_slice(bytes)).expect_err("refused").to_string();
        assert!(said.starts_with(&format!("{PATH}: {expected}")), "{said}");
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
