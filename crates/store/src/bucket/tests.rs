//! Machines that share an object store: each has a folder of its own before one store in memory.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use object_store::memory::InMemory;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, PutMode};
use serde_json::json;
use tempfile::TempDir;

use super::transfer::PART_BYTES;
use super::{Bucket, manifest_name};
use crate::backend::{Backend, Place};
use crate::{
    Claim, ClaimTiming, Collection, Entry, GarbageReason, Holder, Key, Scope, Store, StoreError, Workspace,
};
use delt_formats::provenance::{ArtifactKind, Provenance};

const KIND: ArtifactKind = ArtifactKind::Labels;

const FAST: ClaimTiming = ClaimTiming {
    heartbeat: Duration::from_millis(20),
    poll: Duration::from_millis(10),
    stale: Duration::from_millis(1500),
};

/// An object store, and a folder below which machines have theirs.
struct Team {
    objects: Arc<dyn ObjectStore>,
    folder: TempDir,
}

impl Team {
    fn new() -> Self {
        Self { objects: Arc::new(InMemory::new()), folder: tempfile::tempdir().unwrap() }
    }

    fn bucket(&self) -> Bucket {
        Bucket::new("s3://team/delt".to_owned(), self.objects.clone(), ObjectPath::from("delt")).unwrap()
    }

    fn machine(&self, name: &str) -> Store {
        Store::before(self.bucket(), &self.folder.path().join(name)).unwrap().with_claim_timing(FAST)
    }

    /// The same folder without the object store: a machine whose upload fails.
    fn alone(&self, name: &str) -> Store {
        Store::open(self.machine(name).root()).unwrap().with_claim_timing(FAST)
    }

    fn objects(&self) -> Vec<String> {
        self.bucket().list("").unwrap().into_iter().map(|(name, _)| name).collect()
    }
}

fn key(name: &str) -> Key {
    provenance(name, &[]).key()
}

fn place(name: &str) -> Place {
    Place::of(KIND, &key(name))
}

fn provenance(name: &str, inputs: &[(&str, &Entry)]) -> Provenance {
    let inputs =
        inputs.iter().map(|(role, entry)| ((*role).to_owned(), entry.manifest.digest.clone())).collect();
    Provenance::new(KIND, KIND.stage(), 1, vec!["cat".to_owned()], json!({ "name": name }), 0, inputs)
}

fn no_wait(holder: &Holder) -> ControlFlow<()> {
    panic!("waited for {holder}");
}

fn work(claim: Claim) -> Workspace {
    match claim {
        Claim::Work(workspace) => workspace,
        Claim::Hit(entry) => panic!("hit {}", entry.dir.display()),
    }
}

fn hit(claim: Claim) -> Entry {
    match claim {
        Claim::Hit(entry) => entry,
        Claim::Work(workspace) => panic!("work in {}", workspace.out_dir().display()),
    }
}

fn finish(workspace: Workspace, content: &[u8], provenance: Provenance) -> Entry {
    fs_err::write(workspace.out_dir().join("a.bin"), content).unwrap();
    fs_err::write(workspace.out_dir().join("run.json"), "{\"host\":\"a\"}").unwrap();
    workspace.publish(provenance, json!({})).unwrap()
}

fn make(store: &Store, name: &str, inputs: &[(&str, &Entry)]) -> Entry {
    let provenance = provenance(name, inputs);
    finish(work(store.claim(KIND, &provenance.key(), &mut no_wait).unwrap()), name.as_bytes(), provenance)
}

fn content(entry: &Entry) -> Vec<u8> {
    fs_err::read(entry.verified_file("a.bin").unwrap()).unwrap()
}

#[test]
fn what_one_machine_made_another_has_without_making_it() {
    let team = Team::new();
    let made = make(&team.machine("a"), "x", &[]);
    team.machine("a").point("demo/delt/labels", KIND, &key("x")).unwrap();
    assert_eq!(content(&made), b"x");

    let other = team.machine("b");
    assert_eq!(other.pointer("demo/delt/labels").unwrap().unwrap().key, key("x"));
    let found = hit(other.claim(KIND, &key("x"), &mut no_wait).unwrap());
    assert_eq!(found.manifest, made.manifest);
    assert!(!found.dir.exists(), "files are downloaded before anybody asks for them");
    assert_eq!(found.run_record().unwrap(), b"{\"host\":\"a\"}");
    assert_eq!(content(&found), b"x");
    assert_eq!(other.list().unwrap().len(), 1);
    assert!(other.verify("").unwrap().iter().all(|checked| checked.result.is_ok()));
    // its own files are not downloaded again
    let own = team.machine("a").lookup(KIND, &key("x")).unwrap().unwrap();
    assert_eq!(own.dir, made.dir);
}

