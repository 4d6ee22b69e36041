//! The constants of the teacher artifact are those of every stage, whatever the data set's are: each stage's work is done
//! again here with the ones and the others.

use std::path::{Path, PathBuf};

use delt_augment::{Draws, to_rgb_image};
use delt_formats::scores::read_csv;
use delt_formats::{
    DatasetReader, HistoryReader, HistoryRow, InitialReader, InitialRow, LabelsReader, Normalization,
    RgbImage, ScoresReader, SyntheticReader, TeacherFacts,
};
use delt_harness::progress::Progress;
use delt_networks::FrozenNetwork;
use delt_pipeline::config::{self, Branch};
use delt_pipeline::early_late::EarlyLate;
use delt_synthesize::checkpoint::{Checkpoints, Kept, finished_file};
use delt_synthesize::early_late_recovery::Recoveries;
use delt_synthesize::method::Prepared as _;
use delt_synthesize::recover::{FinishedBatch, RecoveryTeacher};
use delt_tests::binaries::Run;
use delt_tests::workspace;
use delt_training::ImageSet;
use evaluate::student::{TrainingTargets, train};
use init_select::scoring::Ranker;

use crate::replay::{F16, largest_difference};

/// A run whose teacher was imported with constants that are not the data set's.
struct Imported {
    run: Run,
    branch: Branch,
    facts: TeacherFacts,
    classes: Vec<String>,
    /// What the data set's own training images give.
    of_the_dataset: Normalization,
}

fn imported() -> Imported {
    let first = Run::new();
    first.up_to("teacher-train", &["--branch", "delt"]);
    let (teacher, manifest) = first.pointed("tiny/delt/teacher", "teacher");
    let of_the_dataset = manifest.facts_as::<TeacherFacts>().unwrap().normalization;
    let path = teacher.join("weights.safetensors");
    let constants = "normalization: {mean: [0.5, 0.5, 0.5], std: [0.4, 0.4, 0.4]}";
    let import = format!("teacher.import={{path: '{}', classes: dataset, {constants}}}", path.display());
    let run = Run::new();
    run.up_to("evaluate", &["--branch", "delt", "--set", &import]);
    let branches = config::load(&workspace().join("tests/pipelines/tiny.yaml"), &[import], None).unwrap();
    let branch = branches.into_iter().find(|branch| branch.name == "delt").unwrap();
    let (_, manifest) = run.pointed("tiny/delt/teacher", "teacher");
    let facts: TeacherFacts = manifest.facts_as().unwrap();
    assert_eq!(facts.normalization, Normalization { mean: [0.5; 3], std: [0.4; 3] });
    Imported { run, branch, facts, classes: manifest.provenance.classes, of_the_dataset }
}

impl Imported {
    fn file(&self, kind: &str, pointer: &str, file: &str) -> PathBuf {
        self.run.pointed(&format!("tiny/delt/{pointer}"), kind).0.join(file)
    }

    fn network(&self) -> FrozenNetwork {
        let weights = self.file("teacher", "teacher", "weights.safetensors");
        let device = delt_device::open("flex").unwrap().device;
        FrozenNetwork::load(&self.facts, 10, &weights, &device).unwrap()
    }

    /// Probabilities of all training images.
    fn probabilities(&self, normalization: Normalization) -> Vec<f32> {
        let reader = DatasetReader::open(self.file("dataset", "dataset", "train.parquet")).unwrap();
        let device = delt_device::open("flex").unwrap().device;
        let ranker = Ranker { network: self.network(), device, size: self.facts.size, normalization };
        let folder = tempfile::tempdir().unwrap();
        let progress = Progress::new("score", reader.len(), "images");
        ranker.score_all(&reader, 0..reader.len(), folder.path(), &progress).unwrap();
        read_csv(folder.path().join("scores.csv")).unwrap().iter().map(|row| row.probability).collect()
    }

