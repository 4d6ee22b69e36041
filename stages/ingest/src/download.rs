//! Fetches the archives of `data/sources.yaml`: mirrors in turn, resuming, verified by SHA-256.

mod partial;

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use delt_pipeline::amounts::human_bytes;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::error::{IngestError, Result};
use partial::{Failure, PartialFile};

/// The table of sources, part of the binary.
const SOURCES: &str = include_str!("../../../data/sources.yaml");

/// Names the table in errors.
const TABLE: &str = "data/sources.yaml";

/// Bytes read at once.
const BLOCK: usize = 256 * 1024;

/// One archive of `data/sources.yaml`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Archive {
    /// What it holds, for people.
    pub title: String,
    /// Who publishes it and where it is described.
    pub homepage: String,
    /// What its license allows, for people.
    pub license: String,
    /// Name of the file.
    pub file: String,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256, 64 lower-case hex digits.
    pub sha256: String,
    /// Addresses, asked in this order.
    pub mirrors: Vec<String>,
}

/// The folder where downloaded archives stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Downloads {
    /// Where it is.
    pub folder: PathBuf,
    /// Whether what is not there may be fetched.
    pub is_allowed: bool,
}

impl Downloads {
    /// Where the archive of a source lies after downloading it, or as it was downloaded before.
    ///
    /// # Errors
    /// [`IngestError::NotDownloaded`] where it is not there and may not be fetched; as [`fetch`].
    pub fn archive(&self, source: &str) -> Result<PathBuf> {
        let archive = published(source)?;
        if !self.is_allowed && !self.folder.join(&archive.file).is_file() {
            return Err(IngestError::NotDownloaded(archive.file));
        }
        fetch(&archive, &self.folder)
    }
}

/// The archive of a source as `data/sources.yaml` describes it.
///
/// # Errors
/// A source that the table lacks.
pub fn published(source: &str) -> Result<Archive> {
    let of_table = |problem: String| IngestError::layout(Path::new(TABLE), problem);
    let mut table: BTreeMap<String, Archive> =
        serde_yaml::from_str(SOURCES).map_err(|error| of_table(error.to_string()))?;
    table.remove(source).ok_or_else(|| of_table(format!("has no source `{source}`")))
}

/// Fetches an archive into `folder`. Bytes arrive in `<file>.part`, which outlives a broken run and is renamed once its
/// SHA-256 is right: under its own name there is only ever a verified file. A second process that wants the same file waits
/// for the first; where the file system has no locks, each fetches its own.
///
/// # Errors
/// No mirror gives it, it cannot be written, or the user asked to stop; what has arrived is kept unless it is wrong.
pub fn fetch(archive: &Archive, folder: &Path) -> Result<PathBuf> {
    let target = folder.join(&archive.file);
    if is_there(&target, archive)? {
        return Ok(target);
    }
    fs_err::create_dir_all(folder).map_err(IngestError::writing(folder))?;
    let mut partial = PartialFile::open(folder, archive)?;
    if is_there(&target, archive)? {
        return Ok(target);
    }
    let Archive { file, homepage, license, .. } = archive;
    eprintln!("ingest: {file} from {homepage} ({}): {license}", human_bytes(archive.bytes));
    let mut failures = Vec::new();
    for mirror in &archive.mirrors {
        match partial.complete_from(mirror) {
            Ok(()) => {
                fs_err::rename(&partial.path, &target).map_err(IngestError::writing(&partial.path))?;
                return Ok(target);
            }
            Err(Failure::Fatal(error)) => return Err(error),
            Err(failure) => failures.push(format!("{mirror}: {failure}")),
        }
    }
    Err(IngestError::AllMirrors { file: file.clone(), failures })
}

fn is_there(target: &Path, archive: &Archive) -> Result<bool> {
    let Ok(metadata) = fs_err::metadata(target) else { return Ok(false) };
    let (found, expected) = (metadata.len(), archive.bytes);
    if found == expected {
        return Ok(true);
    }
    Err(IngestError::layout(
        target,
        format!("has {found} bytes, expected {expected}; remove it and run again"),
    ))
}

/// The SHA-256 of what is left to read, 64 lower-case hex digits.
pub(crate) fn sha256(input: &mut impl Read) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut block = vec![0; BLOCK];
    loop {
        let read = input.read(&mut block)?;
        if read == 0 {
            return Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect());
        }
        hasher.update(&block[..read]);
    }
}

#[cfg(test)]
mod tests {
    use delt_pipeline::watch::Interrupted;

    use super::*;

    #[test]
    fn the_table_of_sources_is_complete() {
        let table: BTreeMap<String, Archive> = serde_yaml::from_str(SOURCES).expect("parses");
        assert_eq!(table.keys().collect::<Vec<_>>(), ["cifar10", "cifar100"]);
        for archive in table.values() {
            assert!(archive.bytes > 0 && !archive.mirrors.is_empty(), "{}", archive.file);
            assert!(archive.sha256.len() == 64 && archive.sha256.bytes().all(|b| b.is_ascii_hexdigit()));
            assert!(archive.mirrors.iter().all(|mirror| mirror.ends_with(&archive.file)));
        }
    }

    #[test]
    fn a_source_that_the_table_lacks_is_named() {
        let error = published("svhn").expect_err("absent");
        assert_eq!(error.to_string(), "data/sources.yaml: has no source `svhn`");
    }

    #[test]
    fn an_interrupt_says_what_is_kept() {
        assert_eq!(
            IngestError::DownloadInterrupted.to_string(),
            "interrupted; what has arrived is kept and the same command resumes from there"
        );
        assert_eq!(
            IngestError::from(Interrupted).to_string(),
            "interrupted; only a downloaded archive is kept, the same command reads the source from its start"
        );
    }

    #[test]
    fn a_dry_run_downloads_nothing() {
        let dir = tempfile::tempdir().expect("dir");
        let downloads = Downloads { folder: dir.path().to_path_buf(), is_allowed: false };
        let error = downloads.archive("cifar10").expect_err("absent");
        assert_eq!(error.to_string(), "cifar-10-binary.tar.gz is not downloaded yet");
        assert!(error.is_missing_source());
    }
}
