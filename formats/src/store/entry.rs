//! A published artifact, and the judgement of whether a folder is one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::bucket::Bucket;
use super::{KEY_DIGITS, Key, PENDING_MANIFEST, RUN_RECORD, Result, StoreError, sync_dir};
use crate::canonical::Digest;
use crate::error::FormatError;
use crate::manifest::{FileEntry, MANIFEST_FILE, Manifest};
use crate::provenance::ArtifactKind;

/// A published artifact.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its folder on this machine.
    pub dir: PathBuf,
    /// What it holds.
    pub manifest: Manifest,
    /// Where its files are downloaded from, each when it is first asked for.
    pub(super) bucket: Option<Arc<Bucket>>,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (&self.dir, &self.manifest) == (&other.dir, &other.manifest)
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
            bucket.download(&self.manifest, name, stated, &path)?;
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
            (Err(StoreError::DigestMismatch { .. }), Some(bucket)) => {
                bucket.download(&self.manifest, name, stated, &path)?;
            }
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
            return bucket.verify(&self.manifest);
        }
        self.verify_stated()?;
        let is_known = |name: &str| {
            name == MANIFEST_FILE || name == RUN_RECORD || self.manifest.files.contains_key(name)
        };
        let mut found = Vec::new();
        for path in super::children(&self.dir)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if !is_known(&name) {
                found.push(name);
            }
        }
        if found.is_empty() {
            return Ok(());
        }
        Err(StoreError::Unlisted { dir: self.dir.clone(), found })
    }

    /// Checks every byte of every file that the manifest names.
    pub(super) fn verify_stated(&self) -> Result<()> {
        let mut files = self.manifest.files.iter();
        files.try_for_each(|(name, stated)| verify_file(&self.dir.join(name), stated, self.manifest.artifact))
    }

    fn stated(&self, name: &str) -> Result<&FileEntry> {
        self.manifest.files.get(name).ok_or_else(|| StoreError::NoSuchFile {
            dir: self.dir.clone(),
            name: name.to_owned(),
            found: self.manifest.files.keys().cloned().collect(),
            stage: self.manifest.artifact.stage(),
        })
    }
}

/// What a folder turns out to be.
pub(super) enum Inspection {
    /// An artifact.
    Complete(Entry),
    /// Nothing is there.
    Absent,
    /// A folder without a manifest.
    Incomplete,
    /// A manifest whose files, place or version are wrong.
    Damaged(StoreError),
    /// A newer build's artifact, which this one must leave alone.
    Newer(StoreError),
}

/// Judges the folder of a key by its manifest and the sizes of its files.
pub(super) fn inspect(dir: &Path, kind: ArtifactKind, key: &Key) -> Result<Inspection> {
    inspect_as(dir, kind, MANIFEST_FILE, |manifest| manifest.key == *key, || format!("{kind} {key}"))
}

/// Judges a folder of which only the name is known.
pub(super) fn inspect_folder(dir: &Path, kind: ArtifactKind) -> Result<Inspection> {
    let name = dir.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let is_place = |manifest: &Manifest| manifest.key.prefix(KEY_DIGITS) == name;
    inspect_as(dir, kind, MANIFEST_FILE, is_place, || format!("{kind} {name}"))
}

