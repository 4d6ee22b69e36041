//! Settings that the other tests do not touch, through the binaries.

use std::path::Path;

use delt_formats::{HistoryReader, InitialReader, LabelsReader, Mix, ViewRow};
use delt_tests::binaries::Run;

/// A ranker that is not the teacher: half as wide, trained for less time.
const RANKER: &str = "select.ranker={size: 8, network: {name: convnet, depth: 2, width: 4}, train: {epochs: 2, batch: 40, \
    optimizer: {name: adamw, lr: 0.01, beta_1: 0.9, beta_2: 0.999, epsilon: 1.0e-8, weight_decay: 0.01}, \
    schedule: {name: cosine}, label_smoothing: 0, pad: 0, flip: false, bn_momentum: 0.1}}";

#[test]
fn mixup_shared_labels_and_another_ranker_go_through_all_stages() {
    let settings = [
        "--branch",
        "delt",
        "--set",
        RANKER,
        "--set",
        "relabel.mix={kind: mixup, alpha: 0.8}",
        "--set",
        "relabel.share_labels=true",
        "--set",
        "evaluate.loss.temperature=4",
        "--set",
        "evaluate.lr=null",
    ];
    let run = Run::new();
    run.up_to("relabel", &settings);
    let (_, ranker) = run.pointed("tiny/delt/ranker", "teacher");
    let (_, teacher) = run.pointed("tiny/delt/teacher", "teacher");
    let (_, scores) = run.pointed("tiny/delt/scores", "scores");
    assert_ne!(ranker.digest, teacher.digest);
    assert_eq!(scores.provenance.inputs["ranker"], ranker.digest);

    let [(labels, _)] = run.manifests("labels").try_into().unwrap();
    for epoch in 0..3 {
        let rows = LabelsReader::open(labels.join("labels.parquet")).unwrap().epoch(epoch).unwrap();
        assert!(rows.iter().all(|row| matches!(row.mix, Mix::Mixup { .. })), "epoch {epoch}");
    }

    let output = run.output("evaluate", &[&settings[..], &["--verbose"]].concat());
    let (table, said) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{said}");
    // 30 images in two rounds: each class has two from the first on, 40 iterations, and one with 20
    assert!(table.contains("image-iterations") && table.contains(" 1000 "), "{table}");
    let recipe = "\ndelt: teacher convnet2-w8; ipc 3, medium, EarlyLate MI 40 RI 20, lr 0.1; convnet2-w8, KL at T 4, AdamW lr 0.001 smoothed cosine, weight decay 0.01, 3 epochs, batch 10, \
        bn_momentum 0.1, no RandAugment, crop 0.5 to 1, no flip, MixUp alpha 0.8\n";
    assert!(table.contains(recipe), "{table}");
    let (_, evaluation) = run.pointed("tiny/delt/evaluation", "evaluation");
    assert_eq!(evaluation.facts["students"].as_array().unwrap().len(), 2);
    assert_eq!(evaluation.provenance.config["lr"], 0.001);
    // what was computed is told in full, with the work ahead; what is found again is not
    assert!(said.contains("evaluate: configuration {") && said.contains("evaluate seed 3407: "), "{said}");
    let again = run.stage("evaluate", &settings);
    assert_eq!(again, "evaluate: cached: tiny/delt/evaluation\n");
}

#[test]
fn mosaics_of_patches_become_initial_images_that_students_learn_from() {
    let settings = [
        "--branch",
        "random",
        "--set",
        "select.patches={factor: 2, crops: 3, candidates: 20, min_crop_scale: 0.08}",
        "--set",
        "relabel.seeds=[3407]",
    ];
    let made = || {
        let run = Run::new();
        run.up_to("evaluate", &settings);
        let (folder, manifest) = run.pointed("tiny/random/initial", "initial");
        let (_, teacher) = run.pointed("tiny/random/teacher", "teacher");
        assert_eq!(manifest.provenance.inputs["ranker"], teacher.digest);
        let rows = InitialReader::open(folder.join("initial.parquet")).unwrap().rows().map(Result::unwrap);
        (manifest.digest, rows.collect::<Vec<_>>())
    };
    let (digest, rows) = made();
    let slots: Vec<(u32, u32)> = rows.iter().map(|row| (row.label, row.slot)).collect();
    assert_eq!(slots, (0..10).flat_map(|label| (0..3).map(move |slot| (label, slot))).collect::<Vec<_>>());
    // slot 0 has the surest patch of its class in the first place, slot 2 a less sure one
    assert!(rows.iter().all(|row| (0.0..=1.0).contains(&row.probability)));
    assert!(rows[0].probability >= rows[2].probability, "{} {}", rows[0].probability, rows[2].probability);
    assert_eq!(made().0, digest, "the same settings make the same mosaics");
}

