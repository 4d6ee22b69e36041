//! Fetches the archives of `data/sources.yaml`: mirrors in turn, resuming, verified by SHA-256.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use delt_harness::interrupt::Interrupted;
use delt_harness::progress::{Progress, human_bytes};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use ureq::Agent;
use ureq::http::header::{CONTENT_RANGE, RANGE};

use crate::error::IngestError;

/// The table of sources, part of the binary.
const SOURCES: &str = include_str!("../../../data/sources.yaml");

/// How often a mirror is asked again after it broke off; each time it goes on where it stopped.
const ATTEMPTS: u32 = 4;
/// Seconds until a mirror that does not answer, or stops sending, is given up.
const SILENCE_SECONDS: u64 = 60;
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
    /// What its licence allows, for people.
    pub licence: String,
    /// Name of the file.
    pub file: String,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256, 64 lower-case hex digits.
    pub sha256: String,
    /// Addresses, asked in this order.
    pub mirrors: Vec<String>,
}

/// An archive that could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// The table of sources does not fit.
    #[error("data/sources.yaml: {0}")]
    Table(#[from] serde_yaml::Error),
    /// The table has no such source.
    #[error("data/sources.yaml: has no source `{0}`")]
    Unknown(String),
    /// No mirror gave the archive.
    #[error("{file} could not be downloaded: {}; what has arrived is kept and the next run goes on from there; or fetch the file yourself and give DATA=path", .failures.join("; "))]
    AllMirrors {
        /// Name of the archive.
        file: String,
        /// What happened, mirror by mirror.
        failures: Vec<String>,
    },
    /// A file of the right name, but not the archive.
    #[error("{}: has {found} bytes, expected {expected}; remove it and run again", .path.display())]
    WrongSize {
        /// The file.
        path: PathBuf,
        /// Its size.
        found: u64,
        /// The size of the archive.
        expected: u64,
    },
    /// The partial file cannot be written or read.
    #[error("{}: cannot be written", .path.display())]
    Write {
        /// The partial file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The user asked to stop.
    #[error("interrupted; what has arrived is kept and the same command goes on from there")]
    Interrupted,
}

/// The cause would only say the same in other words.
impl From<Interrupted> for DownloadError {
    fn from(_: Interrupted) -> Self {
        Self::Interrupted
    }
}

/// Why one attempt at one mirror ended.
enum Failure {
    /// Worth another attempt, which goes on where this one ended.
    BrokenOff(String),
    /// This mirror will not do.
    Refused(String),
    /// No mirror would do.
    Fatal(DownloadError),
}

/// Where the archive of a source lies after downloading it, or as it was downloaded before.
///
/// # Errors
/// [`IngestError::NotDownloaded`] where `may_download` is false and it is not there; [`DownloadError`].
pub fn archive(source: &str, folder: &Path, may_download: bool) -> Result<PathBuf, IngestError> {
    let archive = published(source)?;
    if !may_download && !folder.join(&archive.file).is_file() {
        return Err(IngestError::NotDownloaded { file: archive.file });
    }
    Ok(fetch(&archive, folder)?)
}

/// The archive of a source as `data/sources.yaml` describes it.
///
/// # Errors
/// [`DownloadError::Unknown`].
pub fn published(source: &str) -> Result<Archive, DownloadError> {
    let mut table: BTreeMap<String, Archive> = serde_yaml::from_str(SOURCES)?;
    table.remove(source).ok_or_else(|| DownloadError::Unknown(source.to_owned()))
}

/// Fetches an archive into `folder`. Bytes arrive in `<file>.part`, which outlives a broken run and is renamed once its
/// SHA-256 is right: under its own name there is only ever a verified file. A second process that wants the same file waits
/// for the first; where the file system has no locks, each fetches its own.
///
/// # Errors
/// [`DownloadError`]; what has arrived is kept unless it is wrong.
pub fn fetch(archive: &Archive, folder: &Path) -> Result<PathBuf, DownloadError> {
    let target = folder.join(&archive.file);
    if is_there(&target, archive)? {
        return Ok(target);
    }
    fs_err::create_dir_all(folder)
        .map_err(|source| DownloadError::Write { path: folder.to_path_buf(), source })?;
    let (part, part_path) = open_part(folder, archive, File::try_lock)?;
    let write_error = |source| DownloadError::Write { path: part_path.clone(), source };
    if is_there(&target, archive)? {
        return Ok(target);
    }
    eprintln!(
        "ingest: {} from {} ({}): {}",
        archive.file,
        archive.homepage,
        human_bytes(archive.bytes),
        archive.licence
    );
    let agent: Agent = Agent::config_builder()
        .http_status_as_error(false)
        .accept_encoding("identity")
        .timeout_connect(Some(Duration::from_secs(SILENCE_SECONDS)))
        .timeout_per_read(Some(Duration::from_secs(SILENCE_SECONDS)))
        .user_agent(concat!("delt-ingest/", env!("CARGO_PKG_VERSION")))
        .build()
        .into();
    let mut partial = Partial { archive, agent, file: part, path: part_path.clone() };
    let mut failures = Vec::new();
    for mirror in &archive.mirrors {
        match partial.complete_from(mirror) {
            Ok(()) => {
                fs_err::rename(&part_path, &target).map_err(write_error)?;
                return Ok(target);
            }
            Err(Failure::BrokenOff(reason) | Failure::Refused(reason)) => {
                failures.push(format!("{mirror}: {reason}"));
            }
            Err(Failure::Fatal(error)) => return Err(error),
        }
    }
    Err(DownloadError::AllMirrors { file: archive.file.clone(), failures })
}

fn is_there(target: &Path, archive: &Archive) -> Result<bool, DownloadError> {
    let Ok(metadata) = fs_err::metadata(target) else { return Ok(false) };
    let (found, expected) = (metadata.len(), archive.bytes);
    if found == expected {
        return Ok(true);
    }
    Err(DownloadError::WrongSize { path: target.to_path_buf(), found, expected })
}

/// Opens and locks the file that is filled: the one that earlier runs left, or where locks do not work one that no other
/// process has.
fn open_part(
    folder: &Path,
    archive: &Archive,
    try_lock: impl FnOnce(&File) -> Result<(), TryLockError>,
) -> Result<(File, PathBuf), DownloadError> {
    let mut options = OpenOptions::new();
    options.read(true).append(true);
    let shared = folder.join(format!("{}.part", archive.file));
    let write_error = |source| DownloadError::Write { path: shared.clone(), source };
    let part = options.clone().create(true).open(&shared).map_err(write_error)?;
    match try_lock(&part) {
        Ok(()) => return Ok((part, shared)),
        Err(TryLockError::WouldBlock) => {
            eprintln!("ingest: another process is downloading {}; waiting", archive.file);
            part.lock().map_err(write_error)?;
            return Ok((part, shared));
        }
        Err(TryLockError::Error(error)) => {
            eprintln!(
                "ingest: {} cannot be locked ({error}); this process downloads by itself",
                shared.display()
            );
        }
    }
    let mut number = 0;
    loop {
        let own = folder.join(format!("{}.{}-{number}.part", archive.file, std::process::id()));
        match options.clone().create_new(true).open(&own) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            Err(source) => return Err(DownloadError::Write { path: own, source }),
            Ok(part) => return Ok((part, own)),
        }
    }
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

/// The file that is filled, and what should be in it.
struct Partial<'a> {
    archive: &'a Archive,
    agent: Agent,
    file: File,
    path: PathBuf,
}

