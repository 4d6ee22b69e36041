//! Garbage collection: what no run points to, directly or through the inputs of what it points to.
//!
//! A piece is deleted under the claim of its key, after a second look: nobody makes it meanwhile, and whoever made it has
//! pointed to it before giving its claim back.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::claim::{Attempt, HeldClaim, Holder, Watch, attempt, look};
use super::entry::{Inspection, inspect_folder, settle};
use super::workspace::{CHECKPOINT_PREFIX, OUT_PREFIX, begins_with};
use super::{
    KEY_DIGITS, PENDING_MANIFEST, Pointer, Result, Store, StoreError, WORK_DIR, bucket_gc, children,
};
use crate::canonical::Digest;
use crate::manifest::Manifest;
use crate::provenance::ArtifactKind;

/// How the names of folders begin that are out of sight but not yet deleted.
pub(super) const TRASH_PREFIX: &str = "trash-";

/// How often a claim is tried that another process touches at the same moment.
const CLAIM_ATTEMPTS: u32 = 5;

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

impl Scope {
    /// Whether a run is to be forgotten.
    fn forgets(&self, run: &str) -> bool {
        let is_named = |names: &[String]| {
            names.iter().any(|name| {
                run.strip_prefix(name.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
        };
        match self {
            Self::All => false,
            Self::Keep(names) => !is_named(names),
            Self::Clean(names) => is_named(names),
        }
    }

    fn names(&self) -> &[String] {
        match self {
            Self::All => &[],
            Self::Keep(names) | Self::Clean(names) => names,
        }
    }
}

/// What was seen of the claims in each work folder.
type Watches = BTreeMap<PathBuf, Watch>;

impl Store {
    /// Finds garbage, and deletes it if asked to. Artifacts stay if a run points to them, or to anything made from them,
    /// however indirectly. Where claims are found whose holders may be alive, it first watches them until they move, or for
    /// as long as it takes a claim to become stale, and calls `on_wait` before with each holder, its folder and that time.
    ///
    /// # Errors
    ///
    /// If the store cannot be read, a pointer among it, holds what a newer build wrote, no run has a name of the scope, or
    /// garbage is to be deleted while something is being made: its inputs may not be pointed to yet.
    pub fn gc(
        &self,
        collection: &Collection,
        on_wait: &mut dyn FnMut(&Holder, &Path, Duration),
    ) -> Result<GcReport> {
        if let Some(bucket) = &self.bucket {
            return bucket_gc::collect(self, bucket, collection, on_wait);
        }
        let mut watches = Watches::new();
        let busy = self.busy(&mut watches, on_wait)?;
        if let (true, Some((dir, holder))) = (collection.delete, busy.first()) {
            return Err(StoreError::Busy { holder: Box::new(holder.clone()), dir: dir.clone() });
        }
        // read last: whoever was at work a moment ago has pointed to what it made
        let pointers = Pointers::of(self, &collection.scope)?;
        let mut garbage = if pointers.is_clean { Vec::new() } else { self.work_garbage(&busy)? };
        let kept = self.entry_garbage(&pointers, &mut garbage)?;
        garbage.sort_by(|a, b| a.path.cmp(&b.path));
        let is_spared =
            |piece: &Garbage| piece.reason == GarbageReason::Unfinished && !collection.checkpoints;
        let (spared, mut garbage): (Vec<_>, Vec<_>) = garbage.into_iter().partition(is_spared);
        if collection.delete {
            pointers.forget(self)?;
            let mut deleted = Vec::new();
            for piece in garbage {
                if self.delete(&piece, &mut watches)? {
                    deleted.push(piece);
                }
            }
            garbage = deleted;
        }
        Ok(GcReport { garbage, spared, forgotten: pointers.forgotten, kept, deleted: collection.delete })
    }

    /// Folders in which a holder is at work.
    fn busy(
        &self,
        watches: &mut Watches,
        on_wait: &mut dyn FnMut(&Holder, &Path, Duration),
    ) -> Result<Vec<(PathBuf, Holder)>> {
        let mut open = Vec::new();
        for dir in children(&self.root.join(WORK_DIR))?.into_iter().filter(|dir| !is_trash(dir)) {
            if let Some((holder, _)) = look(&dir, watches.entry(dir.clone()).or_default())? {
                on_wait(&holder, &dir, self.timing.stale);
                open.push((dir, holder));
            }
        }
        let mut busy = Vec::new();
        while !open.is_empty() {
            std::thread::sleep(self.timing.poll);
            for (dir, seen) in std::mem::take(&mut open) {
                match look(&dir, watches.entry(dir.clone()).or_default())? {
                    Some((holder, _)) if holder != seen => busy.push((dir, holder)),
                    Some((_, silent)) if silent < self.timing.stale => open.push((dir, seen)),
                    Some(_) | None => {}
                }
            }
        }
        Ok(busy)
    }

    /// Deletes a piece of garbage, unless it turns out that somebody works on it or points to it by now.
    fn delete(&self, piece: &Garbage, watches: &mut Watches) -> Result<bool> {
        let _held = match piece.reason {
            GarbageReason::Trash => None,
            GarbageReason::Unfinished | GarbageReason::Abandoned => {
                match self.claim_now(&piece.path, watches)? {
                    Some(held) => Some(held),
                    None => return Ok(false),
                }
            }
            GarbageReason::Unreferenced | GarbageReason::Broken => {
                let work_dir = self.root.join(WORK_DIR).join(place_name(&piece.path));
                let Some(held) = self.claim_now(&work_dir, watches)? else { return Ok(false) };
                if !self.is_still_garbage(piece)? {
                    return Ok(false);
                }
                Some(held)
            }
        };
        if let Some(trash) = self.set_aside(&piece.path)? {
            fs_err::remove_dir_all(trash)?;
        }
        Ok(true)
    }

    /// The claim of a work folder, if nobody has it.
    fn claim_now(&self, work_dir: &Path, watches: &mut Watches) -> Result<Option<HeldClaim>> {
        let watch = watches.entry(work_dir.to_owned()).or_default();
        for _ in 0..CLAIM_ATTEMPTS {
            match attempt(work_dir, self.timing, watch)? {
                Attempt::Taken(held) => return Ok(Some(held)),
                Attempt::Held(_) => return Ok(None),
                Attempt::Retry => std::thread::sleep(Duration::from_millis(10)),
            }
        }
        Ok(None)
    }

    /// The second look at an artifact, under its claim.
    fn is_still_garbage(&self, piece: &Garbage) -> Result<bool> {
        let name = place_name(&piece.path);
        let points_here = |pointer: &Pointer| {
            !pointer.is_source() && name == format!("{}-{}", pointer.kind, pointer.key.prefix(KEY_DIGITS))
        };
        if piece.reason == GarbageReason::Unreferenced {
            return Ok(!self.pointers()?.iter().any(points_here));
        }
        // One whose publication was cut off at its last step is whole.
        let Ok(pending) = Manifest::read(piece.path.join(PENDING_MANIFEST)) else { return Ok(true) };
        let settled = settle(&piece.path, pending.artifact, &pending.key)?;
        Ok(!matches!(settled, Inspection::Complete(_)))
    }

    fn work_garbage(&self, busy: &[(PathBuf, Holder)]) -> Result<Vec<Garbage>> {
        let mut garbage = Vec::new();
        for path in children(&self.root.join(WORK_DIR))? {
            if busy.iter().any(|(dir, _)| *dir == path) {
                continue;
            }
            let reason = if is_trash(&path) {
                GarbageReason::Trash
            } else if is_worth_keeping(&path)? {
                GarbageReason::Unfinished
            } else {
                GarbageReason::Abandoned
            };
            garbage.push(Garbage { bytes: bytes_below(&path)?, path, reason });
        }
        Ok(garbage)
    }

    /// Adds artifacts that are garbage and counts those that are not.
    fn entry_garbage(&self, pointers: &Pointers, garbage: &mut Vec<Garbage>) -> Result<usize> {
        let mut entries = Vec::new();
        for (kind, dir) in self.folders()? {
            match inspect_folder(&dir, kind)? {
                Inspection::Complete(entry) => entries.push(entry),
                // What it was made from cannot be known here.
                Inspection::Newer(error) => return Err(error),
                Inspection::Incomplete | Inspection::Damaged(_) if !pointers.is_clean => {
                    garbage.push(Garbage {
                        bytes: bytes_below(&dir)?,
                        path: dir,
                        reason: GarbageReason::Broken,
                    });
                }
                Inspection::Absent | Inspection::Incomplete | Inspection::Damaged(_) => {}
            }
        }
        let (kept, unreached) = pointers.divide(entries, |entry| &entry.manifest);
        for entry in unreached {
            let reason = GarbageReason::Unreferenced;
            garbage.push(Garbage { bytes: bytes_below(&entry.dir)?, path: entry.dir, reason });
        }
        Ok(kept)
    }
}

/// The runs of a store, as a scope sees them.
pub(super) struct Pointers {
    counting: Vec<Pointer>,
    leaving: Vec<Pointer>,
    pub(super) forgotten: Vec<String>,
    /// Whether only what the forgotten ones led to may go.
    pub(super) is_clean: bool,
}

impl Pointers {
    pub(super) fn of(store: &Store, scope: &Scope) -> Result<Self> {
        let runs = store.pointers()?.into_iter().filter(|pointer| !pointer.is_source());
        let (leaving, counting): (Vec<_>, Vec<_>) = runs.partition(|pointer| scope.forgets(&pointer.run));
        for name in scope.names() {
            let alone = Scope::Clean(vec![name.clone()]);
            if !leaving.iter().chain(&counting).any(|pointer| alone.forgets(&pointer.run)) {
                return Err(StoreError::NoRun { run: name.clone() });
            }
        }
        let forgotten = leaving.iter().map(|pointer| pointer.run.clone()).collect();
        Ok(Self { counting, leaving, forgotten, is_clean: matches!(scope, Scope::Clean(_)) })
    }

    pub(super) fn forget(&self, store: &Store) -> Result<()> {
        self.forgotten.iter().try_for_each(|run| store.forget(run).map(drop))
    }

    /// The number of artifacts that stay, and those that go.
    pub(super) fn divide<T>(&self, all: Vec<T>, manifest: impl Fn(&T) -> &Manifest) -> (usize, Vec<T>) {
        let count = all.len();
        let (_, mut unreached) = reached(all, &manifest, &self.counting);
        if self.is_clean {
            unreached = reached(unreached, &manifest, &self.leaving).0;
        }
        (count - unreached.len(), unreached)
    }
}

/// Divides artifacts into those that runs lead to, directly or through inputs, and the others.
fn reached<T>(all: Vec<T>, manifest: impl Fn(&T) -> &Manifest, pointers: &[Pointer]) -> (Vec<T>, Vec<T>) {
    let pointed: BTreeSet<(ArtifactKind, &str)> =
        pointers.iter().map(|pointer| (pointer.kind, pointer.key.prefix(KEY_DIGITS))).collect();
    let mut wanted: BTreeSet<Digest> = BTreeSet::new();
    let (mut found, mut rest) = (Vec::new(), all);
    loop {
        // An input names its artifact by content: every artifact of that content is an input.
        let (new, left): (Vec<T>, Vec<T>) = rest.into_iter().partition(|item| {
            let manifest = manifest(item);
            pointed.contains(&(manifest.artifact, manifest.key.prefix(KEY_DIGITS)))
                || wanted.contains(&manifest.digest)
        });
        rest = left;
        if new.is_empty() {
            return (found, rest);
        }
        wanted.extend(new.iter().flat_map(|item| manifest(item).provenance.inputs.values().cloned()));
        found.extend(new);
    }
}

fn is_trash(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(TRASH_PREFIX))
}

/// Whether a stopped run's folder holds work: checkpoints, or files that lack nothing but to be published.
fn is_worth_keeping(work_dir: &Path) -> Result<bool> {
    for checkpoints in begins_with(CHECKPOINT_PREFIX, work_dir)? {
        if !children(&checkpoints)?.is_empty() {
            return Ok(true);
        }
    }
    Ok(begins_with(OUT_PREFIX, work_dir)?.iter().any(|out_dir| out_dir.join(PENDING_MANIFEST).exists()))
}

/// The name of the work folder that belongs to an artifact's folder.
fn place_name(dir: &Path) -> String {
    let part = |path: Option<&Path>| {
        path.and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned()
    };
    format!("{}-{}", part(dir.parent()), part(Some(dir)))
}

fn bytes_below(path: &Path) -> Result<u64> {
    let metadata = match fs_err::symlink_metadata(path) {
        Ok(metadata) => metadata,
        // Somebody removed it meanwhile.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error.into()),
    };
    if !metadata.is_dir() {
        return Ok(metadata.len());
    }
    children(path)?.iter().map(|child| bytes_below(child)).sum()
}
