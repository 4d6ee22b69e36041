//! Claims: one maker at a time, dead makers replaced.

use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use delt_formats::Digest;
use delt_store::{Claim, Holder, Store, StoreError, Workspace};
use delt_store::{ClaimTiming, KEY_DIGITS};
use serde_json::json;

use crate::{
    FAST, KIND, fresh, hit, keep_waiting, key, leave_claim, no_wait, open, provenance, work, work_dir,
};

#[test]
fn a_workspace_dropped_without_publishing_gives_the_claim_back_and_keeps_the_checkpoint() {
    let (_dir, store) = fresh();
    let first = work(store.claim(KIND, &key("a"), &mut no_wait).unwrap());
    fs_err::write(first.out_dir().join("half.bin"), "half").unwrap();
    fs_err::write(first.checkpoint_dir().join("epoch"), "7").unwrap();
    drop(first);
    let second = work(store.claim(KIND, &key("a"), &mut no_wait).unwrap());
    assert_eq!(fs_err::read(second.checkpoint_dir().join("epoch")).unwrap(), b"7");
    assert!(fs_err::read_dir(second.out_dir()).unwrap().next().is_none());
    drop(second);
    assert!(store.lookup(KIND, &key("a")).unwrap().is_none());
}

#[test]
fn of_many_threads_that_want_one_key_one_works_and_the_others_wait_for_it() {
    let (_dir, store) = fresh();
    let workers = AtomicU32::new(0);
    let waits = AtomicU32::new(0);
    let digests: Vec<Digest> = std::thread::scope(|scope| {
        let want = || {
            let mut on_wait = |holder: &Holder| {
                // A claim is made and then written: whoever looks between the two knows nobody yet.
                assert!([0, std::process::id()].contains(&holder.pid), "{holder:?}");
                waits.fetch_add(1, Ordering::Relaxed);
                ControlFlow::Continue(())
            };
            match store.claim(KIND, &key("a"), &mut on_wait).unwrap() {
                Claim::Hit(entry) => entry.manifest.digest,
                Claim::Work(workspace) => {
                    workers.fetch_add(1, Ordering::Relaxed);
                    // Longer than a silent claim would be believed: the heartbeat keeps it alive.
                    std::thread::sleep(FAST.stale * 2);
                    fs_err::write(workspace.out_dir().join("a.bin"), "x").unwrap();
                    workspace.publish(provenance(KIND, "a", &[]), json!({})).unwrap().manifest.digest
                }
            }
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(want)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(workers.load(Ordering::Relaxed), 1);
    assert!(waits.load(Ordering::Relaxed) >= 7);
    assert!(digests.iter().all(|digest| *digest == digests[0]));
}

/// The part of the tests below that runs in a process of its own: this test binary, called again.
#[test]
fn other_process() {
    let Ok(root) = std::env::var("DELT_TEST_STORE") else { return };
    let store = open(Path::new(&root));
    let workspace = work(store.claim(KIND, &key("a"), &mut no_wait).unwrap());
    fs_err::write(workspace.checkpoint_dir().join("epoch"), "7").unwrap();
    fs_err::write(Path::new(&root).join("claimed"), "").unwrap();
    if std::env::var("DELT_TEST_ABORT").is_ok() {
        std::process::abort();
    }
    std::thread::sleep(Duration::from_millis(300));
    fs_err::write(workspace.out_dir().join("a.bin"), "by the other process").unwrap();
    workspace.publish(provenance(KIND, "a", &[]), json!({})).unwrap();
}

fn start_other_process(store: &Store, abort: bool) -> std::process::Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "claims::other_process"]).env("DELT_TEST_STORE", store.root());
    if abort {
        command.env("DELT_TEST_ABORT", "1");
    }
    let child =
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    let until = Instant::now() + Duration::from_secs(60);
    while !store.root().join("claimed").exists() {
        assert!(Instant::now() < until, "the other process never claimed");
        std::thread::sleep(Duration::from_millis(5));
    }
    child
}

