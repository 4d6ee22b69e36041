//! How an artifact appears in a folder, and what is made of a publication that was cut off.
//!
//! Publishing names the manifest `manifest.pending.json` in the folder of files, sets the old artifact aside if there is
//! one, renames the folder to its place, gives the manifest its name, and deletes the old one last. A process that ends
//! between two of these steps leaves a folder with all its files, which whoever claims the key next brings to its end.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use delt_formats::canonical::Digest;
use delt_formats::files::read_if_there;
use delt_formats::manifest::{FileEntry, MANIFEST_FILE, Manifest};

use super::{Folder, OUT_PREFIX};
use crate::backend::Place;
use crate::entry::{Entry, check_size};
use crate::files::{children, children_named, sync_dir};
use crate::judgment::Inspection;
use crate::{PENDING_MANIFEST, RUN_RECORD, Result, StoreError};

/// Judges a folder by its manifest, which has this name, and the sizes of its files.
pub(super) fn inspect_as(manifest_file: &str, dir: &Path, place: &Place) -> Result<Inspection> {
    let path = dir.join(manifest_file);
    let Some(text) = read_if_there(&path)? else {
        return Ok(if dir.exists() { Inspection::Incomplete } else { Inspection::Absent });
    };
    let judged = Inspection::of(&path, Manifest::parse(&path, &text), place);
    let Inspection::Complete(manifest) = &judged else { return Ok(judged) };
    for (name, stated) in &manifest.files {
        match check_size(&dir.join(name), stated, place.kind) {
            Err(error @ StoreError::Unfit { .. }) => return Ok(Inspection::Damaged(error)),
            checked => checked?,
        }
    }
    Ok(judged)
}

/// As [`inspect_as`], but ends a publication that was cut off after the folder was renamed and before its manifest was:
/// if every byte is there, only the manifest's name is missing.
pub(super) fn settle(dir: &Path, place: &Place) -> Result<Inspection> {
    let inspection = inspect_as(MANIFEST_FILE, dir, place)?;
    if !matches!(inspection, Inspection::Incomplete) {
        return Ok(inspection);
    }
    match inspect_pending(dir, place)? {
        Inspection::Complete(manifest) => {
            name_manifest(dir)?;
            Ok(Inspection::Complete(manifest))
        }
        Inspection::Damaged(_) => Ok(Inspection::Incomplete),
        other => Ok(other),
    }
}

/// Judges a folder that was to be published: complete if its manifest lacks nothing but its name, and every byte is there.
fn inspect_pending(dir: &Path, place: &Place) -> Result<Inspection> {
    let judged = inspect_as(PENDING_MANIFEST, dir, place)?;
    let Inspection::Complete(manifest) = judged else { return Ok(judged) };
    let entry = Entry::here(dir.to_owned(), manifest);
    Ok(entry.verify_stated().map_or_else(Inspection::Damaged, |()| Inspection::Complete(entry.manifest)))
}

/// The last step of a publication. Somebody who settles the same folder may have taken it already.
fn name_manifest(dir: &Path) -> Result<()> {
    let manifest = dir.join(MANIFEST_FILE);
    match fs_err::rename(dir.join(PENDING_MANIFEST), &manifest) {
        Err(error) if !manifest.exists() => Err(error.into()),
        _ => Ok(sync_dir(dir)?),
    }
}

impl Folder {
    /// Brings publications to their end that were cut off at any step, and judges what there is then. The caller holds the
    /// claim.
    pub(crate) fn settle_all(&self, place: &Place) -> Result<Inspection> {
        let inspection = settle(&self.dir(place), place)?;
        if matches!(inspection, Inspection::Complete(_) | Inspection::Newer(_)) {
            return Ok(inspection);
        }
        for out_dir in children_named(OUT_PREFIX, &self.work_dir(place))? {
            if let Inspection::Complete(manifest) = inspect_pending(&out_dir, place)? {
                let old = self.take_place(&out_dir, place)?;
                complete(&self.dir(place), old, fs_err::remove_dir_all)?;
                return Ok(Inspection::Complete(manifest));
            }
        }
        Ok(inspection)
    }

