//! Every Parquet file: written, read, equal; written twice, the same bytes.
#![allow(clippy::unwrap_used, reason = "a test that cannot prepare its files fails")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use delt_formats::provenance::{ArtifactKind, Provenance};
use delt_formats::table::{Row, TableReader, TableWriter};
use delt_formats::*;
use half::f16;

fn provenance(kind: ArtifactKind) -> Provenance {
    let classes = ["cat", "dog", "a \"quoted\" name"].map(str::to_owned).to_vec();
    let inputs = BTreeMap::from([
        ("teacher".to_owned(), Digest::of_bytes(b"t")),
        ("dataset".to_owned(), Digest::of_bytes(b"d")),
    ]);
    Provenance::new(kind, kind.stage(), 2, classes, serde_json::json!({"z": 1.5, "a": [1, 2]}), 3407, inputs)
}

/// 5 wide, 3 high, every byte different, so that no transposition goes unnoticed.
fn distinct() -> RgbImage {
    RgbImage { width: 5, height: 3, rgb: (0..45).map(|i| i * 5).collect() }
}

fn write<R: Row>(path: &Path, kind: ArtifactKind, rows: &[R]) {
    let mut writer = TableWriter::<R>::create(path, &provenance(kind)).unwrap();
    for row in rows {
        writer.write(row).unwrap();
    }
    writer.finish().unwrap();
}

fn round_trip<R: Row + PartialEq>(kind: ArtifactKind, rows: &[R]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let (path, twin) = (dir.path().join("one.parquet"), dir.path().join("two.parquet"));
    write(&path, kind, rows);
    write(&twin, kind, rows);
    assert_eq!(
        fs_err::read(&path).unwrap(),
        fs_err::read(&twin).unwrap(),
        "bytes differ between two writings"
    );
    let reader = TableReader::<R>::open(&path).unwrap();
    assert_eq!(reader.provenance(), &provenance(kind));
    assert_eq!(reader.len(), rows.len() as u64);
    assert_eq!(reader.is_empty(), rows.is_empty());
    reader.expect_classes(&provenance(kind).classes).unwrap();
    reader.expect_input("teacher", &Digest::of_bytes(b"t")).unwrap();
    assert_eq!(reader.rows().collect::<Result<Vec<R>>>().unwrap(), rows);
    (dir, path)
}

fn images(n: u64) -> Vec<ImageRow> {
    let bytes = distinct().encode_png().unwrap();
    let row = |id: u64| ImageRow {
        bytes: bytes.clone(),
        path: format!("train/{id}.png"),
        label: u32::try_from(id % 3).unwrap(),
        image_id: id,
    };
    (0..n).map(row).collect()
}

#[test]
fn dataset_round_trips_over_several_row_groups_and_keeps_every_pixel() {
    let (_dir, path) = round_trip(ArtifactKind::Dataset, &images(600));
    let row = DatasetReader::open(&path).unwrap().rows().nth(599).unwrap().unwrap();
    assert_eq!(RgbImage::decode(&row.bytes).unwrap(), distinct());
    assert_eq!(row.image_id, 599);
}

#[test]
fn a_file_without_rows_round_trips() {
    round_trip::<ImageRow>(ArtifactKind::Dataset, &[]);
    round_trip::<ViewRow>(ArtifactKind::Labels, &[]);
}

#[test]
fn scores_round_trip() {
    let rows: Vec<ScoreRow> = (0..3)
        .map(|i| ScoreRow { image_id: 7 * i, label: 2, probability: 0.1, loss: 2.3, rank: i as u32 })
        .collect();
    round_trip(ArtifactKind::Scores, &rows);
}

#[test]
fn initial_images_round_trip() {
    let png = distinct().encode_png().unwrap();
    round_trip(
        ArtifactKind::Initial,
        &[InitialRow { png, label: 1, slot: 0, image_id: 49_999, probability: 0.25 }],
    );
}

#[test]
fn synthetic_images_round_trip() {
    let png = distinct().encode_png().unwrap();
    round_trip(
        ArtifactKind::Synthetic,
        &[SyntheticRow { png, label: 2, round: 7, iterations: 500, ..SyntheticRow::default() }],
    );
}