    /// The synthetic images, recovered from the initial ones.
    fn recovered(&self, normalization: Normalization) -> Vec<RgbImage> {
        let config = &self.branch.pipeline.synthesize;
        let size = self.facts.size as usize;
        let reader = InitialReader::open(self.file("initial", "initial", "initial.parquet")).unwrap();
        let rows: Vec<InitialRow> = reader.rows().map(Result::unwrap).collect();
        let draws = Draws::new(self.branch.pipeline.seed);
        let schedule = EarlyLate::new(config, self.branch.pipeline.select.ipc, 0..10, &draws);
        let device = delt_device::open("flex").unwrap().device;
        let teacher = RecoveryTeacher::new(self.network(), &normalization, &device);
        let recoveries = Recoveries {
            config,
            classes: &self.classes,
            initial: &rows,
            schedule: &schedule,
            normalization,
            size,
            draws,
            teachers: vec![teacher],
        };
        let mut images: Vec<f32> = Vec::new();
        for (batch, unit) in schedule.batches.iter().zip(0..) {
            let mut unit = recoveries.begin(unit).unwrap();
            while !unit.is_finished() {
                unit.step().unwrap();
            }
            let folder = tempfile::tempdir().unwrap();
            let checkpoints = Checkpoints::new(folder.path());
            checkpoints.keep_finished(0, &unit.finish().unwrap()).unwrap();
            let kept = Kept::read(&folder.path().join(finished_file(0))).unwrap();
            images.extend(FinishedBatch::read(&kept, batch, config).unwrap().images);
        }
        images
            .chunks(3 * size * size)
            .map(|image| to_rgb_image(image, self.facts.size, &normalization))
            .collect()
    }

    /// The history of the second student, trained on the stored views.
    fn student(&self, normalization: &Normalization) -> Vec<HistoryRow> {
        let pipeline = &self.branch.pipeline;
        let reader = SyntheticReader::open(self.file("synthetic", "synthetic", "synthetic.parquet")).unwrap();
        let rows: Vec<_> = reader.rows().map(Result::unwrap).collect();
        let pictures: Vec<RgbImage> = rows.iter().map(|row| RgbImage::decode(&row.png).unwrap()).collect();
        let image_labels: Vec<u32> = rows.iter().map(|row| row.label).collect();
        let labels = LabelsReader::open(self.file("labels", "labels-4663", "labels.parquet")).unwrap();
        let test = self.file("dataset", "dataset", "test.parquet");
        let test = ImageSet::load(&test, self.facts.size, &self.classes, &()).unwrap();
        let device = delt_device::open("flex").unwrap().device;
        let targets = TrainingTargets {
            config: &pipeline.evaluate,
            lr: pipeline.student_lr(self.classes.len()).unwrap(),
            seed: 4663,
            epochs: pipeline.relabel.epochs,
            stored_epochs: pipeline.relabel.epochs,
            pictures: &pictures,
            image_labels: &image_labels,
            labels,
            normalization,
            size: self.facts.size,
            classes: self.classes.len(),
            device: &device,
            start: None,
            scales_l1: 0.0,
        };
        let folder = tempfile::tempdir().unwrap();
        train(&targets, &test, folder.path(), &Progress::new("train", 1, "images")).unwrap()
    }
}

fn stored_pictures(path: &Path) -> Vec<RgbImage> {
    let reader = SyntheticReader::open(path).unwrap();
    reader.rows().map(|row| RgbImage::decode(&row.unwrap().png).unwrap()).collect()
}

#[test]
fn normalization_comes_from_the_teacher_artifact_in_every_stage() {
    let made = imported();
    let (right, wrong) = (made.facts.normalization, made.of_the_dataset);

    let reader = ScoresReader::open(made.file("scores", "scores", "scores.parquet")).unwrap();
    let mut stored: Vec<_> = reader.rows().map(Result::unwrap).collect();
    stored.sort_by_key(|row| row.image_id);
    let stored: Vec<f32> = stored.iter().map(|row| row.probability).collect();
    assert_eq!(made.probabilities(right), stored);
    assert_ne!(made.probabilities(wrong), stored);

    let stored = stored_pictures(&made.file("synthetic", "synthetic", "synthetic.parquet"));
    assert_eq!(stored.len(), 30);
    assert!(made.recovered(right) == stored, "the images recovered with the teacher's constants differ");
    assert!(made.recovered(wrong) != stored, "the constants made no difference to the images");

    assert!(largest_difference(&made.run, right) <= F16);
    let difference = largest_difference(&made.run, wrong);
    assert!(difference > 0.05, "the constants made no difference to the labels: {difference}");

    let reader = HistoryReader::open(made.file("evaluation", "evaluation", "history.parquet")).unwrap();
    let stored: Vec<HistoryRow> = reader.rows().map(Result::unwrap).filter(|row| row.seed == 4663).collect();
    assert_eq!(stored.len(), 3);
    assert_eq!(made.student(&right), stored);
    assert_ne!(made.student(&wrong), stored);
}
