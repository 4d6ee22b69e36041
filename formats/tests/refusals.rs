//! Every way in which a file can be wrong, and the exact message it gives.
#![allow(clippy::unwrap_used, reason = "a test that cannot prepare its files fails")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, Int64Array, RecordBatch, UInt32Array, UInt64Array};
use delt_formats::provenance::{ArtifactKind, Provenance};
use delt_formats::table::{Row, TableReader, TableWriter};
use delt_formats::*;
use half::f16;
use parquet::arrow::ArrowWriter;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use tempfile::TempDir;

fn classes() -> Vec<String> {
    ["cat", "dog"].map(str::to_owned).to_vec()
}

fn provenance(kind: ArtifactKind) -> Provenance {
    Provenance::new(kind, kind.stage(), 1, classes(), serde_json::Value::Null, 0, BTreeMap::new())
}

fn score(image_id: u64, label: u32) -> ScoreRow {
    ScoreRow { image_id, label, probability: 0.5, loss: 0.7, rank: 0 }
}

/// Writes scores and gives what opening them as `open` says.
fn scores_file(dir: &TempDir) -> std::path::PathBuf {
    let path = dir.path().join("scores.parquet");
    let mut writer = ScoresWriter::create(&path, &provenance(ArtifactKind::Scores)).unwrap();
    writer.write(&score(3, 1)).unwrap();
    writer.finish().unwrap();
    path
}

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
    let path = scores_file(&dir);
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
fn a_file_of_another_artifact_is_named_by_readers_and_writers() {
    let dir = tempfile::tempdir().unwrap();
    let path = scores_file(&dir);
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
    let path = scores_file(&dir);
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
fn rows_that_cannot_be_are_refused_when_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("train.parquet");
    let mut writer = DatasetWriter::create(&path, &provenance(ArtifactKind::Dataset)).unwrap();
    let image = |label, image_id| ImageRow { bytes: vec![1], path: String::new(), label, image_id };
    writer.write(&image(0, 0)).unwrap();
    assert_eq!(
        writer.write(&image(0, 0)).unwrap_err().to_string(),
        format!(
            "{}: row 1, column `image_id`: found 0, expected 1, the number of the row; re-run ingest",
            path.display()
        )
    );
    assert_eq!(
        writer.write(&image(2, 1)).unwrap_err().to_string(),
        format!(
            "{}: row 1, column `label`: found 2, expected a label below 2, the number of classes; re-run ingest",
            path.display()
        )
    );
    let path = dir.path().join("history.parquet");
    let mut writer = HistoryWriter::create(&path, &provenance(ArtifactKind::Teacher)).unwrap();
    let row = HistoryRow { seed: 0, epoch: 0, lr: 0.1, loss: 0.1, top1: Some(0.5), top5: Some(f64::NAN) };
    assert_eq!(
        writer.write(&row).unwrap_err().to_string(),
        format!(
            "{}: row 0, column `top5`: found NaN, expected a percentage; re-run teacher-train or evaluate",
            path.display()
        )
    );
}

#[test]
fn logits_of_another_number_and_logits_that_are_no_numbers_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("labels.parquet");
    let mut writer = LabelsWriter::create(&path, &provenance(ArtifactKind::Labels)).unwrap();
    let mut refused = |logits: &[f32]| {
        let logits = logits.iter().map(|logit| f16::from_f32(*logit)).collect();
        let view = ViewRow { logits, ..view() };
        writer.write_epoch(&[view]).unwrap_err().to_string()
    };
    let at = path.display();
    assert_eq!(
        refused(&[0.5]),
        format!("{at}: row 0, column `logits`: found 1 values, expected 2, one per class; re-run relabel")
    );
    assert_eq!(
        refused(&[0.5, 1e9]),
        format!("{at}: row 0, column `logits`: found inf, expected finite numbers; re-run relabel")
    );
}

