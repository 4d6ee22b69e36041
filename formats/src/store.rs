//! The cache of artifacts, on storage that many machines may share.
//!
//! ```text
//! ARTIFACT/KEY/manifest.json ...             a published artifact
//! work/ARTIFACT-KEY/                         claims, checkpoints and files of an artifact in the making
//! runs/PIPELINE/BRANCH/ARTIFACT.json         a pointer: which artifact a run ended with
//! ```
//!
//! An artifact is there once its manifest is. A hit trusts the manifest and the sizes it states; [`Entry::verify`] checks
//! every byte. Nothing here compares clocks of two hosts or times of files. What a newer build wrote is left alone.

mod bucket;
mod bucket_claim;
mod bucket_gc;
mod claim;
mod claiming;
mod entry;
mod error;
mod gc;
mod location;
mod pointer;
mod workspace;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

pub use claim::Holder;
pub use claiming::Claim;
pub use entry::Entry;
pub use error::StoreError;
pub use gc::{Collection, Garbage, GarbageReason, GcReport, Scope};
pub use location::{Location, LocationError};
pub use pointer::{Forgotten, Pointer, SOURCES};
pub use workspace::Workspace;

use crate::canonical::Digest;
use crate::manifest::{MANIFEST_FILE, Manifest};
use crate::provenance::ArtifactKind;
use bucket::Bucket;
use claiming::{Claims, Purpose};
use entry::Inspection;

/// A result of the store.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// What identifies an artifact before it is made, see [`key_of`].
pub type Key = Digest;

/// Hex digits of a key that name its folder.
pub const KEY_DIGITS: usize = 32;

/// A file beside the manifest that no digest covers: seconds, host, device and whatever else is true of one run only.
pub const RUN_RECORD: &str = "run.json";

/// The manifest under the name it has while its artifact's folder is renamed into place.
pub(crate) const PENDING_MANIFEST: &str = "manifest.pending.json";

/// The default of [`Store::open_at`]'s folder for files of object stores.
pub const DEFAULT_CACHE: &str = "data/cache";

/// Below an object store's folder: what was downloaded.
const DOWNLOADED_DIR: &str = "downloaded";
const WORK_DIR: &str = "work";
const RUNS_DIR: &str = "runs";

/// How often a claim's counter moves, how often a waiter looks, and after how long without movement a claim is stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClaimTiming {
    /// Between two steps of the holder's counter.
    pub heartbeat: Duration,
    /// Between two looks of a waiter.
    pub poll: Duration,
    /// By the waiter's own clock, since it last saw the counter move.
    pub stale: Duration,
}

/// Seconds between two steps of a claim's counter.
pub const HEARTBEAT_SECONDS: u64 = 5;

/// Seconds after which a claim whose counter stands still is stale: above the minute for which NFS may show old content.
pub const STALE_SECONDS: u64 = 90;

impl ClaimTiming {
    /// The timing of every run outside tests.
    pub const STANDARD: Self = Self {
        heartbeat: Duration::from_secs(HEARTBEAT_SECONDS),
        poll: Duration::from_secs(1),
        stale: Duration::from_secs(STALE_SECONDS),
    };
}

/// The key of an artifact: the digest of the canonical JSON of all it depends on.
pub fn key_of(stage: &str, algorithm_version: u32, config: &Value, inputs: &BTreeMap<String, Digest>) -> Key {
    #[derive(Serialize)]
    struct Parts<'a> {
        stage: &'a str,
        algorithm_version: u32,
        config: &'a Value,
        inputs: &'a BTreeMap<String, Digest>,
    }
    Digest::of_json(&Parts { stage, algorithm_version, config, inputs })
}

/// Where an artifact was found.
enum Found {
    /// Where all who use the store see it.
    Published(Entry),
    /// On this machine, but not in the object store that it belongs to.
    HereAlone(Entry),
    /// Nowhere.
    Nowhere,
}

/// An artifact that was checked byte by byte.
#[derive(Debug)]
pub struct Verification {
    /// Its folder.
    pub dir: PathBuf,
    /// Its manifest, or what is wrong.
    pub result: Result<Manifest>,
}

