//! An artifact in the making: where its files and checkpoints go, and the steps by which it becomes visible.
//!
//! Publishing names the manifest `manifest.pending.json` in the folder of files, sets the old artifact aside if there is
//! one, renames the folder to its place, gives the manifest its name, and deletes the old one last. A process that ends
//! between two of these steps leaves a folder with all its files, which whoever claims the key next brings to its end.

use std::path::{Path, PathBuf};

use fs_err::remove_dir_all;
use serde_json::Value;

use super::claim::unique;
use super::entry::{Entry, Inspection, files_of, inspect_pending, name_manifest, settle};
use super::{
    Claims, Key, PENDING_MANIFEST, Purpose, Result, Store, StoreError, children, sync_dir, write_atomic,
};
use crate::manifest::Manifest;
use crate::provenance::{ArtifactKind, Provenance};

pub(super) const OUT_PREFIX: &str = "out-";
/// Followed by `-`, a number, `-` and a name made up: see [`take_checkpoints`].
pub(super) const CHECKPOINT_PREFIX: &str = "checkpoint";

/// How often publishing starts over when another process changes the same folder.
const PUBLISH_ATTEMPTS: u32 = 5;

/// The right to make an artifact. Dropped without [`Self::publish`], it gives the right back and keeps the checkpoints.
#[derive(Debug)]
pub struct Workspace {
    store: Store,
    purpose: Purpose,
    kind: ArtifactKind,
    key: Key,
    out_dir: PathBuf,
    checkpoint_dir: PathBuf,
    damage: Option<String>,
    /// Whether `out_dir` lacks nothing but to be renamed: then it outlives this process.
    is_finished: bool,
    // Dropped last: the folders above are cleared while the claim still stands.
    claims: Claims,
}

impl Workspace {
    pub(super) fn create(
        store: Store,
        purpose: Purpose,
        kind: ArtifactKind,
        key: Key,
        work_dir: &Path,
        claims: Claims,
        damage: Option<String>,
    ) -> Result<Self> {
        for leftover in begins_with(OUT_PREFIX, work_dir)? {
            clear_away(&store, &leftover)?;
        }
        let checkpoint_dir = take_checkpoints(&store, work_dir)?;
        let out_dir = work_dir.join(format!("{OUT_PREFIX}{}", unique()));
        fs_err::create_dir_all(&out_dir)?;
        let is_finished = false;
        Ok(Self { store, purpose, kind, key, out_dir, checkpoint_dir, damage, is_finished, claims })
    }

    /// The folder for the files to publish; flat, and empty at first.
    pub fn out_dir(&self) -> &Path {
        &self.out_dir
    }

    /// The folder for checkpoints. It outlives a killed process and is found again by whoever makes the artifact next,
    /// on any machine. Whoever takes the work over renames it, so that nothing more can be saved here.
    pub fn checkpoint_dir(&self) -> &Path {
        &self.checkpoint_dir
    }

    /// What is wrong with the artifact that this one will replace, if a broken one is there.
    pub fn damage(&self) -> Option<&str> {
        self.damage.as_deref()
    }

    /// Refuses to go on if another process has taken the work over, because this one stood still for too long. To be asked
    /// before a checkpoint is saved.
    ///
    /// # Errors
    ///
    /// Names who makes the artifact now.
    pub fn ensure_held(&self) -> Result<()> {
        let Some(holder) = self.claims.successor()?.map(Box::new) else { return Ok(()) };
        Err(StoreError::TakenOver { kind: self.kind, key: self.key.clone(), holder })
    }

    /// Publishes the files in [`Self::out_dir`]: digests and syncs them, renames the folder to its place, names the manifest
    /// last, and removes checkpoints and claim. If another process has published the same key meanwhile, its artifact is
    /// returned.
    ///
    /// # Errors
    ///
    /// If there is no file, something other than plain files, another process is making the artifact by now, or the store
    /// cannot be written. What was finished stays, and the next claim publishes it.
    pub fn publish(mut self, provenance: Provenance, facts: Value) -> Result<Entry> {
        self.make_visible(provenance, facts)
    }

