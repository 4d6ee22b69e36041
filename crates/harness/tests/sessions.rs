//! What a run refuses before a stage begins: whole messages, with their causes.

use delt_pipeline::dag::Node;
use std::path::{Path, PathBuf};

use delt_formats::DatasetFacts;
use delt_formats::canonical::Digest;
use delt_formats::provenance::ArtifactKind;
use delt_harness::args::Args;
use delt_harness::session::{Made, Session};
use delt_pipeline::plan;
use delt_store::Location;
use serde_json::json;

fn digits() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines/digits.yaml")
}

fn args(store: &Path) -> Args {
    Args {
        pipeline: digits(),
        set: Vec::new(),
        data: None,
        set_path: None,
        teacher: None,
        store: Location::Folder(store.to_path_buf()),
        cache: store.join("cache"),
        bin: None,
        device: "flex".into(),
        branches: vec!["delt".into()],
        force: false,
        dry_run: false,
        assume_files: false,
        verbose: false,
        shards: None,
        shard: None,
        output: None,
        format: None,
    }
}

/// A session whose store has a dataset of ten classes with so many training images each.
fn with_dataset(store: &Path, set: &str, per_class: u64) -> Session {
    let args = Args { set: vec![set.to_owned()], ..args(store) };
    let session = Session::open(plan::INIT_SELECT, args).expect("opens");
    let branch = &session.branches()[0];
    let plan = session.dag().dataset_plan(branch, &Digest::of_bytes(b"made up")).expect("plan");
    let facts = DatasetFacts {
        train_images: 10 * per_class,
        test_images: 1,
        train_per_class: vec![per_class; 10],
        mean: [0.5; 3],
        std: [0.5; 3],
        source: "made up".into(),
        train_broken: 0,
        test_broken: 0,
        resized: None,
    };
    let classes: Vec<String> = (0..10).map(|class| class.to_string()).collect();
    session
        .produce(&plan, |work| {
            std::fs::write(work.out_dir().join("train.parquet"), "made up")?;
            Ok(Made { provenance: work.provenance(&classes), facts: json!(facts), summary: "made up".into() })
        })
        .expect("published");
    let pointer = session.dag().dataset_pointer(branch).expect("pointer");
    session.store().point(&pointer, ArtifactKind::Dataset, &plan.key()).expect("pointed");
    session
}

#[test]
fn a_store_that_is_no_folder_is_refused_by_its_path() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let store = folder.path().join("store");
    std::fs::write(&store, "a file").expect("written");
    let message = Session::open(plan::INGEST, args(&store)).expect_err("refused").to_string();
    assert_eq!(
        message,
        format!("store {}: cannot be used; choose another with STORE= (--store)", store.display())
    );
}

#[test]
fn an_unknown_branch_is_refused_with_the_known_ones() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let args = Args { branches: vec!["sre2l".into()], ..args(folder.path()) };
    assert_eq!(
        Session::open(plan::INGEST, args).expect_err("refused").to_string(),
        format!("{}: at `branches`: no branch `sre2l`; there are: random, delt", digits().display())
    );
}

#[test]
fn files_of_stages_to_come_are_asked_for_before_the_first_one_works() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let weights = folder.path().join("w.pth");
    std::fs::write(&weights, "weights").expect("written");
    let weights = weights.display().to_string();
    let import = |path: &str, classes: &str| format!("{{path: '{path}', classes: {classes}}}");
    let network = "network: {name: convnet, depth: 2, width: 8}, size: 8";
    let refusals = [
        (
            format!("teacher.import={}", import("absent.pth", "dataset")),
            "`teacher.import.path`: absent.pth: no such file (relative to HERE), expected a .safetensors or .pth file",
        ),
        (
            format!("teacher.import={}", import(&weights, "absent.json")),
            "`teacher.import.classes`: absent.json: no such file (relative to HERE), expected `dataset`, a list of names or a file with them",
        ),
        (
            format!("select.ranker={{{network}, import: {}}}", import("absent.pth", "dataset")),
            "`select.ranker.import.path`: absent.pth: no such file (relative to HERE), expected a .safetensors or .pth file",
        ),
        (
            "select.scores=absent.csv".to_owned(),
            "`select.scores`: absent.csv: no such file (relative to HERE), expected a ranking in CSV",
        ),
    ];
    let here = std::env::current_dir().expect("a working folder").display().to_string();
    for (setting, expected) in refusals {
        let args = Args { set: vec![setting], ..args(&folder.path().join("store")) };
        let dry_run = Args { dry_run: true, ..args.clone() };
        for (stage, args) in [(plan::INGEST, &args), (plan::TEACHER_TRAIN, &args), (plan::INGEST, &dry_run)] {
            let error = Session::open(stage, args.clone()).expect_err("refused");
            let expected = expected.replace("HERE", &here);
            assert_eq!(error.to_string(), format!("{} (branch delt): at {expected}", digits().display()));
        }
        // later stages find in the store what was made of the file
        Session::open(plan::EVALUATE, args).expect("opens");
    }
    let with_names =
        Args { set: vec![format!("teacher.import={}", import(&weights, "[a, b]"))], ..args(folder.path()) };
    Session::open(plan::INGEST, with_names).expect("opens");
}

#[test]
fn a_batch_of_more_images_than_there_are_is_no_secret() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let session = with_dataset(folder.path(), "relabel.batch=200", 50);
    let branch = &session.branches()[0];
    assert_eq!(
        session.dag().batch_is_all(branch).expect("read").as_deref(),
        Some("relabel: relabel.batch is 200, but there are 100 synthetic images; a step takes them all")
    );
    let session = with_dataset(folder.path(), "relabel.batch=100", 50);
    assert_eq!(session.dag().batch_is_all(&session.branches()[0]).expect("read"), None);
}

#[test]
fn an_input_that_was_not_made_names_the_target_that_makes_it() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let session = Session::open(plan::RELABEL, args(folder.path())).expect("opens");
    let error = session.dag().entry(&session.branches()[0], Node::Dataset).expect_err("refused");
    let store = folder.path().display();
    assert_eq!(
        error.to_string(),
        format!(
            "digits/delt/dataset is not in the store; make it with `make digits/ingest STORE={store} BRANCH=delt`"
        )
    );
}

#[test]
fn a_ranking_that_is_not_there_is_refused_by_its_key_and_path() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let session = with_dataset(folder.path(), "select.scores=absent/scores.csv", 50);
    let error = session.dag().plan(&session.branches()[0], Node::Scores).expect_err("refused");
    assert_eq!(
        format!("{error:#}"),
        "`select.scores`: the ranking cannot be read; correct its path, or leave it out, so that the teacher or select.ranker \
         scores: failed to open file `absent/scores.csv`: No such file or directory (os error 2)"
    );
}

#[test]
fn more_images_per_class_than_there_are_is_refused_with_class_and_counts() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let session = with_dataset(folder.path(), "select.ipc=10", 7);
    let error = session.dag().check_ipc(&session.branches()[0]).expect_err("refused");
    assert_eq!(
        error.to_string(),
        "class `0` has 7 training images, `medium` with 10 images per class needs at least 11; lower select.ipc or choose \
         another select.strategy"
    );
}
