//! Rows that cannot be, written and read.

use std::path::Path;

use delt_formats::provenance::ArtifactKind;
use delt_formats::table::{Row, TableReader, TableWriter};
use delt_formats::*;
use half::f16;
use parquet::arrow::ArrowWriter;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;

use super::{provenance, score, view};

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
    let mut writer = LabelsWriter::create(&path, &provenance(ArtifactKind::Labels), None).unwrap();
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

/// Writes rows without checking them, as another program would.
fn unchecked<R: Row>(path: &Path, kind: ArtifactKind, rows: &[R]) {
    let batch = R::to_batch(rows, 1);
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
    let mut writer = LabelsWriter::create(&path, &provenance(ArtifactKind::Labels), None).unwrap();
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
        let row = |&(label, slot): &(u32, u32)| SyntheticRow {
            png: vec![1],
            label,
            slot,
            ..SyntheticRow::default()
        };
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
fn pixels_and_targets_that_no_network_takes_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("synthetic.parquet");
    let png = RgbImage { width: 2, height: 2, rgb: vec![0; 12] }.encode_png().unwrap();
    let refused = |schema_version, pixels: Option<Vec<f32>>, target: Option<Vec<f32>>| {
        let provenance = Provenance { schema_version, ..provenance(ArtifactKind::Synthetic) };
        let row = SyntheticRow { png: png.clone(), pixels, target, ..SyntheticRow::default() };
        let written = SyntheticWriter::create(&path, &provenance).unwrap().write(&row);
        let (begin, end) = (format!("{}: row 0", path.display()), "; re-run delt-synthesize");
        written.unwrap_err().to_string().strip_prefix(&begin).unwrap().trim_end_matches(end).to_owned()
    };
    let (whole, wide) = (Some(vec![0.5; 12]), Some(vec![f32::INFINITY; 12]));
    for (pixels, target, message) in [
        (
            Some(vec![0.5; 4]),
            None,
            ", column `pixels`: found 4 values, expected 12, three for each pixel of the preview",
        ),
        (wide, None, ", column `pixels`: found inf, expected finite numbers"),
        (whole.clone(), Some(vec![1.0]), ", column `target`: found 1 values, expected 2, one per class"),
        (whole.clone(), Some(vec![1.0, f32::NAN]), ", column `target`: found NaN, expected finite numbers"),
    ] {
        assert_eq!(refused(2, pixels, target), message);
    }
    assert_eq!(
        refused(1, whole, None),
        ": holds what schema version 2 has columns for, but the file is of version 1; plan it so"
    );
}

#[test]
fn slots_go_on_from_one_row_group_to_the_next() {
    let rows: Vec<SyntheticRow> = (0..600)
        .map(|slot| SyntheticRow { png: vec![1], label: 1, slot, ..SyntheticRow::default() })
        .collect();
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