#[test]
fn synthetic_images_in_network_space_round_trip_with_their_targets_and_those_without_beside_them() {
    let png = distinct().encode_png().unwrap();
    let row = |slot, pixels: bool, target: Option<Vec<f32>>| SyntheticRow {
        png: png.clone(),
        label: 1,
        slot,
        pixels: pixels.then(|| (0..45).map(|at| (at as f32 - 20.0) * 0.37 * (1 + slot) as f32).collect()),
        target,
        ..SyntheticRow::default()
    };
    let rows = [row(0, true, Some(vec![0.25, -1.5, 7.0])), row(1, true, None), row(2, false, None)];
    let provenance = Provenance { schema_version: 2, ..provenance(ArtifactKind::Synthetic) };
    let dir = tempfile::tempdir().unwrap();
    let bytes = ["one.parquet", "two.parquet"].map(|name| {
        let path = dir.path().join(name);
        let mut writer = SyntheticWriter::create(&path, &provenance).unwrap();
        rows.iter().for_each(|row| writer.write(row).unwrap());
        writer.finish().unwrap();
        let reader = SyntheticReader::open(&path).unwrap();
        assert_eq!(reader.rows().collect::<Result<Vec<_>>>().unwrap(), rows);
        fs_err::read(&path).unwrap()
    });
    assert!(bytes[0] == bytes[1], "bytes differ between two writings");
}

#[test]
fn trace_and_history_round_trip() {
    let trace = [
        TraceRow { batch: 1, iteration: 3999, lr: 0.1 + 0.2, ce: 0.5, bn: f32::MAX },
        TraceRow { batch: 2, iteration: 0, lr: 0.25, ce: 0.0, bn: 0.0 },
    ];
    round_trip(ArtifactKind::Synthetic, &trace);
    let history = [
        HistoryRow { seed: 3407, epoch: 0, lr: 1e-3, loss: 0.125, top1: Some(12.5), top5: Some(100.0) },
        HistoryRow { seed: u64::MAX, epoch: 1, lr: 1e-3, loss: 0.1, top1: None, top5: None },
    ];
    round_trip(ArtifactKind::Teacher, &history);
    round_trip(ArtifactKind::Evaluation, &history);
}

fn view(epoch: u32, position: u32) -> ViewRow {
    let op = |op, argument, interpolation| AugmentOp { op, argument, interpolation };
    let (randaugment, mix) = match position % 3 {
        0 => (Vec::new(), Mix::None),
        1 => (
            vec![
                op(Op::Posterize, 2.0, Interpolation::Bilinear),
                op(Op::TranslateXRel, -0.2, Interpolation::Bicubic),
            ],
            Mix::Cutmix { partner: 0, lambda: 0.3, top: 1, left: 2, bottom: 30, right: 32 },
        ),
        _ => {
            (vec![op(Op::AutoContrast, 0.0, Interpolation::Bicubic)], Mix::Mixup { partner: 2, lambda: 0.75 })
        }
    };
    ViewRow {
        epoch,
        batch: position / 10,
        position: position % 10,
        image_id: position * 2,
        patch_order: Vec::new(),
        randaugment,
        crop: CropBox { top: 1, left: 2, height: 20 + epoch, width: 31 },
        flip: position % 2 == 1,
        mix,
        logits: [-1.5, 0.25, 100.0].map(|logit| f16::from_f32(logit + epoch as f32)).to_vec(),
    }
}

fn epoch(number: u32) -> Vec<ViewRow> {
    (0..25).map(|position| view(number, position)).collect()
}

fn write_labels(path: &Path, epochs: &[u32]) {
    let mut writer = LabelsWriter::create(path, &provenance(ArtifactKind::Labels), None).unwrap();
    for number in epochs {
        writer.write_epoch(&epoch(*number)).unwrap();
    }
    writer.finish().unwrap();
}

#[test]
fn any_epoch_of_the_labels_can_be_read_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("labels.parquet");
    write_labels(&path, &[0, 1, 2]);
    let reader = LabelsReader::open(&path).unwrap();
    assert_eq!(reader.epochs().collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(reader.len(), 75);
    for number in [2, 0, 1] {
        assert_eq!(reader.epoch(number).unwrap(), epoch(number));
    }
    assert_eq!(
        reader.epoch(3).unwrap_err().to_string(),
        format!("{}: has no epoch 3, it holds 3 epochs; re-run relabel with more epochs", path.display())
    );
}

