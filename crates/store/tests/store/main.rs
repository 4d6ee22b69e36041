//! The store: hits, claims between threads and processes, interrupted publications, damage, garbage.
#![allow(clippy::unwrap_used, reason = "a test that cannot prepare its files fails")]

mod claims;
mod entries;
mod garbage;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use delt_formats::Digest;
use delt_formats::provenance::{ArtifactKind, Provenance};
use delt_store::{Claim, Entry, Holder, Key, Store, Workspace};
use delt_store::{ClaimTiming, KEY_DIGITS};
use serde_json::json;
use tempfile::TempDir;

const KIND: ArtifactKind = ArtifactKind::Labels;

/// Fast enough for tests, with a margin for a busy machine.
const FAST: ClaimTiming = ClaimTiming {
    heartbeat: Duration::from_millis(20),
    poll: Duration::from_millis(10),
    stale: Duration::from_millis(1500),
};

fn open(root: &Path) -> Store {
    Store::open(root).unwrap().with_claim_timing(FAST)
}

fn fresh() -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("store"));
    (dir, store)
}

fn key(name: &str) -> Key {
    provenance(KIND, name, &[]).key()
}

fn provenance(kind: ArtifactKind, name: &str, inputs: &[(&str, &Digest)]) -> Provenance {
    let inputs = inputs.iter().map(|(role, digest)| ((*role).to_owned(), (*digest).clone())).collect();
    Provenance::new(kind, kind.stage(), 1, vec!["cat".to_owned()], json!({ "name": name }), 0, inputs)
}

fn no_wait(holder: &Holder) -> ControlFlow<()> {
    panic!("waited for {holder}");
}

fn keep_waiting(_: &Holder) -> ControlFlow<()> {
    ControlFlow::Continue(())
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

fn make(store: &Store, kind: ArtifactKind, name: &str, inputs: &[(&str, &Digest)]) -> Entry {
    let provenance = provenance(kind, name, inputs);
    let workspace = work(store.claim(kind, &provenance.key(), &mut no_wait).unwrap());
    fs_err::write(workspace.out_dir().join("a.bin"), name).unwrap();
    fs_err::write(workspace.out_dir().join("run.json"), "{}").unwrap();
    workspace.publish(provenance, json!({ "made": name })).unwrap()
}

fn work_dir(store: &Store, name: &str) -> PathBuf {
    store.root().join("work").join(format!("{KIND}-{}", key(name).prefix(KEY_DIGITS)))
}

/// Leaves the claim of a process on another host.
fn leave_claim(store: &Store, name: &str) {
    let claim = r#"{"beat":"00000000000000000007","host":"elsewhere","machine":"x","pid":1,"token":"t"}"#;
    fs_err::create_dir_all(work_dir(store, name)).unwrap();
    fs_err::write(work_dir(store, name).join("claim.1"), claim).unwrap();
}
