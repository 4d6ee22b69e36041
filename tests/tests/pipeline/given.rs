//! Students that learn what the set itself gives, without labels.

use std::process::Child;

use delt_formats::{HistoryReader, Summary};
use delt_tests::binaries::{Run, published};

use crate::reproducible::in_the_middle;

/// The published recipe of DC, DSA and DM, shorter.
const GIVEN: &str = "evaluate.given={targets: hard, loss: {kind: cross_entropy}, optimizer: {kind: sgd, lr: 0.02, momentum: 0.9, \
    weight_decay: 5.0e-4, drop: {after: 152, factor: 0.1}}, budget: {epochs: 301}, batch: {images: 20}, \
    augmentation: [color, crop, cutout, scale, rotate], tests: {every: 100}}";

const SETTINGS: [&str; 6] = ["--branch", "random", "--set", "relabel.source=given", "--set", GIVEN];

/// All that such a branch makes.
const KINDS: [&str; 6] = ["dataset", "teacher", "scores", "initial", "synthetic", "evaluation"];

#[test]
fn students_learn_the_classes_of_real_images_and_a_resumed_run_gives_the_same_bytes() {
    let whole = Run::new();
    for stage in ["ingest", "teacher-train", "init-select", "delt-synthesize"] {
        whole.stage(stage, &SETTINGS);
    }
    let said = whole.stage("relabel", &SETTINGS);
    assert_eq!(said, "relabel: random: nothing to label, its students learn what the set gives\n");
    let said = whole.output("evaluate", &SETTINGS);
    let table = String::from_utf8(said.stdout).unwrap();
    let recipe = "convnet2-w8, hard labels, CE, SGD lr 0.02 x 0.1 after 152 epochs, momentum 0.9, weight decay 0.0005, 301 epochs, \
                  batch 20, one of color crop cutout scale rotate, bn_momentum 0.1";
    assert!(table.contains(recipe), "{table}");
    let (folder, _) = whole.pointed("tiny/random/evaluation", "evaluation");
    let rows = HistoryReader::open(folder.join("history.parquet")).unwrap().rows().map(Result::unwrap);
    let rows: Vec<_> = rows.map(|row| (row.seed, row.epoch, row.lr)).collect();
    let expected = |seed| [(seed, 99, 0.02), (seed, 199, 0.002), (seed, 299, 0.002), (seed, 300, 0.002)];
    assert_eq!(rows, [expected(3407), expected(4663)].concat());
    let summary = Summary::read(folder.join("summary.json")).unwrap();
    assert_eq!((summary.label_bytes, summary.images, summary.students.len()), (0, 30, 2));
    // ten classes: guessing reaches 10 %
    assert!(summary.last_mean > 40.0, "{summary:?}");
    assert_ne!(summary.students[0].last_top1, summary.students[1].last_top1);

    let stopped = Run::new();
    stopped.up_to("relabel", &SETTINGS);
    let kill = |mut child: Child| {
        child.kill().unwrap();
        child.wait().unwrap();
    };
    kill(in_the_middle(&stopped, "evaluate", "training/counters.yaml", &SETTINGS));
    let said = stopped.stage("evaluate", &SETTINGS);
    assert!(said.contains("tiny/random/evaluation resumes from its checkpoint"), "{said}");
    assert!(published(&whole.store(), &KINDS) == published(&stopped.store(), &KINDS), "other bytes");
    stopped.stage("report", &SETTINGS);
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("out").display().to_string();
    let said =
        stopped.stage("export", &[&SETTINGS[..], &["--format", "torch", "--output", &folder]].concat());
    assert!(said.contains("30 images of 10 classes"), "{said}");
}

#[test]
fn a_learning_rate_that_nobody_learned_is_refused_by_name() {
    let run = Run::new();
    run.up_to("relabel", &SETTINGS);
    let learned = GIVEN.replace("lr: 0.02", "lr: learned");
    let output = run.output("evaluate", &[&SETTINGS[..5], &[learned.as_str()]].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let expected = "`evaluate.given.optimizer.lr`: found learned, but no learning rate was learned with these images; write a number";
    assert!(said.trim_end().ends_with(expected), "{said}");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn real_images_stand_in_the_space_of_a_method_and_test_images_with_them() {
    let run = Run::new();
    let given = GIVEN.replace("epochs: 301", "steps: 200").replace("every: 100", "at: [150]");
    let more = [&SETTINGS[..5], &[given.as_str(), "--set", "evaluate.given.whitening=trace"]].concat();
    run.up_to("evaluate", &more);
    let (_, whitening) = run.pointed("tiny/random/whitening", "whitening");
    let (folder, evaluation) = run.pointed("tiny/random/evaluation", "evaluation");
    assert_eq!(evaluation.provenance.inputs["whitening"], whitening.digest);
    let rows = HistoryReader::open(folder.join("history.parquet")).unwrap().rows().map(Result::unwrap);
    assert_eq!(rows.map(|row| row.epoch).collect::<Vec<_>>(), [149, 199, 149, 199]);
    let summary = Summary::read(folder.join("summary.json")).unwrap();
    // test images that are not whitened would be guessed at
    assert!(summary.last_mean > 40.0, "{summary:?}");
}
