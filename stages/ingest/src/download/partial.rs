//! The file that a download fills, from one mirror after the other.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use delt_harness::progress::Progress;
use ureq::Agent;
use ureq::http::header::{CONTENT_LENGTH, CONTENT_RANGE, RANGE};

use super::{Archive, BLOCK};
use crate::error::{IngestError, Result};

/// How often a mirror is asked again after it broke off; each time it goes on where it stopped.
const ATTEMPTS: u32 = 4;
/// Seconds until a mirror that does not answer, or stops sending, is given up.
const SILENCE_SECONDS: u64 = 60;

/// Why one attempt at one mirror ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// Worth another attempt, which goes on where this one ended.
    #[error("{0}")]
    BrokenOff(String),
    /// This mirror will not do.
    #[error("{0}")]
    Refused(String),
    /// No mirror would do.
    #[error(transparent)]
    Fatal(#[from] IngestError),
}

/// The file that is filled, and what should be in it.
pub(super) struct PartialFile<'a> {
    archive: &'a Archive,
    agent: Agent,
    file: File,
    /// Where it lies.
    pub(super) path: PathBuf,
}

impl<'a> PartialFile<'a> {
    /// Opens and locks the file that earlier runs left, or begins it.
    pub(super) fn open(folder: &Path, archive: &'a Archive) -> Result<Self> {
        let (file, path) = open_part(folder, archive, File::try_lock)?;
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .accept_encoding("identity")
            .timeout_connect(Some(Duration::from_secs(SILENCE_SECONDS)))
            .timeout_per_read(Some(Duration::from_secs(SILENCE_SECONDS)))
            .user_agent(concat!("delt-ingest/", env!("CARGO_PKG_VERSION")))
            .build()
            .into();
        Ok(Self { archive, agent, file, path })
    }

    /// Asks one mirror until the file is whole and right.
    pub(super) fn complete_from(&mut self, mirror: &str) -> Result<(), Failure> {
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
        let mut expected = self.archive.bytes;
        if expected == Some(kept) {
            return Ok(());
        }
        let mut request = self.agent.get(mirror);
        if kept > 0 {
            request = request.header(RANGE, format!("bytes={kept}-"));
        }
        let mut response = request.call().map_err(|error| Failure::BrokenOff(error.to_string()))?;
        let range = response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
        let is_resumed = range.is_some_and(|range| range.starts_with(&format!("bytes {kept}-")));
        match response.status().as_u16() {
            200 => {
                self.clear()?;
                kept = 0;
            }
            206 if is_resumed => {}
            206 | 416 => {
                self.clear()?;
                return Err(Failure::BrokenOff(format!("does not resume at byte {kept}")));
            }
            status => return Err(Failure::Refused(format!("answered HTTP status {status}"))),
        }
        let length =
            response.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        expected = expected.or(length.map(|rest: u64| kept + rest));
        let total = expected.unwrap_or_default();
        let progress = Progress::new(&format!("download {}", self.archive.file), total, "bytes");
        progress.resume_at(kept);
        let mut body = response.body_mut().with_config().limit(u64::MAX).reader();
        let mut block = vec![0; BLOCK];
        loop {
            let read = body.read(&mut block).map_err(|error| Failure::BrokenOff(error.to_string()))?;
            if read == 0 {
                break;
            }
            kept += read as u64;
            if let Some(expected) = expected.filter(|expected| kept > *expected) {
                self.clear()?;
                return Err(Failure::Refused(format!("sent more than the expected {expected} bytes")));
            }
            self.file.write_all(&block[..read]).map_err(IngestError::writing(&self.path))?;
            progress.advance(read as u64).map_err(|_| IngestError::DownloadInterrupted)?;
        }
        progress.finish();
        if let Some(expected) = expected.filter(|expected| kept < *expected) {
            return Err(Failure::BrokenOff(format!("sent {kept} of {expected} bytes")));
        }
        Ok(())
    }

    /// Compares the checksum of the whole file; a wrong file is emptied.
    fn verify(&mut self) -> Result<(), Failure> {
        let written = self.file.sync_all().and_then(|()| self.file.rewind());
        let compared = written.and_then(|()| self.archive.sum.compare(&mut self.file));
        let (name, found, expected) = compared.map_err(IngestError::writing(&self.path))?;
        if found == *expected {
            return Ok(());
        }
        self.clear()?;
        Err(Failure::Refused(format!("sent a file of {name} {found}, expected {expected}")))
    }

    fn len(&self) -> Result<u64> {
        Ok(self.file.metadata().map_err(IngestError::writing(&self.path))?.len())
    }

    fn clear(&mut self) -> Result<()> {
        self.file.set_len(0).map_err(IngestError::writing(&self.path))
    }
}

/// Opens and locks the file that is filled: the one that earlier runs left, or where locks do not work one that no other
/// process has.
fn open_part(
    folder: &Path,
    archive: &Archive,
    try_lock: impl FnOnce(&File) -> Result<(), TryLockError>,
) -> Result<(File, PathBuf)> {
    let options = File::options().read(true).append(true).clone();
    let shared = folder.join(format!("{}.part", archive.file));
    let part = options.clone().create(true).open(&shared).map_err(IngestError::writing(&shared))?;
    match try_lock(&part) {
        Ok(()) => return Ok((part, shared)),
        Err(TryLockError::WouldBlock) => {
            eprintln!("ingest: another process is downloading {}; waiting", archive.file);
            part.lock().map_err(IngestError::writing(&shared))?;
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
            opened => return Ok((opened.map_err(IngestError::writing(&own))?, own)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::download::published;

    #[test]
    fn where_locks_do_not_work_each_process_fills_a_file_of_its_own() {
        let dir = tempfile::tempdir().expect("dir");
        let archive = published("cifar10", "cifar-10-binary.tar.gz").expect("is there");
        std::fs::write(dir.path().join("cifar-10-binary.tar.gz.part"), b"another's").expect("writes");
        let no_locks = |_: &File| Err(TryLockError::Error(io::Error::from(io::ErrorKind::Unsupported)));
        let (first, first_path) = open_part(dir.path(), &archive, no_locks).expect("opens");
        let (_, second_path) = open_part(dir.path(), &archive, no_locks).expect("opens");
        let name = |number| format!("cifar-10-binary.tar.gz.{}-{number}.part", std::process::id());
        assert_eq!(first_path, dir.path().join(name(0)));
        assert_eq!(second_path, dir.path().join(name(1)));
        assert_eq!(first.metadata().expect("open").len(), 0);
    }
}
