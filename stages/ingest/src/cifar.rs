//! CIFAR-10 and CIFAR-100 in the official binary `.tar.gz`.
//!
//! A record is one label byte (CIFAR-10) or two, coarse and fine (CIFAR-100), then 32 x 32 red, green and blue values,
//! row by row, one plane after the other. Fine labels are read.

use std::io::{self, BufReader, Read};
use std::ops::ControlFlow;
use std::path::{Component, Path, PathBuf};

use delt_formats::picture::Picture;
use flate2::read::GzDecoder;
use tar::{Archive, EntryType};

use crate::download;
use crate::error::{IngestError, Result};
use crate::source::{Content, SourceImage, Split, Visitor, expect_exists};

/// Pixels of a side.
const SIDE: usize = 32;
/// Bytes of one colour plane.
const PLANE: usize = SIDE * SIDE;

/// Bytes of class names, at most; the published lists have less than one thousand.
const MOST_NAMES_BYTES: u64 = 64 * 1024;
/// Bytes that an archive may unpack to. The published ones unpack to 184 MB; a few megabytes of gzip can unpack to as many
/// gigabytes.
const MOST_UNPACKED_BYTES: u64 = 4 << 30;

/// A file inside the archive.
type Member<'a> = tar::Entry<'a, io::Take<GzDecoder<BufReader<fs_err::File>>>>;

const CIFAR10_TRAIN: [&str; 5] =
    ["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"];

/// Which of the two data sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// Ten classes.
    Cifar10,
    /// A hundred fine classes.
    Cifar100,
}

impl Variant {
    /// Name in `data/sources.yaml`.
    pub fn source_name(self) -> &'static str {
        match self {
            Self::Cifar10 => "cifar10",
            Self::Cifar100 => "cifar100",
        }
    }

    /// Name for people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Cifar10 => "CIFAR-10",
            Self::Cifar100 => "CIFAR-100",
        }
    }

    /// File name of the official archive.
    pub fn archive_name(self) -> &'static str {
        match self {
            Self::Cifar10 => "cifar-10-binary.tar.gz",
            Self::Cifar100 => "cifar-100-binary.tar.gz",
        }
    }

    /// A local archive: the file itself, or the folder in which it lies under its published name.
    ///
    /// # Errors
    /// Nothing at the path.
    pub fn archive_at(self, path: &Path) -> Result<PathBuf> {
        let expected = match self {
            Self::Cifar10 => {
                "the archive cifar-10-binary.tar.gz, the folder it lies in, or one with train-*.parquet and test-*.parquet"
            }
            Self::Cifar100 => {
                "the archive cifar-100-binary.tar.gz, the folder it lies in, or one with train-*.parquet and test-*.parquet"
            }
        };
        let archive = if path.is_dir() { path.join(self.archive_name()) } else { path.to_path_buf() };
        expect_exists(&archive, expected)?;
        Ok(archive)
    }

    fn members(self, split: Split) -> &'static [&'static str] {
        match (self, split) {
            (Self::Cifar10, Split::Train) => &CIFAR10_TRAIN,
            (Self::Cifar10, Split::Test) => &["test_batch.bin"],
            (Self::Cifar100, Split::Train) => &["train.bin"],
            (Self::Cifar100, Split::Test) => &["test.bin"],
        }
    }

    fn names_member(self) -> &'static str {
        match self {
            Self::Cifar10 => "batches.meta.txt",
            Self::Cifar100 => "fine_label_names.txt",
        }
    }

    /// Label bytes before the pixels; the last of them is the label that is read.
    fn label_bytes(self) -> usize {
        match self {
            Self::Cifar10 => 1,
            Self::Cifar100 => 2,
        }
    }

    fn record_bytes(self) -> usize {
        self.label_bytes() + 3 * PLANE
    }
}

/// An archive whose members have been checked.
#[derive(Debug)]
pub struct Cifar {
    variant: Variant,
    archive: PathBuf,
    classes: Vec<String>,
    train: u64,
    test: u64,
}

