//! A store: where it is, what is in it, and whether that is whole.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use delt_formats::canonical::Digest;
use delt_formats::manifest::{MANIFEST_FILE, Manifest};
use delt_formats::provenance::ArtifactKind;

use crate::backend::{Artifact, Backend, Place};
use crate::bucket::{Bucket, content_name};
use crate::folder::Folder;
use crate::judgment::Inspection;
use crate::{ClaimTiming, Entry, KEY_DIGITS, Key, Location, Result, StoreError};

/// In the folder before an object store: what was downloaded.
const DOWNLOADED_DIR: &str = "downloaded";

/// A folder of artifacts, or a place in an object store with a folder on this machine before it.
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) folder: Arc<Folder>,
    pub(crate) bucket: Option<Arc<Bucket>>,
    pub(crate) timing: ClaimTiming,
}

/// An artifact that was checked byte by byte.
#[derive(Debug)]
pub struct Verification {
    /// Its folder.
    pub dir: PathBuf,
    /// Its manifest, or what is wrong.
    pub result: Result<Manifest>,
}

impl Store {
    /// Opens a store. Its folder need not be there: the first claim or pointer creates it.
    ///
    /// # Errors
    ///
    /// If something other than a folder is there, or it cannot be looked at.
    pub fn open(root: &Path) -> Result<Self> {
        Ok(Self { folder: Arc::new(Folder::open(root)?), bucket: None, timing: ClaimTiming::STANDARD })
    }

    /// Opens the store at a place. Files of an object store are made in and downloaded to a folder of its own below `cache`;
    /// credentials come from the environment (`AWS_..`, `GOOGLE_..`, `AZURE_..`) or the machine's own account.
    ///
    /// # Errors
    ///
    /// As [`Self::open`], or if the environment does not fit the object store; it is first asked when something is looked up.
    pub fn open_at(location: &Location, cache: &Path) -> Result<Self> {
        match location {
            Location::Folder(folder) => Self::open(folder),
            Location::Bucket(url) => Self::before(Bucket::connect(url)?, cache),
        }
    }

    pub(crate) fn before(bucket: Bucket, cache: &Path) -> Result<Self> {
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '.' { c } else { '-' };
        let digits = Digest::of_bytes(bucket.url.as_bytes());
        let name: String = bucket.url.replace("://", "-").chars().map(plain).collect();
        let folder = Self::open(&cache.join(format!("{name}-{}", digits.prefix(8))))?;
        Ok(Self { bucket: Some(Arc::new(bucket)), ..folder })
    }

    /// The same store with another timing of claims, for tests.
    #[must_use]
    pub fn with_claim_timing(self, timing: ClaimTiming) -> Self {
        Self { timing, ..self }
    }

    /// The store's folder; of an object store, the one before it.
    pub fn root(&self) -> &Path {
        &self.folder.root
    }

    /// The folder of an artifact, whether it is there or not.
    pub fn entry_dir(&self, kind: ArtifactKind, key: &Key) -> PathBuf {
        self.folder.dir(&Place::of(kind, key))
    }

    /// The storage as all who use the store see it.
    pub(crate) fn backend(&self) -> Arc<dyn Backend> {
        match &self.bucket {
            Some(bucket) => bucket.clone(),
            None => self.folder.clone(),
        }
    }

    /// Finds an artifact. One whose files are missing, or of another size or schema version than this build's manifest
    /// states, is not there. In an object store the manifest decides; its files are downloaded when they are asked for.
    ///
    /// # Errors
    ///
    /// If the store cannot be read, or holds what a newer build wrote.
    pub fn lookup(&self, kind: ArtifactKind, key: &Key) -> Result<Option<Entry>> {
        let place = Place::of(kind, key);
        match self.published(&place)? {
            // It may have been made here and not been uploaded yet.
            None if self.bucket.is_some() => self.here(&place),
            found => Ok(found),
        }
    }

    /// An artifact that all who use the store see.
    pub(crate) fn published(&self, place: &Place) -> Result<Option<Entry>> {
        let here = self.here(place)?;
        let Some(bucket) = &self.bucket else { return Ok(here) };
        Ok(bucket.inspect(place)?.artifact()?.map(|manifest| self.entry(manifest, here)))
    }

    /// An artifact that lies in the folder on this machine.
    fn here(&self, place: &Place) -> Result<Option<Entry>> {
        let found = self.folder.inspect(place)?.artifact()?;
        Ok(found.map(|manifest| Entry::here(self.folder.dir(place), manifest)))
    }

    /// The entry of a published manifest: with the files that were made here, if they are those.
    pub(crate) fn entry(&self, manifest: Manifest, here: Option<Entry>) -> Entry {
        let dir = match here {
            _ if self.bucket.is_none() => self.entry_dir(manifest.artifact, &manifest.key),
            Some(entry) if entry.manifest.digest == manifest.digest => entry.dir,
            _ => self.root().join(DOWNLOADED_DIR).join(content_name(&manifest)),
        };
        Entry { dir, manifest, bucket: self.bucket.clone() }
    }

    /// All artifacts, by kind and key. Unfinished and damaged ones are left out; see [`Self::verify`].
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub fn list(&self) -> Result<Vec<Entry>> {
        let entry = |artifact: Artifact| match artifact.found {
            Inspection::Complete(manifest) => Some(self.entry(manifest, None)),
            _ => None,
        };
        Ok(self.backend().artifacts("")?.into_iter().filter_map(entry).collect())
    }

    /// Checks every byte of the artifacts whose key begins with the given digits, by kind and key; of all, where none are given.
    ///
    /// # Errors
    ///
    /// If the store cannot be read; what is wrong with an artifact is in its [`Verification`].
    pub fn verify(&self, key_digits: &str) -> Result<Vec<Verification>> {
        let digits: String = key_digits.chars().take(KEY_DIGITS).collect();
        let backend = self.backend();
        let verified = |Artifact { place, found, .. }: Artifact| {
            let dir = backend.path(&place.name());
            let result = match found {
                Inspection::Absent => return None,
                Inspection::Complete(manifest) => {
                    let entry = self.entry(manifest, None);
                    entry.verify().map(|()| entry.manifest)
                }
                Inspection::Damaged(error) | Inspection::Newer(error) => Err(error),
                Inspection::Incomplete => {
                    let stage = place.kind.stage();
                    let problem = format!("absent, so the artifact was never finished; re-run {stage}");
                    Err(StoreError::unfit(dir.join(MANIFEST_FILE), problem))
                }
            };
            Some(Verification { dir, result })
        };
        Ok(backend.artifacts(&digits)?.into_iter().filter_map(verified).collect())
    }
}