#[test]
fn a_process_waits_for_another_and_takes_what_it_made() {
    let (_dir, store) = fresh();
    let mut child = start_other_process(&store, false);
    let mut seen = None;
    let claim = store.claim(KIND, &key("a"), &mut |holder| {
        seen = Some(holder.to_string());
        ControlFlow::Continue(())
    });
    let entry = hit(claim.unwrap());
    assert!(child.wait().unwrap().success());
    assert_eq!(fs_err::read(entry.file("a.bin").unwrap()).unwrap(), b"by the other process");
    assert!(seen.unwrap().starts_with(&format!("process {} on ", child.id())));
}

#[test]
fn the_claim_of_a_process_that_died_here_is_taken_over_at_once_with_its_checkpoint() {
    let (_dir, store) = fresh();
    let mut child = start_other_process(&store, true);
    assert!(!child.wait().unwrap().success());
    let patient = ClaimTiming { stale: Duration::from_secs(3600), ..FAST };
    let store = store.with_claim_timing(patient);
    let workspace = work(store.claim(KIND, &key("a"), &mut no_wait).unwrap());
    assert_eq!(fs_err::read(workspace.checkpoint_dir().join("epoch")).unwrap(), b"7");
}

#[test]
fn a_claim_whose_counter_stands_still_is_taken_over_by_exactly_one_waiter() {
    let (_dir, store) = fresh();
    leave_claim(&store, "a");
    let started = Instant::now();
    let workers = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                if let Claim::Work(workspace) = store.claim(KIND, &key("a"), &mut keep_waiting).unwrap() {
                    workers.fetch_add(1, Ordering::Relaxed);
                    assert!(started.elapsed() >= FAST.stale);
                    std::thread::sleep(Duration::from_millis(100));
                    fs_err::write(workspace.out_dir().join("a.bin"), "x").unwrap();
                    workspace.publish(provenance(KIND, "a", &[]), json!({})).unwrap();
                }
            });
        }
    });
    assert_eq!(workers.load(Ordering::Relaxed), 1);
    assert!(!work_dir(&store, "a").exists(), "the stale claim is cleared away as well");
}

/// A holder whose counter never moves, and the one who takes its work over.
fn overtaken(store: &Store) -> (Workspace, Workspace) {
    let still = ClaimTiming { heartbeat: Duration::from_secs(3600), ..FAST };
    let quick = ClaimTiming { stale: Duration::from_millis(100), ..FAST };
    let suspended =
        work(store.clone().with_claim_timing(still).claim(KIND, &key("a"), &mut no_wait).unwrap());
    fs_err::write(suspended.checkpoint_dir().join("epoch"), "7").unwrap();
    suspended.ensure_held().unwrap();
    let quick = store.clone().with_claim_timing(quick);
    let successor = work(quick.claim(KIND, &key("a"), &mut keep_waiting).unwrap());
    (suspended, successor)
}

fn taken_over(by: &str) -> String {
    format!(
        "labels {}: taken over by {by} while this process stood still; \
         start again to wait for it and use what it makes",
        key("a").prefix(KEY_DIGITS)
    )
}

#[test]
fn a_holder_who_stood_still_for_too_long_can_neither_publish_nor_touch_its_successors_work() {
    let (_dir, store) = fresh();
    let (suspended, successor) = overtaken(&store);
    let host = gethostname::gethostname().to_string_lossy().into_owned();
    let message = taken_over(&format!("{host} pid {}", std::process::id()));
    assert_eq!(suspended.ensure_held().unwrap_err().to_string(), message);
    let saved = fs_err::write(suspended.checkpoint_dir().join("epoch"), "8");
    assert_eq!(saved.unwrap_err().kind(), std::io::ErrorKind::NotFound);
    assert_eq!(fs_err::read(successor.checkpoint_dir().join("epoch")).unwrap(), b"7");
    fs_err::remove_file(successor.checkpoint_dir().join("epoch")).unwrap();
    drop(suspended);
    assert!(successor.checkpoint_dir().exists() && successor.out_dir().exists());
    successor.ensure_held().unwrap();
    fs_err::write(successor.out_dir().join("a.bin"), "x").unwrap();
    successor.publish(provenance(KIND, "a", &[]), json!({})).unwrap().verify().unwrap();
    assert!(!work_dir(&store, "a").exists());
}