impl Cifar {
    /// Reads class names and sizes of the members, and the archive to its end, where its checksum stands.
    ///
    /// # Errors
    /// No gzipped tar, a wrong checksum, a member missing, there twice or of a size that is no multiple of a record; entries
    /// that no such archive has.
    pub fn open(variant: Variant, archive: PathBuf) -> Result<Self> {
        let mut sizes: Vec<(String, u64)> = Vec::new();
        let mut names = String::new();
        for_each_member(&archive, |name, entry| {
            let is_names = name == variant.names_member();
            if !is_names
                && [Split::Train, Split::Test].iter().all(|split| !variant.members(*split).contains(&name))
            {
                return Ok(ControlFlow::Continue(()));
            }
            if sizes.iter().any(|(other, _)| other == name) {
                return Err(refused(format!("{name} twice")));
            }
            sizes.push((name.to_owned(), entry.size()));
            if is_names {
                if entry.size() > MOST_NAMES_BYTES {
                    return Err(refused(format!(
                        "{name} of {} bytes, more than {MOST_NAMES_BYTES}",
                        entry.size()
                    )));
                }
                entry.read_to_string(&mut names)?;
            }
            Ok(ControlFlow::Continue(()))
        })?;
        let classes: Vec<String> =
            names.lines().map(str::trim).filter(|n| !n.is_empty()).map(str::to_owned).collect();
        if classes.is_empty() {
            return Err(missing(&archive, variant, variant.names_member()));
        }
        let records = |split| -> Result<u64> {
            let mut records = 0;
            for member in variant.members(split) {
                let Some((_, bytes)) = sizes.iter().find(|(name, _)| name == member) else {
                    return Err(missing(&archive, variant, member));
                };
                let record = variant.record_bytes() as u64;
                if bytes % record != 0 {
                    let problem = format!(
                        "{member} has {bytes} bytes, expected a multiple of {record}; download it again"
                    );
                    return Err(IngestError::layout(&archive, problem));
                }
                records += bytes / record;
            }
            Ok(records)
        };
        let (train, test) = (records(Split::Train)?, records(Split::Test)?);
        Ok(Self { variant, archive, classes, train, test })
    }

    /// Refuses an archive that is not the published one, or not that of the SHA-256 which the pipeline gives.
    ///
    /// # Errors
    /// Another SHA-256; both are named.
    pub fn verify(&self, given: Option<&str>) -> Result<()> {
        let (expected, origin) = match given {
            Some(given) => (given.to_owned(), "`ingest.source.sha256`"),
            None => (download::published(self.variant.source_name())?.sha256, "data/sources.yaml"),
        };
        let mut file = fs_err::File::open(&self.archive)?;
        let found = download::sha256(&mut file).map_err(IngestError::reading(&self.archive))?;
        if found == expected {
            return Ok(());
        }
        let problem = format!(
            "has SHA-256 {found}, expected {expected} ({origin}); download it again, or set `ingest.source.sha256` to the \
             former if this archive is meant"
        );
        Err(IngestError::layout(&self.archive, problem))
    }

    /// Which of the two it is.
    pub fn variant(&self) -> Variant {
        self.variant
    }

    /// The archive.
    pub fn archive(&self) -> &Path {
        &self.archive
    }

    /// Class names as the archive spells them.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// Number of pictures.
    pub fn len(&self, split: Split) -> u64 {
        match split {
            Split::Train => self.train,
            Split::Test => self.test,
        }
    }

    /// Hands over the pictures in the official order, batch 1 first: one pass over the archive per member.
    ///
    /// # Errors
    /// A damaged archive or a label outside the class list.
    pub fn visit(&self, split: Split, visitor: &mut Visitor<'_>) -> Result<()> {
        let mut index = 0;
        for member in self.variant.members(split) {
            let mut failure = None;
            let mut is_stopped = false;
            for_each_member(&self.archive, |name, entry| {
                if name == *member {
                    match self.visit_records(split, member, entry, &mut index, visitor) {
                        Ok(flow) => is_stopped = flow.is_break(),
                        Err(error) => failure = Some(error),
                    }
                    return Ok(ControlFlow::Break(()));
                }
                Ok(ControlFlow::Continue(()))
            })?;
            if let Some(failure) = failure {
                return Err(failure);
            }
            if is_stopped {
                break;
            }
        }
        Ok(())
    }

