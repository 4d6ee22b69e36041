//! The official binary `.tar.gz`.
//!
//! A record is one label byte (CIFAR-10) or two, coarse and fine (CIFAR-100), then 32 x 32 red, green and blue values,
//! row by row, one plane after the other. Fine labels are read.

use std::collections::BTreeMap;
use std::io::Read;
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
    /// Bytes of each member.
    sizes: BTreeMap<String, u64>,
}

impl BinaryArchive {
    /// Reads class names and sizes of the members, and the archive to its end, where its checksum stands.
    ///
    /// # Errors
    /// No gzipped tar, a wrong checksum, a member missing, there twice or of a size that is no multiple of a record; entries
    /// that no such archive has.
    pub fn open(variant: &'static Variant, archive: PathBuf) -> Result<Self> {
        let mut sizes: BTreeMap<String, u64> = BTreeMap::new();
        let mut names = String::new();
        let members = [variant.train_members, variant.test_members].concat();
        for_each_member(&archive, |name, entry| {
            let is_names = name == variant.names_member;
            if !is_names && !members.contains(&name) {
                return Ok(ControlFlow::Continue(()));
            }
            if sizes.insert(name.to_owned(), entry.size()).is_some() {
                return Err(refused(&archive, &format!("{name} twice")));
            }
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
        for member in members {
            let bytes = *sizes.get(member).ok_or_else(|| missing(&archive, variant, member))?;
            let record = variant.record_bytes() as u64;
            if !bytes.is_multiple_of(record) {
                let problem =
                    format!("{member} has {bytes} bytes, expected a multiple of {record}; download it again");
                return Err(IngestError::layout(&archive, problem));
            }
        }
        Ok(Self { variant, archive, classes, sizes })
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

    /// The image of a record; `path` and `place` are those of [`SourceImage`].
    fn image(&self, record: &[u8], path: String, place: String) -> Result<SourceImage> {
        let (labels, planes) = record.split_at(self.variant.label_bytes);
        let label = labels.last().copied().unwrap_or_default();
        let classes = self.classes.len();
        if usize::from(label) >= classes {
            return Err(ImagesError::Label { place, found: label.to_string(), classes }.into());
        }
        Ok(SourceImage { path, place, label: u32::from(label), content: Content::Pixels(picture(planes)) })
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
        let bytes = self.variant.members(split).iter().map(|member| self.sizes[*member]).sum::<u64>();
        bytes / self.variant.record_bytes() as u64
    }

    /// In the official order, batch 1 first: one pass over the archive per member.
    fn visit(&self, split: Split, visitor: &mut Visitor<'_>) -> Result<()> {
        let mut index = 0;
        let mut record = vec![0; self.variant.record_bytes()];
        let mut flow = ControlFlow::Continue(());
        for member in self.variant.members(split) {
            for_each_member(&self.archive, |name, entry| {
                if name != *member {
                    return Ok(ControlFlow::Continue(()));
                }
                for row in 0..entry.size() / record.len() as u64 {
                    entry.read_exact(&mut record).map_err(IngestError::reading(&self.archive))?;
                    let path = format!("{}/{index:05}.png", split.name());
                    let place = format!("{}: {member} record {row}", self.archive.display());
                    index += 1;
                    flow = visitor(self.image(&record, path, place)?)?;
                    if flow.is_break() {
                        break;
                    }
                }
                Ok(ControlFlow::Break(()))
            })?;
            if flow.is_break() {
                break;
            }
        }
        Ok(())
    }
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