#[test]
fn a_file_of_many_parts_arrives_as_it_was() {
    let team = Team::new();
    let bytes: Vec<u8> = (0..3 * PART_BYTES + 17).map(|at| (at % 251) as u8).collect();
    finish(
        work(team.machine("a").claim(KIND, &key("big"), &mut no_wait).unwrap()),
        &bytes,
        provenance("big", &[]),
    );
    assert!(content(&team.machine("b").lookup(KIND, &key("big")).unwrap().unwrap()) == bytes);
}

#[test]
fn of_many_machines_that_want_one_key_one_works_and_the_others_wait_for_it() {
    let team = Team::new();
    let (workers, waits) = (AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for name in ["a", "b", "c", "d"] {
            let store = team.machine(name);
            let (workers, waits) = (&workers, &waits);
            scope.spawn(move || {
                let mut on_wait = |_: &Holder| {
                    waits.fetch_add(1, Ordering::Relaxed);
                    ControlFlow::Continue(())
                };
                let entry = match store.claim(KIND, &key("x"), &mut on_wait).unwrap() {
                    Claim::Hit(entry) => entry,
                    Claim::Work(workspace) => {
                        workers.fetch_add(1, Ordering::Relaxed);
                        // longer than a silent claim would be believed: the heartbeat keeps it alive
                        std::thread::sleep(FAST.stale * 2);
                        finish(workspace, b"x", provenance("x", &[]))
                    }
                };
                assert_eq!(content(&entry), b"x");
            });
        }
    });
    assert_eq!(workers.into_inner(), 1);
    assert!(waits.into_inner() >= 3);
}

/// The claim of a process on another host that is no more.
fn leave_claim(team: &Team, name: &str) {
    let claim = r#"{"beat":"00000000000000000007","host":"elsewhere","machine":"x","pid":1,"token":"t"}"#;
    let claim_name = team.bucket().claim_name(&place(name));
    assert!(team.bucket().put(&claim_name, claim, PutMode::Overwrite).unwrap());
}

fn give_back(team: &Team, name: &str) {
    let claim_name = team.bucket().claim_name(&place(name));
    assert!(team.bucket().put(&claim_name, b"null".to_vec(), PutMode::Overwrite).unwrap());
}

#[test]
fn a_claim_that_stands_still_is_taken_over_and_its_holder_refused() {
    let team = Team::new();
    leave_claim(&team, "x");
    let mut waits = 0;
    let mut on_wait = |holder: &Holder| {
        assert_eq!(holder.host, "elsewhere");
        waits += 1;
        ControlFlow::Continue(())
    };
    let first = work(team.machine("a").claim(KIND, &key("x"), &mut on_wait).unwrap());
    assert!(waits > 0);
    // now this one is taken for dead
    leave_claim(&team, "x");
    let error = first.ensure_held().unwrap_err();
    assert!(error.to_string().contains("taken over by elsewhere pid 1"), "{error}");
    fs_err::write(first.out_dir().join("a.bin"), "late").unwrap();
    assert!(matches!(first.publish(provenance("x", &[]), json!({})), Err(StoreError::TakenOver { .. })));
    assert!(team.machine("b").lookup(KIND, &key("x")).unwrap().is_none());
}

