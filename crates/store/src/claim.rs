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
        match self.seen.get(claim) {
            Some((seen, since)) if seen == now => since.elapsed(),
            _ => {
                self.seen.insert(claim.to_owned(), (now.clone(), Instant::now()));
                Duration::ZERO
            }
        }
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

/// A claim of this process.
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
        let now = seen.and_then(|seen| seen.holder.clone()).unwrap_or_else(Holder::unknown);
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
