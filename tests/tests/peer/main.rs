//! `pipeline_peer.json`: the whole pipeline against the published recipe in PyTorch, on the shared CIFAR-100 teacher.
//!
//! The store is `DELT_STORE`, else `data/store`, so that a run which was stopped goes on and one which was finished is
//! only read; the device is `DELT_DEVICE`, else the best there is.

#![expect(clippy::unwrap_used, reason = "a failed step fails its test")]

mod batch;

use std::env::var_os;
use std::io::Write as _;
use std::path::PathBuf;

use delt_augment::MixSpec;
use delt_formats::Summary;
use delt_pipeline::config;
use delt_pipeline::config::evaluate::{Loss, StudentSchedule};
use delt_pipeline::config::select::Strategy;
use delt_tests::binaries::{Run, STAGES};
use delt_tests::{json, number, numbers, workspace};
use serde_json::Value;

const PIPELINE: &str = "peer-cifar100-ipc4";

/// What the pipeline reads, beside the workspace.
const NEEDED: [&str; 2] = ["data/cifar100", "teachers/cifar100_conv3.safetensors"];

/// The golden file; `None`, with the reason printed, where it or what the pipeline reads is not there.
fn peer() -> Option<Value> {
    let needed = NEEDED.map(|name| workspace().join("../shared").join(name));
    if let Some(absent) = needed.iter().find(|path| !path.exists()) {
        let _ = writeln!(std::io::stderr(), "skipped: {} is not there", absent.display());
        return None;
    }
    json("pipeline_peer")
}

/// Runs all stages, which print their progress, and reads the evaluation of each method.
fn evaluate(methods: &[&str]) -> Vec<Summary> {
    let store = var_os("DELT_STORE").map_or_else(|| "data/store".into(), PathBuf::from);
    let device = std::env::var("DELT_DEVICE").unwrap_or_else(|_| "auto".into());
    let run = Run::of(&format!("pipelines/{PIPELINE}.yaml"), &store, &device);
    for stage in STAGES {
        let status = run.command(stage, &[]).status().unwrap();
        assert!(status.success(), "{stage} failed: {status}");
    }
    let folder = |method| run.pointed(&format!("{PIPELINE}/{method}/evaluation"), "evaluation").0;
    methods.iter().map(|method| Summary::read(folder(method).join("summary.json")).unwrap()).collect()
}

/// The settings that PyTorch ran with are those of the pipeline: else the comparison below compares two things.
#[test]
fn the_pipeline_has_the_settings_of_the_peer() {
    let Some(peer) = json("pipeline_peer") else { return };
    let path = workspace().join(format!("pipelines/{PIPELINE}.yaml"));
    let branches = config::load(&path, &[], None).unwrap();
    let pipeline = |name: &str| &branches.iter().find(|branch| branch.name == name).unwrap().pipeline;
    let (delt, random) = (pipeline("delt"), pipeline("random"));

    assert_eq!(peer["selection"], "medium for delt, random for random");
    assert_eq!((delt.select.strategy, random.select.strategy), (Strategy::Medium, Strategy::Random));
    assert_eq!(random.synthesize.max_iterations, 0);
    let counts = [
        ("ipc", delt.select.ipc),
        ("max_iterations", delt.synthesize.max_iterations),
        ("round_iterations", delt.synthesize.round_iterations),
        ("recover_batch", delt.synthesize.batch),
        ("epochs", delt.relabel.epochs),
    ];
    for (key, ours) in counts {
        assert_eq!(peer[key].as_u64(), Some(u64::from(ours)), "{key}");
    }
    assert_eq!(peer["student_batch"].as_u64(), delt.relabel.batch.map(u64::from));
    let seeds: Vec<u64> = peer["seeds"].as_array().unwrap().iter().map(|s| s.as_u64().unwrap()).collect();
    assert_eq!(seeds, delt.relabel.seeds);

    for recipe in [delt, random] {
        let evaluate = &recipe.evaluate;
        assert_eq!(
            (recipe.student_lr(100).unwrap(), evaluate.weight_decay),
            (number(&peer["student_lr"]), number(&peer["weight_decay"]))
        );
        assert_eq!(evaluate.loss, Loss::Kl { temperature: number(&peer["temperature"]) });
        assert_eq!(evaluate.schedule, StudentSchedule::SmoothedCosine);
        assert_eq!(evaluate.bn_momentum, 0.1, "one forward a step");
        let relabel = &recipe.relabel;
        assert_eq!(relabel.min_crop_scale, number(&peer["crop_scale"][0]));
        assert_eq!(relabel.mix, MixSpec::Cutmix { alpha: 1.0 });
        let policy = relabel.randaugment.unwrap();
        let name = format!("rand-m{}-n{}-mstd{:.1}", policy.magnitude, policy.layers, policy.std);
        assert_eq!(peer["randaugment"], name);
    }
}

#[test]
#[ignore = "takes hours on a CPU; run it by `make test-peer`"]
fn students_are_within_two_standard_deviations_of_the_published_recipe() {
    let Some(peer) = peer() else { return };
    let methods = ["random", "delt"];
    let ours = evaluate(&methods);
    let mut apart = Vec::new();
    for (method, ours) in methods.iter().zip(&ours) {
        let expected = &peer["methods"][method];
        let (mean, std) = (number(&expected["last_mean"]), number(&expected["last_std"]));
        let of = |values: &[f64]| values.iter().map(|v| format!("{v:.2}")).collect::<Vec<_>>().join(", ");
        let last: Vec<f64> = ours.students.iter().map(|student| student.last_top1).collect();
        eprintln!("{method}: ours    {:.2} ± {:.2} ({})", ours.last_mean, ours.last_std, of(&last));
        eprintln!("{method}: PyTorch {mean:.2} ± {std:.2} ({})", of(&numbers(&expected["last"])));
        let is_within = (ours.last_mean - mean).abs() <= 2.0 * std;
        if !is_within {
            apart.push(format!("{method}: {:.2}, expected {mean:.2} ± {:.2}", ours.last_mean, 2.0 * std));
        }
    }
    assert!(apart.is_empty(), "top-1 after the last epoch: {}", apart.join("; "));
}
