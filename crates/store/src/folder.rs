//! A store in a folder, which many machines may mount, or the folder of this machine before an object store.
//!
//! It stays on `std::fs`: an artifact is published by renaming its folder, which no interface to object stores can do.

mod claims;
mod publication;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use delt_formats::files::{if_there, read_if_there};
use delt_formats::manifest::MANIFEST_FILE;
use delt_formats::provenance::ArtifactKind;

use crate::backend::{Artifact, Backend, Piece, Place, Standing};
use crate::files::{bytes_below, children, children_named, name_of, write_text_atomic};
use crate::gc::{Garbage, GarbageReason};
use crate::holder::{Holder, unique};
use crate::judgment::Inspection;
use crate::{PENDING_MANIFEST, Result, StoreError, WORK_DIR};

use publication::inspect_as;
pub(crate) use publication::{complete, files_of};

/// How the names of folders begin in which files to publish are made.
pub(crate) const OUT_PREFIX: &str = "out-";

/// How the names of folders of checkpoints begin.
pub(crate) const CHECKPOINT_PREFIX: &str = "checkpoint";

/// How the names of folders begin that are out of sight but not yet deleted.
const TRASH_PREFIX: &str = "trash-";

/// A folder as a store.
#[derive(Debug)]
pub(crate) struct Folder {
    pub(crate) root: PathBuf,
}

impl Folder {
    /// A folder, which need not be there yet.
    ///
    /// # Errors
    ///
    /// If something else is there, or it cannot be looked at.
    pub(crate) fn open(root: &Path) -> Result<Self> {
        match if_there(fs_err::metadata(root))? {
            Some(found) if !found.is_dir() => {
                Err(StoreError::unfit(root, "is a file, expected the folder of a store"))
            }
            _ => Ok(Self { root: root.to_owned() }),
        }
    }

    /// The folder of an artifact.
    pub(crate) fn dir(&self, place: &Place) -> PathBuf {
        self.path(&place.name())
    }

    /// The folder of what becomes an artifact, and of the claim on it.
    pub(crate) fn work_dir(&self, place: &Place) -> PathBuf {
        self.path(&self.claim_name(place))
    }

    /// Takes a folder out of sight in one step; gives its new place, or nothing if it was not there. Garbage collection
    /// takes what is left there.
    pub(crate) fn set_aside(&self, dir: &Path) -> Result<Option<PathBuf>> {
        let work = self.path(WORK_DIR);
        fs_err::create_dir_all(&work)?;
        let trash = work.join(format!("{TRASH_PREFIX}{}", unique()));
        Ok(if_there(fs_err::rename(dir, &trash))?.map(|()| trash))
    }

    /// Takes a folder away; what of it cannot be deleted stays out of sight.
    pub(crate) fn clear_away(&self, dir: &Path) -> Result<()> {
        let _ = self.set_aside(dir)?.map(fs_err::remove_dir_all);
        Ok(())
    }
}

impl Backend for Folder {
    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        Ok(read_if_there(&self.path(name))?)
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        Ok(write_text_atomic(&self.path(name), text)?)
    }

    /// A folder goes out of sight in one step before it is deleted; with a file go the folders that it leaves empty.
    fn remove(&self, name: &str) -> Result<()> {
        let path = self.path(name);
        let Some(found) = if_there(fs_err::symlink_metadata(&path))? else { return Ok(()) };
        if found.is_dir() {
            return Ok(self.set_aside(&path)?.map_or(Ok(()), fs_err::remove_dir_all)?);
        }
        if_there(fs_err::remove_file(&path))?;
        for folder in path.ancestors().skip(1).take(name.matches('/').count().saturating_sub(1)) {
            let _ = fs_err::remove_dir(folder);
        }
        Ok(())
    }

    fn names(&self, below: &str) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for path in children(&self.path(below))? {
            let name = path.file_name().and_then(OsStr::to_str).filter(|name| !name.starts_with('.'));
            let Some(name) = name.map(|name| format!("{below}/{name}")) else { continue };
            if path.is_dir() {
                names.extend(self.names(&name)?);
            } else {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn inspect(&self, place: &Place) -> Result<Inspection> {
        inspect_as(MANIFEST_FILE, &self.dir(place), place)
    }

    fn settle(&self, place: &Place) -> Result<Inspection> {
        publication::settle(&self.dir(place), place)
    }

    fn artifacts(&self, digits: &str) -> Result<Vec<Artifact>> {
        let mut artifacts = Vec::new();
        for kind in ArtifactKind::ALL {
            for dir in children_named(digits, &self.path(kind.dir()))? {
                let place = Place::named(kind, name_of(&dir));
                let (found, parts) = (self.inspect(&place)?, vec![(place.name(), None)]);
                // An artifact that is recomputed is gone for a moment.
                if !matches!(found, Inspection::Absent) {
                    artifacts.push(Artifact { place, found, parts });
                }
            }
        }
        Ok(artifacts)
    }

    fn left_behind(&self, busy: &[&str]) -> Result<Vec<Piece>> {
        let mut pieces = Vec::new();
        for path in children(&self.path(WORK_DIR))? {
            let name = format!("{WORK_DIR}/{}", name_of(&path));
            if busy.contains(&name.as_str()) {
                continue;
            }
            let reason = if is_trash(&path) {
                GarbageReason::Trash
            } else if is_worth_keeping(&path)? {
                GarbageReason::Unfinished
            } else {
                GarbageReason::Abandoned
            };
            let claim = (reason != GarbageReason::Trash).then(|| name.clone());
            let garbage = Garbage { bytes: bytes_below(&path)?, path, reason };
            pieces.push(Piece { place: None, claim, parts: vec![(name, None)], garbage });
        }
        Ok(pieces)
    }

    fn claim_name(&self, place: &Place) -> String {
        format!("{WORK_DIR}/{}", place.flat_name())
    }

    fn claims(&self) -> Result<Vec<String>> {
        let dirs = children(&self.path(WORK_DIR))?.into_iter().filter(|dir| !is_trash(dir));
        Ok(dirs.map(|dir| format!("{WORK_DIR}/{}", name_of(&dir))).collect())
    }

    fn look_at_claim(&self, claim: &str) -> Result<Option<Standing>> {
        claims::look(&self.path(claim))
    }

    fn take_claim(&self, claim: &str, seen: &Standing, holder: &Holder) -> Result<bool> {
        claims::take(&self.path(claim), seen, holder)
    }

    fn renew_claim(&self, claim: &str, seen: &Standing, holder: &Holder) -> Result<()> {
        claims::renew(&self.path(claim), seen, holder)
    }

    fn give_back_claim(&self, claim: &str, holder: &Holder) {
        claims::give_back(&self.path(claim), holder);
    }
}

fn is_trash(dir: &Path) -> bool {
    name_of(dir).starts_with(TRASH_PREFIX)
}

/// Whether a stopped run's folder holds work: checkpoints, or files that lack nothing but to be published.
fn is_worth_keeping(work_dir: &Path) -> Result<bool> {
    let mut saved = Vec::new();
    for checkpoints in children_named(CHECKPOINT_PREFIX, work_dir)? {
        saved.extend(children(&checkpoints)?);
    }
    let out_dirs = children_named(OUT_PREFIX, work_dir)?;
    Ok(!saved.is_empty() || out_dirs.iter().any(|out_dir| out_dir.join(PENDING_MANIFEST).exists()))
}
