//! Neighbors of DELT, through the binaries: each method's switch changes what it should, the same again every time.

use std::path::PathBuf;

use delt_formats::{HistoryReader, LabelsReader, Manifest, SyntheticReader, TraceReader, TraceRow};
use delt_tests::binaries::{Run, STAGES, published};

use crate::reproducible::in_the_middle;

/// One branch with one student, and more settings.
fn settings<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let mut all = vec!["--branch", "delt", "--set", "relabel.seeds=[3407]"];
    for setting in more {
        all.extend(["--set", setting]);
    }
    all
}

/// All stages; the synthetic images.
fn run(run: &Run, settings: &[&str]) -> (PathBuf, Manifest) {
    run.up_to("evaluate", settings);
    run.pointed("tiny/delt/synthetic", "synthetic")
}

const KINDS: [&str; 3] = ["synthetic", "labels", "evaluation"];

#[test]
fn a_data_residual_changes_the_images_and_nothing_before_them() {
    let residual = settings(&[
        "synthesize.early_late=false",
        "synthesize.residual={share: 0.5, every: 10, restart_adam: true}",
    ]);
    let plain = settings(&["synthesize.early_late=false"]);
    let (one, two) = (Run::new(), Run::new());
    let (_, blended) = run(&one, &residual);
    assert_eq!(blended.provenance.config["residual"]["every"], 10);
    run(&two, &residual);
    assert!(published(&one.store(), &KINDS) == published(&two.store(), &KINDS), "other bytes");
    for stage in ["ingest", "teacher-train", "init-select"] {
        one.cached(stage, &plain);
    }
    let (_, plain) = run(&one, &plain);
    assert!(plain.provenance.config.get("residual").is_none());
    assert_ne!(plain.digest, blended.digest);
    assert_eq!(plain.facts["image_iterations"], blended.facts["image_iterations"]);
}

#[test]
fn batches_across_classes_change_the_images_and_not_their_order_in_the_file() {
    // three images of ten classes: by class a batch of ten has four classes, across them one image of each
    let across = settings(&["synthesize.batch=10", "synthesize.batches=across_classes"]);
    let (one, two) = (Run::new(), Run::new());
    let (folder, manifest) = run(&one, &across);
    assert_eq!(manifest.provenance.config["batches"], "across_classes");
    run(&two, &across);
    assert!(published(&one.store(), &KINDS) == published(&two.store(), &KINDS), "other bytes");
    let by_class = settings(&["synthesize.batch=10"]);
    one.cached("init-select", &by_class);
    let (_, other) = run(&one, &by_class);
    assert!(other.provenance.config.get("batches").is_none());
    assert_ne!(other.digest, manifest.digest);
    assert_eq!(other.facts["image_iterations"], manifest.facts["image_iterations"]);
    let rows = SyntheticReader::open(folder.join("synthetic.parquet")).unwrap().rows().map(Result::unwrap);
    let places: Vec<_> = rows.map(|row| (row.label, row.slot, row.iterations)).collect();
    // MI 40 in rounds of 20: two images of a class join first, one late
    let expected = (0..10).flat_map(|label| [(label, 0, 40), (label, 1, 40), (label, 2, 20)]);
    assert_eq!(places, expected.collect::<Vec<_>>());
}

#[test]
fn images_are_pulled_to_the_barycenter_of_their_class() {
    let settings = settings(&[
        "synthesize.batch=3",
        "synthesize.early_late=false",
        "synthesize.min_crop_scale=1",
        "synthesize.target={kind: barycenter, weight: 1}",
    ]);
    let (one, two) = (Run::new(), Run::new());
    let (folder, manifest) = run(&one, &settings);
    let (_, dataset) = one.pointed("tiny/delt/dataset", "dataset");
    assert_eq!(manifest.provenance.inputs["dataset"], dataset.digest);
    // ten classes, a batch each; the distance to the barycenter's points shrinks
    let rows = TraceReader::open(folder.join("trace.parquet")).unwrap().rows().map(Result::unwrap);
    let rows: Vec<_> = rows.collect();
    let mean = |iteration: u32| {
        let of: Vec<f32> = rows.iter().filter(|row| row.iteration == iteration).map(|row| row.ce).collect();
        assert_eq!(of.len(), 10);
        of.iter().sum::<f32>() / 10.0
    };
    assert!(mean(39) < 0.5 * mean(0), "{} from {}", mean(39), mean(0));
    run(&two, &settings);
    assert!(published(&one.store(), &KINDS) == published(&two.store(), &KINDS), "other bytes");
}