#[test]
fn packed_labels_come_back_whole_and_students_see_the_stored_epochs_again() {
    let labels = |packing: &str| {
        let run = Run::new();
        let packing = format!("relabel.labels={packing}");
        let settings = ["--branch", "random", "--set", "relabel.seeds=[3407]", "--set", &packing];
        run.up_to("relabel", &settings);
        let said = run.stage("evaluate", &settings);
        let (folder, manifest) = run.pointed("tiny/random/labels-3407", "labels");
        let reader = LabelsReader::open(folder.join("labels.parquet")).unwrap();
        let rows: Vec<_> = reader.epochs().map(|epoch| reader.epoch(epoch).unwrap()).collect();
        let (evaluated, evaluation) = run.pointed("tiny/random/evaluation", "evaluation");
        let history = HistoryReader::open(evaluated.join("history.parquet")).unwrap().rows().count();
        assert!(said.contains("top-1"), "{said}");
        let bytes = std::fs::metadata(folder.join("labels.parquet")).unwrap().len();
        assert_eq!(manifest.facts["bytes"], bytes);
        (rows, history, evaluation.facts["students"].clone())
    };
    let (whole, _, whole_students) = labels("{keep: full, bits: 16}");
    let (packed, history, students) = labels("{keep: {top_k: 2}, bits: 8}");
    assert_ne!(students, whole_students);
    assert_eq!((packed.len(), history), (3, 3));
    let logits = |row: &ViewRow| row.logits.iter().map(|logit| logit.to_f32()).collect::<Vec<_>>();
    for (packed, whole) in packed.iter().flatten().zip(whole.iter().flatten()) {
        let (packed, mut whole) = (logits(packed), logits(whole));
        let mut largest = whole.clone();
        largest.sort_by(|a, b| b.total_cmp(a));
        let rest = largest[2..].iter().sum::<f32>() / 8.0;
        whole.iter_mut().filter(|logit| **logit < largest[1]).for_each(|logit| *logit = rest);
        for (packed, expected) in packed.iter().zip(&whole) {
            assert!((packed - expected).abs() < 2e-2, "{packed} for {expected}");
        }
    }
    let (stored, history, other_students) = labels("{keep: full, bits: 16, epochs: 1}");
    assert_eq!((stored.len(), history), (1, 3));
    assert_ne!(other_students, whole_students, "three epochs of one set of views, and of three");
}

#[test]
fn shuffled_patches_are_stored_with_the_views() {
    let run = Run::new();
    let settings =
        ["--branch", "random", "--set", "relabel.seeds=[3407]", "--set", "relabel.shuffle_patches=2"];
    run.up_to("evaluate", &settings);
    let (folder, _) = run.pointed("tiny/random/labels-3407", "labels");
    let rows = LabelsReader::open(folder.join("labels.parquet")).unwrap().epoch(0).unwrap();
    assert!(rows.iter().all(|row| row.patch_order.len() == 4));
    assert!(rows.iter().any(|row| row.patch_order != [0, 1, 2, 3]));
}

#[test]
fn more_logits_than_classes_are_refused() {
    let run = Run::new();
    let settings = ["--branch", "random", "--set", "relabel.labels={keep: {top_k: 10}, bits: 16}"];
    run.up_to("ingest", &settings);
    let output = run.output("teacher-train", &settings);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let expected =
        "`relabel.labels.keep.top_k`: found 10 of 10 classes, which is all of them; use keep: full";
    assert!(said.contains(expected), "{said}");
}

#[test]
fn a_selection_that_covers_its_candidates_is_less_alike() {
    let cosine = |more: &[&str]| {
        let run = Run::new();
        let settings = [&["--branch", "delt", "--set", "synthesize.max_iterations=0"], more].concat();
        run.up_to("evaluate", &settings);
        let (_, evaluation) = run.pointed("tiny/delt/evaluation", "evaluation");
        let (_, manifest) = run.pointed("tiny/delt/initial", "initial");
        (
            evaluation.facts["pairwise_cosine"].as_f64().unwrap(),
            manifest.provenance.inputs.len(),
            initial(&run),
        )
    };
    let seeds = ["--set", "relabel.seeds=[3407]"];
    let (medium, inputs, _) = cosine(&seeds);
    let covering = [&seeds[..], &["--set", "select.facility_location={candidates: 30}"]].concat();
    let (covered, more_inputs, images) = cosine(&covering);
    assert!(covered < medium, "{covered} of those that cover, {medium} of the medium ones");
    assert_eq!((images.len(), more_inputs), (30, inputs + 1));
}

