//! A store in an object store, read and written through a folder of this machine.
//!
//! ```text
//! KIND/KEY/manifest.json          as in a folder; written last, and only where there is none
//! KIND/KEY/CONTENT/FILE           its files, below the digest of their content: two makers never write one object
//! work/KIND-KEY.json              the claim on it, replaced only by whoever has seen what is there
//! runs/PIPELINE/BRANCH/NAME.json  a pointer
//! ```
//!
//! Nothing is renamed or listed to find an artifact, and no clocks of two hosts are compared.

use std::fmt;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt};
use object_store::path::Path as ObjectPath;
use object_store::{
    Error as ObjectError, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, UpdateVersion,
    WriteMultipart,
};
use tokio::runtime::Runtime;
use url::Url;

use super::entry::{Identity, identify};
use super::{Entry, KEY_DIGITS, Key, Purpose, RUN_RECORD, Result, StoreError};
use crate::canonical::Digest;
use crate::manifest::{FileEntry, MANIFEST_FILE, Manifest};
use crate::provenance::ArtifactKind;

/// The environment that may configure access: credentials, region, endpoint.
const VARIABLES: [&str; 3] = ["AWS_", "GOOGLE_", "AZURE_"];

/// A request may take a day as long as something comes at least every 30 seconds; the environment may set other times
/// (`AWS_TIMEOUT`). The client's own 30 seconds for a whole request break off downloads of gigabytes.
const PATIENCE: [(&str, &str); 2] = [("timeout", "1 day"), ("read_timeout", "30 seconds")];

/// Files from this size on are uploaded in parts, of this size at least.
const PART_BYTES: u64 = 8 << 20;

/// Parts of one file: S3 allows ten thousand.
const MOST_PARTS: u64 = 9_000;

/// Parts on their way at once.
const PARTS_AT_ONCE: usize = 8;

/// Bytes read from a file at once.
const READ_BYTES: usize = 1 << 20;

/// How often a file is downloaded whose bytes come out wrong.
const DOWNLOADS: u32 = 3;

/// An object with what replaces it only if it is still the same.
pub(super) struct Seen {
    pub(super) bytes: Vec<u8>,
    pub(super) version: UpdateVersion,
}

/// A place in an object store.
pub(super) struct Bucket {
    url: String,
    objects: Arc<dyn ObjectStore>,
    prefix: ObjectPath,
    runtime: Runtime,
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bucket({})", self.url)
    }
}

impl Bucket {
    /// Connects by what the environment says; nothing is asked of the server yet.
    pub(super) fn connect(url: &Url) -> Result<Self> {
        // several versions of the TLS library's cryptography could be compiled in: this one is meant
        let _ = rustls::crypto::ring::default_provider().install_default();
        let variables =
            std::env::vars().filter(|(name, _)| VARIABLES.iter().any(|start| name.starts_with(start)));
        let patience = PATIENCE.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let (objects, prefix) = object_store::parse_url_opts(url, patience.into_iter().chain(variables))
            .map_err(|source| remote(url.as_str().to_owned(), "opened", source))?;
        Self::new(url.as_str().trim_end_matches('/').to_owned(), objects.into(), prefix)
    }

