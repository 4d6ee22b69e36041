//! An artifact in the making: where its files and checkpoints go, and how it is published.

use std::path::{Path, PathBuf};

use delt_formats::manifest::Manifest;
use delt_formats::provenance::Provenance;
use fs_err::remove_dir_all;
use serde_json::Value;

use crate::backend::Backend;
use crate::claiming::Claims;
use crate::entry::Entry;
use crate::files::{children_named, name_of, write_text_atomic};
use crate::folder::{CHECKPOINT_PREFIX, Folder, OUT_PREFIX, complete, files_of};
use crate::holder::unique;
use crate::judgment::Inspection;
use crate::{PENDING_MANIFEST, Result, Store, StoreError};

/// How often publishing starts over when another process changes the same folder.
const PUBLISH_ATTEMPTS: u32 = 5;

/// The right to make an artifact. Dropped without [`Self::publish`], it gives the right back and keeps the checkpoints.
#[derive(Debug)]
pub struct Workspace {
    store: Store,
    out_dir: PathBuf,
    checkpoint_dir: PathBuf,
    damage: Option<String>,
    /// Whether `out_dir` lacks nothing but to be renamed: then it outlives this process.
    is_finished: bool,
    // Dropped last: the folders above are cleared while the claim still stands.
    claims: Claims,
}

impl Workspace {
    pub(crate) fn create(store: Store, claims: Claims, damage: Option<String>) -> Result<Self> {
        let work_dir = store.folder.work_dir(&claims.place());
        for leftover in children_named(OUT_PREFIX, &work_dir)? {
            store.folder.clear_away(&leftover)?;
        }
        let checkpoint_dir = take_checkpoints(&store.folder, &work_dir)?;
        let out_dir = work_dir.join(format!("{OUT_PREFIX}{}", unique()));
        fs_err::create_dir_all(&out_dir)?;
        Ok(Self { store, out_dir, checkpoint_dir, damage, is_finished: false, claims })
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
        self.claims.ensure_held()
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
        self.store.point(run, self.claims.kind, &self.claims.key)?;
        Ok(entry)
    }

    fn make_visible(&mut self, provenance: Provenance, facts: Value) -> Result<Entry> {
        let (kind, key) = (self.claims.kind, &self.claims.key);
        if provenance.artifact != kind {
            let (found, expected) = (format!("of {}", provenance.artifact), kind.to_string());
            return Err(StoreError::NotClaimed { found, expected });
        }
        let found = provenance.key();
        if found != *key {
            let (found, expected) = (format!("that of {found}"), format!("key {key}"));
            return Err(StoreError::NotClaimed { found, expected });
        }
        let files = files_of(&self.out_dir)?;
        let manifest = Manifest::new(key.clone(), provenance, facts, files);
        write_text_atomic(&self.out_dir.join(PENDING_MANIFEST), &manifest.to_json())?;
        self.is_finished = true;
        let placed = self.move_into_place(manifest);
        // What is still in the folder then is of no use to anybody.
        self.is_finished = !matches!(placed, Ok(_) | Err(StoreError::TakenOver { .. }));
        let entry = self.store.share(placed?, &self.claims)?;
        // The artifact is there; checkpoints that cannot be deleted must not make it look as if it were not.
        let _ = remove_dir_all(&self.checkpoint_dir);
        Ok(entry)
    }

    fn move_into_place(&self, manifest: Manifest) -> Result<Entry> {
        let (folder, place) = (&self.store.folder, self.claims.place());
        let dir = folder.dir(&place);
        let mut attempt = 1;
        let old = loop {
            match folder.settle(&place)? {
                Inspection::Complete(manifest) if !self.claims.is_anew => {
                    return Ok(Entry::here(dir, manifest));
                }
                Inspection::Newer(error) => return Err(error),
                _ => self.ensure_held()?,
            }
            match folder.take_place(&self.out_dir, &place) {
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

/// The checkpoints in a work folder, under a name that nobody else knows: a process whose claim was taken over cannot write
/// to them any more. They are numbered. The highest number is of the claim before; a lower one was written by such a process
/// since.
fn take_checkpoints(folder: &Folder, work_dir: &Path) -> Result<PathBuf> {
    let number = |path: &PathBuf| -> Option<u64> {
        name_of(path).strip_prefix(CHECKPOINT_PREFIX)?.split('-').nth(1)?.parse().ok()
    };
    let mut there = children_named(CHECKPOINT_PREFIX, work_dir)?;
    there.sort_by_key(number);
    let last = there.pop();
    for stray in there {
        folder.clear_away(&stray)?;
    }
    let next = last.as_ref().and_then(number).unwrap_or(0) + 1;
    let dir = work_dir.join(format!("{CHECKPOINT_PREFIX}-{next}-{}", unique()));
    match last {
        Some(path) => fs_err::rename(path, &dir)?,
        None => fs_err::create_dir_all(&dir)?,
    }
    Ok(dir)
}