impl Partial<'_> {
    /// Asks one mirror until the file is whole and right.
    fn complete_from(&mut self, mirror: &str) -> Result<(), Failure> {
        let mut attempt = 1;
        loop {
            let kept = self.len()?;
            match self.receive(mirror, kept).and_then(|()| self.verify()) {
                Ok(()) => return Ok(()),
                // what was kept of an earlier run may be what is wrong: once more from the start
                Err(Failure::Refused(_)) if kept > 0 && self.len()? == 0 && attempt == 1 => {
                    attempt = ATTEMPTS;
                }
                Err(Failure::BrokenOff(_)) if attempt < ATTEMPTS => attempt += 1,
                other => return other,
            }
        }
    }

    /// Fills the file from byte `kept` on.
    fn receive(&mut self, mirror: &str, mut kept: u64) -> Result<(), Failure> {
        if kept == self.archive.bytes {
            return Ok(());
        }
        let mut request = self.agent.get(mirror);
        if kept > 0 {
            request = request.header(RANGE, format!("bytes={kept}-"));
        }
        let mut response = request.call().map_err(|error| Failure::BrokenOff(error.to_string()))?;
        let range =
            response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok()).map(str::to_owned);
        match response.status().as_u16() {
            200 => {
                self.clear()?;
                kept = 0;
            }
            206 if range.as_deref().is_some_and(|range| range.starts_with(&format!("bytes {kept}-"))) => {}
            206 | 416 => {
                self.clear()?;
                return Err(Failure::BrokenOff(format!("does not resume at byte {kept}")));
            }
            status => return Err(Failure::Refused(format!("answered HTTP status {status}"))),
        }
        let progress = Progress::new(&format!("download {}", self.archive.file), self.archive.bytes, "bytes");
        progress.resume_at(kept);
        let mut body = response.body_mut().with_config().limit(u64::MAX).reader();
        let mut block = vec![0; BLOCK];
        loop {
            let read = body.read(&mut block).map_err(|error| Failure::BrokenOff(error.to_string()))?;
            if read == 0 {
                break;
            }
            kept += read as u64;
            if kept > self.archive.bytes {
                self.clear()?;
                return Err(Failure::Refused(format!(
                    "sent more than the expected {} bytes",
                    self.archive.bytes
                )));
            }
            self.file.write_all(&block[..read]).map_err(|error| self.fatal(error))?;
            progress.advance(read as u64).map_err(|interrupted| Failure::Fatal(interrupted.into()))?;
        }
        progress.finish();
        if kept < self.archive.bytes {
            return Err(Failure::BrokenOff(format!("sent {kept} of {} bytes", self.archive.bytes)));
        }
        Ok(())
    }

    /// Compares the SHA-256 of the whole file; a wrong file is emptied.
    fn verify(&mut self) -> Result<(), Failure> {
        self.file
            .sync_all()
            .and_then(|()| self.file.seek(SeekFrom::Start(0)))
            .map_err(|error| self.fatal(error))?;
        let found = sha256(&mut self.file).map_err(|error| self.fatal(error))?;
        if found == self.archive.sha256 {
            return Ok(());
        }
        self.clear()?;
        Err(Failure::Refused(format!("sent a file of SHA-256 {found}, expected {}", self.archive.sha256)))
    }

    fn len(&self) -> Result<u64, Failure> {
        Ok(self.file.metadata().map_err(|error| self.fatal(error))?.len())
    }

    fn clear(&mut self) -> Result<(), Failure> {
        self.file.set_len(0).map_err(|error| self.fatal(error))
    }

    fn fatal(&self, source: io::Error) -> Failure {
        Failure::Fatal(DownloadError::Write { path: self.path.clone(), source })
    }
}

