//! Pointers, and the garbage that none of them leads to.

use std::path::{Path, PathBuf};
use std::time::Duration;

use delt_formats::provenance::{ArtifactKind, Provenance};
use delt_store::StoreError;
use delt_store::{Collection, GarbageReason, Scope};
use serde_json::json;

use delt_store::Holder;

use crate::{KIND, fresh, key, leave_claim, make, no_wait, provenance, work, work_dir};

const LOOK: Collection = Collection { delete: false, checkpoints: false, scope: Scope::All };
const DELETE: Collection = Collection { delete: true, ..LOOK };

fn silent(_: &Holder, _: &Path, _: Duration) {}

fn paths(garbage: &[delt_store::Garbage]) -> Vec<PathBuf> {
    garbage.iter().map(|piece| piece.path.clone()).collect()
}

#[test]
fn pointers_are_kept_by_name_and_bad_names_are_refused() {
    let (_dir, store) = fresh();
    assert_eq!(store.pointer("demo/delt/labels").unwrap(), None);
    store.point("demo/delt/labels", KIND, &key("a")).unwrap();
    store.point("demo/delt/labels", KIND, &key("b")).unwrap();
    store.point("demo/delt/labels-3407", KIND, &key("c")).unwrap();
    assert_eq!(store.pointer("demo/delt/labels").unwrap().unwrap().key, key("b"));
    let runs: Vec<String> = store.pointers().unwrap().into_iter().map(|p| p.run).collect();
    assert_eq!(runs, ["demo/delt/labels", "demo/delt/labels-3407"]);
    for name in ["", "/etc/x", "../x", "a//b", "a b", "a/.."] {
        assert_eq!(
            store.point(name, KIND, &key("a")).unwrap_err().to_string(),
            format!(
                "`{name}` cannot name a run: expected parts of letters, digits, `-`, `_` and `.`, joined by `/`"
            )
        );
    }
}

#[test]
fn garbage_is_what_no_run_leads_to_and_only_deleting_deletes_it() {
    let (_dir, store) = fresh();
    let dataset = make(&store, ArtifactKind::Dataset, "d", &[]);
    let teacher = make(&store, ArtifactKind::Teacher, "t", &[("dataset", &dataset.manifest.digest)]);
    let labels = make(&store, KIND, "l", &[("teacher", &teacher.manifest.digest)]);
    let old = make(&store, KIND, "old", &[("teacher", &teacher.manifest.digest)]);
    store.point("demo/delt/labels", KIND, &labels.manifest.key).unwrap();
    store.point("demo/delt/gone", KIND, &key("gone")).unwrap();
    let broken = store.entry_dir(KIND, &key("broken"));
    fs_err::create_dir_all(&broken).unwrap();
    let unfinished = work(store.claim(KIND, &key("u"), &mut no_wait).unwrap());
    fs_err::write(unfinished.checkpoint_dir().join("epoch"), "7").unwrap();
    drop(unfinished);
    fs_err::create_dir_all(store.root().join("work/trash-1")).unwrap();

    let report = store.gc(&Collection { checkpoints: true, ..LOOK }, &mut silent).unwrap();
    let mut found: Vec<(PathBuf, GarbageReason)> =
        report.garbage.iter().map(|g| (g.path.clone(), g.reason)).collect();
    let mut expected = vec![
        (old.dir.clone(), GarbageReason::Unreferenced),
        (broken, GarbageReason::Broken),
        (work_dir(&store, "u"), GarbageReason::Unfinished),
        (store.root().join("work/trash-1"), GarbageReason::Trash),
    ];
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    assert!(expected.iter().all(|(path, _)| path.exists()), "a dry run deletes nothing");
    assert_eq!((report.kept, report.deleted), (3, false));

    let report = store.gc(&DELETE, &mut silent).unwrap();
    assert!(report.deleted);
    assert_eq!(paths(&report.spared), [work_dir(&store, "u")], "checkpoints stay unless asked for");
    assert!(work_dir(&store, "u").exists());
    assert!(store.gc(&Collection { delete: true, checkpoints: true, ..LOOK }, &mut silent).unwrap().deleted);
    assert!(expected.iter().all(|(path, _)| !path.exists()));
    for kept in [dataset, teacher, labels] {
        kept.verify().unwrap();
    }
    assert_eq!(store.gc(&DELETE, &mut silent).unwrap().garbage, []);
}