#[test]
fn packed_labels_give_whole_logits_and_the_order_of_patches() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("labels.parquet");
    let shuffled = |mut views: Vec<ViewRow>| {
        views.iter_mut().for_each(|view| view.patch_order = vec![2, 0, 3, 1]);
        views
    };
    // the logits of each view are -1.5, 0.25 and 100, plus the epoch
    for (keep, bits, expected) in [
        (Keep::Full, 16, [-1.5, 0.25, 100.0]),
        (Keep::TopK(1), 16, [-0.625, -0.625, 100.0]),
        (Keep::TopK(2), 8, [-1.5, 0.25, 100.0]),
        (Keep::Full, 8, [-1.5, 0.092_163_086, 100.0]),
    ] {
        let packing = LabelPacking { keep, bits };
        let mut writer =
            LabelsWriter::create(&path, &provenance(ArtifactKind::Labels), Some(packing)).unwrap();
        let views = shuffled(epoch(0));
        writer.write_epoch(&views).unwrap();
        writer.finish().unwrap();
        let reader = LabelsReader::open(&path).unwrap();
        let found = reader.epoch(0).unwrap();
        assert_eq!(found[7].logits, expected.map(f16::from_f32), "{packing:?}");
        let without = |view: &ViewRow| ViewRow { logits: Vec::new(), ..view.clone() };
        assert!(found.iter().map(without).eq(views.iter().map(without)));
        assert_eq!((reader.len(), reader.epochs().count()), (25, 1));
    }
}

#[test]
fn packing_saves_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("labels.parquet");
    let views = views_of_hundred_classes(500);
    let bytes = |packing: Option<LabelPacking>| {
        write_hundred_classes(&path, &views, packing);
        std::fs::metadata(&path).unwrap().len()
    };
    let whole = bytes(None);
    let half = bytes(Some(LabelPacking { keep: Keep::Full, bits: 8 }));
    let few = bytes(Some(LabelPacking { keep: Keep::TopK(10), bits: 16 }));
    let least = bytes(Some(LabelPacking { keep: Keep::TopK(10), bits: 8 }));
    assert!(whole > 500 * 100 * 2 * 9 / 10, "{whole}");
    // the views themselves take some of the bytes
    let is_smaller = half < whole * 7 / 10 && few < whole * 4 / 10 && least < whole * 4 / 10;
    assert!(is_smaller, "{whole}, {half}, {few}, {least}");
}

#[test]
fn an_epoch_of_many_pages_comes_back_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("labels.parquet");
    // 2.4 MB of logits: lists that go on over three pages of a megabyte
    let views = views_of_hundred_classes(12_000);
    for packing in [None, Some(LabelPacking::FULL), Some(LabelPacking { keep: Keep::TopK(90), bits: 16 })] {
        write_hundred_classes(&path, &views, packing);
        let found = LabelsReader::open(&path).unwrap().epoch(0).unwrap();
        let without = |view: &ViewRow| ViewRow { logits: Vec::new(), ..view.clone() };
        assert!(found.iter().map(without).eq(views.iter().map(without)), "{packing:?}");
        let is_whole = packing.is_none_or(|packing| packing.keep == Keep::Full);
        assert!(!is_whole || found == views, "{packing:?}");
        assert!(found.iter().all(|view| view.logits.len() == 100));
    }
}

/// Views of one epoch whose logits have no pattern that a compressor would find.
fn views_of_hundred_classes(count: u32) -> Vec<ViewRow> {
    let logit = |view: u32, class: u32| {
        let mut mixed = view * 100 + class;
        for factor in [0x85eb_ca6b_u32, 0xc2b2_ae35] {
            mixed = (mixed ^ (mixed >> 15)).wrapping_mul(factor);
        }
        mixed ^= mixed >> 16;
        f16::from_f32((mixed >> 8) as f32 / (1 << 20) as f32 - 8.0)
    };
    let logits = |view: u32| (0..100).map(|class| logit(view, class)).collect();
    (0..count).map(|view| ViewRow { logits: logits(view), ..view_of(view) }).collect()
}

