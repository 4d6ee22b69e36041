//! Asking for an artifact: it is there, somebody makes it, or it is to be made here.
//!
//! The claim is held on this machine and, where the store is in the cloud, among all machines that use it: whoever waits for
//! the second holds the first.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use delt_formats::provenance::ArtifactKind;

use crate::backend::{Backend, Place};
use crate::claim::{Attempt, HeldClaim, Watcher};
use crate::entry::Entry;
use crate::holder::Holder;
use crate::judgment::Inspection;
use crate::workspace::Workspace;
use crate::{Key, Result, Store, StoreError};

/// What asking for an artifact comes to.
#[derive(Debug)]
pub enum Claim {
    /// It is there.
    Hit(Entry),
    /// It is to be made, by this process alone.
    Work(Workspace),
}

/// Called with the holder again and again while somebody else makes an artifact; may break the wait.
pub(crate) type OnWait<'a> = &'a mut dyn FnMut(&Holder) -> ControlFlow<()>;

/// An artifact that is asked for, and the claims on it that this process holds by now: first that among all machines.
#[derive(Debug)]
pub(crate) struct Claims {
    /// Whether it is to be made even if it is there.
    pub(crate) is_anew: bool,
    pub(crate) kind: ArtifactKind,
    pub(crate) key: Key,
    held: Vec<HeldClaim>,
}

impl Claims {
    /// Where the artifact lies.
    pub(crate) fn place(&self) -> Place {
        Place::of(self.kind, &self.key)
    }

    /// Refuses to go on if another process has taken the work over.
    pub(crate) fn ensure_held(&self) -> Result<()> {
        for claim in &self.held {
            if let Some(holder) = claim.successor()?.map(Box::new) {
                return Err(StoreError::TakenOver { kind: self.kind, key: self.key.clone(), holder });
            }
        }
        Ok(())
    }
}

impl Store {
    /// Finds an artifact or claims the making of it. While another process makes it, `on_wait` is called again and again
    /// with its holder, and may break the wait.
    ///
    /// # Errors
    ///
    /// If the wait is broken, or the store cannot be read or written.
    pub fn claim(&self, kind: ArtifactKind, key: &Key, on_wait: OnWait<'_>) -> Result<Claim> {
        self.claim_for(false, kind, key, on_wait)
    }

    /// Claims the making of an artifact whether or not it is there; one that is there stays until the new one takes its
    /// place.
    ///
    /// # Errors
    ///
    /// As [`Self::claim`].
    pub fn claim_anew(&self, kind: ArtifactKind, key: &Key, on_wait: OnWait<'_>) -> Result<Claim> {
        self.claim_for(true, kind, key, on_wait)
    }

    fn claim_for(&self, is_anew: bool, kind: ArtifactKind, key: &Key, on_wait: OnWait) -> Result<Claim> {
        let mut claims = Claims { is_anew, kind, key: key.clone(), held: Vec::new() };
        if let Some(entry) = self.found(&claims)? {
            return Ok(Claim::Hit(entry));
        }
        let local = match self.take(self.folder.clone(), &claims, on_wait)? {
            ControlFlow::Break(entry) => return Ok(Claim::Hit(entry)),
            ControlFlow::Continue(claim) => claim,
        };
        // It may have been published, or left a step before its end, since the look above.
        let place = claims.place();
        let inspection = self.folder.settle_all(&place)?;
        let damage = match &inspection {
            Inspection::Incomplete => Some("it has no manifest".to_owned()),
            Inspection::Damaged(error) => Some(error.to_string()),
            _ => None,
        };
        let here = inspection.artifact()?.filter(|_| !is_anew);
        if let Some(bucket) = &self.bucket {
            match self.take(bucket.clone(), &claims, on_wait)? {
                ControlFlow::Break(entry) => return Ok(Claim::Hit(entry)),
                ControlFlow::Continue(claim) => claims.held.push(claim),
            }
            // Another machine may have published it since.
            if let Some(entry) = self.found(&claims)? {
                return Ok(Claim::Hit(entry));
            }
        }
        claims.held.push(local);
        let Some(manifest) = here else {
            return Workspace::create(self.clone(), claims, damage).map(Claim::Work);
        };
        let entry = Entry::here(self.folder.dir(&place), manifest);
        if self.bucket.is_some() {
            // An earlier run made it and could not upload it; what was made long ago may have been damaged since.
            entry.verify_stated()?;
        }
        self.share(entry, &claims).map(Claim::Hit)
    }

    /// The artifact, if it is there and not to be made again.
    fn found(&self, wanted: &Claims) -> Result<Option<Entry>> {
        if wanted.is_anew { Ok(None) } else { self.published(&wanted.place()) }
    }

    /// Takes a claim, waiting for whoever holds it; breaks off where the artifact is there after a wait.
    fn take(
        &self,
        backend: Arc<dyn Backend>,
        wanted: &Claims,
        on_wait: OnWait,
    ) -> Result<ControlFlow<Entry, HeldClaim>> {
        let claim = backend.claim_name(&wanted.place());
        let mut watcher = Watcher::new(backend, self.timing);
        loop {
            match watcher.attempt(&claim)? {
                Attempt::Taken(claim) => return Ok(ControlFlow::Continue(claim)),
                Attempt::Held(holder) if on_wait(&holder).is_break() => {
                    let (kind, key, holder) = (wanted.kind, wanted.key.clone(), Box::new(holder));
                    return Err(StoreError::WaitAbandoned { kind, key, holder });
                }
                Attempt::Held(_) => std::thread::sleep(self.timing.poll),
                // Something moved: the next look is due soon.
                Attempt::Retry => std::thread::sleep(self.timing.poll.min(Duration::from_millis(50))),
            }
            if let Some(entry) = self.found(wanted)? {
                return Ok(ControlFlow::Break(entry));
            }
        }
    }

    /// Makes an artifact of this machine visible to all who use the object store, if there is one.
    pub(crate) fn share(&self, entry: Entry, claims: &Claims) -> Result<Entry> {
        let Some(bucket) = &self.bucket else { return Ok(entry) };
        let manifest = bucket.publish(&entry, claims)?;
        Ok(self.entry(manifest, Some(entry)))
    }
}
