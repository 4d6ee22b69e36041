//! The binary version: the official `.tar.gz`, or the folder that it unpacks to.
//!
//! A record is one label byte (CIFAR-10) or two, coarse and fine (CIFAR-100), then 32 x 32 red, green and blue values,
//! row by row, one plane after the other. Fine labels are read.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use delt_formats::canonical::Digest;
use delt_images::ImagesError;
use delt_images::stored_image::Content;

use super::{Variant, Version, folder_note};
use crate::error::{IngestError, Result};
use crate::source::{Source, SourceImage, Split, Visitor};
use crate::sources::container::Container;
use crate::sources::planes;
use crate::tar_archive::{broken, refused};

/// Pixels of a side.
pub(super) const SIDE: usize = 32;
/// Bytes of one color plane.
pub(super) const PLANE: usize = SIDE * SIDE;
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

/// Files whose sizes have been checked.
#[derive(Debug)]
pub struct BinaryFiles {
    variant: &'static Variant,
    container: Container,
    classes: Vec<String>,
    /// Bytes of each member.
    sizes: BTreeMap<String, u64>,
}

impl BinaryFiles {
    /// Reads class names and sizes of the members, and an archive to its end, where its checksum stands. Folders are passed on
    /// without the file of class names: the official ones count then.
    ///
    /// # Errors
    /// No gzipped tar, a wrong checksum, a member missing, there twice or of a size that is no multiple of a record; entries
    /// that no such archive has.
    pub fn open(variant: &'static Variant, container: Container) -> Result<Self> {
        let mut sizes: BTreeMap<String, u64> = BTreeMap::new();
        let mut names = String::new();
        let path = container.path();
        container.for_each(&Version::Binary.members(variant), |name, bytes, input| {
            sizes.insert(name.to_owned(), bytes);
            if name == variant.names_member {
                if bytes > MOST_NAMES_BYTES {
                    let found = format!("{name} of {bytes} bytes, more than {MOST_NAMES_BYTES}");
                    return Err(refused(path, &found));
                }
                input.read_to_string(&mut names).map_err(broken(path))?;
            }
            Ok(ControlFlow::Continue(()))
        })?;
        let mut classes: Vec<String> =
            names.lines().map(str::trim).filter(|n| !n.is_empty()).map(str::to_owned).collect();
        if classes.is_empty() && !container.is_archive() {
            classes = variant.official_names();
        }
        if classes.is_empty() {
            return Err(missing(path, variant, variant.names_member));
        }
        for member in variant.train_members.iter().chain(variant.test_members) {
            let bytes = *sizes.get(*member).ok_or_else(|| missing(path, variant, member))?;
            let record = variant.record_bytes() as u64;
            if !bytes.is_multiple_of(record) {
                let problem =
                    format!("{member} has {bytes} bytes, expected a multiple of {record}; download it again");
                return Err(IngestError::layout(path, problem));
            }
        }
        Ok(Self { variant, container, classes, sizes })
    }

    /// The image of a record; `path` and `place` are those of [`SourceImage`].
    fn image(&self, record: &[u8], path: String, place: String) -> Result<SourceImage> {
        let (labels, planes) = record.split_at(self.variant.label_bytes);
        let label = labels.last().copied().unwrap_or_default();
        let classes = self.classes.len();
        if usize::from(label) >= classes {
            return Err(ImagesError::Label { place, found: label.to_string(), classes }.into());
        }
        Ok(SourceImage {
            path,
            place,
            label: u32::from(label),
            content: Content::Pixels(planes::by_rows(planes, SIDE)),
        })
    }
}

impl Source for BinaryFiles {
    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn description(&self) -> String {
        let kind = if self.container.is_archive() { "official binary archive" } else { "binary version" };
        format!("{}, {kind}", self.variant.title)
    }

    fn fingerprint(&self) -> Result<Digest> {
        self.container.fingerprint(&Version::Binary.members(self.variant))
    }

    fn len(&self, split: Split) -> u64 {
        let bytes = self.variant.members(split).iter().map(|member| self.sizes[*member]).sum::<u64>();
        bytes / self.variant.record_bytes() as u64
    }

    fn notes(&self) -> Vec<String> {
        folder_note(self.variant, &self.container, self)
    }

    /// In the official order, batch 1 first: one pass over the archive per member.
    fn visit(&self, split: Split, visitor: &mut Visitor<'_>) -> Result<()> {
        let mut index = 0;
        let mut record = vec![0; self.variant.record_bytes()];
        let mut flow = ControlFlow::Continue(());
        for member in self.variant.members(split) {
            self.container.for_each(&[member], |_, bytes, input| {
                for row in 0..bytes / record.len() as u64 {
                    input.read_exact(&mut record).map_err(IngestError::reading(self.container.path()))?;
                    let path = format!("{}/{index:05}.png", split.name());
                    let place = format!("{}: {member} record {row}", self.container.path().display());
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

fn missing(archive: &Path, variant: &Variant, member: &str) -> IngestError {
    let problem =
        format!("holds no {member}, expected the binary version of {}; see data/sources.yaml", variant.title);
    IngestError::layout(archive, problem)
}
