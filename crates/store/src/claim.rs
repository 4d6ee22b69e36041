//! The claim on an artifact, whatever storage keeps it: who makes it, and who takes over from a maker that is no more.
//!
//! A holder moves a counter in its claim. A waiter who sees the counter stand still for long enough, by its own clock, takes
//! the claim as it saw it; that the storage lets only one do, and nobody where the claim has moved since. A holder who stood
//! still and goes on finds that another claim counts: see [`HeldClaim::successor`].

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::backend::{Backend, Standing};
use crate::holder::Holder;
use crate::{ClaimTiming, Result};

/// Between two looks at a claim that is not one's own: longer than it takes a waiter to step back from a folder's.
const SECOND_LOOK: Duration = Duration::from_millis(500);

/// What an attempt to claim comes to.
pub(crate) enum Attempt {
    /// The claim is ours.
    Taken(HeldClaim),
    /// Somebody is at work.
    Held(Holder),
    /// Something moved meanwhile; look again.
    Retry,
}

/// A waiter for claims of one storage: what it last saw of each, and since when by its own clock.
pub(crate) struct Watcher {
    pub(crate) backend: Arc<dyn Backend>,
    timing: ClaimTiming,
    seen: BTreeMap<String, (Standing, Instant)>,
}

impl Watcher {
    pub(crate) fn new(backend: Arc<dyn Backend>, timing: ClaimTiming) -> Self {
        Self { backend, timing, seen: BTreeMap::new() }
    }

    /// For how long a claim has been seen exactly so.
    fn silent(&mut self, claim: &str, now: &Standing) -> Duration {
        let known = self.seen.entry(claim.to_owned()).or_insert_with(|| (now.clone(), Instant::now()));
        if known.0 != *now {
            *known = (now.clone(), Instant::now());
        }
        known.1.elapsed()
    }

    /// Takes a claim, unless one that is alive is there.
    pub(crate) fn attempt(&mut self, claim: &str) -> Result<Attempt> {
        let Some(seen) = self.backend.look_at_claim(claim)? else { return Ok(Attempt::Retry) };
        if let Some(holder) = &seen.holder
            && self.silent(claim, &seen) < self.timing.stale
            && !holder.is_gone()
        {
            return Ok(Attempt::Held(holder.clone()));
        }
        let holder = Holder::here();
        if !self.backend.take_claim(claim, &seen, &holder)? {
            return Ok(Attempt::Retry);
        }
        let (backend, claim, lost) = (self.backend.clone(), claim.to_owned(), OnceLock::new());
        Ok(Attempt::Taken(HeldClaim::start(Own { backend, claim, holder, lost }, self.timing.heartbeat)))
    }

    /// Who holds a claim, unless known to be dead, and for how long the claim has stood still.
    pub(crate) fn look(&mut self, claim: &str) -> Result<Option<(Holder, Duration)>> {
        let Some(seen) = self.backend.look_at_claim(claim)? else { return Ok(None) };
        let silent = self.silent(claim, &seen);
        Ok(seen.holder.filter(|holder| !holder.is_gone()).map(|holder| (holder, silent)))
    }
}

/// What a holder and its heartbeat share.
#[derive(Debug)]
struct Own {
    backend: Arc<dyn Backend>,
    claim: String,
    holder: Holder,
    /// Who took it over, once that is known.
    lost: OnceLock<Holder>,
}

impl Own {
    /// Moves the counter until told to stop, or until twice in a row the same other claim counts.
    fn beat(&self, stopped: &Receiver<()>, every: Duration) {
        let (mut holder, mut other) = (self.holder.clone(), None);
        while stopped.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
            // What fails here is seen by waiters as a counter that stands still, which is all it means.
            let Ok(seen) = self.backend.look_at_claim(&self.claim) else { continue };
            other = self.other(seen.as_ref(), other);
            if self.lost.get().is_some() {
                return;
            }
            if let (None, Some(seen)) = (&other, seen) {
                holder.beat();
                let _ = self.backend.renew_claim(&self.claim, &seen, &holder);
            }
        }
    }

    /// Who holds the claim that counts, if it is not this one: somebody unknown, if nobody does. Whoever did so at the look
    /// `before` has taken the work over.
    fn other(&self, seen: Option<&Standing>, before: Option<Holder>) -> Option<Holder> {
        let now = seen.and_then(|seen| seen.holder.clone()).unwrap_or_default();
        if now.is_same_claim(&self.holder) {
            return None;
        }
        if before.is_some_and(|before| before.is_same_claim(&now)) {
            let _ = self.lost.set(now.clone());
        }
        Some(now)
    }
}

