//! Published artifacts: found, verified, replaced, removed.

use std::path::Path;

use delt_formats::provenance::{ArtifactKind, Provenance};
use delt_formats::{Digest, Manifest};
use delt_store::Store;
use delt_store::{Collection, KEY_DIGITS};
use serde_json::json;

use crate::{KIND, fresh, hit, key, make, no_wait, open, provenance, work, work_dir};

#[test]
fn what_was_published_is_found_and_touches_nothing() {
    let (_dir, store) = fresh();
    assert!(store.lookup(KIND, &key("a")).unwrap().is_none());
    let entry = make(&store, KIND, "a", &[]);
    assert_eq!(store.lookup(KIND, &key("a")).unwrap().unwrap(), entry);
    assert_eq!(hit(store.claim(KIND, &key("a"), &mut no_wait).unwrap()), entry);
    assert_eq!(entry.manifest.files.keys().collect::<Vec<_>>(), ["a.bin"], "run.json is in no digest");
    assert_eq!(fs_err::read(entry.file("a.bin").unwrap()).unwrap(), b"a");
    assert!(entry.dir.join("run.json").exists());
    assert!(!work_dir(&store, "a").exists(), "claim, checkpoint and work folder are gone");
    entry.verify().unwrap();
    entry.verified_file("a.bin").unwrap();
    assert_eq!(
        entry.file("b.bin").unwrap_err().to_string(),
        format!("{}: has no file `b.bin`, it holds a.bin; re-run relabel", entry.dir.display())
    );
    assert_eq!(store.list().unwrap(), [entry]);
}

#[test]
fn a_crash_between_rename_and_manifest_loses_no_work() {
    let (_dir, store) = fresh();
    let entry = make(&store, KIND, "a", &[]);
    let (named, pending) = (entry.dir.join("manifest.json"), entry.dir.join("manifest.pending.json"));
    fs_err::rename(&named, &pending).unwrap();
    assert!(store.lookup(KIND, &key("a")).unwrap().is_none(), "not there before its manifest is");
    assert_eq!(hit(store.claim(KIND, &key("a"), &mut no_wait).unwrap()).manifest, entry.manifest);
    assert!(named.exists() && !pending.exists());
    assert!(!work_dir(&store, "a").exists());
}

#[test]
fn a_crash_before_the_new_artifact_was_renamed_into_place_loses_no_work() {
    let (_dir, store) = fresh();
    let entry = make(&store, KIND, "a", &[]);
    // As if the old one had just been set aside, and the process had died then.
    let out = work_dir(&store, "a").join("out-1");
    fs_err::create_dir_all(work_dir(&store, "a")).unwrap();
    fs_err::rename(&entry.dir, &out).unwrap();
    fs_err::rename(out.join("manifest.json"), out.join("manifest.pending.json")).unwrap();
    assert_eq!(hit(store.claim(KIND, &key("a"), &mut no_wait).unwrap()).manifest, entry.manifest);
    entry.verify().unwrap();
    assert!(!work_dir(&store, "a").exists());
}

#[test]
fn files_that_were_not_finished_are_not_published_by_the_next_claim() {
    let (_dir, store) = fresh();
    let entry = make(&store, KIND, "a", &[]);
    let out = work_dir(&store, "a").join("out-1");
    fs_err::create_dir_all(work_dir(&store, "a")).unwrap();
    fs_err::rename(&entry.dir, &out).unwrap();
    fs_err::rename(out.join("manifest.json"), out.join("manifest.pending.json")).unwrap();
    fs_err::write(out.join("a.bin"), "b").unwrap();
    drop(work(store.claim(KIND, &key("a"), &mut no_wait).unwrap()));
    assert!(!entry.dir.exists() && !out.exists());
}

#[test]
fn an_artifact_that_could_not_be_published_is_published_by_the_next_claim() {
    let (_dir, store) = fresh();
    let kinds = store.root().join(KIND.dir());
    let workspace = work(store.claim(KIND, &key("a"), &mut no_wait).unwrap());
    fs_err::write(workspace.out_dir().join("a.bin"), "a").unwrap();
    fs_err::write(&kinds, "in the way").unwrap();
    workspace.publish(provenance(KIND, "a", &[]), json!({})).unwrap_err();
    fs_err::remove_file(&kinds).unwrap();
    hit(store.claim(KIND, &key("a"), &mut no_wait).unwrap()).verify().unwrap();
}

