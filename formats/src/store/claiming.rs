//! Asking for an artifact: it is there, somebody makes it, or it is to be made here.
//!
//! A claim is held on this machine ([`super::claim`]) and, where the store is in the cloud, among all machines that use it
//! ([`super::bucket_claim`]).

use std::ops::ControlFlow;
use std::time::Duration;

use super::bucket_claim::{self, BucketAttempt, BucketClaim};
use super::claim::{self, Attempt, HeldClaim, Holder, Watch};
use super::entry::{Entry, Inspection};
use super::workspace::{self, Workspace};
use super::{Found, Key, Result, Store, StoreError};
use crate::provenance::ArtifactKind;

/// What asking for an artifact comes to.
#[derive(Debug)]
pub enum Claim {
    /// It is there.
    Hit(Entry),
    /// It is to be made, by this process alone.
    Work(Workspace),
}

/// What an artifact is claimed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To have it.
    Find,
    /// To make it again.
    Replace,
}

/// What asking for the claim among all machines comes to.
enum Shared {
    /// Somebody has published it.
    Hit(Entry),
    /// The claim, where there is an object store.
    Taken(Option<BucketClaim>),
}

/// The right to make an artifact, on this machine and among all that use the object store.
#[derive(Debug)]
pub(super) struct Claims {
    shared: Option<BucketClaim>,
    held: HeldClaim,
}

impl Claims {
    /// Who took the work over, if anybody did.
    pub(super) fn successor(&self) -> Result<Option<Holder>> {
        let shared = self.shared.as_ref().map(BucketClaim::successor).transpose()?.flatten();
        shared.map_or_else(|| self.held.successor(), |holder| Ok(Some(holder)))
    }
}

impl Store {
    /// Finds an artifact or claims the making of it. While another process makes it, `on_wait` is called again and again
    /// with its holder, and may break the wait.
    ///
    /// # Errors
    ///
    /// If the wait is broken, or the store cannot be read or written.
    pub fn claim(
        &self,
        kind: ArtifactKind,
        key: &Key,
        on_wait: &mut dyn FnMut(&Holder) -> ControlFlow<()>,
    ) -> Result<Claim> {
        self.claim_for(Purpose::Find, kind, key, on_wait)
    }

    /// Claims the making of an artifact whether or not it is there; one that is there stays until the new one takes its
    /// place.
    ///
    /// # Errors
    ///
    /// As [`Self::claim`].
    pub fn claim_anew(
        &self,
        kind: ArtifactKind,
        key: &Key,
        on_wait: &mut dyn FnMut(&Holder) -> ControlFlow<()>,
    ) -> Result<Claim> {
        self.claim_for(Purpose::Replace, kind, key, on_wait)
    }

    fn claim_for(
        &self,
        purpose: Purpose,
        kind: ArtifactKind,
        key: &Key,
        on_wait: &mut dyn FnMut(&Holder) -> ControlFlow<()>,
    ) -> Result<Claim> {
        let work_dir = self.work_dir(kind, key);
        let mut watch = Watch::default();
        loop {
            if purpose == Purpose::Find
                && let Found::Published(entry) = self.find(kind, key)?
            {
                return Ok(Claim::Hit(entry));
            }
            match claim::attempt(&work_dir, self.timing, &mut watch)? {
                Attempt::Held(holder) => self.wait(holder, kind, key, on_wait)?,
                Attempt::Retry => self.wait_a_moment(),
                Attempt::Taken(held) => {
                    // It may have been published, or left a step before its end, since the look above.
                    let damage = match workspace::settle_all(self, kind, key, &work_dir)? {
                        Inspection::Complete(entry) if purpose == Purpose::Find => {
                            return self.share_late(kind, key, entry, on_wait).map(Claim::Hit);
                        }
                        Inspection::Complete(_) | Inspection::Absent => None,
                        Inspection::Incomplete => Some("it has no manifest".to_owned()),
                        Inspection::Damaged(error) => Some(error.to_string()),
                        Inspection::Newer(error) => return Err(error),
                    };
                    let shared = match self.claim_shared(purpose, kind, key, on_wait)? {
                        Shared::Hit(entry) => return Ok(Claim::Hit(entry)),
                        Shared::Taken(claim) => claim,
                    };
                    let store = self.clone();
                    let claims = Claims { held, shared };
                    return Workspace::create(store, purpose, kind, key.clone(), &work_dir, claims, damage)
                        .map(Claim::Work);
                }
            }
        }
    }

    /// Uploads what an earlier run made and could not upload, under the claim of all machines; the caller holds this machine's.
    fn share_late(
        &self,
        kind: ArtifactKind,
        key: &Key,
        entry: Entry,
        on_wait: &mut dyn FnMut(&Holder) -> ControlFlow<()>,
    ) -> Result<Entry> {
        match self.claim_shared(Purpose::Find, kind, key, on_wait)? {
            Shared::Hit(published) => Ok(published),
            Shared::Taken(None) => Ok(entry),
            Shared::Taken(Some(claim)) => {
                // what was made long ago may have been damaged since
                entry.verify_stated()?;
                self.share(entry, Purpose::Find, &|| match claim.successor()? {
                    None => Ok(()),
                    Some(holder) => {
                        Err(StoreError::TakenOver { kind, key: key.clone(), holder: Box::new(holder) })
                    }
                })
            }
        }
    }

    /// The claim among all machines that use the object store, if there is one; the caller holds this machine's.
    fn claim_shared(
        &self,
        purpose: Purpose,
        kind: ArtifactKind,
        key: &Key,
        on_wait: &mut dyn FnMut(&Holder) -> ControlFlow<()>,
    ) -> Result<Shared> {
        let Some(bucket) = &self.bucket else { return Ok(Shared::Taken(None)) };
        let mut watch = Watch::default();
        loop {
            match bucket_claim::attempt(bucket, kind, key, self.timing, &mut watch)? {
                BucketAttempt::Taken(claim) => {
                    // it may have been published since the look before
                    return Ok(match bucket.manifest(kind, key)?.filter(|_| purpose == Purpose::Find) {
                        Some(manifest) => Shared::Hit(self.published(manifest, None)),
                        None => Shared::Taken(Some(claim)),
                    });
                }
                BucketAttempt::Held(holder) => self.wait(holder, kind, key, on_wait)?,
                BucketAttempt::Retry => self.wait_a_moment(),
            }
        }
    }

    /// Waits for a holder until the next look, unless the caller does not want to.
    fn wait(
        &self,
        holder: Holder,
        kind: ArtifactKind,
        key: &Key,
        on_wait: &mut dyn FnMut(&Holder) -> ControlFlow<()>,
    ) -> Result<()> {
        if on_wait(&holder).is_break() {
            return Err(StoreError::WaitAbandoned { kind, key: key.clone(), holder: Box::new(holder) });
        }
        std::thread::sleep(self.timing.poll);
        Ok(())
    }

    /// Something moved: the next look is due soon.
    fn wait_a_moment(&self) {
        std::thread::sleep(self.timing.poll.min(Duration::from_millis(50)));
    }
}