    pub(super) fn new(url: String, objects: Arc<dyn ObjectStore>, prefix: ObjectPath) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("object store")
            .enable_all()
            .build()?;
        Ok(Self { url, objects, prefix, runtime })
    }

    /// The URL, without a final `/`.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    fn at(&self, name: &str) -> ObjectPath {
        name.split('/').filter(|part| !part.is_empty()).fold(self.prefix.clone(), ObjectPath::join)
    }

    fn place(&self, name: &str) -> String {
        format!("{}/{name}", self.url)
    }

    /// An object, if it is there.
    pub(super) fn get(&self, name: &str) -> Result<Option<Seen>> {
        let found = self.runtime.block_on(async {
            let result = self.objects.get(&self.at(name)).await?;
            let version =
                UpdateVersion { e_tag: result.meta.e_tag.clone(), version: result.meta.version.clone() };
            Ok(Seen { bytes: result.bytes().await?.to_vec(), version })
        });
        match found {
            Ok(seen) => Ok(Some(seen)),
            Err(ObjectError::NotFound { .. }) => Ok(None),
            Err(source) => Err(remote(self.place(name), "read", source)),
        }
    }

    /// Writes a small object; false where `mode` forbids it because of what is there, or is there no more.
    pub(super) fn put(&self, name: &str, bytes: Vec<u8>, mode: PutMode) -> Result<bool> {
        let (is_update, is_free) = (matches!(mode, PutMode::Update(_)), matches!(mode, PutMode::Overwrite));
        let options = PutOptions { mode, ..PutOptions::default() };
        let at = self.at(name);
        match self.runtime.block_on(self.objects.put_opts(&at, PutPayload::from(bytes), options)) {
            Ok(_) => Ok(true),
            Err(ObjectError::AlreadyExists { .. } | ObjectError::Precondition { .. }) if !is_free => {
                Ok(false)
            }
            // without an update, what is not there is the bucket
            Err(ObjectError::NotFound { .. }) if is_update => Ok(false),
            Err(source) => Err(remote(self.place(name), "written", source)),
        }
    }

    /// Removes an object; one that is gone is no error.
    pub(super) fn delete(&self, name: &str) -> Result<()> {
        match self.runtime.block_on(self.objects.delete(&self.at(name))) {
            Ok(()) | Err(ObjectError::NotFound { .. }) => Ok(()),
            Err(source) => Err(remote(self.place(name), "deleted", source)),
        }
    }

    /// Names and sizes of all objects below a name, sorted.
    pub(super) fn list(&self, below: &str) -> Result<Vec<(String, u64)>> {
        let listed = self.objects.list(Some(&self.at(below)));
        let mut found: Vec<(String, u64)> = self
            .runtime
            .block_on(listed.try_collect::<Vec<_>>())
            .map_err(|source| remote(self.place(below), "listed", source))?
            .into_iter()
            .filter_map(|meta| {
                let parts: Vec<String> =
                    meta.location.prefix_match(&self.prefix)?.map(|part| part.as_ref().to_owned()).collect();
                Some((parts.join("/"), meta.size))
            })
            .collect();
        found.sort();
        Ok(found)
    }

    /// The manifest of an artifact. One that cannot be believed counts as absent.
    pub(super) fn manifest(&self, kind: ArtifactKind, key: &Key) -> Result<Option<Manifest>> {
        let name = manifest_name(kind, key);
        let Some(seen) = self.get(&name)? else { return Ok(None) };
        self.judge(&name, &seen.bytes, kind, |manifest| manifest.key == *key)
    }

    fn judge(
        &self,
        name: &str,
        bytes: &[u8],
        kind: ArtifactKind,
        is_place: impl Fn(&Manifest) -> bool,
    ) -> Result<Option<Manifest>> {
        let path = PathBuf::from(self.place(name));
        match identify(&path, Manifest::parse(&path, bytes), kind, is_place, || name.to_owned()) {
            Identity::Known(manifest) => Ok(Some(*manifest)),
            Identity::Damaged(_) => Ok(None),
            Identity::Newer(error) => Err(error),
        }
    }

    /// Every artifact with its name (`KIND/KEY`), and what is wrong with those that cannot be believed.
    pub(super) fn manifests(&self) -> Result<Vec<(String, Result<Manifest>)>> {
        let mut found = Vec::new();
        for kind in ArtifactKind::ALL {
            for (name, _) in self.list(kind.dir())? {
                let Some(artifact) = name.strip_suffix(MANIFEST_FILE).and_then(|rest| rest.strip_suffix('/'))
                else {
                    continue;
                };
                let Some(seen) = self.get(&name)? else { continue };
                let digits = artifact.rsplit('/').next().unwrap_or_default();
                let path = PathBuf::from(self.place(&name));
                let is_place = |manifest: &Manifest| manifest.key.prefix(KEY_DIGITS) == digits;
                let judged = identify(&path, Manifest::parse(&path, &seen.bytes), kind, is_place, || {
                    artifact.to_owned()
                });
                let judged = match judged {
                    Identity::Known(manifest) => Ok(*manifest),
                    Identity::Damaged(error) | Identity::Newer(error) => Err(error),
                };
                found.push((artifact.to_owned(), judged));
            }
        }
        Ok(found)
    }

    /// Makes an artifact of this machine visible to all: its files first, its manifest last. Where another machine was
    /// faster and nothing is to be replaced, its manifest is given instead.
    pub(super) fn publish(
        &self,
        entry: &Entry,
        purpose: Purpose,
        ensure_held: &dyn Fn() -> Result<()>,
    ) -> Result<Manifest> {
        let manifest = &entry.manifest;
        let (kind, key) = (manifest.artifact, &manifest.key);
        for (name, stated) in &manifest.files {
            self.upload(&entry.dir.join(name), &file_name(kind, key, manifest, name), stated.bytes)?;
        }
        let record = entry.dir.join(RUN_RECORD);
        if let Ok(metadata) = fs_err::metadata(&record) {
            self.upload(&record, &file_name(kind, key, manifest, RUN_RECORD), metadata.len())?;
        }
        ensure_held()?;
        let (name, text) = (manifest_name(kind, key), manifest.to_json());
        if purpose == Purpose::Replace {
            self.put(&name, text.into_bytes(), PutMode::Overwrite)?;
            return Ok(manifest.clone());
        }
        let mut mode = PutMode::Create;
        loop {
            if self.put(&name, text.clone().into_bytes(), mode)? {
                return Ok(manifest.clone());
            }
            // another machine's, which counts, or one that nobody can believe, which goes
            mode = match self.get(&name)? {
                None => PutMode::Create,
                Some(seen) => match self.judge(&name, &seen.bytes, kind, |manifest| manifest.key == *key)? {
                    Some(theirs) => return Ok(theirs),
                    None => PutMode::Update(seen.version),
                },
            };
        }
    }

    fn upload(&self, from: &Path, name: &str, bytes: u64) -> Result<()> {
        let mut file = fs_err::File::open(from)?;
        if bytes < PART_BYTES {
            let mut content = Vec::new();
            file.read_to_end(&mut content)?;
            self.put(name, content, PutMode::Overwrite)?;
            return Ok(());
        }
        let part = PART_BYTES.max(bytes.div_ceil(MOST_PARTS));
        self.runtime.block_on(async {
            let failed = |source| remote(self.place(name), "written", source);
            let upload = self.objects.put_multipart(&self.at(name)).await.map_err(failed)?;
            let mut writer =
                WriteMultipart::new_with_chunk_size(upload, usize::try_from(part).unwrap_or(usize::MAX));
            let mut buffer = vec![0; READ_BYTES];
            let mut read_on = async || -> Result<()> {
                loop {
                    let read = file.read(&mut buffer)?;
                    if read == 0 {
                        return Ok(());
                    }
                    writer.wait_for_capacity(PARTS_AT_ONCE).await.map_err(failed)?;
                    writer.write(&buffer[..read]);
                }
            };
            if let Err(error) = read_on().await {
                // parts of an upload that nobody completes are paid for until the bucket's rules remove them
                let _ = writer.abort().await;
                return Err(error);
            }
            writer.finish().await.map(drop).map_err(failed)
        })
    }

    /// Downloads a file of an artifact to `to`, where nothing but its bytes as the manifest states them ever appears.
    pub(super) fn download(
        &self,
        manifest: &Manifest,
        file: &str,
        stated: &FileEntry,
        to: &Path,
    ) -> Result<()> {
        let name = file_name(manifest.artifact, &manifest.key, manifest, file);
        let parent = to.parent().unwrap_or(Path::new("."));
        fs_err::create_dir_all(parent)?;
        let mut attempt = 1;
        loop {
            let beside = parent.join(format!(".{}.tmp", super::claim::unique()));
            let mut file = fs_err::File::create(&beside)?;
            let arrived = self.stream(manifest, &name, |piece| Ok(file.write_all(piece)?));
            let found = arrived.and_then(|digest| Ok(file.sync_all().map(|()| digest)?));
            match found {
                Ok(found) if found == stated.blake3 => return Ok(fs_err::rename(&beside, to)?),
                Ok(_) if attempt < DOWNLOADS => attempt += 1,
                Ok(found) => {
                    let _ = fs_err::remove_file(&beside);
                    let (path, expected) = (PathBuf::from(self.place(&name)), stated.blake3.clone());
                    let stage = manifest.artifact.stage();
                    return Err(StoreError::DigestMismatch { path, found, expected, stage });
                }
                Err(error) => {
                    let _ = fs_err::remove_file(&beside);
                    return Err(error);
                }
            }
            let _ = fs_err::remove_file(&beside);
        }
    }

    /// Checks every byte of an artifact without keeping any.
    pub(super) fn verify(&self, manifest: &Manifest) -> Result<()> {
        for (file, stated) in &manifest.files {
            let name = file_name(manifest.artifact, &manifest.key, manifest, file);
            let found = self.stream(manifest, &name, |_| Ok(()))?;
            if found != stated.blake3 {
                let (path, expected) = (PathBuf::from(self.place(&name)), stated.blake3.clone());
                return Err(StoreError::DigestMismatch {
                    path,
                    found,
                    expected,
                    stage: manifest.artifact.stage(),
                });
            }
        }
        Ok(())
    }

    /// Gives the bytes of an artifact's object to `take`, one piece after the other, and returns their digest.
    fn stream(
        &self,
        manifest: &Manifest,
        name: &str,
        mut take: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<Digest> {
        self.runtime.block_on(async {
            let failed = |source| match source {
                ObjectError::NotFound { .. } => {
                    StoreError::ObjectAbsent { place: self.place(name), stage: manifest.artifact.stage() }
                }
                source => remote(self.place(name), "read", source),
            };
            let mut pieces = self.objects.get(&self.at(name)).await.map_err(failed)?.into_stream();
            let mut hasher = blake3::Hasher::new();
            while let Some(piece) = pieces.next().await {
                let piece = piece.map_err(failed)?;
                hasher.update(&piece);
                take(&piece)?;
            }
            Ok(Digest::of_hasher(&hasher))
        })
    }

    /// What a run recorded of itself beside an artifact.
    pub(super) fn run_record(&self, manifest: &Manifest) -> Option<Vec<u8>> {
        let name = file_name(manifest.artifact, &manifest.key, manifest, RUN_RECORD);
        self.get(&name).ok().flatten().map(|seen| seen.bytes)
    }
}

/// The name of an artifact below the store's place.
pub(super) fn artifact_name(kind: ArtifactKind, key: &Key) -> String {
    format!("{kind}/{}", key.prefix(KEY_DIGITS))
}

pub(super) fn manifest_name(kind: ArtifactKind, key: &Key) -> String {
    format!("{}/{MANIFEST_FILE}", artifact_name(kind, key))
}

/// The name of the folder of an artifact's files.
pub(super) fn content_name(kind: ArtifactKind, key: &Key, manifest: &Manifest) -> String {
    format!("{}/{}", artifact_name(kind, key), manifest.digest.prefix(KEY_DIGITS))
}

fn file_name(kind: ArtifactKind, key: &Key, manifest: &Manifest, file: &str) -> String {
    format!("{}/{file}", content_name(kind, key, manifest))
}

fn remote(place: String, tried: &'static str, source: ObjectError) -> StoreError {
    StoreError::Remote { place, tried, cause: Box::new(source) }
}

#[cfg(test)]
mod tests;