fn write_hundred_classes(path: &Path, views: &[ViewRow], packing: Option<LabelPacking>) {
    let classes = (0..100).map(|class| class.to_string()).collect();
    let kind = ArtifactKind::Labels;
    let provenance =
        Provenance::new(kind, kind.stage(), 2, classes, serde_json::json!({}), 0, BTreeMap::new());
    let mut writer = LabelsWriter::create(path, &provenance, packing).unwrap();
    writer.write_epoch(views).unwrap();
    writer.finish().unwrap();
}

/// A view of epoch 0 in batches of ten, without logits.
fn view_of(position: u32) -> ViewRow {
    ViewRow { logits: Vec::new(), ..view(0, position) }
}

#[test]
fn patches_in_another_order_need_the_packed_layout() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("labels.parquet");
    let mut views = epoch(0);
    views[3].patch_order = vec![1, 0, 2, 3];
    let mut writer = LabelsWriter::create(&path, &provenance(ArtifactKind::Labels), None).unwrap();
    assert_eq!(
        writer.write_epoch(&views).unwrap_err().to_string(),
        format!(
            "{}: row 3, column `patch_order`: found 4 patches, expected none in this layout, which has no such column; re-run \
             relabel",
            path.display()
        )
    );
    views[3].patch_order = vec![1, 0, 2, 2];
    let packing = LabelPacking::FULL;
    let mut writer = LabelsWriter::create(&path, &provenance(ArtifactKind::Labels), Some(packing)).unwrap();
    assert_eq!(
        writer.write_epoch(&views).unwrap_err().to_string(),
        format!(
            "{}: row 3, column `patch_order`: found [1, 0, 2, 2], expected each patch of a square mosaic once, from 0; re-run \
             relabel",
            path.display()
        )
    );
}

#[test]
fn labels_put_together_from_checkpoints_of_single_epochs_have_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, joined) = (dir.path().join("whole.parquet"), dir.path().join("joined.parquet"));
    write_labels(&whole, &[0, 1]);
    let mut writer = LabelsWriter::create(&joined, &provenance(ArtifactKind::Labels), None).unwrap();
    for number in [0, 1] {
        let part = dir.path().join(format!("{number}.parquet"));
        write_labels(&part, &[number]);
        writer.write_epoch(&LabelsReader::open(&part).unwrap().epoch(number).unwrap()).unwrap();
    }
    writer.finish().unwrap();
    assert_eq!(fs_err::read(whole).unwrap(), fs_err::read(joined).unwrap());
}

#[test]
fn epochs_out_of_order_and_mixed_epochs_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("labels.parquet");
    let mut writer = LabelsWriter::create(&path, &provenance(ArtifactKind::Labels), None).unwrap();
    writer.write_epoch(&epoch(4)).unwrap();
    assert_eq!(
        writer.write_epoch(&epoch(4)).unwrap_err().to_string(),
        format!(
            "{}: views of epoch 4 cannot follow epoch 4: write each epoch once, in ascending order",
            path.display()
        )
    );
    assert_eq!(
        writer.write_epoch(&[view(5, 0), view(6, 1)]).unwrap_err().to_string(),
        format!(
            "{}: row 26, column `epoch`: found 6, expected 5, the epoch of its row group; re-run relabel",
            path.display()
        )
    );
}

#[test]
fn pictures_carry_hugging_face_features_and_no_arrow_schema() {
    use parquet::file::reader::{FileReader, SerializedFileReader};
    let (_dir, path) = round_trip(ArtifactKind::Dataset, &images(2));
    let reader = SerializedFileReader::new(std::fs::File::open(path).unwrap()).unwrap();
    let entries = reader.metadata().file_metadata().key_value_metadata().unwrap();
    assert_eq!(entries.iter().map(|entry| entry.key.as_str()).collect::<Vec<_>>(), ["huggingface", "delt"]);
    let features = r#"{"info":{"features":{"image":{"_type":"Image"},"image_id":{"_type":"Value","dtype":"uint64"},"label":{"_type":"ClassLabel","names":["cat","dog","a \"quoted\" name"]}}}}"#;
    assert_eq!(entries[0].value.as_deref(), Some(features));
}
