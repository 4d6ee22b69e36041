//! A published artifact, with its files on this machine or on their way to it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use delt_formats::canonical::Digest;
use delt_formats::files::if_there;
use delt_formats::manifest::{FileEntry, MANIFEST_FILE, Manifest};
use delt_formats::provenance::ArtifactKind;

use crate::bucket::Bucket;
use crate::files::{children, name_of};
use crate::{RUN_RECORD, Result, StoreError};

/// A published artifact.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its folder on this machine.
    pub dir: PathBuf,
    /// What it holds.
    pub manifest: Manifest,
    /// Where its files are downloaded from, each when it is first asked for.
    pub(crate) bucket: Option<Arc<Bucket>>,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (&self.dir, &self.manifest) == (&other.dir, &other.manifest)
    }
}

impl AsRef<Manifest> for Entry {
    fn as_ref(&self) -> &Manifest {
        &self.manifest
    }
}

impl Entry {
    /// An artifact whose files lie in a folder of this machine.
    pub fn here(dir: PathBuf, manifest: Manifest) -> Self {
        Self { dir, manifest, bucket: None }
    }

    /// The path of one of its files.
    ///
    /// # Errors
    ///
    /// If the manifest names no such file, or it cannot be downloaded.
    pub fn file(&self, name: &str) -> Result<PathBuf> {
        let stated = self.stated(name)?;
        let path = self.dir.join(name);
        if let Some(bucket) = &self.bucket
            && !fs_err::metadata(&path).is_ok_and(|found| found.len() == stated.bytes)
        {
            bucket.download(self, name)?;
        }
        Ok(path)
    }

    /// The path of one of its files, after every byte of it was checked. A file that was downloaded before and has other
    /// bytes by now is downloaded again.
    ///
    /// # Errors
    ///
    /// If the manifest names no such file, or its bytes are not those the manifest states.
    pub fn verified_file(&self, name: &str) -> Result<PathBuf> {
        let stated = self.stated(name)?;
        let path = self.file(name)?;
        match (verify_file(&path, stated, self.manifest.artifact), &self.bucket) {
            (Err(StoreError::DigestMismatch { .. }), Some(bucket)) => bucket.download(self, name)?,
            (checked, _) => checked?,
        }
        Ok(path)
    }

    /// What the run that made it recorded of itself ([`RUN_RECORD`]); none where that is lost.
    pub fn run_record(&self) -> Option<Vec<u8>> {
        let downloaded = || self.bucket.as_ref().and_then(|bucket| bucket.run_record(&self.manifest));
        fs_err::read(self.dir.join(RUN_RECORD)).ok().or_else(downloaded)
    }

    /// Checks every byte of every file, and that there are no others.
    ///
    /// # Errors
    ///
    /// The first file whose bytes are not those the manifest states, or all which the manifest does not name.
    pub fn verify(&self) -> Result<()> {
        if let Some(bucket) = &self.bucket {
            return bucket.verify(self);
        }
        self.verify_stated()?;
        let is_known = |name: &str| {
            [MANIFEST_FILE, RUN_RECORD].contains(&name) || self.manifest.files.contains_key(name)
        };
        let mut found: Vec<String> = children(&self.dir)?.iter().map(|path| name_of(path)).collect();
        found.retain(|name| !is_known(name));
        if found.is_empty() {
            return Ok(());
        }
        let found = found.join(", ");
        let problem = format!("holds {found}, which its manifest does not name; move them out of the store");
        Err(StoreError::unfit(&self.dir, problem))
    }

    /// Checks every byte of every file that the manifest names.
    pub(crate) fn verify_stated(&self) -> Result<()> {
        let mut files = self.manifest.files.iter();
        files.try_for_each(|(name, stated)| verify_file(&self.dir.join(name), stated, self.manifest.artifact))
    }

    /// What the manifest says of a file.
    pub(crate) fn stated(&self, name: &str) -> Result<&FileEntry> {
        self.manifest.files.get(name).ok_or_else(|| {
            let found: Vec<&str> = self.manifest.files.keys().map(String::as_str).collect();
            let (found, stage) = (found.join(", "), self.manifest.artifact.stage());
            StoreError::unfit(&self.dir, format!("has no file `{name}`, it holds {found}; re-run {stage}"))
        })
    }
}

/// Checks that a file of an artifact is there and has the size that its manifest states.
pub(crate) fn check_size(path: &Path, stated: &FileEntry, kind: ArtifactKind) -> Result<()> {
    let (expected, stage) = (stated.bytes, kind.stage());
    let problem = match if_there(fs_err::metadata(path))?.map(|found| found.len()) {
        None => format!("absent, but its manifest names it; re-run {stage}"),
        Some(found) if found != expected => {
            format!("has {found} bytes, expected {expected} by its manifest; re-run {stage}")
        }
        Some(_) => return Ok(()),
    };
    Err(StoreError::unfit(path, problem))
}

/// Checks every byte of a file of an artifact.
fn verify_file(path: &Path, stated: &FileEntry, kind: ArtifactKind) -> Result<()> {
    check_size(path, stated, kind)?;
    check_digest(path, Digest::of_file(path)?, stated, kind)
}

/// Compares the digest of a file, or of an object, with the one that the manifest states.
pub(crate) fn check_digest(path: &Path, found: Digest, stated: &FileEntry, kind: ArtifactKind) -> Result<()> {
    if found == stated.blake3 {
        return Ok(());
    }
    let (path, expected, stage) = (path.to_owned(), stated.blake3.clone(), kind.stage());
    Err(StoreError::DigestMismatch { path, found, expected, stage })
}