#[test]
fn a_crash_that_left_wrong_bytes_is_made_again() {
    let (_dir, store) = fresh();
    let entry = make(&store, KIND, "a", &[]);
    fs_err::rename(entry.dir.join("manifest.json"), entry.dir.join("manifest.pending.json")).unwrap();
    fs_err::write(entry.dir.join("a.bin"), "b").unwrap();
    let workspace = work(store.claim(KIND, &key("a"), &mut no_wait).unwrap());
    assert_eq!(workspace.damage(), Some("it has no manifest"));
    fs_err::write(workspace.out_dir().join("a.bin"), "a").unwrap();
    let again = workspace.publish(provenance(KIND, "a", &[]), json!({ "made": "a" })).unwrap();
    assert_eq!(again.manifest, entry.manifest);
    again.verify().unwrap();
}

#[test]
fn a_file_of_another_size_is_a_miss_that_says_why_and_is_replaced() {
    let (_dir, store) = fresh();
    let entry = make(&store, KIND, "a", &[]);
    let path = entry.dir.join("a.bin");
    fs_err::write(&path, "longer").unwrap();
    assert!(store.lookup(KIND, &key("a")).unwrap().is_none());
    let message = format!("{}: has 6 bytes, expected 1 by its manifest; re-run relabel", path.display());
    assert_eq!(store.verify("").unwrap()[0].result.as_ref().unwrap_err().to_string(), message);
    let workspace = work(store.claim(KIND, &key("a"), &mut no_wait).unwrap());
    assert_eq!(workspace.damage(), Some(message.as_str()));
    fs_err::write(workspace.out_dir().join("a.bin"), "a").unwrap();
    workspace.publish(provenance(KIND, "a", &[]), json!({})).unwrap().verify().unwrap();
}

#[test]
fn wrong_bytes_of_the_right_size_are_found_by_verifying() {
    let (_dir, store) = fresh();
    let entry = make(&store, KIND, "a", &[]);
    let path = entry.dir.join("a.bin");
    fs_err::write(&path, "b").unwrap();
    assert!(store.lookup(KIND, &key("a")).unwrap().is_some(), "a hit trusts manifest and sizes");
    let expected = format!(
        "{}: its content has digest {}, expected {} by its manifest; re-run relabel with FORCE=1",
        path.display(),
        Digest::of_bytes(b"b"),
        Digest::of_bytes(b"a")
    );
    assert_eq!(entry.verify().unwrap_err().to_string(), expected);
    assert_eq!(entry.verified_file("a.bin").unwrap_err().to_string(), expected);
    assert_eq!(store.verify("").unwrap()[0].result.as_ref().unwrap_err().to_string(), expected);
}

#[test]
fn a_missing_file_and_a_manifest_in_the_wrong_place_are_misses() {
    let (_dir, store) = fresh();
    let entry = make(&store, KIND, "a", &[]);
    let other = store.entry_dir(KIND, &key("b"));
    fs_err::create_dir_all(&other).unwrap();
    for name in ["a.bin", "manifest.json"] {
        fs_err::copy(entry.dir.join(name), other.join(name)).unwrap();
    }
    assert!(store.lookup(KIND, &key("b")).unwrap().is_none());
    fs_err::remove_file(entry.dir.join("a.bin")).unwrap();
    assert!(store.lookup(KIND, &key("a")).unwrap().is_none());
    let mut messages: Vec<String> =
        store.verify("").unwrap().into_iter().map(|v| v.result.unwrap_err().to_string()).collect();
    messages.sort();
    let mut expected = [
        format!("{}: absent, but its manifest names it; re-run relabel", entry.dir.join("a.bin").display()),
        format!(
            "{}: is the manifest of labels {}, expected labels {}; move it back or re-run relabel",
            other.join("manifest.json").display(),
            key("a"),
            key("b").prefix(KEY_DIGITS)
        ),
    ];
    expected.sort();
    assert_eq!(messages, expected);
}

#[test]
fn an_artifact_of_an_older_schema_version_is_a_miss_and_one_of_a_newer_is_refused() {
    let (_dir, store) = fresh();
    let entry = make(&store, KIND, "a", &[]);
    let refusal = |schema_version| {
        let provenance = Provenance { schema_version, ..entry.manifest.provenance.clone() };
        let (facts, files) = (entry.manifest.facts.clone(), entry.manifest.files.clone());
        let manifest = Manifest::new(key("a"), provenance, facts, files);
        fs_err::write(entry.dir.join("manifest.json"), manifest.to_json()).unwrap();
        let expected = format!(
            "{}: labels of schema version {schema_version}, expected version 1; re-run relabel with this build",
            entry.dir.join("manifest.json").display()
        );
        assert_eq!(store.verify("").unwrap()[0].result.as_ref().unwrap_err().to_string(), expected);
        expected
    };
    let newer = refusal(9);
    assert_eq!(store.lookup(KIND, &key("a")).unwrap_err().to_string(), newer);
    let older = refusal(0);
    assert!(store.lookup(KIND, &key("a")).unwrap().is_none());
    let workspace = work(store.claim(KIND, &key("a"), &mut no_wait).unwrap());
    assert_eq!(workspace.damage(), Some(older.as_str()));
}