#[test]
fn a_holder_who_was_overtaken_gets_the_successors_artifact_or_an_error_when_it_publishes() {
    let (_dir, store) = fresh();
    let (suspended, successor) = overtaken(&store);
    // The successor has cleared the folder of unfinished files.
    assert!(!suspended.out_dir().exists());
    fs_err::create_dir_all(suspended.out_dir()).unwrap();
    fs_err::write(suspended.out_dir().join("a.bin"), "late").unwrap();
    let error = suspended.publish(provenance(KIND, "a", &[]), json!({})).unwrap_err();
    assert!(matches!(error, StoreError::TakenOver { .. }), "{error}");
    assert!(store.lookup(KIND, &key("a")).unwrap().is_none());
    drop(successor);

    let (_dir, store) = fresh();
    let (suspended, successor) = overtaken(&store);
    fs_err::write(successor.out_dir().join("a.bin"), "x").unwrap();
    let made = successor.publish(provenance(KIND, "a", &[]), json!({})).unwrap();
    assert_eq!(suspended.ensure_held().unwrap_err().to_string(), taken_over("another process"));
    // Somebody else claims the same key anew: the number of its claim is that of the suspended one.
    let third = work(store.claim_anew(KIND, &key("a"), &mut no_wait).unwrap());
    fs_err::create_dir_all(suspended.out_dir()).unwrap();
    fs_err::write(suspended.out_dir().join("a.bin"), "late").unwrap();
    let found = suspended.publish(provenance(KIND, "a", &[]), json!({})).unwrap();
    assert_eq!(found.manifest, made.manifest);
    third.ensure_held().unwrap();
}

#[test]
fn the_heartbeat_of_an_overtaken_holder_never_writes_to_another_claim() {
    let (_dir, store) = fresh();
    let first = work(store.claim(KIND, &key("a"), &mut no_wait).unwrap());
    let claim = work_dir(&store, "a").join("claim.1");
    let other = r#"{"beat":"00000000000000000007","host":"elsewhere","machine":"x","pid":1,"token":"t"}"#;
    fs_err::remove_file(&claim).unwrap();
    fs_err::write(&claim, other).unwrap();
    std::thread::sleep(FAST.heartbeat * 5);
    assert_eq!(first.ensure_held().unwrap_err().to_string(), taken_over("elsewhere pid 1"));
    drop(first);
    assert_eq!(fs_err::read_to_string(&claim).unwrap(), other);
}

#[test]
fn a_half_written_claim_becomes_stale_too() {
    let (_dir, store) = fresh();
    fs_err::create_dir_all(work_dir(&store, "a")).unwrap();
    fs_err::write(work_dir(&store, "a").join("claim.3"), "").unwrap();
    let mut seen = String::new();
    let claim = store.claim(KIND, &key("a"), &mut |holder| {
        seen = holder.to_string();
        ControlFlow::Continue(())
    });
    work(claim.unwrap());
    assert_eq!(seen, "an unknown process");
}

#[test]
fn a_waiter_may_stop_waiting() {
    let (_dir, store) = fresh();
    leave_claim(&store, "a");
    let error = store.claim(KIND, &key("a"), &mut |_| ControlFlow::Break(())).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "stopped waiting for process 1 on elsewhere, which makes labels {}; run again to keep waiting",
            key("a").prefix(KEY_DIGITS)
        )
    );
}