#[test]
fn images_from_noise_are_pulled_to_a_barycenter_and_their_class_and_kept_apart() {
    let barycenter = [
        "synthesize.batch=3",
        "synthesize.early_late=false",
        "synthesize.init=noise",
        "synthesize.target={kind: barycenter, weight: 1, cross_entropy: 1}",
    ];
    let apart = "synthesize.densification={weight: 0.1, temperature: 4}";
    let digest = |settings: &[&str]| {
        let one = Run::new();
        let (folder, manifest) = run(&one, settings);
        let rows = TraceReader::open(folder.join("trace.parquet")).unwrap().rows().map(Result::unwrap);
        let (first, last): (Vec<_>, Vec<_>) =
            rows.filter(|row| [0, 39].contains(&row.iteration)).partition(|row| row.iteration == 0);
        let sum = |rows: &[TraceRow]| rows.iter().map(|row| row.ce).sum::<f32>();
        assert!(sum(&last) < sum(&first), "{} from {}", sum(&last), sum(&first));
        manifest.digest
    };
    let plain = digest(&settings(&barycenter));
    let both: Vec<&str> = barycenter.into_iter().chain([apart]).collect();
    let both = settings(&both);
    assert_eq!(digest(&both), digest(&both));
    assert_ne!(digest(&both), plain);
}

/// A network beside the teacher, trained for less time.
const COMMITTEE: &str = "committee=[{size: 8, network: {name: convnet, depth: 1, width: 6}, train: {epochs: 2, batch: 40, \
    optimizer: {name: adamw, lr: 0.01, beta_1: 0.9, beta_2: 0.999, epsilon: 1.0e-8, weight_decay: 0.01}, \
    schedule: {name: cosine}, label_smoothing: 0, pad: 0, flip: false, bn_momentum: 0.1}}]";

#[test]
fn networks_at_once_recover_and_label_as_much_as_they_are_good() {
    let strengths = "{values: [60, 70], temperature: 5}";
    let together = format!("synthesize.together={{networks: 2, strengths: {strengths}}}");
    let weighted = format!("relabel.strengths={strengths}");
    let by_turns = [COMMITTEE, "synthesize.teachers=committee", "relabel.voters=committee"];
    let at_once = [&by_turns[..], &[&together, &weighted]].concat();
    let (one, two, other) = (Run::new(), Run::new(), Run::new());
    let (_, images) = run(&one, &settings(&at_once));
    run(&two, &settings(&at_once));
    assert!(published(&one.store(), &KINDS) == published(&two.store(), &KINDS), "other bytes");
    let (_, by_turns) = run(&other, &settings(&by_turns));
    assert_ne!(images.digest, by_turns.digest);
    let (_, labels) = one.pointed("tiny/delt/labels-3407", "labels");
    assert_eq!(labels.provenance.config["strengths"]["temperature"], 5.0);
    let (_, plain) = other.pointed("tiny/delt/labels-3407", "labels");
    assert!(plain.provenance.config.get("strengths").is_none());
}

#[test]
fn a_committee_recovers_and_labels_and_each_by_its_own_switch() {
    let both = settings(&[COMMITTEE, "synthesize.teachers=committee", "relabel.voters=committee"]);
    let (one, two) = (Run::new(), Run::new());
    let (_, images) = run(&one, &both);
    run(&two, &both);
    assert!(published(&one.store(), &KINDS) == published(&two.store(), &KINDS), "other bytes");
    let (_, member) = one.pointed("tiny/delt/committee-0", "teacher");
    let (_, labels) = one.pointed("tiny/delt/labels-3407", "labels");
    for made in [&images, &labels] {
        assert_eq!(made.provenance.inputs["committee-0"], member.digest);
    }
    // the images of the teacher alone, labeled by both, and the other way round
    let voting = settings(&[COMMITTEE, "relabel.voters=committee"]);
    let (_, alone) = run(&one, &voting);
    assert!(!alone.provenance.inputs.contains_key("committee-0"));
    assert_ne!(alone.digest, images.digest);
    let recovering = settings(&[COMMITTEE, "synthesize.teachers=committee"]);
    assert_eq!(run(&one, &recovering).1.key, images.key);
    let (_, by_teacher) = one.pointed("tiny/delt/labels-3407", "labels");
    assert!(!by_teacher.provenance.inputs.contains_key("committee-0"));
    assert_ne!(by_teacher.digest, labels.digest);
}

