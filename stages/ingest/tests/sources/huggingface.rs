//! Parquet files in the Hugging Face layout.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, Int32Array, Int64Array, LargeBinaryArray, RecordBatch, StringArray, StructArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields, Schema};
use parquet::arrow::ArrowWriter;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;

use crate::made_up::{ingest, png, refusal};

const NAMES: &str =
    r#"{"info": {"features": {"fine_label": {"names": ["apple", "bear"], "_type": "ClassLabel"}}}}"#;

fn pictures(seeds: &[u32]) -> BinaryArray {
    BinaryArray::from_iter_values(seeds.iter().map(|seed| png(*seed, 5, 3)))
}

fn in_struct(bytes: ArrayRef, paths: &[Option<&str>]) -> ArrayRef {
    let fields = Fields::from(vec![
        Field::new("bytes", bytes.data_type().clone(), true),
        Field::new("path", DataType::Utf8, true),
    ]);
    Arc::new(StructArray::new(fields, vec![bytes, Arc::new(StringArray::from(paths.to_vec()))], None))
}

fn write(path: &Path, image: ArrayRef, labels: ArrayRef, metadata: Option<&str>) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let count = labels.len() as i64;
    let columns = [
        ("coarse_label", Arc::new(Int64Array::from_iter_values(0..count)) as ArrayRef),
        ("img", image),
        ("fine_label", labels),
    ];
    let fields: Vec<Field> =
        columns.iter().map(|(n, c)| Field::new(*n, c.data_type().clone(), true)).collect();
    let schema = Arc::new(Schema::new(fields));
    let batch = RecordBatch::try_new(schema.clone(), columns.into_iter().map(|(_, c)| c).collect()).unwrap();
    let metadata = metadata.map(|json| vec![KeyValue::new("huggingface".to_owned(), json.to_owned())]);
    let properties = WriterProperties::builder().set_key_value_metadata(metadata).build();
    let mut writer =
        ArrowWriter::try_new(std::fs::File::create(path).unwrap(), schema, Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

/// Two training files and one test file as `datasets` writes them.
fn files(folder: &Path) {
    let image = |seeds: &[u32], paths: &[Option<&str>]| in_struct(Arc::new(pictures(seeds)), paths);
    let labels = |labels: &[i64]| Arc::new(Int64Array::from(labels.to_vec())) as ArrayRef;
    write(&folder.join("train-00001-of-00002.parquet"), image(&[3], &[None]), labels(&[0]), Some(NAMES));
    write(
        &folder.join("train-00000-of-00002.parquet"),
        image(&[1, 2], &[Some("one.png"), Some("two.png")]),
        labels(&[1, 0]),
        Some(NAMES),
    );
    write(&folder.join("test-00000-of-00001.parquet"), image(&[4], &[Some("")]), labels(&[1]), Some(NAMES));
}

fn section(folder: &Path, more: &str) -> String {
    let folder = folder.display();
    format!(
        "source: {{kind: huggingface_parquet, path: {folder}, image_column: img, label_column: fine_label{more}}}"
    )
}

#[test]
fn files_are_found_by_name_and_read_in_order() {
    let dir = tempfile::tempdir().unwrap();
    files(dir.path());
    let dataset = ingest(&section(dir.path(), "")).unwrap();
    assert_eq!(dataset.classes, ["apple", "bear"]);
    assert_eq!(dataset.train_paths(), ["one.png", "two.png", "train-00001-of-00002.parquet row 0"]);
    assert_eq!(dataset.train.iter().map(|row| row.label).collect::<Vec<_>>(), [1, 0, 0]);
    for (row, seed) in dataset.train.iter().zip([1, 2, 3]) {
        assert_eq!(row.bytes, png(seed, 5, 3));
    }
    assert_eq!(dataset.test[0].bytes, png(4, 5, 3));
}

#[test]
fn a_data_folder_and_a_validation_split_are_found_too() {
    let dir = tempfile::tempdir().unwrap();
    files(&dir.path().join("data"));
    std::fs::rename(
        dir.path().join("data/test-00000-of-00001.parquet"),
        dir.path().join("data/validation-00000-of-00001.parquet"),
    )
    .unwrap();
    assert_eq!(ingest(&section(dir.path(), "")).unwrap().facts.test_images, 1);
}

#[test]
fn given_files_other_types_and_given_names_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let large = cast(&pictures(&[1, 2]), &DataType::LargeBinary).unwrap();
    write(&dir.path().join("a.parquet"), large, Arc::new(Int32Array::from(vec![0, 1])), None);
    let bare: ArrayRef = Arc::new(LargeBinaryArray::from_iter_values([png(3, 5, 3)]));
    write(
        &dir.path().join("b.parquet"),
        in_struct(bare, &[Some("b.png")]),
        Arc::new(Int32Array::from(vec![1])),
        None,
    );
    let dataset =
        ingest(&section(dir.path(), ", train: [a.parquet], test: [b.parquet], class_names: [x, y]")).unwrap();
    assert_eq!(dataset.classes, ["x", "y"]);
    assert_eq!(dataset.train_paths(), ["a.parquet row 0", "a.parquet row 1"]);
    assert_eq!(dataset.test[0].path, "b.png");
}

