//! Who makes an artifact of an object store: one object, replaced only by whoever has seen what is there.
//!
//! The holder replaces its claim with a counter moved on; a waiter who sees it stand still for long enough replaces it with
//! its own. Every such step names the version it replaces, so that of two only one succeeds: a holder whose step fails has
//! lost its claim. A claim that is given back stays as `null`.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use object_store::PutMode;

use super::bucket::{Bucket, Seen};
use super::claim::{Holder, Watch};
use super::{ClaimTiming, KEY_DIGITS, Key, Result};
use crate::canonical::canonical_json;
use crate::provenance::ArtifactKind;

/// Where claims are.
pub(super) const CLAIMS: &str = "work";

/// A claim that nobody holds.
const GIVEN_BACK: &str = "null";

/// What an attempt to claim comes to.
pub(super) enum BucketAttempt {
    /// The claim is ours.
    Taken(BucketClaim),
    /// Somebody is at work.
    Held(Holder),
    /// Somebody else was faster; look again.
    Retry,
}

/// A claim of this process; its counter moves until it is dropped.
#[derive(Debug)]
pub(super) struct BucketClaim {
    bucket: Arc<Bucket>,
    name: String,
    holder: Holder,
    /// Who took it over, once that is known.
    lost: Arc<OnceLock<Holder>>,
    heart: Option<(Sender<()>, JoinHandle<()>)>,
}

/// Claims the artifact, unless a claim that is alive is there.
pub(super) fn attempt(
    bucket: &Arc<Bucket>,
    kind: ArtifactKind,
    key: &Key,
    timing: ClaimTiming,
    watch: &mut Watch,
) -> Result<BucketAttempt> {
    attempt_by_name(bucket, &claim_name(kind, key), timing, watch)
}

/// As [`attempt`], by the name of the claim.
pub(super) fn attempt_by_name(
    bucket: &Arc<Bucket>,
    name: &str,
    timing: ClaimTiming,
    watch: &mut Watch,
) -> Result<BucketAttempt> {
    let seen = bucket.get(name)?;
    if let Some(holder) = seen.as_ref().and_then(holder_of) {
        let silent =
            watch.unchanged_for(0, &seen.as_ref().map(|seen| seen.bytes.clone()).unwrap_or_default());
        if silent < timing.stale && !holder.is_gone() {
            return Ok(BucketAttempt::Held(holder));
        }
    }
    let mode = seen.map_or(PutMode::Create, |seen| PutMode::Update(seen.version));
    let holder = Holder::here();
    if !bucket.put(name, canonical_json(&holder).into_bytes(), mode)? {
        return Ok(BucketAttempt::Retry);
    }
    Ok(BucketAttempt::Taken(BucketClaim::start(bucket.clone(), name.to_owned(), holder, timing)))
}

/// Who holds a claim; none where it was given back or is nothing that this build writes.
pub(super) fn holder_of(seen: &Seen) -> Option<Holder> {
    serde_json::from_slice::<Option<Holder>>(&seen.bytes).ok().flatten()
}

pub(super) fn claim_name(kind: ArtifactKind, key: &Key) -> String {
    format!("{CLAIMS}/{kind}-{}.json", key.prefix(KEY_DIGITS))
}

impl BucketClaim {
    fn start(bucket: Arc<Bucket>, name: String, holder: Holder, timing: ClaimTiming) -> Self {
        let lost = Arc::new(OnceLock::new());
        let (stop, stopped) = channel();
        let (beating, found_lost) = ((bucket.clone(), name.clone(), holder.clone()), lost.clone());
        let beats = move || {
            let (bucket, name, mut holder) = beating;
            while stopped.recv_timeout(timing.heartbeat) == Err(RecvTimeoutError::Timeout) {
                // a request that fails is seen by waiters as a counter that stands still, which is all it means
                let Ok(Some(seen)) = bucket.get(&name) else { continue };
                let now = holder_of(&seen).unwrap_or_else(Holder::unknown);
                if !now.is_same_claim(&holder) {
                    let _ = found_lost.set(now);
                    return;
                }
                holder.beat();
                let _ =
                    bucket.put(&name, canonical_json(&holder).into_bytes(), PutMode::Update(seen.version));
            }
        };
        let thread = std::thread::Builder::new().name("claim heartbeat".to_owned()).spawn(beats);
        Self { bucket, name, holder, lost, heart: thread.ok().map(|thread| (stop, thread)) }
    }

    /// Who took the claim over, if anybody did.
    pub(super) fn successor(&self) -> Result<Option<Holder>> {
        if let Some(holder) = self.lost.get() {
            return Ok(Some(holder.clone()));
        }
        let now = self.bucket.get(&self.name)?.as_ref().and_then(holder_of).unwrap_or_else(Holder::unknown);
        Ok((!now.is_same_claim(&self.holder)).then_some(now))
    }
}

impl Drop for BucketClaim {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.heart.take() {
            drop(stop);
            let _ = thread.join();
        }
        if let Ok(Some(seen)) = self.bucket.get(&self.name)
            && holder_of(&seen).is_some_and(|now| now.is_same_claim(&self.holder))
        {
            let _ = self.bucket.put(&self.name, GIVEN_BACK.into(), PutMode::Update(seen.version));
        }
    }
}