#[test]
fn what_a_newer_build_wrote_is_refused_and_never_discarded() {
    let (_dir, store) = fresh();
    let entry = make(&store, KIND, "a", &[]);
    let path = entry.dir.join("manifest.json");
    let text = fs_err::read_to_string(&path).unwrap();
    let newer = text.replace("\"format_version\": 1", "\"format_version\": 2,\n  \"unheard\": \"of\"");
    fs_err::write(&path, &newer).unwrap();
    let message = format!(
        "{}: manifest of format version 2, this build reads up to 1; \
         use the newer build that wrote it, or another store",
        path.display()
    );
    let refused = |error: delt_store::StoreError| assert_eq!(error.to_string(), message);
    refused(store.lookup(KIND, &key("a")).unwrap_err());
    refused(store.claim(KIND, &key("a"), &mut no_wait).unwrap_err());
    refused(store.claim_anew(KIND, &key("a"), &mut no_wait).unwrap_err());
    refused(
        store
            .gc(&Collection { delete: true, checkpoints: true, ..Collection::default() }, &mut |_, _, _| ())
            .unwrap_err(),
    );
    refused(store.verify("").unwrap().remove(0).result.unwrap_err());
    assert_eq!(fs_err::read_to_string(&path).unwrap(), newer);
    assert!(entry.dir.join("a.bin").exists());
}

#[test]
fn a_manifest_that_was_changed_is_a_miss() {
    let (_dir, store) = fresh();
    let entry = make(&store, KIND, "a", &[]);
    let path = entry.dir.join("manifest.json");
    let text = fs_err::read_to_string(&path).unwrap();
    fs_err::write(&path, text.replace("\"made\": \"a\"", "\"made\": \"b\"")).unwrap();
    assert!(store.lookup(KIND, &key("a")).unwrap().is_none());
    let message = store.verify("").unwrap().remove(0).result.unwrap_err().to_string();
    assert!(
        message.starts_with(&format!("{}: damaged: its content has digest ", path.display())),
        "{message}"
    );
    let workspace = work(store.claim(KIND, &key("a"), &mut no_wait).unwrap());
    assert_eq!(workspace.damage(), Some(message.as_str()));
}

#[test]
fn files_that_no_manifest_names_are_found_by_verifying() {
    let (_dir, store) = fresh();
    let entry = make(&store, KIND, "a", &[]);
    for name in ["notes.txt", "a.bin.orig"] {
        fs_err::write(entry.dir.join(name), "").unwrap();
    }
    let message = store.verify("").unwrap().remove(0).result.unwrap_err().to_string();
    assert_eq!(
        message,
        format!(
            "{}: holds a.bin.orig, notes.txt, which its manifest does not name; move them out of the store",
            entry.dir.display()
        )
    );
    assert!(store.lookup(KIND, &key("a")).unwrap().is_some(), "a hit trusts manifest and sizes");
}

#[test]
fn the_second_of_two_publishers_gets_what_the_first_published() {
    let (_dir, store) = fresh();
    let slow = work(store.claim(KIND, &key("a"), &mut no_wait).unwrap());
    fs_err::write(slow.out_dir().join("a.bin"), "slow").unwrap();
    fs_err::write(slow.out_dir().join("run.json"), "slow").unwrap();
    // As if the slow one had been silent for too long and another had taken over and finished.
    let elsewhere = tempfile::tempdir().unwrap();
    let first = make(&open(elsewhere.path()), KIND, "a", &[]);
    let place = store.entry_dir(KIND, &key("a"));
    fs_err::create_dir_all(place.parent().unwrap()).unwrap();
    copy_folder(&first.dir, &place);
    let entry = slow.publish(provenance(KIND, "a", &[]), json!({})).unwrap();
    assert_eq!(entry.manifest, first.manifest);
    entry.verify().unwrap();
    assert_eq!(fs_err::read(entry.dir.join("run.json")).unwrap(), b"{}");
    assert!(!work_dir(&store, "a").exists());
}