#[test]
fn an_artifact_whose_upload_failed_is_uploaded_by_the_next_run() {
    let team = Team::new();
    make(&team.alone("a"), "x", &[]);
    assert!(team.machine("b").lookup(KIND, &key("x")).unwrap().is_none());
    assert!(team.machine("a").lookup(KIND, &key("x")).unwrap().is_some());
    // not while another machine makes it, and not what has been damaged since
    leave_claim(&team, "x");
    let error = team.machine("a").claim(KIND, &key("x"), &mut |_| ControlFlow::Break(())).unwrap_err();
    assert!(matches!(error, StoreError::WaitAbandoned { .. }));
    give_back(&team, "x");
    let file = team.machine("a").entry_dir(KIND, &key("x")).join("a.bin");
    fs_err::write(&file, "y").unwrap();
    let error = team.machine("a").claim(KIND, &key("x"), &mut no_wait).unwrap_err();
    assert!(matches!(error, StoreError::DigestMismatch { .. }));
    fs_err::write(&file, "x").unwrap();
    let entry = hit(team.machine("a").claim(KIND, &key("x"), &mut no_wait).unwrap());
    // from now on what is damaged here is downloaded
    fs_err::write(&file, "y").unwrap();
    assert_eq!(content(&entry), b"x");
    assert_eq!(content(&hit(team.machine("b").claim(KIND, &key("x"), &mut no_wait).unwrap())), b"x");
}

#[test]
fn of_twins_with_other_bytes_the_first_counts_for_all() {
    let team = Team::new();
    finish(work(team.alone("a").claim(KIND, &key("x"), &mut no_wait).unwrap()), b"one", provenance("x", &[]));
    finish(work(team.alone("b").claim(KIND, &key("x"), &mut no_wait).unwrap()), b"two", provenance("x", &[]));
    for machine in ["b", "a", "c"] {
        let entry = hit(team.machine(machine).claim(KIND, &key("x"), &mut no_wait).unwrap());
        assert_eq!(content(&entry), b"two", "on {machine}");
    }
    let anew = work(team.machine("a").claim_anew(KIND, &key("x"), &mut no_wait).unwrap());
    assert_eq!(content(&finish(anew, b"three", provenance("x", &[]))), b"three");
    assert_eq!(content(&team.machine("b").lookup(KIND, &key("x")).unwrap().unwrap()), b"three");
}

#[test]
fn bytes_that_are_not_those_of_the_manifest_are_never_used() {
    let team = Team::new();
    let made = make(&team.machine("a"), "x", &[]);
    let name = team.objects().into_iter().find(|name| name.ends_with("/a.bin")).unwrap();
    let found = team.machine("b").lookup(KIND, &key("x")).unwrap().unwrap();
    // damaged on this machine after it was downloaded: fetched again
    fs_err::write(found.verified_file("a.bin").unwrap(), "y").unwrap();
    assert_eq!(content(&found), b"x");
    // damaged in the object store
    assert!(team.bucket().put(&name, b"y".to_vec(), PutMode::Overwrite).unwrap());
    let other = team.machine("c").lookup(KIND, &key("x")).unwrap().unwrap();
    let stated = &made.manifest.files["a.bin"].blake3;
    assert_eq!(
        other.verified_file("a.bin").unwrap_err().to_string(),
        format!(
            "s3://team/delt/{name}: its content has digest {}, expected {stated} by its manifest; re-run relabel with FORCE=1",
            delt_formats::Digest::of_bytes(b"y")
        )
    );
    assert!(!other.dir.join("a.bin").exists());
    // gone from the object store
    team.bucket().remove(&name).unwrap();
    assert_eq!(
        other.verified_file("a.bin").unwrap_err().to_string(),
        format!("s3://team/delt/{name}: absent, but its manifest names it; re-run relabel with FORCE=1")
    );
    assert!(fs_err::read_dir(&other.dir).unwrap().next().is_none(), "half a download is left");
    assert!(team.machine("c").verify("").unwrap().iter().all(|checked| checked.result.is_err()));
}

#[test]
fn a_manifest_that_nobody_can_believe_is_replaced() {
    let team = Team::new();
    make(&team.machine("a"), "x", &[]);
    let manifest = manifest_name(&place("x"));
    assert!(team.bucket().put(&manifest, b"{\"half\":".to_vec(), PutMode::Overwrite).unwrap());
    assert!(team.machine("b").lookup(KIND, &key("x")).unwrap().is_none());
    assert_eq!(make(&team.machine("b"), "x", &[]).manifest.key, key("x"));
    assert_eq!(content(&team.machine("c").lookup(KIND, &key("x")).unwrap().unwrap()), b"x");
    let newer = br#"{"format_version": 99}"#;
    assert!(team.bucket().put(&manifest, newer.to_vec(), PutMode::Overwrite).unwrap());
    assert!(team.machine("b").lookup(KIND, &key("x")).is_err(), "what a newer build wrote is left alone");
}

