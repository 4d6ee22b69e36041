//! What a stage says of a store in which others work, or which has been damaged.

use std::io::{BufRead as _, BufReader};
use std::ops::ControlFlow;
use std::process::Stdio;

use delt_formats::{ArtifactKind, Digest};
use delt_store::{Claim, Store};
use delt_tests::binaries::{KINDS, Run, published};

#[test]
fn an_artifact_that_another_process_makes_is_waited_for() {
    let run = Run::new();
    run.stage("ingest", &["--branch", "delt"]);
    let plan = run.output("teacher-train", &["--branch", "delt", "--dry-run"]).stdout;
    let plan = String::from_utf8(plan).unwrap();
    let key: Digest = plan.lines().next().unwrap().rsplit(' ').next().unwrap().parse().unwrap();
    let store = Store::open(&run.store()).unwrap();
    let claim = store.claim(ArtifactKind::Teacher, &key, &mut |_| ControlFlow::Break(())).unwrap();
    let Claim::Work(workspace) = claim else { panic!("the teacher is there") };

    let mut child =
        run.command("teacher-train", &["--branch", "delt"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let said = lines.next().unwrap();
    let expected =
        format!("teacher-train: tiny/delt/teacher is being made by process {} on ", std::process::id());
    assert!(said.starts_with(&expected) && said.ends_with("; waiting"), "{said}");
    drop(workspace);
    let rest: Vec<String> = lines.collect();
    assert!(child.wait().unwrap().success(), "{rest:?}");
    assert!(rest.iter().all(|line| !line.contains("waiting")), "said twice: {rest:?}");
    assert!(rest.iter().any(|line| line.contains("after 4 epochs")), "{rest:?}");
}

#[test]
fn a_damaged_artifact_is_named_and_made_again_to_the_same_bytes() {
    let run = Run::new();
    run.stage("ingest", &["--branch", "delt"]);
    let before = published(&run.store(), &KINDS[..1]);
    let file = run.pointed("tiny/delt/dataset", "dataset").0.join("train.parquet");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes.truncate(1000);
    std::fs::write(&file, bytes).unwrap();
    let said = run.stage("ingest", &["--branch", "delt"]);
    let damage =
        format!("ingest: tiny/delt/dataset was damaged ({}: has 1000 bytes, expected ", file.display());
    assert!(said.starts_with(&damage) && said.contains(") and is recomputed\n"), "{said}");
    assert!(before == published(&run.store(), &KINDS[..1]), "made again to other bytes");
}