#[test]
fn batch_specific_labels_and_mse_gt_go_through_all_stages() {
    let train = settings(&["relabel.teacher_mode=train", "evaluate.loss={kind: mse_gt, ce_weight: 0.15}"]);
    let (one, two) = (Run::new(), Run::new());
    run(&one, &train);
    run(&two, &train);
    assert!(published(&one.store(), &KINDS) == published(&two.store(), &KINDS), "other bytes");
    let (of_batch, by_batch) = one.pointed("tiny/delt/labels-3407", "labels");
    one.up_to("relabel", &settings(&[]));
    let (of_running, by_running) = one.pointed("tiny/delt/labels-3407", "labels");
    assert_ne!(by_batch.digest, by_running.digest);
    let epoch =
        |folder: PathBuf| LabelsReader::open(folder.join("labels.parquet")).unwrap().epoch(0).unwrap();
    let (of_batch, of_running) = (epoch(of_batch), epoch(of_running));
    // the same views in the same batches, labeled otherwise
    for (a, b) in of_batch.iter().zip(&of_running) {
        assert_eq!((a.image_id, a.batch, a.crop, a.mix), (b.image_id, b.batch, b.crop, b.mix));
        assert_ne!(a.logits, b.logits);
    }
}

#[test]
fn an_average_is_tested_in_place_of_the_student() {
    let scores = |more: &[&str]| {
        let one = Run::new();
        let more = settings(more);
        one.up_to("evaluate", &more);
        let (folder, _) = one.pointed("tiny/delt/evaluation", "evaluation");
        let rows = HistoryReader::open(folder.join("history.parquet")).unwrap().rows().map(Result::unwrap);
        rows.map(|row| (row.loss, row.top1)).collect::<Vec<_>>()
    };
    let plain = scores(&["relabel.epochs=20"]);
    let average = scores(&["relabel.epochs=20", "evaluate.ema=0.999"]);
    // the student learns the same; an average that hardly moves stays near its start
    assert!(plain.iter().zip(&average).all(|(a, b)| a.0 == b.0 && a.1.is_some() == b.1.is_some()));
    let last = |rows: &[(f64, Option<f64>)]| rows.last().unwrap().1.unwrap();
    assert!(last(&average) < last(&plain), "{} and {}", last(&average), last(&plain));
}

#[test]
fn convolution_statistics_of_the_real_images_are_matched_by_the_whole_committee() {
    let plain = settings(&[COMMITTEE, "synthesize.teachers=committee"]);
    let matched = settings(&[
        COMMITTEE,
        "synthesize.teachers=committee",
        "synthesize.convolution_statistics={drop: 0.4}",
    ]);
    let (one, two) = (Run::new(), Run::new());
    let (_, with) = run(&one, &matched);
    let (_, dataset) = one.pointed("tiny/delt/dataset", "dataset");
    assert_eq!(with.provenance.inputs["dataset"], dataset.digest);
    run(&two, &matched);
    assert!(published(&one.store(), &KINDS) == published(&two.store(), &KINDS), "other bytes");
    let (_, without) = run(&one, &plain);
    assert!(!without.provenance.inputs.contains_key("dataset"));
    assert_ne!(with.digest, without.digest);
}

#[test]
fn networks_without_batch_norm_recover_by_convolution_statistics_label_and_learn() {
    let member = COMMITTEE.replace("depth: 1, width: 6", "depth: 2, width: 6, norm: none, doubling: true");
    let all = settings(&[
        &member,
        "teacher.network.norm=instance",
        "evaluate.student.norm=group",
        "synthesize.teachers=committee",
        "relabel.voters=committee",
        "synthesize.convolution_statistics={drop: 0.4}",
    ]);
    let (one, two) = (Run::new(), Run::new());
    let (_, images) = run(&one, &all);
    run(&two, &all);
    assert!(published(&one.store(), &KINDS) == published(&two.store(), &KINDS), "other bytes");
    let (_, teacher) = one.pointed("tiny/delt/teacher", "teacher");
    assert_eq!(teacher.facts["architecture"]["norm"], "instance");
    assert_eq!(images.provenance.inputs["teacher"], teacher.digest);
}

#[test]
fn killed_stages_resume_with_residual_committee_and_average_and_give_the_same_bytes() {
    let all = settings(&[
        COMMITTEE,
        "synthesize.max_iterations=600",
        "synthesize.round_iterations=60",
        "synthesize.residual={share: 0.5, every: 70, restart_adam: true}",
        "synthesize.teachers=committee",
        "synthesize.convolution_statistics={drop: 0.4}",
        "relabel.epochs=150",
        "evaluate.ema=0.9",
    ]);
    let (whole, stopped) = (Run::new(), Run::new());
    whole.up_to("evaluate", &all);
    for stage in STAGES {
        let file = match stage {
            "delt-synthesize" => "batch-00001-state.safetensors",
            "evaluate" => "training/average.safetensors",
            _ => {
                stopped.stage(stage, &all);
                continue;
            }
        };
        let mut child = in_the_middle(&stopped, stage, file, &all);
        child.kill().unwrap();
        child.wait().unwrap();
        let said = stopped.stage(stage, &all);
        assert!(said.contains(" resumes from its checkpoint"), "{stage} said: {said}");
    }
    assert!(published(&whole.store(), &KINDS) == published(&stopped.store(), &KINDS), "other bytes");
}
