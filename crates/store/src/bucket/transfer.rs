//! Files of artifacts on their way to an object store and back.

use std::io::{Read, Write};
use std::path::Path;

use delt_formats::canonical::Digest;
use delt_formats::manifest::Manifest;
use futures_util::StreamExt;
use object_store::{Error as ObjectError, ObjectStoreExt, PutMode, WriteMultipart};

use super::{Bucket, content_name, manifest_name};
use crate::backend::Backend;
use crate::claiming::Claims;
use crate::entry::{Entry, check_digest};
use crate::files::write_atomic;
use crate::{RUN_RECORD, Result, StoreError};

/// Files from this size on are uploaded in parts, of this size at least.
pub(super) const PART_BYTES: u64 = 8 << 20;

/// Parts of one file: S3 allows ten thousand.
const MOST_PARTS: u64 = 9_000;

/// Parts on their way at once.
const PARTS_AT_ONCE: usize = 8;

/// Bytes read from a file at once.
const READ_BYTES: usize = 1 << 20;

/// How often a file is downloaded whose bytes come out wrong.
const DOWNLOADS: u32 = 3;

impl Bucket {
    /// Makes an artifact of this machine visible to all: its files first, its manifest last. Where another machine was
    /// faster and nothing is to be replaced, its manifest is given instead.
    pub(crate) fn publish(&self, entry: &Entry, claims: &Claims) -> Result<Manifest> {
        let (manifest, place) = (&entry.manifest, claims.place());
        for name in manifest.files.keys() {
            self.upload(&entry.dir.join(name), &file_name(manifest, name))?;
        }
        let record = entry.dir.join(RUN_RECORD);
        if record.exists() {
            self.upload(&record, &file_name(manifest, RUN_RECORD))?;
        }
        claims.ensure_held()?;
        let mut mode = if claims.is_anew { PutMode::Overwrite } else { PutMode::Create };
        while !self.put(&manifest_name(&place), manifest.to_json(), mode)? {
            // another machine's, which counts, or one that nobody can believe, which goes
            let (found, version) = self.judge(&place)?;
            if let Some(theirs) = found.artifact()? {
                return Ok(theirs);
            }
            mode = version.map_or(PutMode::Create, PutMode::Update);
        }
        Ok(manifest.clone())
    }

    fn upload(&self, from: &Path, name: &str) -> Result<()> {
        let bytes = fs_err::metadata(from)?.len();
        if bytes < PART_BYTES {
            return self.put(name, fs_err::read(from)?, PutMode::Overwrite).map(drop);
        }
        let mut file = fs_err::File::open(from)?;
        let part = usize::try_from(PART_BYTES.max(bytes.div_ceil(MOST_PARTS))).unwrap_or(usize::MAX);
        self.runtime.block_on(async {
            let failed = |source| self.failed(name, "written", source);
            let upload = self.objects.put_multipart(&self.at(name)).await.map_err(failed)?;
            let mut writer = WriteMultipart::new_with_chunk_size(upload, part);
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

    /// Downloads a file to the folder of its artifact, where nothing but its bytes as the manifest states them ever appears.
    pub(crate) fn download(&self, entry: &Entry, file: &str) -> Result<()> {
        let mut attempt = 1;
        loop {
            let arrived = write_atomic(&entry.dir.join(file), |beside| {
                self.stream(entry, file, |piece| Ok(beside.write_all(piece)?))
            });
            match arrived {
                Err(StoreError::DigestMismatch { .. }) if attempt < DOWNLOADS => attempt += 1,
                arrived => return arrived,
            }
        }
    }

    /// Checks every byte of an artifact without keeping any.
    pub(crate) fn verify(&self, entry: &Entry) -> Result<()> {
        entry.manifest.files.keys().try_for_each(|file| self.stream(entry, file, |_| Ok(())))
    }

    /// Gives the bytes of an artifact's file to `take`, one piece after the other; refuses in the end if they are not those
    /// that the manifest states.
    fn stream(&self, entry: &Entry, file: &str, mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let (name, kind) = (file_name(&entry.manifest, file), entry.manifest.artifact);
        let failed = |source| match source {
            ObjectError::NotFound { .. } => {
                let stage = kind.stage();
                let problem = format!("absent, but its manifest names it; re-run {stage} with FORCE=1");
                StoreError::unfit(self.path(&name), problem)
            }
            source => self.failed(&name, "read", source),
        };
        let mut hasher = blake3::Hasher::new();
        self.runtime.block_on(async {
            let mut pieces = self.objects.get(&self.at(&name)).await.map_err(failed)?.into_stream();
            while let Some(piece) = pieces.next().await {
                let piece = piece.map_err(failed)?;
                hasher.update(&piece);
                take(&piece)?;
            }
            Ok::<(), StoreError>(())
        })?;
        check_digest(&self.path(&name), Digest::of_hasher(&hasher), entry.stated(file)?, kind)
    }

    /// What a run recorded of itself beside an artifact.
    pub(crate) fn run_record(&self, manifest: &Manifest) -> Option<Vec<u8>> {
        self.read(&file_name(manifest, RUN_RECORD)).ok().flatten()
    }
}

fn file_name(manifest: &Manifest, file: &str) -> String {
    format!("{}/{file}", content_name(manifest))
}