/// Image ids of the initial images of a run, by class and slot, with the images.
fn initial(run: &Run) -> Vec<(u32, u32, u64, Vec<u8>)> {
    let (folder, _) = run.pointed("tiny/delt/initial", "initial");
    let rows = InitialReader::open(folder.join("initial.parquet")).unwrap().rows().map(Result::unwrap);
    rows.map(|row| (row.label, row.slot, row.image_id, row.png)).collect()
}

/// The initial images that a ranking leads to, in a store of its own.
fn selected_by(ranking: &Path) -> Vec<(u32, u32, u64, Vec<u8>)> {
    let scores = format!("select.scores='{}'", ranking.display());
    let run = Run::new();
    run.up_to("init-select", &["--branch", "delt", "--set", &scores]);
    initial(&run)
}

#[test]
fn a_ranking_that_was_exported_selects_the_same_images() {
    let run = Run::new();
    run.up_to("init-select", &["--branch", "delt"]);
    let (folder, _) = run.pointed("tiny/delt/scores", "scores");
    let whole = folder.join("scores.csv");
    let expected = initial(&run);
    assert_eq!(expected.len(), 30);
    assert!(selected_by(&whole) == expected, "scores.csv selects other images");

    let text = std::fs::read_to_string(whole).unwrap();
    let ranks: String = text
        .lines()
        .map(|line| {
            let fields: Vec<&str> = line.split(',').collect();
            format!("{},{}\n", fields[0], fields[4])
        })
        .collect();
    let ranking = run.store().join("ranks.csv");
    std::fs::write(&ranking, ranks).unwrap();
    assert!(selected_by(&ranking) == expected, "ranks alone select other images");
}

#[test]
fn the_accuracy_that_its_makers_state_is_checked_on_a_network_found_in_the_store_too() {
    let first = Run::new();
    first.up_to("teacher-train", &["--branch", "delt"]);
    let (folder, _) = first.pointed("tiny/delt/teacher", "teacher");
    let import = |more: &str| {
        let path = folder.join("weights.safetensors");
        format!("teacher.import={{path: '{}', classes: dataset{more}}}", path.display())
    };
    let run = Run::new();
    run.up_to("teacher-train", &["--branch", "delt", "--set", &import("")]);
    let output = run.output("teacher-train", &["--branch", "delt", "--set", &import(", expected_top1: 1")]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains(
            "of 100 test images, expected_top1 says 1, more than 3.0 points away; check the class order"
        ),
        "{said}"
    );
}

#[test]
fn a_dry_run_of_the_synthesis_prints_its_schedule() {
    let run = Run::new();
    run.up_to("init-select", &["--branch", "delt"]);
    let output = run.output("delt-synthesize", &["--branch", "delt", "--dry-run"]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    let expected = "tiny/delt: early-late schedule: 30 images in 2 batches, rounds of 20 iterations, 1000 image-iterations \
        (83.33 % of all images all the time)\n  batches 0-1: images active by round: 10 15\n";
    assert!(said.contains(expected), "{said}");
    assert!(said.contains("tiny/delt/synthetic: not cached, key "), "{said}");
}

#[test]
fn a_large_run_on_a_cpu_says_first_how_long_it_takes_and_what_to_run_instead() {
    let run = Run::new();
    let settings = ["--branch", "delt", "--set", "smaller_pipeline=digits"];
    run.stage("ingest", &settings);
    let said = run.stage("teacher-train", &[&settings[..], &["-v"]].concat());
    let forecast = said.find("tiny: about ").unwrap();
    assert!(forecast < said.find(" images to do").unwrap(), "{said}");
    for part in
        ["on this device to the end (teacher-train ", "evaluate ", "for a desktop there is `make digits`"]
    {
        assert!(said.contains(part), "{said}");
    }
    assert!(!run.stage("teacher-train", &settings).contains("about"), "a forecast for what is cached");
}