    fn visit_records(
        &self,
        split: Split,
        member: &str,
        records: &mut impl Read,
        index: &mut u64,
        visitor: &mut Visitor<'_>,
    ) -> Result<ControlFlow<()>> {
        let mut record = vec![0; self.variant.record_bytes()];
        let mut row = 0;
        while read_record(records, &mut record).map_err(IngestError::reading(&self.archive))? {
            let (labels, planes) = record.split_at(self.variant.label_bytes());
            let label = labels.last().copied().unwrap_or_default();
            if usize::from(label) >= self.classes.len() {
                let place = format!("{}: {member} record {row}", self.archive.display());
                return Err(IngestError::Label {
                    place,
                    found: label.to_string(),
                    classes: self.classes.len(),
                });
            }
            let path = format!("{}/{index:05}.png", split.name());
            let place = format!("{}: {member} record {row}", self.archive.display());
            let content = Content::Pixels(picture(planes));
            *index += 1;
            row += 1;
            if visitor(SourceImage { path, place, label: u32::from(label), content })?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// Fills `record`; `false` at the end of the member.
fn read_record(records: &mut impl Read, record: &mut [u8]) -> io::Result<bool> {
    let mut first = [0];
    if records.read(&mut first)? == 0 {
        return Ok(false);
    }
    record[0] = first[0];
    records.read_exact(&mut record[1..])?;
    Ok(true)
}

/// Planes to interleaved pixels.
fn picture(planes: &[u8]) -> Picture {
    let mut rgb = Vec::with_capacity(3 * PLANE);
    for pixel in 0..PLANE {
        rgb.extend([planes[pixel], planes[PLANE + pixel], planes[2 * PLANE + pixel]]);
    }
    Picture { width: SIDE as u32, height: SIDE as u32, rgb }
}

/// Calls `each` with the bare name of every file of the archive until it breaks. Without a break the archive is read to its
/// end: a tar ends at its first empty block, the gzip around it at its checksum.
///
/// Nothing is unpacked to the disk. All the same, an archive with links, devices or paths that lead out of its folder is not what
/// it is taken for and is refused, as one that unpacks to more than [`MOST_UNPACKED_BYTES`]. Long names, which take memory,
/// are left as they are: no member has one.
fn for_each_member(
    path: &Path,
    mut each: impl FnMut(&str, &mut Member<'_>) -> io::Result<ControlFlow<()>>,
) -> Result<()> {
    let unpacked = GzDecoder::new(BufReader::new(fs_err::File::open(path)?)).take(MOST_UNPACKED_BYTES);
    let mut archive = Archive::new(unpacked);
    let mut read = || -> io::Result<()> {
        for entry in archive.entries()?.raw(true) {
            let mut entry = entry?;
            check_entry(&entry)?;
            let name = entry.path()?.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if entry.header().entry_type().is_file() && each(&name, &mut entry)?.is_break() {
                return Ok(());
            }
        }
        Ok(())
    };
    let mut result = read();
    let mut rest = archive.into_inner();
    if result.is_ok() && rest.limit() > 0 {
        result = io::copy(&mut rest, &mut io::sink()).map(drop);
    }
    if rest.limit() == 0 {
        result = Err(refused(format!("more than {MOST_UNPACKED_BYTES} bytes")));
    }
    result.map_err(|source| {
        let problem = match source.get_ref().and_then(|cause| cause.downcast_ref::<Refused>()) {
            Some(Refused(found)) => {
                format!("holds {found}, which the published archive does not; download it again")
            }
            None => format!("is no whole gzipped tar archive ({source}); download it again"),
        };
        IngestError::layout(path, problem)
    })
}

/// What an archive holds and should not, on its way through the reader of archives.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refused(String);

fn refused(found: String) -> io::Error {
    io::Error::other(Refused(found))
}

/// Refuses what is neither file nor folder nor a note about one, and paths that lead elsewhere.
fn check_entry(entry: &Member<'_>) -> io::Result<()> {
    let path = entry.path()?;
    let found = |what: &str| Err(refused(format!("{what} `{}`", path.display())));
    if path.is_absolute() || path.components().any(|part| part == Component::ParentDir) {
        return found("a path that leads out of its folder,");
    }
    match entry.header().entry_type() {
        EntryType::Symlink | EntryType::Link => found("a link"),
        EntryType::Char | EntryType::Block | EntryType::Fifo => found("a device"),
        _ => Ok(()),
    }
}

fn missing(archive: &Path, variant: Variant, member: &str) -> IngestError {
    let problem = format!(
        "holds no {member}, expected the binary version of {}; see data/sources.yaml",
        variant.title()
    );
    IngestError::layout(archive, problem)
}