#[cfg(test)]
mod tests {
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
    fn where_locks_do_not_work_each_process_fills_a_file_of_its_own() {
        let dir = tempfile::tempdir().expect("dir");
        let archive = published("cifar10").expect("is there");
        std::fs::write(dir.path().join("cifar-10-binary.tar.gz.part"), b"another's").expect("writes");
        let no_locks = |_: &File| Err(TryLockError::Error(io::Error::from(io::ErrorKind::Unsupported)));
        let (first, first_path) = open_part(dir.path(), &archive, no_locks).expect("opens");
        let (_, second_path) = open_part(dir.path(), &archive, no_locks).expect("opens");
        let name = |number| format!("cifar-10-binary.tar.gz.{}-{number}.part", std::process::id());
        assert_eq!(first_path, dir.path().join(name(0)));
        assert_eq!(second_path, dir.path().join(name(1)));
        assert_eq!(first.metadata().expect("open").len(), 0);
    }

    #[test]
    fn an_interrupt_says_what_is_kept() {
        assert_eq!(
            DownloadError::from(Interrupted).to_string(),
            "interrupted; what has arrived is kept and the same command goes on from there"
        );
        assert_eq!(
            IngestError::from(Interrupted).to_string(),
            "interrupted; only a downloaded archive is kept, the same command reads the source from its start"
        );
    }

    #[test]
    fn a_dry_run_downloads_nothing() {
        let dir = tempfile::tempdir().expect("dir");
        let error = archive("cifar10", dir.path(), false).expect_err("absent");
        assert_eq!(error.to_string(), "cifar-10-binary.tar.gz is not downloaded yet");
        assert!(error.is_missing_source());
    }
}