fn silent(_: &Holder, _: &Path, _: Duration) {}

#[test]
fn garbage_is_what_no_run_leads_to() {
    let team = Team::new();
    let store = team.machine("a");
    let teacher = make(&store, "teacher", &[]);
    let labels = make(&store, "labels", &[("teacher", &teacher)]);
    make(&store, "old", &[]);
    store.point("demo/delt/labels", KIND, &labels.manifest.key).unwrap();
    let stray = format!("{}/0123/a.bin", place("never").name());
    assert!(team.bucket().put(&stray, b"half".to_vec(), PutMode::Overwrite).unwrap());

    let look = store.gc(&Collection::default(), &mut silent).unwrap();
    let mut reasons: Vec<GarbageReason> = look.garbage.iter().map(|piece| piece.reason).collect();
    reasons.sort();
    assert_eq!((look.kept, reasons), (2, vec![GarbageReason::Unreferenced, GarbageReason::Broken]));
    let delete = Collection { delete: true, ..Collection::default() };
    assert_eq!(team.machine("b").gc(&delete, &mut silent).unwrap().garbage.len(), 2);
    assert!(!team.objects().contains(&stray));
    let left = team.machine("c");
    assert!(left.lookup(KIND, &key("old")).unwrap().is_none());
    assert_eq!(content(&left.lookup(KIND, &key("teacher")).unwrap().unwrap()), b"teacher");

    leave_claim(&team, "busy");
    let held = work(team.machine("d").claim(KIND, &key("held"), &mut no_wait).unwrap());
    let error = left.gc(&delete, &mut silent).unwrap_err().to_string();
    assert!(error.contains("is working in s3://team/delt/work/labels-"), "{error}");
    drop(held);

    let clean = Collection { scope: Scope::Clean(vec!["demo".to_owned()]), ..delete };
    assert_eq!(left.gc(&clean, &mut silent).unwrap().forgotten, ["demo/delt/labels"]);
    assert!(team.machine("e").list().unwrap().is_empty());
    assert!(team.objects().iter().all(|name| name.starts_with("work/")), "{:?}", team.objects());
}

#[test]
fn a_profile_that_would_be_passed_over_is_seen() {
    let s3 = url::Url::parse("s3://team/delt").unwrap();
    let profile = |url: &url::Url, set: &[(&str, &str)]| {
        let variable =
            |name: &str| set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        super::unread_profile(url, variable)
    };
    assert_eq!(profile(&s3, &[("AWS_PROFILE", "team")]).as_deref(), Some("team"));
    assert_eq!(profile(&s3, &[("AWS_PROFILE", ""), ("AWS_DEFAULT_PROFILE", "d")]).as_deref(), Some("d"));
    assert_eq!(profile(&s3, &[("AWS_PROFILE", "team"), ("AWS_ACCESS_KEY_ID", "k")]), None);
    assert_eq!(profile(&s3, &[]), None);
    assert_eq!(profile(&url::Url::parse("gs://team").unwrap(), &[("AWS_PROFILE", "team")]), None);
}

#[test]
fn a_server_that_takes_the_same_claim_twice_is_refused() {
    let (team, holder) = (Team::new(), Holder::here());
    let claim = team.bucket().claim_name(&place("k"));
    let (heeds, ignores) = (team.bucket(), team.bucket());
    assert!(heeds.take_claim(&claim, &heeds.look_at_claim(&claim).unwrap().unwrap(), &holder).unwrap());
    assert!(heeds.is_conditional.get().is_some());
    // where nothing is in the way, as where a server does not look at what is
    ignores.remove(&claim).unwrap();
    let refused = ignores.ensure_conditional(&claim, &holder).unwrap_err();
    assert!(matches!(&refused, StoreError::Unconditional { url } if url == "s3://team/delt"), "{refused}");
    assert!(ignores.is_conditional.get().is_none() && team.objects().is_empty(), "a claim is left behind");
}