fn view() -> ViewRow {
    ViewRow {
        epoch: 0,
        batch: 0,
        position: 0,
        image_id: 0,
        patch_order: Vec::new(),
        randaugment: Vec::new(),
        crop: CropBox { top: 0, left: 0, height: 1, width: 1 },
        flip: false,
        mix: Mix::None,
        logits: vec![f16::ZERO; 2],
    }
}

/// Writes rows without checking them, as another program would.
fn unchecked<R: Row>(path: &Path, kind: ArtifactKind, rows: &[R]) {
    let batch = RecordBatch::try_new(Arc::new(R::schema()), R::to_columns(rows)).unwrap();
    let entries = vec![KeyValue::new("delt".to_owned(), provenance(kind).to_metadata())];
    let properties = WriterProperties::builder().set_key_value_metadata(Some(entries)).build();
    let mut writer =
        ArrowWriter::try_new(std::fs::File::create(path).unwrap(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

/// What reading and writing such rows says, which must be the same, without the file and the advice.
fn row_refusal<R: Row>(kind: ArtifactKind, rows: &[R]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rows.parquet");
    unchecked(&path, kind, rows);
    let reader = TableReader::<R>::open(&path).unwrap();
    let read = reader.rows().collect::<Result<Vec<_>>>().unwrap_err().to_string();
    let mut writer = TableWriter::<R>::create(&path, &provenance(kind)).unwrap();
    let written =
        rows.iter().map(|row| writer.write(row)).collect::<Result<Vec<_>>>().unwrap_err().to_string();
    assert_eq!(read, written);
    let (begin, end) = (format!("{}: ", path.display()), format!("; re-run {}", kind.stage()));
    read.strip_prefix(&begin).and_then(|text| text.strip_suffix(&end)).unwrap().to_owned()
}

#[test]
fn logits_of_another_width_are_named() {
    let wide = ViewRow { logits: vec![f16::ZERO; 3], ..view() };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("labels.parquet");
    unchecked(&path, ArtifactKind::Labels, &[view(), wide]);
    assert_eq!(
        LabelsReader::open(&path).unwrap().epoch(0).unwrap_err().to_string(),
        format!(
            "{}: row 1, column `logits`: found 3 values, expected 2, one per class; re-run relabel",
            path.display()
        )
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

#[test]
fn views_with_empty_crops_and_impossible_mixes_are_named() {
    let refused = |row: ViewRow| row_refusal(ArtifactKind::Labels, &[view(), row]);
    let crop = |height, width| ViewRow { crop: CropBox { top: 0, left: 0, height, width }, ..view() };
    assert_eq!(refused(crop(0, 1)), "row 1, column `crop_height`: found 0, expected 1 pixel or more");
    assert_eq!(refused(crop(1, 0)), "row 1, column `crop_width`: found 0, expected 1 pixel or more");
    let mixup = |lambda| ViewRow { mix: Mix::Mixup { partner: 0, lambda }, ..view() };
    assert_eq!(refused(mixup(f32::NAN)), "row 1, column `mix_lambda`: found NaN, expected a number in 0..=1");
    assert_eq!(refused(mixup(1.5)), "row 1, column `mix_lambda`: found 1.5, expected a number in 0..=1");
    let cutmix = |bottom, right| ViewRow {
        mix: Mix::Cutmix { partner: 0, lambda: 0.5, top: 3, left: 4, bottom, right },
        ..view()
    };
    assert_eq!(
        refused(cutmix(2, 9)),
        "row 1, column `mix_bottom`: found 2, expected 3 or more, the top of the box"
    );
    assert_eq!(
        refused(cutmix(9, 3)),
        "row 1, column `mix_right`: found 3, expected 4 or more, the left side of the box"
    );
}

#[test]
fn a_partner_outside_its_batch_is_named() {
    let mixed = |batch, partner| ViewRow { batch, mix: Mix::Mixup { partner, lambda: 0.5 }, ..view() };
    let views = [mixed(0, 1), mixed(0, 0), mixed(1, 1)];
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("labels.parquet");
    unchecked(&path, ArtifactKind::Labels, &views);
    let read = LabelsReader::open(&path).unwrap().epoch(0).unwrap_err().to_string();
    assert_eq!(
        read,
        format!(
            "{}: row 2, column `mix_partner`: found 1, expected a position below 1, the views of batch 1; \
             re-run relabel",
            path.display()
        )
    );
    let mut writer = LabelsWriter::create(&path, &provenance(ArtifactKind::Labels)).unwrap();
    assert_eq!(writer.write_epoch(&views).unwrap_err().to_string(), read);
}

#[test]
fn probabilities_that_are_none_are_named() {
    for (probability, found) in [(f32::NAN, "NaN"), (1.25, "1.25"), (-0.5, "-0.5")] {
        let message = format!("row 1, column `probability`: found {found}, expected a number in 0..=1");
        let scores = [score(0, 0), ScoreRow { probability, ..score(1, 0) }];
        assert_eq!(row_refusal(ArtifactKind::Scores, &scores), message);
        let initial =
            |slot, probability| InitialRow { png: vec![1], label: 0, slot, image_id: 0, probability };
        assert_eq!(row_refusal(ArtifactKind::Initial, &[initial(0, 1.0), initial(1, probability)]), message);
    }
}

#[test]
fn slots_out_of_order_are_named() {
    let initial = |rows: &[(u32, u32)]| {
        let row = |&(label, slot): &(u32, u32)| InitialRow {
            png: vec![1],
            label,
            slot,
            image_id: 0,
            probability: 0.5,
        };
        row_refusal(ArtifactKind::Initial, &rows.iter().map(row).collect::<Vec<_>>())
    };
    let synthetic = |rows: &[(u32, u32)]| {
        let row =
            |&(label, slot): &(u32, u32)| SyntheticRow { png: vec![1], label, slot, round: 0, iterations: 0 };
        row_refusal(ArtifactKind::Synthetic, &rows.iter().map(row).collect::<Vec<_>>())
    };
    for (rows, message) in [
        (vec![(0, 1)], "row 0, column `slot`: found 1, expected 0, the next slot of class 0"),
        (vec![(0, 0), (0, 0)], "row 1, column `slot`: found 0, expected 1, the next slot of class 0"),
        (vec![(0, 0), (1, 2)], "row 1, column `slot`: found 2, expected 0, the next slot of class 1"),
        (
            vec![(1, 0), (0, 0)],
            "row 1, column `label`: found 0, expected 1 or above, since classes ascend from row to row",
        ),
    ] {
        assert_eq!(initial(&rows), message);
        assert_eq!(synthetic(&rows), message);
    }
}

#[test]
fn slots_go_on_from_one_row_group_to_the_next() {
    let rows: Vec<SyntheticRow> =
        (0..600).map(|slot| SyntheticRow { png: vec![1], label: 1, slot, round: 0, iterations: 0 }).collect();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("synthetic.parquet");
    let mut writer = SyntheticWriter::create(&path, &provenance(ArtifactKind::Synthetic)).unwrap();
    for row in &rows {
        writer.write(row).unwrap();
    }
    writer.finish().unwrap();
    let read: Vec<SyntheticRow> =
        SyntheticReader::open(&path).unwrap().rows().collect::<Result<_>>().unwrap();
    assert_eq!(read, rows);
}

#[test]
fn a_trace_out_of_order_is_named() {
    let trace = |rows: &[(u32, u32)]| {
        let row = |&(batch, iteration): &(u32, u32)| TraceRow { batch, iteration, lr: 0.1, ce: 0.0, bn: 0.0 };
        row_refusal(ArtifactKind::Synthetic, &rows.iter().map(row).collect::<Vec<_>>())
    };
    assert_eq!(
        trace(&[(0, 7), (0, 7)]),
        "row 1, column `iteration`: found 7, expected an iteration after 7, that of the row before"
    );
    assert_eq!(
        trace(&[(1, 0), (0, 1)]),
        "row 1, column `batch`: found 0, expected 1 or above, since batches ascend from row to row"
    );
}