    /// As [`Self::publish`], and points a run to the artifact before the claim is given back, so that no garbage collection
    /// finds it without a run.
    ///
    /// # Errors
    ///
    /// As [`Self::publish`], or if the pointer cannot be written.
    pub fn publish_for(mut self, run: &str, provenance: Provenance, facts: Value) -> Result<Entry> {
        let entry = self.make_visible(provenance, facts)?;
        self.store.point(run, self.kind, &self.key)?;
        Ok(entry)
    }

    fn make_visible(&mut self, provenance: Provenance, facts: Value) -> Result<Entry> {
        if provenance.artifact != self.kind {
            return Err(StoreError::OtherArtifact { found: provenance.artifact, expected: self.kind });
        }
        let found = provenance.key();
        if found != self.key {
            return Err(StoreError::OtherKey { found, expected: self.key.clone() });
        }
        let files = files_of(&self.out_dir)?;
        let manifest = Manifest::new(self.key.clone(), provenance, facts, files);
        write_atomic(&self.out_dir.join(PENDING_MANIFEST), &manifest.to_json())?;
        self.is_finished = true;
        let placed = self.move_into_place(manifest);
        // What is still in the folder then is of no use to anybody.
        self.is_finished = !matches!(placed, Ok(_) | Err(StoreError::TakenOver { .. }));
        let entry = self.store.share(placed?, self.purpose, &|| self.ensure_held())?;
        // The artifact is there; checkpoints that cannot be deleted must not make it look as if it were not.
        let _ = remove_dir_all(&self.checkpoint_dir);
        Ok(entry)
    }

    fn move_into_place(&self, manifest: Manifest) -> Result<Entry> {
        let dir = self.store.entry_dir(self.kind, &self.key);
        let mut attempt = 1;
        let old = loop {
            match settle(&dir, self.kind, &self.key)? {
                Inspection::Complete(entry) if self.purpose == Purpose::Find => return Ok(entry),
                Inspection::Newer(error) => return Err(error),
                _ => self.ensure_held()?,
            }
            match take_place(&self.store, &self.out_dir, &dir) {
                Ok(old) => break old,
                Err(_) if dir.exists() && attempt < PUBLISH_ATTEMPTS => attempt += 1,
                Err(error) => return Err(error),
            }
        };
        complete(&dir, old, remove_dir_all)?;
        Ok(Entry::here(dir, manifest))
    }
}

impl Drop for Workspace {
    /// The folders' names are of this claim alone, so a successor's are never touched.
    fn drop(&mut self) {
        if !self.is_finished {
            let _ = remove_dir_all(&self.out_dir);
        }
        // Only goes if it is empty.
        let _ = fs_err::remove_dir(&self.checkpoint_dir);
    }
}

/// Brings publications to their end that were cut off at any step, and judges what there is then. The caller holds the
/// claim.
pub(super) fn settle_all(
    store: &Store,
    kind: ArtifactKind,
    key: &Key,
    work_dir: &Path,
) -> Result<Inspection> {
    let dir = store.entry_dir(kind, key);
    let inspection = settle(&dir, kind, key)?;
    if matches!(inspection, Inspection::Complete(_) | Inspection::Newer(_)) {
        return Ok(inspection);
    }
    for out_dir in begins_with(OUT_PREFIX, work_dir)? {
        if let Inspection::Complete(Entry { manifest, .. }) = inspect_pending(&out_dir, kind, key)? {
            let old = take_place(store, &out_dir, &dir)?;
            complete(&dir, old, remove_dir_all)?;
            return Ok(Inspection::Complete(Entry::here(dir, manifest)));
        }
    }
    Ok(inspection)
}