#[test]
fn refusals_name_file_and_column() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().display().to_string();
    assert_eq!(
        refusal(&section(dir.path(), "")),
        format!("{root}: holds no train-*.parquet; name the files in `ingest.source.train`")
    );
    files(dir.path());
    assert_eq!(
        refusal(&section(dir.path(), "").replace("img", "image")),
        format!(
            "{root}/train-00000-of-00002.parquet: has no column `image`, found coarse_label, img, fine_label; correct \
             `ingest.source.image_column`"
        )
    );
    assert_eq!(
        refusal(&section(dir.path(), "").replace("fine_label", "img")),
        format!(
            "{root}/train-00000-of-00002.parquet: column `img` holds Struct(\"bytes\": Binary, \"path\": Utf8), expected \
             integers; correct `ingest.source.label_column`"
        )
    );
    assert_eq!(
        refusal(&section(dir.path(), "").replace("fine_label", "coarse_label")),
        format!(
            "{root}/train-00000-of-00002.parquet: names no classes for column `coarse_label` in its metadata; give \
             `ingest.source.class_names`"
        )
    );
    assert_eq!(
        refusal(&section(dir.path(), ", class_names: [only]")),
        format!(
            "{root}/train-00000-of-00002.parquet row 0: label 1, expected 0 to 0, one of 1 classes; correct the data or \
             `ingest.source`"
        )
    );
    let nothing = Arc::new(Int64Array::from(vec![None])) as ArrayRef;
    let image = in_struct(Arc::new(BinaryArray::from_opt_vec(vec![None])), &[None]);
    write(&dir.path().join("test-00000-of-00001.parquet"), image.clone(), nothing, Some(NAMES));
    assert!(
        refusal(&section(dir.path(), ""))
            .contains("test-00000-of-00001.parquet row 0: label null, expected 0 to 1")
    );
    write(
        &dir.path().join("test-00000-of-00001.parquet"),
        image,
        Arc::new(Int64Array::from(vec![0])),
        Some(NAMES),
    );
    let message = refusal(&section(dir.path(), ""));
    assert!(
        message.starts_with(&format!("{root}/test-00000-of-00001.parquet row 0: is no readable picture;")),
        "{message}"
    );
    std::fs::write(dir.path().join("test-00000-of-00001.parquet"), b"nothing").unwrap();
    let message = refusal(&section(dir.path(), ""));
    assert!(
        message.starts_with(&format!("{root}/test-00000-of-00001.parquet: cannot be read as Parquet;")),
        "{message}"
    );
    assert_eq!(
        refusal(&section(&dir.path().join("test-00000-of-00001.parquet"), "")),
        format!(
            "{root}/test-00000-of-00001.parquet: is a file, expected its folder; name single files in \
             `ingest.source.train` and `.test`"
        )
    );
}
