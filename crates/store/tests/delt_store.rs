//! The binary `delt-store`: output, messages and exit codes.
#![allow(clippy::unwrap_used, reason = "a test that cannot prepare its files fails")]

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use delt_formats::Digest;
use delt_formats::provenance::{ArtifactKind, Provenance};
use delt_store::KEY_DIGITS;
use delt_store::{Claim, Entry, Store};

fn delt_store(root: &Path, args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_delt-store"));
    let Output { status, stdout, stderr } = command.args(args).env("DELT_STORE", root).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

fn make(store: &Store, name: &str) -> Entry {
    let kind = ArtifactKind::Scores;
    let classes = vec!["cat".to_owned()];
    let config = serde_json::json!({ "name": name });
    let provenance = Provenance::new(kind, "init-select", 1, classes, config, 0, BTreeMap::new());
    let Claim::Work(workspace) =
        store.claim(kind, &provenance.key(), &mut |_| ControlFlow::Break(())).unwrap()
    else {
        panic!("{name} is there")
    };
    fs_err::write(workspace.out_dir().join("scores.parquet"), name).unwrap();
    workspace.publish(provenance, serde_json::json!({})).unwrap()
}

#[test]
fn a_reader_that_has_seen_enough_ends_the_list_without_a_word() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    make(&store, "one");
    let mut command = Command::new(env!("CARGO_BIN_EXE_delt-store"));
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    command.arg("ls").env("DELT_STORE", dir.path()).stdout(writer).stderr(Stdio::piped());
    let Output { status, stderr, .. } = command.spawn().unwrap().wait_with_output().unwrap();
    assert_eq!((status.code(), String::from_utf8(stderr).unwrap().as_str()), (Some(0), ""));
}

#[test]
fn artifacts_are_listed_found_verified_and_collected() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let (one, two) = (make(&store, "one"), make(&store, "two"));
    store.point("demo/delt/scores", ArtifactKind::Scores, &one.manifest.key).unwrap();
    let digits = |entry: &Entry| entry.manifest.key.prefix(KEY_DIGITS).to_owned();

    let (code, listed, _) = delt_store(dir.path(), &["ls"]);
    let mut lines = [
        format!("scores     {}              3 init-select     demo/delt/scores\n", digits(&one)),
        format!("scores     {}              3 init-select     \n", digits(&two)),
    ];
    lines.sort();
    let header = "artifact   key                                       bytes producer        runs\n";
    assert_eq!((code, listed), (0, header.to_owned() + &lines.concat()));

    let folder = format!("{}\n", one.dir.display());
    assert_eq!(delt_store(dir.path(), &["path", "demo/delt/scores"]), (0, folder.clone(), String::new()));
    assert_eq!(delt_store(dir.path(), &["path", "scores", &digits(&one)[..6]]), (0, folder, String::new()));

    assert_eq!(delt_store(dir.path(), &["verify"]).0, 0);
    fs_err::write(two.dir.join("scores.parquet"), "owt").unwrap();
    let (code, out, err) = delt_store(dir.path(), &["verify", &digits(&two)]);
    assert_eq!((code, err.as_str()), (1, "0 whole, 1 damaged\n"));
    assert!(out.starts_with(&format!("damaged  {}", two.dir.display())), "{out}");
    assert_eq!(delt_store(dir.path(), &["verify", &digits(&one)]).0, 0);

    let garbage = format!("             3 {} (no run leads to it)\n", two.dir.display());
    let bytes: u64 = fs_err::read_dir(&two.dir).unwrap().map(|f| f.unwrap().metadata().unwrap().len()).sum();
    let garbage = garbage.replace("             3", &format!("{bytes:>14}"));
    let (code, out, err) = delt_store(dir.path(), &["gc"]);
    assert_eq!((code, out), (0, garbage.clone()));
    assert_eq!(err, format!("would delete (with --delete) 1 folders, {bytes} bytes; 1 artifacts stay\n"));
    assert!(two.dir.exists());
    let (code, out, err) = delt_store(dir.path(), &["gc", "--delete"]);
    assert_eq!((code, out), (0, garbage));
    assert_eq!(err, format!("deleted 1 folders, {bytes} bytes; 1 artifacts stay\n"));
    assert!(one.dir.exists() && !two.dir.exists());

    let (code, out, err) = delt_store(dir.path(), &["forget", "demo"]);
    assert_eq!((code, out), (0, format!("demo/delt/scores (scores {})\n", digits(&one))));
    assert_eq!(err, "forgot 1 pointers; `delt-store gc` shows what nothing leads to now\n");
    assert_eq!(delt_store(dir.path(), &["gc", "--delete"]).0, 0);
    assert!(!one.dir.exists());
}