#[test]
fn garbage_is_not_collected_while_something_is_made_but_dead_claims_do_not_stop_it() {
    let (_dir, store) = fresh();
    leave_claim(&store, "dead");
    let workspace = work(store.claim(KIND, &key("a"), &mut no_wait).unwrap());
    let mut watched = Vec::new();
    let error = store.gc(&DELETE, &mut |holder, dir, _| watched.push((holder.to_string(), dir.to_owned())));
    let error = error.unwrap_err();
    assert_eq!(watched.len(), 2);
    assert!(watched.contains(&("process 1 on elsewhere".to_owned(), work_dir(&store, "dead"))));
    assert!(matches!(error, StoreError::Busy { .. }));
    assert!(error.to_string().ends_with("wait for it before `gc --delete`"), "{error}");
    assert_eq!(paths(&store.gc(&LOOK, &mut silent).unwrap().garbage), [work_dir(&store, "dead")]);
    drop(workspace);
    store.gc(&DELETE, &mut silent).unwrap();
    assert!(!work_dir(&store, "dead").exists());
}

#[test]
fn what_is_claimed_while_garbage_is_collected_stays() {
    let (_dir, store) = fresh();
    let old = make(&store, KIND, "old", &[]);
    // Looked at before the dead claim, so that the look cannot see it claimed.
    let names = ["u", "v", "w", "x", "y", "z", "uu", "vv", "ww", "xx", "yy", "zz"];
    let is_before = |name: &&str| work_dir(&store, name) < work_dir(&store, "dead");
    let unfinished = names.into_iter().find(is_before).unwrap();
    let stopped = work(store.claim(KIND, &key(unfinished), &mut no_wait).unwrap());
    fs_err::write(stopped.checkpoint_dir().join("epoch"), "7").unwrap();
    drop(stopped);
    leave_claim(&store, "dead");
    let mut claimed = Vec::new();
    let mut claim_meanwhile = |_: &Holder, _: &Path, _: Duration| {
        claimed.push(work(store.claim_anew(KIND, &key("old"), &mut no_wait).unwrap()));
        claimed.push(work(store.claim(KIND, &key(unfinished), &mut no_wait).unwrap()));
    };
    let report =
        store.gc(&Collection { delete: true, checkpoints: true, ..LOOK }, &mut claim_meanwhile).unwrap();
    assert_eq!(paths(&report.garbage), [work_dir(&store, "dead")]);
    assert!(old.dir.exists());
    assert_eq!(fs_err::read(claimed[1].checkpoint_dir().join("epoch")).unwrap(), b"7");
}

#[test]
fn an_artifact_whose_publication_was_cut_off_at_its_last_step_is_brought_to_its_end() {
    let (_dir, store) = fresh();
    let entry = make(&store, KIND, "a", &[]);
    fs_err::rename(entry.dir.join("manifest.json"), entry.dir.join("manifest.pending.json")).unwrap();
    assert_eq!(store.gc(&DELETE, &mut silent).unwrap().garbage, []);
    entry.verify().unwrap();
}

#[test]
fn a_run_points_to_what_is_published_for_it() {
    let (_dir, store) = fresh();
    let workspace = work(store.claim(KIND, &key("a"), &mut no_wait).unwrap());
    fs_err::write(workspace.out_dir().join("a.bin"), "a").unwrap();
    workspace.publish_for("demo/delt/labels", provenance(KIND, "a", &[]), json!({})).unwrap();
    assert_eq!(store.pointer("demo/delt/labels").unwrap().unwrap().key, key("a"));
    assert_eq!(store.gc(&DELETE, &mut silent).unwrap().kept, 1);
}

#[test]
fn the_memory_of_a_source_keeps_nothing_from_being_garbage() {
    let (_dir, store) = fresh();
    let dataset = make(&store, ArtifactKind::Dataset, "d", &[]);
    store.point("sources/dataset-0123", ArtifactKind::Dataset, &dataset.manifest.key).unwrap();
    store.point("sources/delt/dataset", ArtifactKind::Dataset, &dataset.manifest.key).unwrap();
    assert_eq!(store.gc(&LOOK, &mut silent).unwrap().garbage, [], "a pipeline may be called sources");
    store.forget("sources/delt").unwrap();
    assert_eq!(paths(&store.gc(&DELETE, &mut silent).unwrap().garbage), [dataset.dir]);
}

#[test]
fn a_forgotten_run_leads_to_nothing() {
    let (_dir, store) = fresh();
    for run in ["demo/delt/labels", "demo/delt/labels-1", "demo/other/labels", "demonstration/x/labels"] {
        store.point(run, KIND, &key("a")).unwrap();
    }
    let forget = |name: &str| -> Vec<String> {
        store.forget(name).unwrap().into_iter().map(|forgotten| forgotten.run).collect()
    };
    assert_eq!(forget("demo/delt/labels"), ["demo/delt/labels"]);
    assert_eq!(forget("demo"), ["demo/delt/labels-1", "demo/other/labels"]);
    let left: Vec<String> = store.pointers().unwrap().into_iter().map(|pointer| pointer.run).collect();
    assert_eq!(left, ["demonstration/x/labels"]);
    assert!(!store.root().join("runs/demo").exists());
    assert_eq!(store.forget("demo").unwrap(), []);
}

