//! Garbage collection: what no run points to, directly or through the inputs of what it points to.
//!
//! A piece is deleted under the claim of its key, after a second look: nobody makes it meanwhile, and whoever made it has
//! pointed to it before giving its claim back.

mod reach;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::backend::{Artifact, Backend, Part, Piece, Place};
use crate::claim::{Attempt, HeldClaim, Watcher};
use crate::files::bytes_below;
use crate::holder::Holder;
use crate::judgment::Inspection;
use crate::{Pointer, Result, Store, StoreError};
use reach::Runs;

/// How often a claim is tried that another process touches at the same moment.
const CLAIM_ATTEMPTS: u32 = 5;

/// Between two such attempts.
const CLAIM_PAUSE: Duration = Duration::from_millis(10);

/// Why something is garbage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GarbageReason {
    /// No run leads to the artifact.
    Unreferenced,
    /// The artifact is unfinished or damaged, so that it counts as absent.
    Broken,
    /// Checkpoints of an artifact that nobody makes at this moment.
    Unfinished,
    /// What else such a run has left: its claim, half-written files.
    Abandoned,
    /// The rest of an interrupted removal.
    Trash,
}

impl fmt::Display for GarbageReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Unreferenced => "no run leads to it",
            Self::Broken => "unfinished or damaged",
            Self::Unfinished => "checkpoints nobody works on",
            Self::Abandoned => "left by a stopped run",
            Self::Trash => "left by an interrupted removal",
        })
    }
}

/// One piece of garbage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Garbage {
    /// Its folder.
    pub path: PathBuf,
    /// Bytes in it.
    pub bytes: u64,
    /// Why it is garbage.
    pub reason: GarbageReason,
}

/// What a collection found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GcReport {
    /// The garbage, by path; where it was deleted, without what turned out to be in use.
    pub garbage: Vec<Garbage>,
    /// Checkpoints that stay because nobody asked for them to go.
    pub spared: Vec<Garbage>,
    /// Runs that are forgotten.
    pub forgotten: Vec<String>,
    /// Artifacts that stay.
    pub kept: usize,
    /// Whether the garbage was deleted.
    pub deleted: bool,
}

/// What a collection does with what it finds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collection {
    /// Deletes the garbage.
    pub delete: bool,
    /// Counts the checkpoints of stopped runs as garbage.
    pub checkpoints: bool,
    /// Whose pointers count.
    pub scope: Scope,
}

/// Which runs keep artifacts, by run or by what is above it: `demo`, `demo/delt`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// All of them: garbage is what none leads to.
    #[default]
    All,
    /// These alone: the others are forgotten.
    Keep(Vec<String>),
    /// All but these, which are forgotten; only what they alone lead to is garbage.
    Clean(Vec<String>),
}

/// Called before a claim is watched, with its holder, where it lies and for how long at most.
type OnWait<'a> = &'a mut dyn FnMut(&Holder, &Path, Duration);

impl Store {
    /// Finds garbage, and deletes it if asked to. Artifacts stay if a run points to them, or to anything made from them,
    /// however indirectly. Where claims are found whose holders may be alive, it first watches them until they move, or for
    /// as long as it takes a claim to become stale, and calls `on_wait` before with each holder, its folder and that time.
    ///
    /// # Errors
    ///
    /// If the store cannot be read, a pointer among it, holds what a newer build wrote, no run has a name of the scope, or
    /// garbage is to be deleted while something is being made: its inputs may not be pointed to yet.
    pub fn gc(&self, collection: &Collection, on_wait: OnWait<'_>) -> Result<GcReport> {
        let backend = self.backend();
        let mut watcher = Watcher::new(backend.clone(), self.timing);
        let busy = self.busy(&mut watcher, on_wait)?;
        if let (true, Some((claim, holder))) = (collection.delete, busy.first()) {
            let (holder, dir) = (Box::new(holder.clone()), backend.path(claim));
            return Err(StoreError::Busy { holder, dir });
        }
        // read last: whoever was at work a moment ago has pointed to what it made
        let runs = Runs::of(self, &collection.scope)?;
        let (kept, mut pieces) = unreached(backend.as_ref(), &runs)?;
        if !runs.is_clean {
            let busy: Vec<&str> = busy.iter().map(|(claim, _)| claim.as_str()).collect();
            pieces.extend(backend.left_behind(&busy)?);
        }
        pieces.sort_by(|a, b| a.garbage.path.cmp(&b.garbage.path));
        let is_spared =
            |piece: &Piece| piece.garbage.reason == GarbageReason::Unfinished && !collection.checkpoints;
        let (spared, mut pieces): (Vec<_>, Vec<_>) = pieces.into_iter().partition(is_spared);
        if collection.delete {
            runs.forget(self)?;
            let deleted = pieces.into_iter().map(|piece| self.delete(piece, &mut watcher));
            pieces = deleted.filter_map(Result::transpose).collect::<Result<_>>()?;
        }
        let [garbage, spared] =
            [pieces, spared].map(|pieces| pieces.into_iter().map(|piece| piece.garbage).collect());
        let forgotten = runs.leaving.into_iter().map(|pointer| pointer.run).collect();
        Ok(GcReport { garbage, spared, forgotten, kept, deleted: collection.delete })
    }