    /// Renames finished files to their place; gives where the artifact is that was there. Puts that back if the place cannot
    /// be taken.
    pub(crate) fn take_place(&self, out_dir: &Path, place: &Place) -> Result<Option<PathBuf>> {
        let dir = self.dir(place);
        fs_err::create_dir_all(dir.parent().unwrap_or(&self.root))?;
        let old = self.set_aside(&dir)?;
        match fs_err::rename(out_dir, &dir) {
            Ok(()) => Ok(old),
            Err(error) => {
                if let Some(old) = old {
                    let _ = fs_err::rename(old, dir);
                }
                Err(error.into())
            }
        }
    }
}

/// The last steps of a publication. A file that somebody still reads keeps its folder from going on NFS: what `delete`
/// leaves of the old artifact is taken by garbage collection later.
pub(crate) fn complete(
    dir: &Path,
    old: Option<PathBuf>,
    delete: impl FnOnce(PathBuf) -> std::io::Result<()>,
) -> Result<()> {
    sync_dir(dir.parent().unwrap_or(dir))?;
    name_manifest(dir)?;
    let _ = old.map(delete);
    Ok(())
}

/// The files of a folder to publish, with sizes and digests; each is on disk when this returns.
pub(crate) fn files_of(dir: &Path) -> Result<BTreeMap<String, FileEntry>> {
    let mut files = BTreeMap::new();
    for path in children(dir)? {
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default().to_owned();
        let is_reserved = name.is_empty() || name == MANIFEST_FILE || name == PENDING_MANIFEST;
        if is_reserved || !fs_err::symlink_metadata(&path)?.is_file() {
            let problem = "not a plain file, or its name is reserved by the store; an artifact is a flat folder of files";
            return Err(StoreError::unfit(path, problem));
        }
        fs_err::File::open(&path)?.sync_all()?;
        if name != RUN_RECORD {
            let bytes = fs_err::metadata(&path)?.len();
            files.insert(name, FileEntry { bytes, blake3: Digest::of_file(&path)? });
        }
    }
    if files.is_empty() {
        let problem = "empty, but an artifact needs a file; write them before publishing";
        return Err(StoreError::unfit(dir, problem));
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use delt_formats::provenance::ArtifactKind;

    use super::*;
    use crate::backend::Backend;

    fn place() -> Place {
        Place::named(ArtifactKind::Labels, "k".to_owned())
    }

    #[test]
    fn an_old_artifact_that_cannot_be_deleted_does_not_cost_the_new_one() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path()).unwrap();
        let (out_dir, dir) = (folder.path("work/labels-k/out-1"), folder.path("labels/k"));
        fs_err::create_dir_all(&out_dir).unwrap();
        fs_err::create_dir_all(&dir).unwrap();
        fs_err::write(dir.join("a.bin"), "old").unwrap();
        fs_err::write(out_dir.join("a.bin"), "new").unwrap();
        fs_err::write(out_dir.join(PENDING_MANIFEST), "{}").unwrap();
        let old = folder.take_place(&out_dir, &place()).unwrap();
        let still_read = |_| Err(std::io::Error::from(std::io::ErrorKind::DirectoryNotEmpty));
        complete(&dir, old.clone(), still_read).unwrap();
        assert_eq!(fs_err::read(dir.join("a.bin")).unwrap(), b"new");
        assert!(dir.join(MANIFEST_FILE).exists());
        assert_eq!(fs_err::read(old.unwrap().join("a.bin")).unwrap(), b"old");
    }

    #[test]
    fn a_place_that_cannot_be_taken_keeps_what_is_there() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path()).unwrap();
        let dir = folder.path("labels/k");
        fs_err::create_dir_all(&dir).unwrap();
        fs_err::write(dir.join("a.bin"), "old").unwrap();
        folder.take_place(&folder.path("work/gone"), &place()).unwrap_err();
        assert_eq!(fs_err::read(dir.join("a.bin")).unwrap(), b"old");
    }
}
