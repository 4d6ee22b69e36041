//! Files that are none, or of something else.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, Int64Array, RecordBatch, UInt32Array, UInt64Array};
use delt_formats::provenance::ArtifactKind;
use delt_formats::*;
use parquet::arrow::ArrowWriter;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use tempfile::TempDir;

use super::{classes, provenance, score, scores_file};

/// Writes any columns with any metadata, as another program would.
fn foreign_file(path: &Path, columns: Vec<(&str, ArrayRef)>, metadata: Option<String>) {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let entries = metadata.map(|text| vec![KeyValue::new("delt".to_owned(), text)]);
    let properties = WriterProperties::builder().set_key_value_metadata(entries).build();
    let file = std::fs::File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

fn score_columns() -> Vec<(&'static str, ArrayRef)> {
    vec![
        ("image_id", Arc::new(UInt64Array::from(vec![0]))),
        ("label", Arc::new(Int64Array::from(vec![0]))),
        ("probability", Arc::new(Float32Array::from(vec![0.5]))),
        ("loss", Arc::new(Float32Array::from(vec![0.7]))),
        ("rank", Arc::new(UInt32Array::from(vec![0]))),
    ]
}

fn refusal(path: &Path) -> String {
    match ScoresReader::open(path) {
        Err(error) => error.to_string(),
        Ok(reader) => reader.rows().collect::<Result<Vec<_>>>().unwrap_err().to_string(),
    }
}

fn foreign_refusal(columns: Vec<(&str, ArrayRef)>, metadata: Option<String>) -> (TempDir, String, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("scores.parquet");
    foreign_file(&path, columns, metadata);
    let message = refusal(&path);
    (dir, path.display().to_string(), message)
}

fn good_metadata() -> Option<String> {
    Some(provenance(ArtifactKind::Scores).to_metadata())
}

#[test]
fn a_file_that_is_not_parquet_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("scores.parquet");
    for content in ["image_id,label\n0,1\n", ""] {
        fs_err::write(&path, content).unwrap();
        assert_eq!(
            refusal(&path),
            format!(
                "{}: not a Parquet file: it does not begin with `PAR1`; re-run init-select",
                path.display()
            )
        );
    }
}

#[test]
fn a_cut_off_file_is_named_wherever_it_was_cut() {
    let dir = tempfile::tempdir().unwrap();
    let path = scores_file(dir.path());
    let whole = fs_err::read(&path).unwrap();
    for length in [4, 11, whole.len() / 2, whole.len() - 1] {
        fs_err::write(&path, &whole[..length]).unwrap();
        assert_eq!(
            refusal(&path),
            format!("{}: cut off: its end is not a Parquet footer; re-run init-select", path.display())
        );
    }
}

#[test]
fn an_unfinished_file_is_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("scores.parquet");
    let mut writer = ScoresWriter::create(&path, &provenance(ArtifactKind::Scores)).unwrap();
    writer.write(&score(0, 0)).unwrap();
    drop(writer);
    assert!(refusal(&path).starts_with(&path.display().to_string()));
}

#[test]
fn a_missing_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("scores.parquet");
    assert_eq!(
        refusal(&path),
        format!("failed to open file `{}`: No such file or directory (os error 2)", path.display())
    );
}

#[test]
fn a_file_of_another_program_is_named() {
    let (_dir, path, message) = foreign_refusal(score_columns(), None);
    assert_eq!(
        message,
        format!(
            "{path}: has no metadata key `delt`, so no stage of this workspace wrote it; re-run init-select"
        )
    );
}

#[test]
fn metadata_that_is_no_provenance_is_named() {
    let (_dir, path, message) = foreign_refusal(score_columns(), Some("{}".to_owned()));
    assert_eq!(
        message,
        format!(
            "{path}: its JSON is not what this build writes; check it with `delt-store verify` or make it again"
        )
    );
}

#[test]
fn another_schema_version_is_named() {
    let other = Provenance { schema_version: 7, ..provenance(ArtifactKind::Scores) };
    let (_dir, path, message) = foreign_refusal(score_columns(), Some(other.to_metadata()));
    assert_eq!(
        message,
        format!("{path}: scores of schema version 7, expected version 1; re-run init-select with this build")
    );
}

#[test]
fn synthetic_images_of_two_schema_versions_are_read_and_no_others() {
    for (version, is_read) in [(0, false), (1, true), (2, true), (3, false)] {
        let provenance = Provenance { schema_version: version, ..provenance(ArtifactKind::Synthetic) };
        let read = Provenance::from_metadata(Path::new("s.parquet"), &provenance.to_metadata());
        assert_eq!(read.is_ok(), is_read);
        let message = format!(
            "s.parquet: synthetic of schema version {version}, expected version 2; re-run delt-synthesize with this build"
        );
        assert!(is_read || read.unwrap_err().to_string() == message);
    }
}