/// Renames finished files to their place; gives where the artifact is that was there. Puts that back if the place cannot be
/// taken.
fn take_place(store: &Store, out_dir: &Path, dir: &Path) -> Result<Option<PathBuf>> {
    fs_err::create_dir_all(dir.parent().unwrap_or(store.root()))?;
    let old = store.set_aside(dir)?;
    match fs_err::rename(out_dir, dir) {
        Ok(()) => Ok(old),
        Err(error) => {
            if let Some(old) = old {
                let _ = fs_err::rename(old, dir);
            }
            Err(error.into())
        }
    }
}

/// The last steps of a publication. A file that somebody still reads keeps its folder from going on NFS: what `delete`
/// leaves of the old artifact is taken by garbage collection later.
fn complete(
    dir: &Path,
    old: Option<PathBuf>,
    delete: impl FnOnce(PathBuf) -> std::io::Result<()>,
) -> Result<()> {
    sync_dir(dir.parent().unwrap_or(dir))?;
    name_manifest(dir)?;
    let _ = old.map(delete);
    Ok(())
}

/// Takes a folder away; what of it cannot be deleted stays out of sight.
fn clear_away(store: &Store, dir: &Path) -> Result<()> {
    let _ = store.set_aside(dir)?.map(remove_dir_all);
    Ok(())
}

/// The checkpoints in a work folder, under a name that nobody else knows: a process whose claim was taken over cannot write
/// to them any more. The highest number is of the claim before; a lower one was written by such a process since.
fn take_checkpoints(store: &Store, work_dir: &Path) -> Result<PathBuf> {
    let number = |path: &Path| -> Option<u64> {
        path.file_name()?.to_str()?.strip_prefix(CHECKPOINT_PREFIX)?.split('-').nth(1)?.parse().ok()
    };
    let mut there: Vec<(Option<u64>, PathBuf)> =
        begins_with(CHECKPOINT_PREFIX, work_dir)?.into_iter().map(|path| (number(&path), path)).collect();
    there.sort();
    let last = there.pop();
    for (_, stray) in there {
        clear_away(store, &stray)?;
    }
    let next = last.as_ref().and_then(|(number, _)| *number).unwrap_or(0) + 1;
    let dir = work_dir.join(format!("{CHECKPOINT_PREFIX}-{next}-{}", unique()));
    match last {
        Some((_, path)) => fs_err::rename(path, &dir)?,
        None => fs_err::create_dir_all(&dir)?,
    }
    Ok(dir)
}

/// The folders in a work folder whose names begin so.
pub(super) fn begins_with(prefix: &str, work_dir: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = children(work_dir)?;
    paths.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)));
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_artifact_that_cannot_be_deleted_does_not_cost_the_new_one() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path()).unwrap();
        let (out_dir, dir) = (root.path().join("work/labels-k/out-1"), root.path().join("labels/k"));
        fs_err::create_dir_all(&out_dir).unwrap();
        fs_err::create_dir_all(&dir).unwrap();
        fs_err::write(dir.join("a.bin"), "old").unwrap();
        fs_err::write(out_dir.join("a.bin"), "new").unwrap();
        fs_err::write(out_dir.join(PENDING_MANIFEST), "{}").unwrap();
        let old = take_place(&store, &out_dir, &dir).unwrap();
        let still_read = |_| Err(std::io::Error::from(std::io::ErrorKind::DirectoryNotEmpty));
        complete(&dir, old.clone(), still_read).unwrap();
        assert_eq!(fs_err::read(dir.join("a.bin")).unwrap(), b"new");
        assert!(dir.join(crate::manifest::MANIFEST_FILE).exists());
        assert_eq!(fs_err::read(old.unwrap().join("a.bin")).unwrap(), b"old");
    }

    #[test]
    fn a_place_that_cannot_be_taken_keeps_what_is_there() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path()).unwrap();
        let dir = root.path().join("labels/k");
        fs_err::create_dir_all(&dir).unwrap();
        fs_err::write(dir.join("a.bin"), "old").unwrap();
        take_place(&store, &root.path().join("work/gone"), &dir).unwrap_err();
        assert_eq!(fs_err::read(dir.join("a.bin")).unwrap(), b"old");
    }
}
