//! The official binary `.tar.gz`.
//!
//! A record is one label byte (CIFAR-10) or two, coarse and fine (CIFAR-100), then 32 x 32 red, green and blue values,
//! row by row, one plane after the other. Fine labels are read.

use std::io::{self, Read};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use delt_formats::canonical::Digest;
use delt_formats::rgb_image::RgbImage;
use delt_images::ImagesError;
use delt_images::stored_image::Content;

use super::Variant;
use crate::error::{IngestError, Result};
use crate::source::{Source, SourceImage, Split, Visitor};
use crate::tar_archive::{broken, for_each_member, refused};
use crate::{download, fingerprint};

/// Pixels of a side.
const SIDE: usize = 32;
/// Bytes of one color plane.
const PLANE: usize = SIDE * SIDE;
/// Bytes of class names, at most; the published lists have less than one thousand.
const MOST_NAMES_BYTES: u64 = 64 * 1024;

impl Variant {
    fn members(&self, split: Split) -> &'static [&'static str] {
        match split {
            Split::Train => self.train_members,
            Split::Test => self.test_members,
        }
    }

    fn record_bytes(&self) -> usize {
        self.label_bytes + 3 * PLANE
    }
}

/// An archive whose members have been checked.
#[derive(Debug)]
pub struct BinaryArchive {
    variant: &'static Variant,
    archive: PathBuf,
    classes: Vec<String>,
    train: u64,
    test: u64,
}

impl BinaryArchive {
    /// Reads class names and sizes of the members, and the archive to its end, where its checksum stands.
    ///
    /// # Errors
    /// No gzipped tar, a wrong checksum, a member missing, there twice or of a size that is no multiple of a record; entries
    /// that no such archive has.
    pub fn open(variant: &'static Variant, archive: PathBuf) -> Result<Self> {
        let mut sizes: Vec<(String, u64)> = Vec::new();
        let mut names = String::new();
        for_each_member(&archive, |name, entry| {
            let is_names = name == variant.names_member;
            if !is_names && ![variant.train_members, variant.test_members].concat().contains(&name) {
                return Ok(ControlFlow::Continue(()));
            }
            if sizes.iter().any(|(other, _)| other == name) {
                return Err(refused(&archive, &format!("{name} twice")));
            }
            sizes.push((name.to_owned(), entry.size()));
            if is_names {
                if entry.size() > MOST_NAMES_BYTES {
                    let found = format!("{name} of {} bytes, more than {MOST_NAMES_BYTES}", entry.size());
                    return Err(refused(&archive, &found));
                }
                entry.read_to_string(&mut names).map_err(broken(&archive))?;
            }
            Ok(ControlFlow::Continue(()))
        })?;
        let classes: Vec<String> =
            names.lines().map(str::trim).filter(|n| !n.is_empty()).map(str::to_owned).collect();
        if classes.is_empty() {
            return Err(missing(&archive, variant, variant.names_member));
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
            None => (download::published(self.variant.name)?.sha256, "data/sources.yaml"),
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
            let (labels, planes) = record.split_at(self.variant.label_bytes);
            let label = labels.last().copied().unwrap_or_default();
            if usize::from(label) >= self.classes.len() {
                let place = format!("{}: {member} record {row}", self.archive.display());
                let (found, classes) = (label.to_string(), self.classes.len());
                return Err(ImagesError::Label { place, found, classes }.into());
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

impl Source for BinaryArchive {
    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn description(&self) -> String {
        format!("{}, official binary archive", self.variant.title)
    }

    fn fingerprint(&self) -> Result<Digest> {
        fingerprint::of_archive(&self.archive)
    }

    fn len(&self, split: Split) -> u64 {
        match split {
            Split::Train => self.train,
            Split::Test => self.test,
        }
    }

    /// In the official order, batch 1 first: one pass over the archive per member.
    fn visit(&self, split: Split, visitor: &mut Visitor<'_>) -> Result<()> {
        let mut index = 0;
        for member in self.variant.members(split) {
            let mut is_stopped = false;
            for_each_member(&self.archive, |name, entry| {
                if name != *member {
                    return Ok(ControlFlow::Continue(()));
                }
                is_stopped = self.visit_records(split, member, entry, &mut index, visitor)?.is_break();
                Ok(ControlFlow::Break(()))
            })?;
            if is_stopped {
                break;
            }
        }
        Ok(())
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
fn picture(planes: &[u8]) -> RgbImage {
    let mut rgb = Vec::with_capacity(3 * PLANE);
    for pixel in 0..PLANE {
        rgb.extend([planes[pixel], planes[PLANE + pixel], planes[2 * PLANE + pixel]]);
    }
    RgbImage { width: SIDE as u32, height: SIDE as u32, rgb }
}

fn missing(archive: &Path, variant: &Variant, member: &str) -> IngestError {
    let problem =
        format!("holds no {member}, expected the binary version of {}; see data/sources.yaml", variant.title);
    IngestError::layout(archive, problem)
}