/// A folder of artifacts, or a place in an object store with a folder on this machine before it.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
    timing: ClaimTiming,
    bucket: Option<Arc<Bucket>>,
}

impl Store {
    /// Opens a store. Its folder need not be there: the first claim or pointer creates it.
    ///
    /// # Errors
    ///
    /// If something other than a folder is there, or it cannot be looked at.
    pub fn open(root: &Path) -> Result<Self> {
        match fs_err::metadata(root) {
            Ok(found) if !found.is_dir() => return Err(StoreError::NotAFolder { path: root.to_owned() }),
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            Ok(_) | Err(_) => {}
        }
        Ok(Self { root: root.to_owned(), timing: ClaimTiming::STANDARD, bucket: None })
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

    fn before(bucket: Bucket, cache: &Path) -> Result<Self> {
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '.' { c } else { '-' };
        let digits = Digest::of_bytes(bucket.url().as_bytes());
        let name: String = bucket.url().replace("://", "-").chars().map(plain).collect();
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
        &self.root
    }

    /// The folder of an artifact, whether it is there or not.
    pub fn entry_dir(&self, kind: ArtifactKind, key: &Key) -> PathBuf {
        self.root.join(kind.dir()).join(key.prefix(KEY_DIGITS))
    }

    /// Finds an artifact. One whose files are missing, or of another size or schema version than this build's manifest
    /// states, is not there. In an object store the manifest decides; its files are downloaded when they are asked for.
    ///
    /// # Errors
    ///
    /// If the store cannot be read, or holds what a newer build wrote.
    pub fn lookup(&self, kind: ArtifactKind, key: &Key) -> Result<Option<Entry>> {
        match self.find(kind, key)? {
            Found::Published(entry) | Found::HereAlone(entry) => Ok(Some(entry)),
            Found::Nowhere => Ok(None),
        }
    }

    fn find(&self, kind: ArtifactKind, key: &Key) -> Result<Found> {
        let here = match entry::inspect(&self.entry_dir(kind, key), kind, key)? {
            Inspection::Complete(entry) => Some(entry),
            Inspection::Absent | Inspection::Incomplete | Inspection::Damaged(_) => None,
            Inspection::Newer(error) => return Err(error),
        };
        let Some(bucket) = &self.bucket else { return Ok(here.map_or(Found::Nowhere, Found::Published)) };
        Ok(match (bucket.manifest(kind, key)?, here) {
            (Some(manifest), here) => Found::Published(self.published(manifest, here)),
            (None, Some(here)) => Found::HereAlone(here),
            (None, None) => Found::Nowhere,
        })
    }

    /// The entry of an object store's manifest: with the files that were made here, if they are those.
    fn published(&self, manifest: Manifest, here: Option<Entry>) -> Entry {
        let same = |entry: &Entry| entry.manifest.digest == manifest.digest;
        if let Some(entry) = here.filter(same) {
            return Entry { dir: entry.dir, manifest, bucket: self.bucket.clone() };
        }
        let name = bucket::content_name(manifest.artifact, &manifest.key, &manifest);
        let dir = self.root.join(DOWNLOADED_DIR).join(name);
        Entry { dir, manifest, bucket: self.bucket.clone() }
    }

    /// Makes an artifact of this machine visible to all who use the object store, if there is one.
    fn share(&self, entry: Entry, purpose: Purpose, ensure_held: &dyn Fn() -> Result<()>) -> Result<Entry> {
        match &self.bucket {
            None => Ok(entry),
            Some(bucket) => Ok(self.published(bucket.publish(&entry, purpose, ensure_held)?, Some(entry))),
        }
    }

    /// All artifacts, by kind and key. Unfinished and damaged ones are left out; see [`Self::verify_all`].
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub fn list(&self) -> Result<Vec<Entry>> {
        if let Some(bucket) = &self.bucket {
            let manifests = bucket.manifests()?.into_iter().filter_map(|(_, manifest)| manifest.ok());
            return Ok(manifests.map(|manifest| self.published(manifest, None)).collect());
        }
        let mut entries = Vec::new();
        for (kind, dir) in self.folders()? {
            if let Inspection::Complete(entry) = entry::inspect_folder(&dir, kind)? {
                entries.push(entry);
            }
        }
        Ok(entries)
    }

    /// Checks every byte of every artifact, by kind and key.
    ///
    /// # Errors
    ///
    /// If the store cannot be read; what is wrong with an artifact is in its [`Verification`].
    pub fn verify_all(&self) -> Result<Vec<Verification>> {
        self.verify_matching("")
    }

    /// Checks every byte of the artifacts whose key begins with the given digits.
    ///
    /// # Errors
    ///
    /// As [`Self::verify_all`].
    pub fn verify_matching(&self, key_digits: &str) -> Result<Vec<Verification>> {
        let digits: String = key_digits.chars().take(KEY_DIGITS).collect();
        if let Some(bucket) = &self.bucket {
            let mut manifests = bucket.manifests()?;
            manifests.retain(|(name, _)| name.rsplit('/').next().is_some_and(|key| key.starts_with(&digits)));
            let verified = manifests.into_iter().map(|(name, manifest)| Verification {
                dir: PathBuf::from(format!("{}/{name}", bucket.url())),
                result: manifest.and_then(|manifest| bucket.verify(&manifest).map(|()| manifest)),
            });
            return Ok(verified.collect());
        }
        let mut folders = self.folders()?;
        folders.retain(|(_, dir)| {
            dir.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&digits))
        });
        folders.into_iter().map(|(kind, dir)| verify_folder(kind, dir)).collect()
    }

    fn work_dir(&self, kind: ArtifactKind, key: &Key) -> PathBuf {
        self.root.join(WORK_DIR).join(format!("{kind}-{}", key.prefix(KEY_DIGITS)))
    }

    /// Every folder in which an artifact lies or should lie.
    fn folders(&self) -> Result<Vec<(ArtifactKind, PathBuf)>> {
        let mut folders = Vec::new();
        for kind in ArtifactKind::ALL {
            folders.extend(children(&self.root.join(kind.dir()))?.into_iter().map(|dir| (kind, dir)));
        }
        Ok(folders)
    }

    /// Takes a folder out of sight in one step; gives its new place, or nothing if it was not there. Garbage collection
    /// takes what is left there.
    pub(crate) fn set_aside(&self, dir: &Path) -> Result<Option<PathBuf>> {
        let work = self.root.join(WORK_DIR);
        fs_err::create_dir_all(&work)?;
        let trash = work.join(format!("{}{}", gc::TRASH_PREFIX, claim::unique()));
        match fs_err::rename(dir, &trash) {
            Ok(()) => Ok(Some(trash)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

fn verify_folder(kind: ArtifactKind, dir: PathBuf) -> Result<Verification> {
    let result = match entry::inspect_folder(&dir, kind)? {
        Inspection::Complete(entry) => entry.verify().map(|()| entry.manifest),
        Inspection::Damaged(error) | Inspection::Newer(error) => Err(error),
        Inspection::Absent | Inspection::Incomplete => {
            Err(StoreError::NoManifest { path: dir.join(MANIFEST_FILE), stage: kind.stage() })
        }
    };
    Ok(Verification { dir, result })
}

/// What lies in a folder, sorted by name; nothing if there is no such folder.
pub(crate) fn children(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs_err::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

/// Waits until the names in a folder are on disk. Only Unix can, and only there is it needed.
pub(crate) fn sync_dir(dir: &Path) -> Result<()> {
    if cfg!(unix) {
        fs_err::File::open(dir)?.sync_all()?;
    }
    Ok(())
}

/// Writes a file so that a reader sees all of it or none: beside its place first, then renamed.
pub(crate) fn write_atomic(path: &Path, text: &str) -> Result<()> {
    use std::io::Write;
    let parent = path.parent().unwrap_or(Path::new("."));
    fs_err::create_dir_all(parent)?;
    let beside = parent.join(format!(".{}.tmp", claim::unique()));
    let mut file = fs_err::File::create(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs_err::rename(&beside, path)?;
    sync_dir(parent)
}