/// A claim of this process; its counter moves until it is dropped.
#[derive(Debug)]
pub(crate) struct HeldClaim {
    own: Arc<Own>,
    heart: Option<(Sender<()>, JoinHandle<()>)>,
}

impl HeldClaim {
    fn start(own: Own, every: Duration) -> Self {
        let (own, (stop, stopped)) = (Arc::new(own), channel());
        let beating = own.clone();
        let thread = std::thread::Builder::new()
            .name("claim heartbeat".to_owned())
            .spawn(move || beating.beat(&stopped, every));
        Self { own, heart: thread.ok().map(|thread| (stop, thread)) }
    }

    /// Who took the claim over, if anybody did.
    pub(crate) fn successor(&self) -> Result<Option<Holder>> {
        let mut other = None;
        loop {
            if let Some(holder) = self.own.lost.get() {
                return Ok(Some(holder.clone()));
            }
            if other.is_some() {
                std::thread::sleep(SECOND_LOOK);
            }
            let seen = self.own.backend.look_at_claim(&self.own.claim)?;
            other = self.own.other(seen.as_ref(), other);
            if other.is_none() {
                return Ok(None);
            }
        }
    }
}

impl Drop for HeldClaim {
    /// Stops the counter and gives the claim back. One that was taken over is left to its successor, who clears it away.
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.heart.take() {
            drop(stop);
            let _ = thread.join();
        }
        let Own { backend, claim, holder, lost } = self.own.as_ref();
        if lost.get().is_none() {
            backend.give_back_claim(claim, holder);
        }
    }
}

#[cfg(test)]
mod tests {
    use delt_formats::provenance::ArtifactKind;
    use object_store::memory::InMemory;
    use object_store::path::Path as ObjectPath;

    use super::*;
    use crate::backend::Place;
    use crate::bucket::Bucket;
    use crate::folder::Folder;

    /// The counter of these claims never moves.
    const STILL: ClaimTiming = ClaimTiming {
        heartbeat: Duration::from_secs(3600),
        poll: Duration::from_millis(10),
        stale: Duration::from_millis(200),
    };

    fn taken(attempt: Result<Attempt>) -> HeldClaim {
        match attempt.unwrap() {
            Attempt::Taken(claim) => claim,
            Attempt::Held(holder) => panic!("held by {holder}"),
            Attempt::Retry => panic!("something moved"),
        }
    }

    #[test]
    fn on_any_storage_a_claim_has_one_holder_until_it_is_given_back_or_stands_still() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path()).unwrap();
        let objects = Arc::new(InMemory::new());
        let bucket = Bucket::new("s3://team".to_owned(), objects, ObjectPath::default()).unwrap();
        for backend in [Arc::new(folder) as Arc<dyn Backend>, Arc::new(bucket)] {
            let claim = backend.claim_name(&Place::named(ArtifactKind::Labels, "k".to_owned()));
            let [mut one, mut two] = [(), ()].map(|()| Watcher::new(backend.clone(), STILL));
            let first = taken(one.attempt(&claim));
            assert!(matches!(two.attempt(&claim).unwrap(), Attempt::Held(_)));
            assert_eq!(first.successor().unwrap(), None);

            std::thread::sleep(STILL.stale * 2);
            let second = taken(two.attempt(&claim));
            assert_eq!(first.successor().unwrap().as_ref(), Some(&second.own.holder));
            drop(first);
            assert!(matches!(one.attempt(&claim).unwrap(), Attempt::Held(_)), "{claim} went with the first");
            assert_eq!(second.successor().unwrap(), None);

            drop(second);
            drop(taken(one.attempt(&claim)));
        }
    }
}
