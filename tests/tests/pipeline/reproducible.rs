//! Same YAML, same seed, same device: same bytes, whatever happened on the way.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use delt_tests::binaries::{KINDS, Run, STAGES, published};

#[test]
fn the_same_yaml_twice_gives_the_same_bytes() {
    let (one, two) = (Run::new(), Run::new());
    one.up_to("evaluate", &[]);
    two.up_to("evaluate", &[]);
    let (one, two) = (published(&one.store(), &KINDS), published(&two.store(), &KINDS));
    assert!(one.len() > 10, "only {} files", one.len());
    for (a, b) in one.iter().zip(&two) {
        assert_eq!(a.0, b.0);
        assert!(a.1 == b.1, "{} differs", a.0.display());
    }
    assert_eq!(one.len(), two.len());
}

/// All stages with so many threads.
fn with_threads(threads: &str) -> Run {
    let run = Run::new();
    for stage in STAGES {
        let mut command = run.command(stage, &["--branch", "delt"]);
        let output = command.env("RAYON_NUM_THREADS", threads).output().unwrap();
        assert!(output.status.success(), "{stage}: {}", String::from_utf8_lossy(&output.stderr));
    }
    run
}

#[test]
fn the_number_of_threads_changes_no_byte() {
    let (one, four) = (with_threads("1"), with_threads("4"));
    let digests = |run: &Run| {
        let manifests = KINDS.iter().flat_map(|kind| run.manifests(kind));
        manifests.map(|(_, manifest)| (manifest.key.clone(), manifest.digest)).collect::<Vec<_>>()
    };
    assert!(digests(&one).len() >= KINDS.len());
    assert_eq!(digests(&one), digests(&four));
    assert!(published(&one.store(), &KINDS) == published(&four.store(), &KINDS));
}

#[test]
fn the_number_of_devices_changes_no_byte() {
    let on = |devices: &str| {
        let run = Run::new();
        for stage in STAGES {
            let settings = ["--branch", "delt", "--set", "teacher.train.replicas=2", "--devices", devices];
            let said = run.stage(stage, &settings);
            let all = said.contains(" on flex (CPU), flex (CPU) (");
            assert_eq!(
                all,
                devices == "flex,flex" && ["teacher-train", "evaluate"].contains(&stage),
                "{said}"
            );
        }
        published(&run.store(), &KINDS)
    };
    assert!(on("flex") == on("flex,flex"));
}

/// Enough work in every stage that it can be stopped in the middle.
const LONGER: [&str; 12] = [
    "--branch",
    "delt",
    "--set",
    "teacher.train.epochs=60",
    "--set",
    "synthesize.max_iterations=600",
    "--set",
    "synthesize.round_iterations=60",
    "--set",
    "relabel.epochs=150",
    "--set",
    "relabel.seeds=[3407]",
];

/// A stage, and the file whose appearance says that it is in the middle of its work. The state of a synthesis is kept after
/// 100 iterations of a batch, in its second round: the images of that round have joined.
const STOPPED: [(&str, &str); 4] = [
    ("teacher-train", "training/counters.yaml"),
    ("delt-synthesize", "batch-00001-state.safetensors"),
    ("relabel", "epoch-00003.parquet"),
    ("evaluate", "training/counters.yaml"),
];

/// Starts a stage and returns it once the file has appeared.
pub(crate) fn in_the_middle(run: &Run, stage: &str, file: &str, settings: &[&str]) -> Child {
    let mut child = run.command(stage, settings).stderr(Stdio::piped()).spawn().unwrap();
    let started = Instant::now();
    while !walk(&run.store()).iter().any(|path| path.ends_with(file)) {
        assert!(started.elapsed() < Duration::from_secs(120), "{stage}: no {file} appeared");
        assert!(child.try_wait().unwrap().is_none(), "{stage} ended before it could be stopped");
        std::thread::sleep(Duration::from_millis(2));
    }
    child
}

