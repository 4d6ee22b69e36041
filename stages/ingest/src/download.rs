//! Fetches the archives of `data/sources.yaml`: mirrors in turn, resuming, verified by SHA-256.

mod partial;

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use delt_pipeline::amounts::human_bytes;
use md5::Md5;
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

/// A data set of `data/sources.yaml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Published {
    #[serde(rename = "title")]
    _title: String,
    homepage: String,
    license: String,
    /// Addresses of folders; none where a login is asked for.
    #[serde(default)]
    mirrors: Vec<String>,
    files: Vec<PublishedFile>,
}

/// One of its files.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PublishedFile {
    name: String,
    #[serde(default)]
    bytes: Option<u64>,
    #[serde(default)]
    sha256: Option<String>,
    #[serde(default)]
    md5: Option<String>,
}

/// A file to download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// Who publishes it and where it is described.
    pub homepage: String,
    /// What its license allows, for people.
    pub license: String,
    /// Name of the file.
    pub file: String,
    /// Its size, where that is published.
    pub bytes: Option<u64>,
    /// Its checksum.
    pub sum: Sum,
    /// Addresses, asked in this order.
    pub mirrors: Vec<String>,
}

/// A checksum in lower-case hex digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sum {
    /// SHA-256.
    Sha256(String),
    /// MD5, where nothing better is published.
    Md5(String),
}

impl Sum {
    /// Name and digits of the sum of what is left to read, and the digits that were expected.
    fn compare(&self, input: &mut impl Read) -> io::Result<(&'static str, String, &String)> {
        Ok(match self {
            Self::Sha256(expected) => ("SHA-256", hex::<Sha256>(input)?, expected),
            Self::Md5(expected) => ("MD5", hex::<Md5>(input)?, expected),
        })
    }
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
    /// Where a file of a source lies after downloading it, or as it was downloaded before: in a folder of the source where it has
    /// several.
    ///
    /// # Errors
    /// [`IngestError::NotDownloaded`] where it is not there and may not be fetched; as [`published`] and [`fetch`].
    pub fn file(&self, source: &str, name: &str) -> Result<PathBuf> {
        let all = all_of(source)?;
        let folder = if all.len() > 1 { self.folder.join(source) } else { self.folder.clone() };
        let archive = published(source, name)?;
        if !self.is_allowed && !folder.join(name).is_file() {
            return Err(IngestError::NotDownloaded(archive.file));
        }
        fetch(&archive, &folder)
    }
}

/// A file of a source as `data/sources.yaml` describes it.
///
/// # Errors
/// A source or file that the table lacks.
pub fn published(source: &str, name: &str) -> Result<Archive> {
    let file = all_of(source)?.into_iter().find(|archive| archive.file == name);
    file.ok_or_else(|| lacking(&format!("file `{name}` of `{source}`")))
}

/// The source that has a file of this SHA-256.
///
/// # Errors
/// A table that cannot be read.
pub fn source_of(sum: &str) -> Result<Option<String>> {
    let is_of =
        |published: &Published| published.files.iter().any(|file| file.sha256.as_deref() == Some(sum));
    Ok(table()?.into_iter().find_map(|(source, published)| is_of(&published).then_some(source)))
}

fn table() -> Result<BTreeMap<String, Published>> {
    serde_yaml::from_str(SOURCES).map_err(|error| IngestError::layout(Path::new(TABLE), error.to_string()))
}

/// All files of a source.
fn all_of(source: &str) -> Result<Vec<Archive>> {
    let Published { homepage, license, mirrors, files, .. } =
        table()?.remove(source).ok_or_else(|| lacking(&format!("source `{source}`")))?;
    let archive = |PublishedFile { name, bytes, sha256, md5 }: PublishedFile| {
        let sum = sha256.map(Sum::Sha256).or(md5.map(Sum::Md5));
        Ok(Archive {
            homepage: homepage.clone(),
            license: license.clone(),
            mirrors: mirrors.iter().map(|folder| format!("{folder}/{name}")).collect(),
            sum: sum.ok_or_else(|| lacking(&format!("checksum of `{name}`")))?,
            file: name,
            bytes,
        })
    };
    files.into_iter().map(archive).collect()
}

fn lacking(what: &str) -> IngestError {
    IngestError::layout(Path::new(TABLE), format!("has no {what}"))
}

/// Fetches an archive into `folder`. Bytes arrive in `<file>.part`, which outlives a broken run and is renamed once its
/// checksum is right: under its own name there is only ever a verified file. A second process that wants the same file waits
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
    let Archive { file, homepage, license, bytes, .. } = archive;
    let size = bytes.map_or_else(|| "size not published".to_owned(), human_bytes);
    eprintln!("ingest: {file} from {homepage} ({size}): {license}");
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
    let found = metadata.len();
    let Some(expected) = archive.bytes.filter(|expected| *expected != found) else { return Ok(true) };
    Err(IngestError::layout(
        target,
        format!("has {found} bytes, expected {expected}; remove it and run again"),
    ))
}

/// The SHA-256 of what is left to read, 64 lower-case hex digits.
pub(crate) fn sha256(input: &mut impl Read) -> io::Result<String> {
    hex::<Sha256>(input)
}

fn hex<D: Digest>(input: &mut impl Read) -> io::Result<String> {
    let mut hasher = D::new();
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
        let table: BTreeMap<String, Published> = serde_yaml::from_str(SOURCES).expect("parses");
        for source in table.keys() {
            for archive in all_of(source).expect("is complete") {
                let (digits, sum) = match &archive.sum {
                    Sum::Sha256(sum) => (64, sum),
                    Sum::Md5(sum) => (32, sum),
                };
                assert!(sum.len() == digits && sum.bytes().all(|b| b.is_ascii_hexdigit()), "{archive:?}");
                assert!(archive.bytes.is_none_or(|bytes| bytes > 0), "{archive:?}");
                assert_eq!(archive.mirrors.is_empty(), source == "imagenet1k", "{archive:?}");
            }
        }
    }

    #[test]
    fn a_source_that_the_table_lacks_is_named() {
        let error = published("coco", "coco.zip").expect_err("absent");
        assert_eq!(error.to_string(), "data/sources.yaml: has no source `coco`");
    }

    #[test]
    fn a_published_file_is_known_by_its_sum() {
        let sum = "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5";
        assert_eq!(source_of(sum).expect("the table").as_deref(), Some("fashion_mnist"));
        assert_eq!(source_of(&"0".repeat(64)).expect("the table"), None);
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
        let error = downloads.file("cifar10", "cifar-10-binary.tar.gz").expect_err("absent");
        assert_eq!(error.to_string(), "cifar-10-binary.tar.gz is not downloaded yet");
        assert!(error.is_to_come());
    }
}