fn inspect_as(
    dir: &Path,
    kind: ArtifactKind,
    manifest_file: &str,
    is_place: impl Fn(&Manifest) -> bool,
    place: impl Fn() -> String,
) -> Result<Inspection> {
    let path = dir.join(manifest_file);
    let read = Manifest::read(&path);
    if let Err(FormatError::Io(error)) = &read
        && error.kind() == std::io::ErrorKind::NotFound
    {
        return Ok(if dir.exists() { Inspection::Incomplete } else { Inspection::Absent });
    }
    let manifest = match identify(&path, read, kind, is_place, place) {
        Identity::Known(manifest) => *manifest,
        Identity::Damaged(StoreError::Format(FormatError::Io(error))) => return Err(error.into()),
        Identity::Damaged(error) => return Ok(Inspection::Damaged(error)),
        Identity::Newer(error) => return Ok(Inspection::Newer(error)),
    };
    let stage = kind.stage();
    for (name, stated) in &manifest.files {
        let path = dir.join(name);
        match fs_err::metadata(&path) {
            Ok(metadata) if metadata.len() == stated.bytes => {}
            Ok(metadata) => {
                let (found, expected) = (metadata.len(), stated.bytes);
                return Ok(Inspection::Damaged(StoreError::SizeMismatch { path, found, expected, stage }));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Inspection::Damaged(StoreError::FileAbsent { path, stage }));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Inspection::Complete(Entry::here(dir.to_owned(), manifest)))
}

/// What a manifest turns out to be, before its files are looked at.
pub(super) enum Identity {
    /// That of the artifact whose place it lies in.
    Known(Box<Manifest>),
    /// Unreadable, of another artifact, or of an older schema version.
    Damaged(StoreError),
    /// A newer build's.
    Newer(StoreError),
}

/// Judges a manifest that was read from `path`, the place of an artifact of `kind`.
pub(super) fn identify(
    path: &Path,
    read: Result<Manifest, FormatError>,
    kind: ArtifactKind,
    is_place: impl Fn(&Manifest) -> bool,
    place: impl Fn() -> String,
) -> Identity {
    let path = path.to_owned();
    let manifest = match read {
        Ok(manifest) => manifest,
        Err(error @ FormatError::NewerManifest { .. }) => return Identity::Newer(error.into()),
        Err(error) => return Identity::Damaged(error.into()),
    };
    if manifest.artifact != kind || !is_place(&manifest) {
        let (found, stage) = (format!("{} {}", manifest.artifact, manifest.key), kind.stage());
        return Identity::Damaged(StoreError::WrongPlace { path, found, expected: place(), stage });
    }
    let (found, expected) = (manifest.provenance.schema_version, kind.schema_version());
    if found != expected {
        let judgement = if found > expected { Identity::Newer } else { Identity::Damaged };
        return judgement(FormatError::WrongVersion { path, kind, found, expected }.into());
    }
    // The content digest covers what was made, the key what it was made by and from.
    let found = manifest.provenance.key();
    if found != manifest.key {
        let (expected, stage) = (manifest.key, kind.stage());
        return Identity::Damaged(StoreError::OtherOrigin { path, found, expected, stage });
    }
    Identity::Known(Box::new(manifest))
}

/// As [`inspect`], but ends a publication that was cut off after the folder was renamed and before its manifest was: if
/// every byte is there, only the manifest's name is missing.
pub(super) fn settle(dir: &Path, kind: ArtifactKind, key: &Key) -> Result<Inspection> {
    let inspection = inspect(dir, kind, key)?;
    if !matches!(inspection, Inspection::Incomplete) {
        return Ok(inspection);
    }
    match inspect_pending(dir, kind, key)? {
        Inspection::Complete(entry) => {
            name_manifest(dir)?;
            Ok(Inspection::Complete(entry))
        }
        Inspection::Damaged(_) => Ok(Inspection::Incomplete),
        other => Ok(other),
    }
}

/// Judges a folder that was to be published: complete if its manifest lacks nothing but its name, and every byte is there.
pub(super) fn inspect_pending(dir: &Path, kind: ArtifactKind, key: &Key) -> Result<Inspection> {
    let place = || format!("{kind} {key}");
    match inspect_as(dir, kind, PENDING_MANIFEST, |manifest| manifest.key == *key, place)? {
        Inspection::Complete(entry) => {
            Ok(entry.verify_stated().map_or_else(Inspection::Damaged, |()| Inspection::Complete(entry)))
        }
        other => Ok(other),
    }
}

/// The last step of a publication. Somebody who settles the same folder may have taken it already.
pub(super) fn name_manifest(dir: &Path) -> Result<()> {
    let manifest = dir.join(MANIFEST_FILE);
    match fs_err::rename(dir.join(PENDING_MANIFEST), &manifest) {
        Err(error) if !manifest.exists() => Err(error.into()),
        _ => sync_dir(dir),
    }
}

/// The files of a folder to publish, with sizes and digests; each is on disk when this returns.
pub(super) fn files_of(dir: &Path) -> Result<std::collections::BTreeMap<String, FileEntry>> {
    let mut files = std::collections::BTreeMap::new();
    for path in super::children(dir)? {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        let is_reserved = name.is_empty() || name == MANIFEST_FILE || name == PENDING_MANIFEST;
        if is_reserved || !fs_err::symlink_metadata(&path)?.is_file() {
            return Err(StoreError::NotAPlainFile { path });
        }
        fs_err::File::open(&path)?.sync_all()?;
        if name != RUN_RECORD {
            let bytes = fs_err::metadata(&path)?.len();
            files.insert(name, FileEntry { bytes, blake3: Digest::of_file(&path)? });
        }
    }
    if files.is_empty() {
        return Err(StoreError::NothingToPublish { dir: dir.to_owned() });
    }
    Ok(files)
}

fn verify_file(path: &Path, stated: &FileEntry, kind: ArtifactKind) -> Result<()> {
    let stage = kind.stage();
    let found = fs_err::metadata(path)?.len();
    if found != stated.bytes {
        let expected = stated.bytes;
        return Err(StoreError::SizeMismatch { path: path.to_owned(), found, expected, stage });
    }
    let found = Digest::of_file(path)?;
    if found == stated.blake3 {
        return Ok(());
    }
    Err(StoreError::DigestMismatch { path: path.to_owned(), found, expected: stated.blake3.clone(), stage })
}