fn copy_folder(from: &Path, to: &Path) {
    fs_err::create_dir_all(to).unwrap();
    for file in fs_err::read_dir(from).unwrap() {
        let path = file.unwrap().path();
        fs_err::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

#[test]
fn what_cannot_be_published_is_refused() {
    let (_dir, store) = fresh();
    let publish = |prepare: &dyn Fn(&Path), kind| {
        let workspace = work(store.claim(KIND, &key("a"), &mut no_wait).unwrap());
        let out = workspace.out_dir().to_owned();
        prepare(&out);
        (
            out.display().to_string(),
            workspace.publish(provenance(kind, "a", &[]), json!({})).unwrap_err().to_string(),
        )
    };
    let (out, message) = publish(&|_| {}, KIND);
    assert_eq!(message, format!("{out}: empty, but an artifact needs a file; write them before publishing"));
    let (out, message) = publish(&|out| fs_err::create_dir(out.join("sub")).unwrap(), KIND);
    assert_eq!(
        message,
        format!(
            "{out}/sub: not a plain file, or its name is reserved by the store; an artifact is a flat folder of files"
        )
    );
    let (_, message) = publish(&|_| {}, ArtifactKind::Teacher);
    assert_eq!(message, "claimed labels, but the provenance to publish is of teacher");
    let workspace = work(store.claim(KIND, &key("a"), &mut no_wait).unwrap());
    assert_eq!(
        workspace.publish(provenance(KIND, "b", &[]), json!({})).unwrap_err().to_string(),
        format!("claimed key {}, but the provenance to publish is that of {}", key("a"), key("b"))
    );
}

#[test]
fn a_manifest_whose_account_of_the_making_was_changed_is_a_miss() {
    let (_dir, store) = fresh();
    let entry = make(&store, KIND, "a", &[]);
    let path = entry.dir.join("manifest.json");
    let text = fs_err::read_to_string(&path).unwrap();
    let changes = [
        ("\"producer\": \"relabel\"", "\"producer\": \"relabem\""),
        ("\"name\": \"a\"", "\"name\": \"c\""),
        ("\"seed\": 0", "\"seed\": 1"),
        ("\"algorithm_version\": 1", "\"algorithm_version\": 3"),
        ("\"inputs\": {}", "\"inputs\": {\"teacher\": \"DIGEST\"}"),
    ];
    for (before, after) in changes {
        let changed = text.replace(before, &after.replace("DIGEST", key("x").as_str()));
        assert_ne!(changed, text, "{before}");
        fs_err::write(&path, changed).unwrap();
        let found = Manifest::read(&path).unwrap().provenance.key();
        let expected = format!(
            "{}: damaged: what it says of its making has key {found}, expected {}; re-run relabel with FORCE=1",
            path.display(),
            key("a")
        );
        assert_eq!(store.verify("").unwrap()[0].result.as_ref().unwrap_err().to_string(), expected);
        assert!(store.lookup(KIND, &key("a")).unwrap().is_none());
    }
}

#[test]
fn an_artifact_made_anew_stays_until_the_new_one_takes_its_place() {
    let (_dir, store) = fresh();
    let old = make(&store, KIND, "a", &[]);
    let abandoned = work(store.claim_anew(KIND, &key("a"), &mut no_wait).unwrap());
    let checkpoint = abandoned.checkpoint_dir().join("epoch");
    fs_err::write(&checkpoint, "7").unwrap();
    drop(abandoned);
    assert_eq!(store.lookup(KIND, &key("a")).unwrap().unwrap().manifest.digest, old.manifest.digest);
    let again = work(store.claim_anew(KIND, &key("a"), &mut no_wait).unwrap());
    assert!(again.checkpoint_dir().join("epoch").exists(), "the forced run cannot go on");
    fs_err::write(again.out_dir().join("new.bin"), "new").unwrap();
    let new = again.publish(provenance(KIND, "a", &[]), json!({})).unwrap();
    assert_ne!(new.manifest.digest, old.manifest.digest);
    let found = store.lookup(KIND, &key("a")).unwrap().unwrap();
    assert_eq!(found.manifest.digest, new.manifest.digest);
    assert!(!checkpoint.exists());
}

#[test]
fn opening_a_store_creates_nothing_and_refuses_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("a/store");
    let store = open(&root);
    assert_eq!(store.pointers().unwrap(), []);
    assert_eq!(store.list().unwrap(), []);
    assert!(!dir.path().join("a").exists(), "looking created a folder");
    make(&store, KIND, "a", &[]);
    assert_eq!(store.list().unwrap().len(), 1);
    let file = dir.path().join("file");
    fs_err::write(&file, "").unwrap();
    assert_eq!(
        Store::open(&file).unwrap_err().to_string(),
        format!("{}: is a file, expected the folder of a store", file.display())
    );
}
