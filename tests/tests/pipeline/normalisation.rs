//! The constants of the teacher artifact are those of every stage, whatever the data set's are: each stage's work is done
//! again here with the ones and the others.

use std::path::{Path, PathBuf};

use delt_augment::{Draws, to_normalized, to_picture};
use delt_formats::scores::read_csv;
use delt_formats::{
    DatasetReader, HistoryReader, HistoryRow, InitialReader, InitialRow, LabelsReader, Normalization,
    Picture, ScoresReader, SyntheticReader, TeacherFacts,
};
use delt_harness::config::{self, Branch};
use delt_harness::progress::Progress;
use delt_networks::FrozenNetwork;
use delt_synthesize::checkpoint::Checkpoints;
use delt_synthesize::early_late::{BatchSchedule, EarlyLate};
use delt_synthesize::recover::{RecoveryTeacher, lr_at};
use delt_synthesize::stage::schedule_config;
use delt_synthesize::synthesize::Synthesis;
use delt_tests::binaries::Run;
use delt_tests::workspace;
use delt_training::PictureSet;
use evaluate::student::{Lesson, train};
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
        FrozenNetwork::load(&self.facts.architecture, 10, self.facts.size as usize, &weights, &device)
            .unwrap()
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

    /// The synthetic pictures, recovered from the initial ones.
    fn recovered(&self, normalization: Normalization) -> Vec<Picture> {
        let config = &self.branch.pipeline.synthesize;
        let size = self.facts.size as usize;
        let reader = InitialReader::open(self.file("initial", "initial", "initial.parquet")).unwrap();
        let rows: Vec<InitialRow> = reader.rows().map(Result::unwrap).collect();
        let draws = Draws::new(self.branch.pipeline.seed);
        let schedule =
            EarlyLate::new(&schedule_config(config, self.branch.pipeline.select.ipc), 0..10, &draws);
        let device = delt_device::open("flex").unwrap().device;
        let teacher = RecoveryTeacher::new(self.network(), &normalization, &device);
        let start = |batch: &BatchSchedule| {
            let mut pixels = vec![0.0; batch.labels.len() * 3 * size * size];
            let rows = &rows[batch.first as usize..];
            for (out, row) in pixels.chunks_mut(3 * size * size).zip(rows) {
                to_normalized(&Picture::decode(&row.png).unwrap(), &normalization, out);
            }
            Ok(pixels)
        };
        let synthesis = Synthesis {
            teacher: &teacher,
            config,
            classes: &self.classes,
            size,
            draws,
            committee: &[],
            real: None,
        };
        let folder = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::new(folder.path());
        let progress = Progress::new("recover", schedule.image_iterations(), "image-iterations");
        synthesis.run(&schedule, start, &checkpoints, &progress).unwrap();
        let batches = schedule.batches.iter();
        batches
            .flat_map(|batch| {
                checkpoints.finished(batch, &|iteration| lr_at(config, batch, iteration)).unwrap().images
            })
            .collect::<Vec<f32>>()
            .chunks(3 * size * size)
            .map(|image| to_picture(image, self.facts.size, &normalization))
            .collect()
    }

    /// The history of the second student, trained on the stored views.
    fn student(&self, normalization: &Normalization) -> Vec<HistoryRow> {
        let pipeline = &self.branch.pipeline;
        let reader = SyntheticReader::open(self.file("synthetic", "synthetic", "synthetic.parquet")).unwrap();
        let rows: Vec<_> = reader.rows().map(Result::unwrap).collect();
        let pictures: Vec<Picture> = rows.iter().map(|row| Picture::decode(&row.png).unwrap()).collect();
        let picture_labels: Vec<u32> = rows.iter().map(|row| row.label).collect();
        let labels = LabelsReader::open(self.file("labels", "labels-4663", "labels.parquet")).unwrap();
        let test = self.file("dataset", "dataset", "test.parquet");
        let test = PictureSet::load(&test, self.facts.size, &self.classes).unwrap();
        let device = delt_device::open("flex").unwrap().device;
        let lesson = Lesson {
            config: &pipeline.evaluate,
            lr: pipeline.student_lr(self.classes.len()),
            seed: 4663,
            epochs: pipeline.relabel.epochs,
            stored_epochs: pipeline.relabel.epochs,
            pictures: &pictures,
            picture_labels: &picture_labels,
            labels,
            normalization,
            size: self.facts.size,
            classes: self.classes.len(),
            device: &device,
        };
        let folder = tempfile::tempdir().unwrap();
        train(&lesson, &test, folder.path(), &Progress::new("train", 1, "images")).unwrap()
    }
}

fn stored_pictures(path: &Path) -> Vec<Picture> {
    let reader = SyntheticReader::open(path).unwrap();
    reader.rows().map(|row| Picture::decode(&row.unwrap().png).unwrap()).collect()
}

#[test]
fn normalisation_comes_from_the_teacher_artifact_in_every_stage() {
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
    assert!(made.recovered(right) == stored, "the pictures recovered with the teacher's constants differ");
    assert!(made.recovered(wrong) != stored, "the constants made no difference to the pictures");

    assert!(largest_difference(&made.run, right) <= F16);
    let difference = largest_difference(&made.run, wrong);
    assert!(difference > 0.05, "the constants made no difference to the labels: {difference}");

    let reader = HistoryReader::open(made.file("evaluation", "evaluation", "history.parquet")).unwrap();
    let stored: Vec<HistoryRow> = reader.rows().map(Result::unwrap).filter(|row| row.seed == 4663).collect();
    assert_eq!(stored.len(), 3);
    assert_eq!(made.student(&right), stored);
    assert_ne!(made.student(&wrong), stored);
}