    /// The claims whose holders are at work.
    fn busy(&self, watcher: &mut Watcher, on_wait: OnWait) -> Result<Vec<(String, Holder)>> {
        let (mut open, mut busy) = (Vec::new(), Vec::new());
        for claim in watcher.backend.claims()? {
            if let Some((holder, _)) = watcher.look(&claim)? {
                on_wait(&holder, &watcher.backend.path(&claim), self.timing.stale);
                open.push((claim, holder));
            }
        }
        while !open.is_empty() {
            std::thread::sleep(self.timing.poll);
            for (claim, seen) in std::mem::take(&mut open) {
                match watcher.look(&claim)? {
                    Some((holder, _)) if holder != seen => busy.push((claim, holder)),
                    Some((_, silent)) if silent < self.timing.stale => open.push((claim, seen)),
                    Some(_) | None => {}
                }
            }
        }
        Ok(busy)
    }

    /// Deletes a piece of garbage, unless it turns out that somebody works on it or points to it by now; gives what went.
    fn delete(&self, piece: Piece, watcher: &mut Watcher) -> Result<Option<Piece>> {
        let held = piece.claim.as_deref().map(|claim| claim_now(watcher, claim)).transpose()?;
        if matches!(held, Some(None)) {
            return Ok(None);
        }
        let backend = &watcher.backend;
        let piece = self.look_again(piece, backend.as_ref())?;
        for (name, _) in piece.iter().flat_map(|piece| &piece.parts) {
            backend.remove(name)?;
        }
        Ok(piece)
    }

    /// The second look at a piece, under its claim; gives what of it still is garbage.
    fn look_again(&self, piece: Piece, backend: &dyn Backend) -> Result<Option<Piece>> {
        let Some(place) = piece.place.clone() else { return Ok(Some(piece)) };
        if piece.garbage.reason == GarbageReason::Unreferenced {
            let points_here = |pointer: &Pointer| {
                !pointer.is_source() && Place::of(pointer.kind, &pointer.key).name() == place.name()
            };
            return Ok((!self.pointers()?.iter().any(points_here)).then_some(piece));
        }
        // One whose publication was cut off at its last step is whole; another may have been published meanwhile.
        let found = backend.settle(&place)?;
        garbage_of(backend, &Artifact { place, found, parts: piece.parts }, piece.garbage.reason)
    }
}

/// A claim, if nobody has it.
fn claim_now(watcher: &mut Watcher, claim: &str) -> Result<Option<HeldClaim>> {
    for _ in 0..CLAIM_ATTEMPTS {
        match watcher.attempt(claim)? {
            Attempt::Taken(held) => return Ok(Some(held)),
            Attempt::Held(_) => return Ok(None),
            Attempt::Retry => std::thread::sleep(CLAIM_PAUSE),
        }
    }
    Ok(None)
}

/// The number of artifacts that stay, and what goes of the places of artifacts.
fn unreached(backend: &dyn Backend, runs: &Runs) -> Result<(usize, Vec<Piece>)> {
    let (mut whole, mut broken) = (Vec::new(), Vec::new());
    for artifact in backend.artifacts("")? {
        match artifact.found {
            // What it was made from cannot be known here.
            Inspection::Newer(error) => return Err(error),
            Inspection::Complete(_) => whole.push(artifact),
            _ => broken.push(artifact),
        }
    }
    let stays = runs.lead_to(&whole.iter().filter_map(|it| it.found.manifest()).collect::<Vec<_>>());
    let kept = stays.iter().filter(|stays| **stays).count();
    let goes = whole.iter().zip(stays).filter(|(_, stays)| !stays).map(|(it, _)| it);
    let mut pieces = Vec::new();
    for artifact in goes {
        pieces.extend(garbage_of(backend, artifact, GarbageReason::Unreferenced)?);
    }
    for artifact in whole.iter().chain(&broken).filter(|_| !runs.is_clean) {
        pieces.extend(garbage_of(backend, artifact, GarbageReason::Broken)?);
    }
    Ok((kept, pieces))
}

/// What goes of the place of an artifact: all that belongs to it, where no run leads to it, or what belongs to none.
fn garbage_of(backend: &dyn Backend, artifact: &Artifact, reason: GarbageReason) -> Result<Option<Piece>> {
    let Artifact { place, found, parts } = artifact;
    let is_own = |name: &str| found.manifest().is_some_and(|it| backend.is_part(place, it, name));
    let goes = |name: &str| is_own(name) == (reason == GarbageReason::Unreferenced);
    let parts: Vec<_> = parts.iter().filter(|(name, _)| goes(name)).cloned().collect();
    if parts.is_empty() || matches!(found, Inspection::Newer(_)) {
        return Ok(None);
    }
    let size = |(name, bytes): &Part| bytes.map_or_else(|| bytes_below(&backend.path(name)), Ok);
    let bytes = parts.iter().map(size).sum::<std::io::Result<u64>>()?;
    let garbage = Garbage { path: backend.path(&place.name()), bytes, reason };
    let claim = Some(backend.claim_name(place));
    Ok(Some(Piece { place: Some(place.clone()), claim, parts, garbage }))
}