#[test]
fn checkpoints_of_stopped_runs_go_only_when_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let key = Digest::of_bytes(b"stopped");
    let claim = store.claim(ArtifactKind::Scores, &key, &mut |_| ControlFlow::Break(())).unwrap();
    let Claim::Work(workspace) = claim else { panic!("it is there") };
    fs_err::write(workspace.checkpoint_dir().join("epoch"), "7").unwrap();
    drop(workspace);
    let (code, out, err) = delt_store(dir.path(), &["gc", "--delete"]);
    assert_eq!((code, out.as_str()), (0, ""));
    assert_eq!(
        err,
        "deleted 0 folders, 0 bytes; 0 artifacts stay\n\
         checkpoints of 1 stopped runs stay, 1 bytes (without --checkpoints)\n"
    );
    let (_, _, err) = delt_store(dir.path(), &["gc", "--delete", "--checkpoints"]);
    assert_eq!(err, "deleted 1 folders, 1 bytes; 0 artifacts stay\n");
}

#[test]
fn failures_say_what_to_do_and_exit_with_1() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    make(&store, "one");
    let gone = Digest::of_bytes(b"gone");
    store.point("demo/gone", ArtifactKind::Labels, &gone).unwrap();
    let fails = |args: &[&str], message: &str| {
        assert_eq!(delt_store(dir.path(), args), (1, String::new(), format!("delt-store: {message}\n")));
    };
    fails(&["forget", "demo/none"], "no run `demo/none` in this store; see `delt-store ls`");
    fails(&["path", "demo/none"], "no run `demo/none` in this store; see `delt-store ls`");
    fails(
        &["path", "demo/gone"],
        &format!("run `demo/gone` points to labels {gone}, which is gone; re-run relabel"),
    );
    fails(
        &["path", "scores", "zz"],
        "no scores artifact has a key that begins with `zz`; see `delt-store ls`",
    );
    fails(
        &["path", "scores"],
        "scores is a kind of artifact: add the first digits of a key; see `delt-store ls`",
    );
    fails(&["verify", "zz"], "no artifact has a key that begins with `zz`; see `delt-store ls`");
    let missing = dir.path().join("missing");
    let (code, _, err) = delt_store(&missing, &["ls"]);
    let expected = format!(
        "delt-store: {}: no such store; give its folder by --store or DELT_STORE\n",
        missing.display()
    );
    assert_eq!((code, err), (1, expected));
    assert!(!missing.exists(), "looking must not create a store");
}

#[test]
fn a_file_that_is_no_pointer_is_named_by_ls_stops_gc_and_can_be_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let (one, two) = (make(&store, "one"), make(&store, "two"));
    store.point("demo/delt/scores", ArtifactKind::Scores, &one.manifest.key).unwrap();
    let file = dir.path().join("runs/demo/random/scores.json");
    fs_err::create_dir_all(file.parent().unwrap()).unwrap();
    fs_err::write(&file, "my notes").unwrap();
    let message = format!("delt-store: {}: is no pointer to an artifact, expected ", file.display());

    let (code, listed, err) = delt_store(dir.path(), &["ls"]);
    assert_eq!((code, listed.lines().count()), (1, 3), "{listed}");
    assert!(listed.contains(" demo/delt/scores\n"), "{listed}");
    assert!(err.starts_with(&message) && err.contains("; delete this file (rm)"), "{err}");
    for arguments in [&["gc"][..], &["gc", "--delete"]] {
        let (code, out, err) = delt_store(dir.path(), arguments);
        assert_eq!((code, out.as_str()), (1, ""));
        assert!(err.starts_with(&message), "{err}");
    }
    assert!(one.dir.exists() && two.dir.exists());
    let (code, out, _) = delt_store(dir.path(), &["forget", "demo/random/scores"]);
    assert_eq!((code, out.as_str()), (0, "demo/random/scores (was no pointer)\n"));
    assert_eq!(delt_store(dir.path(), &["gc", "--delete"]).0, 0);
    assert!(one.dir.exists() && !two.dir.exists());
}

#[test]
fn a_store_in_the_home_folder_is_found_there() {
    let home = tempfile::tempdir().unwrap();
    let entry = make(&Store::open(&home.path().join("st")).unwrap(), "one");
    let mut command = Command::new(env!("CARGO_BIN_EXE_delt-store"));
    let output = command.args(["--store", "~/st", "verify"]).env("HOME", home.path()).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said, format!("whole    {}\n", entry.dir.display()));
}

#[test]
fn bad_usage_exits_with_2() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(delt_store(dir.path(), &["frobnicate"]).0, 2);
    assert_eq!(delt_store(dir.path(), &[]).0, 2);
}
