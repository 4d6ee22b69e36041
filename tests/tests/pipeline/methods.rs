//! Neighbours of DELT, through the binaries: each method's switch changes what it should, the same again every time.

use std::path::PathBuf;

use delt_formats::{Manifest, TraceReader};
use delt_tests::binaries::{Run, published};

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
fn images_are_pulled_to_the_barycenter_of_their_class() {
    let settings = settings(&["synthesize.batch=3", "synthesize.target={kind: barycenter, weight: 1}"]);
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