/// Runs all stages, stopping four of them in the middle once and starting them again.
fn with_stops(stop: impl Fn(Child, &str)) -> Run {
    let run = Run::new();
    for stage in STAGES {
        let stopped = STOPPED.iter().find(|(stopped, _)| *stopped == stage);
        if let Some((_, file)) = stopped {
            let child = in_the_middle(&run, stage, file, &LONGER);
            stop(child, stage);
        }
        let said = run.stage(stage, &LONGER);
        assert_eq!(said.contains(" resumes from its checkpoint"), stopped.is_some(), "{stage} said: {said}");
    }
    run
}

#[test]
fn killed_and_interrupted_stages_resume_and_give_the_same_bytes() {
    let whole = Run::new();
    whole.up_to("evaluate", &LONGER);
    let whole = published(&whole.store(), &KINDS);

    let killed = with_stops(|mut child, _| {
        child.kill().unwrap();
        child.wait().unwrap();
    });
    assert!(whole == published(&killed.store(), &KINDS), "killed stages gave other bytes");

    let interrupted = with_stops(|child, stage| {
        let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{stage}: {said}");
        let expected = "interrupted; finished work is saved, run the same command again to resume";
        assert!(said.contains(expected), "{stage}: {said}");
    });
    assert!(whole == published(&interrupted.store(), &KINDS), "interrupted stages gave other bytes");
}

/// A ranker that takes a second for the training images of the digits, and no checkpoint before it is stopped.
const SLOW_RANKER: &str = "select.ranker={size: 8, network: {name: convnet, depth: 2, width: 384}, train: {epochs: 1, \
    batch: 100, optimizer: {name: adamw, lr: 0.001, beta_1: 0.9, beta_2: 0.999, epsilon: 1.0e-8, weight_decay: 0.01}, \
    schedule: {name: cosine}, label_smoothing: 0, pad: 0, flip: false, bn_momentum: 0.1}}";

#[test]
fn an_interrupted_scoring_resumes_where_it_stopped_and_gives_the_same_bytes() {
    let settings = ["--branch", "delt", "--set", SLOW_RANKER, "--set", "ingest.max_train_per_class=null"];
    let run = Run::new();
    run.up_to("teacher-train", &settings);
    let mut child = run.command("init-select", &settings).arg("-v").stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    while !said.contains(" images to do") {
        assert!(stderr.read_line(&mut said).unwrap() > 0, "ended before it could be stopped: {said}");
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    stderr.read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{said}");
    assert!(
        said.contains("interrupted; finished work is saved, run the same command again to resume"),
        "{said}"
    );
    assert!(walk(&run.store()).iter().any(|path| path.ends_with("scores.csv")), "no scores were kept");
    assert!(!run.store().join("runs/tiny/delt/scores.json").exists());

    let said = run.stage("init-select", &settings);
    assert!(said.contains("tiny/delt/scores resumes from its checkpoint"), "{said}");
    let resumed = published(&run.store(), &["scores", "initial"]);
    let said = run.stage("init-select", &[&settings[..], &["--force"]].concat());
    assert!(!said.contains("resumes from its checkpoint"), "{said}");
    assert!(
        resumed == published(&run.store(), &["scores", "initial"]),
        "an interrupted scoring gave other bytes"
    );
}

#[test]
fn editing_relabel_reruns_relabel_and_evaluate_and_nothing_else() {
    let run = Run::new();
    run.up_to("evaluate", &["--branch", "delt"]);
    let before = published(&run.store(), &KINDS);
    let edited = ["--branch", "delt", "--set", "relabel.epochs=2"];
    for stage in ["ingest", "teacher-train", "init-select", "delt-synthesize"] {
        run.cached(stage, &edited);
    }
    assert!(before == published(&run.store(), &KINDS), "a stage that was cached changed the store");
    for stage in ["relabel", "evaluate"] {
        let said = run.stage(stage, &edited);
        assert!(
            !said.contains("cached") && said.contains(&format!("{stage}: tiny/delt/")),
            "{stage}: {said}"
        );
    }
    let count = |kind: &str| run.manifests(kind).len();
    assert_eq!((count("synthetic"), count("labels"), count("evaluation")), (1, 4, 2));
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { found.extend(walk(&path)) } else { found.push(path) }
    }
    found
}