#[test]
fn a_file_of_another_artifact_is_named_by_readers_and_writers() {
    let dir = tempfile::tempdir().unwrap();
    let path = scores_file(dir.path());
    let error = HistoryReader::open(&path).unwrap_err().to_string();
    assert_eq!(
        error,
        format!(
            "{}: belongs to artifact scores, expected teacher or evaluation; \
             give the file made by teacher-train or evaluate",
            path.display()
        )
    );
    let error = SyntheticWriter::create(&path, &provenance(ArtifactKind::Initial)).unwrap_err().to_string();
    assert_eq!(
        error,
        format!(
            "{}: belongs to artifact initial, expected synthetic; give the file made by delt-synthesize",
            path.display()
        )
    );
    assert!(ScoresReader::open(&path).is_ok(), "the refused writer must not touch the file");
}

#[test]
fn a_missing_column_is_named() {
    let mut columns = score_columns();
    columns.remove(2);
    let (_dir, path, message) = foreign_refusal(columns, good_metadata());
    assert_eq!(
        message,
        format!(
            "{path}: has no column `probability` (Float32), found image_id, label, loss, rank; re-run init-select"
        )
    );
}

#[test]
fn a_column_of_another_type_is_named() {
    let mut columns = score_columns();
    columns[4].1 = Arc::new(Int64Array::from(vec![0]));
    let (_dir, path, message) = foreign_refusal(columns, good_metadata());
    assert_eq!(message, format!("{path}: column `rank` holds Int64, expected UInt32; re-run init-select"));
}

#[test]
fn columns_may_come_in_another_order_among_others() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("scores.parquet");
    let mut columns = score_columns();
    columns.reverse();
    columns.insert(2, ("margin", Arc::new(Float32Array::from(vec![0.1]))));
    foreign_file(&path, columns, good_metadata());
    let rows: Vec<ScoreRow> = ScoresReader::open(&path).unwrap().rows().collect::<Result<_>>().unwrap();
    assert_eq!(rows, [score(0, 0)]);
}

#[test]
fn a_null_a_negative_label_and_a_label_beyond_the_classes_are_named_with_their_row() {
    let label = |labels: Vec<Option<i64>>| -> (TempDir, String, String) {
        let n = labels.len();
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("image_id", Arc::new(UInt64Array::from(vec![0; n]))),
            ("label", Arc::new(Int64Array::from(labels))),
            ("probability", Arc::new(Float32Array::from(vec![0.5; n]))),
            ("loss", Arc::new(Float32Array::from(vec![0.7; n]))),
            ("rank", Arc::new(UInt32Array::from(vec![0; n]))),
        ];
        foreign_refusal(columns, good_metadata())
    };
    let (_dir, path, message) = label(vec![Some(0), None]);
    let end = "re-run init-select";
    assert_eq!(message, format!("{path}: row 1, column `label`: found null, expected a value; {end}"));
    let (_dir, path, message) = label(vec![Some(-1)]);
    assert_eq!(message, format!("{path}: row 0, column `label`: found -1, expected a label from 0; {end}"));
    let (_dir, path, message) = label([vec![Some(0); 1500], vec![Some(2)]].concat());
    assert_eq!(
        message,
        format!(
            "{path}: row 1500, column `label`: found 2, expected a label below 2, the number of classes; {end}"
        )
    );
}

#[test]
fn another_class_list_is_named_by_its_first_difference() {
    let dir = tempfile::tempdir().unwrap();
    let path = scores_file(dir.path());
    let reader = ScoresReader::open(&path).unwrap();
    reader.expect_classes(&classes()).unwrap();
    let refused = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        reader.expect_classes(&names).unwrap_err().to_string()
    };
    assert_eq!(
        refused(&["dog", "cat"]),
        format!(
            "{}: class 0 is `cat`, expected `dog`; re-run init-select on the same dataset",
            path.display()
        )
    );
    assert_eq!(
        refused(&["cat", "dog", "eel"]),
        format!("{}: has 2 classes, expected 3; re-run init-select on the same dataset", path.display())
    );
}

#[test]
fn labels_without_a_column_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("labels.parquet");
    foreign_file(&path, score_columns(), Some(provenance(ArtifactKind::Labels).to_metadata()));
    assert_eq!(
        LabelsReader::open(&path).unwrap_err().to_string(),
        format!(
            "{}: has no column `epoch` (UInt32), found image_id, label, probability, loss, rank; re-run relabel",
            path.display()
        )
    );
}