#[test]
fn a_file_that_is_no_pointer_is_named_and_keeps_all_from_being_garbage() {
    let (_dir, store) = fresh();
    let entry = make(&store, KIND, "a", &[]);
    let file = store.root().join("runs/demo/delt/labels.json");
    fs_err::create_dir_all(file.parent().unwrap()).unwrap();
    for text in ["", "{\"artifact\": \"labels\"", "{\"my\": \"notes\"}", "\u{0}\u{0}\u{0}"] {
        fs_err::write(&file, text).unwrap();
        let expected = format!(
            "{}: is no pointer to an artifact, expected {{\"artifact\": .., \"key\": ..}}; delete this file (rm), no artifact \
             is lost by it and the next run of its pipeline writes it again",
            file.display()
        );
        assert_eq!(store.pointer("demo/delt/labels").unwrap_err().to_string(), expected);
        assert_eq!(store.pointers().unwrap_err().to_string(), expected);
        for collection in [LOOK, DELETE] {
            assert_eq!(store.gc(&collection, &mut silent).unwrap_err().to_string(), expected);
        }
        entry.verify().unwrap();
    }
    store.point("demo/other/labels", KIND, &key("a")).unwrap();
    assert_eq!(store.readable_pointers().unwrap().iter().filter(|pointer| pointer.is_ok()).count(), 1);
    let [forgotten] = store.forget("demo/delt").unwrap().try_into().unwrap();
    assert_eq!((forgotten.run.as_str(), forgotten.pointer), ("demo/delt/labels", None));
    assert_eq!(store.gc(&DELETE, &mut silent).unwrap().kept, 1);
}

#[test]
fn only_named_runs_may_be_kept_and_only_what_a_run_alone_leads_to_is_cleaned() {
    let (_dir, store) = fresh();
    let teacher = make(&store, ArtifactKind::Teacher, "t", &[]);
    let mut made = Vec::new();
    for name in ["a", "b"] {
        let labels = make(&store, KIND, name, &[("teacher", &teacher.manifest.digest)]);
        store.point(&format!("{name}/delt/labels"), KIND, &labels.manifest.key).unwrap();
        made.push(labels.dir);
    }
    let stray = make(&store, KIND, "stray", &[]);
    let scope = |scope| Collection { scope, ..DELETE };
    let absent = store.gc(&scope(Scope::Clean(vec!["c".to_owned()])), &mut silent).unwrap_err();
    assert_eq!(absent.to_string(), "no run `c` in this store; see `delt-store ls`");

    let cleaned = store.gc(&scope(Scope::Clean(vec!["a".to_owned()])), &mut silent).unwrap();
    assert_eq!(cleaned.forgotten, ["a/delt/labels"]);
    assert_eq!(paths(&cleaned.garbage), [made[0].clone()]);
    assert!(stray.dir.exists() && teacher.dir.exists());

    let look = Collection { scope: Scope::Keep(vec!["b/delt".to_owned()]), ..LOOK };
    assert_eq!(paths(&store.gc(&look, &mut silent).unwrap().garbage), std::slice::from_ref(&stray.dir));
    store.point("c/delt/teacher", ArtifactKind::Teacher, &teacher.manifest.key).unwrap();
    let kept = store.gc(&scope(Scope::Keep(vec!["c".to_owned()])), &mut silent).unwrap();
    assert_eq!((kept.kept, kept.forgotten.as_slice()), (1, &["b/delt/labels".to_owned()][..]));
    assert_eq!(store.pointers().unwrap().len(), 1);
}

#[test]
fn cleaning_a_run_takes_the_parts_that_its_shards_left() {
    let (_dir, store) = fresh();
    let part_of = |name: &str, from: u64| {
        let config = json!({ "of": provenance(KIND, name, &[]).config, "from": from, "to": from + 1 });
        let provenance = Provenance { config, ..provenance(KIND.part(), "", &[]) };
        let workspace = work(store.claim(KIND.part(), &provenance.key(), &mut no_wait).unwrap());
        fs_err::write(workspace.out_dir().join("a.bin"), "a").unwrap();
        workspace.publish(provenance, json!({})).unwrap().dir
    };
    let mut made: Vec<PathBuf> = [0, 1].map(|from| part_of("a", from)).to_vec();
    let others = part_of("b", 0);
    for name in ["a", "b"] {
        let labels = make(&store, KIND, name, &[]);
        store.point(&format!("{name}/delt/labels"), KIND, &labels.manifest.key).unwrap();
        made.extend((name == "a").then_some(labels.dir));
    }
    made.sort();
    let clean = Collection { scope: Scope::Clean(vec!["a".to_owned()]), ..DELETE };
    assert_eq!(paths(&store.gc(&clean, &mut silent).unwrap().garbage), made);
    assert!(others.exists());
}
