//! Labels and test sets that a student cannot use, and students that break: the whole message of each refusal.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::Device;
use delt_formats::{
    Architecture, ArtifactKind, CropBox, DatasetWriter, LabelsReader, LabelsWriter, Mix, Normalization,
    Provenance, RgbImage, ViewRow,
};
use delt_harness::progress::Progress;
use delt_pipeline::config::evaluate::{Evaluate, Loss, StudentSchedule};
use delt_training::ImageSet;
use evaluate::stage::test_images_of;
use evaluate::student::{TrainingTargets, train};
use half::f16;

const SIZE: u32 = 8;
const IMAGES: u32 = 4;
const NORMALIZATION: Normalization = Normalization { mean: [0.5; 3], std: [0.25; 3] };

fn provenance(kind: ArtifactKind, classes: usize) -> Provenance {
    let classes = (0..classes).map(|class| class.to_string()).collect();
    Provenance::new(kind, "test", 1, classes, Default::default(), 0, BTreeMap::new())
}

fn picture(index: u32) -> RgbImage {
    let rgb = (0..SIZE * SIZE * 3).map(|i| ((i * (7 + index) + 31 * index) % 256) as u8).collect();
    RgbImage { width: SIZE, height: SIZE, rgb }
}

fn recipe() -> Evaluate {
    Evaluate {
        student: Architecture::convnet(1, 4),
        loss: Loss::Kl { temperature: 4.0 },
        lr: None,
        beta_1: 0.9,
        beta_2: 0.999,
        epsilon: 1e-8,
        weight_decay: 0.0,
        schedule: StudentSchedule::Constant,
        bn_momentum: 0.1,
        test_every: 1,
        dropout: false,
        ema: None,
        given: None,
    }
}

/// Stored views of two epochs, `images` an epoch in batches of `batch`, with logits of `classes` classes.
fn labels(folder: &Path, (images, batch): (u32, u32), classes: usize) -> LabelsReader {
    let path = folder.join("labels.parquet");
    let mut writer =
        LabelsWriter::create(&path, &provenance(ArtifactKind::Labels, classes), None).expect("created");
    for epoch in 0..2 {
        let view = |image_id: u32| ViewRow {
            epoch,
            batch: image_id / batch,
            position: image_id % batch,
            image_id,
            patch_order: Vec::new(),
            randaugment: Vec::new(),
            crop: CropBox { top: 0, left: 0, height: SIZE, width: SIZE },
            flip: false,
            mix: Mix::None,
            logits: (0..classes).map(|class| f16::from_f32((class as u32 == image_id % 2).into())).collect(),
        };
        writer.write_epoch(&(0..images).map(view).collect::<Vec<_>>()).expect("written");
    }
    writer.finish().expect("finished");
    LabelsReader::open(path).expect("opens")
}

/// What is said of a student of two classes and four images that learns from these labels.
fn said(lr: f64, views: (u32, u32), classes: usize) -> String {
    let folder = tempfile::tempdir().expect("temporary folder");
    let (labels, config, device) = (labels(folder.path(), views, classes), recipe(), Device::flex());
    let pictures: Vec<RgbImage> = (0..IMAGES).map(picture).collect();
    let image_labels = [0, 1, 0, 1];
    let test = ImageSet::of(SIZE, &pictures, image_labels.to_vec()).expect("in memory");
    let targets = TrainingTargets {
        config: &config,
        lr,
        seed: 5,
        epochs: 2,
        stored_epochs: 2,
        pictures: &pictures,
        image_labels: &image_labels,
        labels,
        normalization: &NORMALIZATION,
        size: SIZE,
        classes: 2,
        device: &device,
        start: None,
        scales_l1: 0.0,
    };
    let progress = Progress::new("evaluate", u64::from(4 * IMAGES), "images");
    let trained = train(&targets, &test, folder.path(), &progress);
    format!("{:#}", trained.expect_err("refused"))
}

#[test]
fn labels_of_fewer_images_are_refused_with_both_counts() {
    assert_eq!(
        said(0.001, (2, 2), 2),
        "labels.parquet: epoch 0 has 2 views, expected one of each of 4 images; run relabel again (FORCE=1)"
    );
}

#[test]
fn logits_of_other_classes_are_refused_with_both_counts() {
    assert_eq!(
        said(0.001, (IMAGES, 2), 3),
        "labels.parquet: 6 logits for 2 views, expected 2 each; run relabel again (FORCE=1)"
    );
}

#[test]
fn a_student_that_breaks_names_seed_epoch_and_what_is_kept() {
    let message = said(1e38, (IMAGES, 2), 2);
    assert_eq!(
        message,
        "student seed 5, epoch 0, batch 1, iteration 1: the loss is NaN; nothing is kept yet; lower evaluate.lr"
    );
}

#[test]
fn weights_that_break_in_the_last_step_of_an_epoch_are_named() {
    let message = said(1e39, (IMAGES, IMAGES), 2);
    let start = "student seed 5, epoch 0, after batch 0, iteration 0: `layers.conv.0.weight` holds ";
    assert!(message.starts_with(start), "{message}");
    assert!(message.ends_with("; nothing is kept yet; lower evaluate.lr"), "{message}");
}

#[test]
fn a_test_split_without_images_is_refused_by_its_file() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("test.parquet");
    let writer = DatasetWriter::create(&path, &provenance(ArtifactKind::Dataset, 1)).expect("created");
    writer.finish().expect("finished");
    let error = test_images_of(&path, SIZE, &["0".to_owned()], &()).expect_err("refused");
    assert_eq!(
        error.to_string(),
        format!(
            "{}: holds no test image, so students cannot be tested; give `ingest` a source with a test split",
            path.display()
        )
    );
}
