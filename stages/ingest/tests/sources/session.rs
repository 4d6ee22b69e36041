//! The stage as a whole: key, cache, pointers and dry run.

use delt_pipeline::dag::Node;
use std::path::Path;

use delt_harness::args::Args;
use delt_harness::session::Session;
use delt_pipeline::plan::INGEST;
use delt_store::Location;

use crate::made_up::{png, put};

fn session(work: &Path, source: &str, dry_run: bool) -> Session {
    session_with(work, source, |args| args.dry_run = dry_run)
}

/// A session with some arguments changed.
fn session_with(work: &Path, source: &str, change: impl FnOnce(&mut Args)) -> Session {
    let demo =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines/demo.yaml").canonicalize().unwrap();
    let pipeline = work.join("mine.yaml");
    let text = format!("extends: {}\ningest:\n  source: {source}\n", demo.display());
    std::fs::write(&pipeline, text).unwrap();
    let mut args = Args {
        pipeline,
        set: Vec::new(),
        data: None,
        set_path: None,
        teacher: None,
        store: Location::Folder(work.join("store")),
        cache: work.join("cache"),
        bin: None,
        device: "flex".to_owned(),
        branches: Vec::new(),
        force: false,
        dry_run: false,
        assume_files: false,
        verbose: false,
        shards: None,
        shard: None,
        output: None,
        format: None,
    };
    change(&mut args);
    Session::open(INGEST, args).unwrap()
}

#[test]
fn all_branches_share_one_dataset_and_a_second_run_makes_nothing() {
    let work = tempfile::tempdir().unwrap();
    let digits = "{kind: embedded_digits, test_fraction: 0.3, split_seed: 0}";
    let first = session(work.path(), digits, false);
    ingest::run(&first).unwrap();
    let entries: Vec<_> =
        first.branches().iter().map(|branch| first.dag().entry(branch, Node::Dataset).unwrap()).collect();
    assert!(entries.len() >= 2);
    assert!(entries.iter().all(|entry| entry.manifest.key == entries[0].manifest.key));
    let facts = first.dag().dataset_facts(&first.branches()[0]).unwrap();
    assert_eq!(facts.train_images + facts.test_images, 1797);
    let train = entries[0].dir.join("train.parquet");
    let written = std::fs::metadata(&train).unwrap().modified().unwrap();
    ingest::run(&session(work.path(), digits, false)).unwrap();
    assert_eq!(std::fs::metadata(&train).unwrap().modified().unwrap(), written);
    let other = session(work.path(), "{kind: embedded_digits, test_fraction: 0.3, split_seed: 1}", false);
    ingest::run(&other).unwrap();
    assert_ne!(
        other.dag().entry(&other.branches()[0], Node::Dataset).unwrap().manifest.key,
        entries[0].manifest.key
    );
}

#[test]
fn a_dry_run_writes_nothing_and_misses_what_the_run_would() {
    let work = tempfile::tempdir().unwrap();
    ingest::run(&session(work.path(), "{kind: cifar10}", true)).unwrap();
    for source in ["{kind: image_folder, path: no/such/folder}", "{kind: tiny_imagenet, path: no}"] {
        let refused = ingest::run(&session(work.path(), source, true)).unwrap_err();
        assert!(format!("{refused:#}").contains(": not found, expected "), "{refused:#}");
        let assume = |args: &mut Args| (args.dry_run, args.assume_files) = (true, true);
        ingest::run(&session_with(work.path(), source, assume)).unwrap();
    }
    let digits = session(work.path(), "{kind: embedded_digits, test_fraction: 0.5, split_seed: 0}", true);
    ingest::run(&digits).unwrap();
    assert!(digits.dag().entry(&digits.branches()[0], Node::Dataset).is_err());
    assert!(!work.path().join("store").exists(), "a dry run created the store");
}

#[test]
fn a_source_read_again_by_force_gives_the_same_digests() {
    let work = tempfile::tempdir().unwrap();
    for index in 0..300 {
        put(work.path(), &format!("images/a/{index}.png"), &png(index, 3, 2));
        put(work.path(), &format!("images/b/{index}.png"), &png(index + 300, 2, 3));
    }
    let folder = format!(
        "{{kind: image_folder, path: {}/images, test_fraction: 0.2, split_seed: 0}}",
        work.path().display()
    );
    for source in ["{kind: embedded_digits, test_fraction: 0.3, split_seed: 0}", &folder] {
        let read = |force| {
            let session = session_with(work.path(), source, |args| args.force = force);
            ingest::run(&session).unwrap();
            session.dag().entry(&session.branches()[0], Node::Dataset).unwrap()
        };
        let first = read(false);
        let written = || std::fs::metadata(first.dir.join("train.parquet")).unwrap().modified().unwrap();
        let before = written();
        assert_eq!(read(true), first);
        assert_ne!(written(), before, "it was not read again");
    }
}

#[test]
fn a_missing_source_names_the_branch() {
    let work = tempfile::tempdir().unwrap();
    let missing = session(work.path(), "{kind: image_folder, path: no/such/folder}", false);
    let message = format!("{:#}", ingest::run(&missing).unwrap_err());
    assert!(message.starts_with("mine/random: no/such/folder: not found, expected a folder"), "{message}");
}

#[test]
fn a_folder_that_moves_is_found_again_and_one_that_changes_is_not() {
    let work = tempfile::tempdir().unwrap();
    let fill = |name: &str| {
        for class in ["a", "b"] {
            put(work.path(), &format!("{name}/train/{class}/1.png"), &png(1, 3, 2));
            put(work.path(), &format!("{name}/val/{class}/1.png"), &png(2, 3, 2));
        }
    };
    let key = |name: &str| {
        let path = work.path().join(name);
        let session =
            session(work.path(), &format!("{{kind: image_folder, path: {}}}", path.display()), false);
        ingest::run(&session).unwrap();
        session.dag().entry(&session.branches()[0], Node::Dataset).unwrap().manifest.key
    };
    fill("here");
    fill("there");
    assert_eq!(key("here"), key("there"));
    put(work.path(), "there/train/a/2.png", &png(3, 3, 2));
    assert_ne!(key("here"), key("there"));
}

#[test]
fn a_list_of_files_has_no_part_in_the_key() {
    let work = tempfile::tempdir().unwrap();
    let digits = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/digits.parquet");
    let key = |folder: &str, is_absolute: bool| {
        let folder = work.path().join(folder);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::copy(&digits, folder.join("digits.parquet")).unwrap();
        let listed = if is_absolute { folder.join("digits.parquet") } else { "digits.parquet".into() };
        let source = format!(
            "{{kind: huggingface_parquet, path: {}, train: [{}], image_column: image, label_column: label, \
             test_fraction: 0.3, split_seed: 0}}",
            folder.display(),
            listed.display()
        );
        let session = session(work.path(), &source, false);
        ingest::run(&session).unwrap();
        session.dag().entry(&session.branches()[0], Node::Dataset).unwrap().manifest.key
    };
    assert_eq!(key("here", true), key("there", true));
    assert_eq!(key("here", true), key("there", false));
}
