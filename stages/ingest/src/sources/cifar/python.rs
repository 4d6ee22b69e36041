//! The Python version: pickled dictionaries with `data`, rows of 3,072 bytes, and `labels` or `fine_labels`.

use std::io::Read;
use std::ops::ControlFlow;

use delt_formats::canonical::Digest;
use delt_guard::pickle::{Pickle, Value};
use delt_images::ImagesError;
use delt_images::stored_image::Content;

use super::binary::{PLANE, SIDE};
use super::{Variant, Version, folder_note};
use crate::error::{IngestError, Result};
use crate::source::{Source, SourceImage, Split, Visitor};
use crate::sources::container::Container;
use crate::sources::planes;

/// Bytes of a file, at most: the largest published one has 155 million.
const MOST_MEMBER_BYTES: u64 = 512 * 1024 * 1024;
/// Bytes of an image.
const ROW: usize = 3 * PLANE;

/// Files that have been read.
#[derive(Debug)]
pub struct PythonBatches {
    variant: &'static Variant,
    container: Container,
    classes: Vec<String>,
    batches: Vec<Batch>,
}

#[derive(Debug)]
struct Batch {
    split: Split,
    member: &'static str,
    labels: Vec<u32>,
    rows: Vec<u8>,
}

impl PythonBatches {
    /// Reads all files. Class names are those of the file beside them, or the official ones where there is none.
    ///
    /// # Errors
    /// A file that is missing, or holds something else than rows of bytes and as many labels of known classes.
    pub fn open(variant: &'static Variant, container: Container) -> Result<Self> {
        let python = &variant.python;
        let members = Version::Python.members(variant);
        let mut classes = variant.official_names();
        let mut batches: Vec<Batch> = Vec::new();
        container.for_each(&members, |name, bytes, input| {
            let broken = |found: &str| unreadable(&container, name, found);
            let mut pickled = Vec::new();
            let read = input.take(MOST_MEMBER_BYTES + 1).read_to_end(&mut pickled);
            read.map_err(IngestError::reading(container.path()))?;
            if pickled.len() as u64 > MOST_MEMBER_BYTES {
                return Err(broken(&format!("{bytes} bytes")));
            }
            let pickle = Pickle::read(&pickled).map_err(|found| broken(&found))?;
            if name == python.names_member {
                classes = names(&pickle, python.names_key).ok_or_else(|| broken("no class names"))?;
                return Ok(ControlFlow::Continue(()));
            }
            let split = if python.test_members.contains(&name) { Split::Test } else { Split::Train };
            let member = members.iter().copied().find(|member| *member == name).unwrap_or_default();
            let (labels, rows) = rows_of(&pickle, python.labels_key).map_err(|found| broken(&found))?;
            batches.push(Batch { split, member, labels, rows });
            Ok(ControlFlow::Continue(()))
        })?;
        let place = |member| members.iter().position(|other| *other == member);
        if let Some(absent) =
            members[1..].iter().find(|member| !batches.iter().any(|batch| batch.member == **member))
        {
            let problem = format!("holds no {absent}, expected the Python version of {}", variant.title);
            return Err(IngestError::layout(container.path(), problem));
        }
        batches.sort_by_key(|batch| place(batch.member));
        for batch in &batches {
            let is_unknown = |label: &u32| *label as usize >= classes.len();
            if let Some(row) = batch.labels.iter().position(is_unknown) {
                let place = format!("{}: {} row {row}", container.path().display(), batch.member);
                let found = batch.labels[row].to_string();
                return Err(ImagesError::Label { place, found, classes: classes.len() }.into());
            }
        }
        Ok(Self { variant, container, classes, batches })
    }

    fn of(&self, split: Split) -> impl Iterator<Item = &Batch> {
        self.batches.iter().filter(move |batch| batch.split == split)
    }
}

impl Source for PythonBatches {
    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn description(&self) -> String {
        format!("{}, Python version", self.variant.title)
    }

    fn fingerprint(&self) -> Result<Digest> {
        self.container.fingerprint(&Version::Python.members(self.variant))
    }

    fn len(&self, split: Split) -> u64 {
        self.of(split).map(|batch| batch.labels.len() as u64).sum()
    }

    fn notes(&self) -> Vec<String> {
        folder_note(self.variant, &self.container, self)
    }

    /// In the official order, batch 1 first.
    fn visit(&self, split: Split, visitor: &mut Visitor<'_>) -> Result<()> {
        let mut index = 0;
        for Batch { member, labels, rows, .. } in self.of(split) {
            for (row, (label, planes)) in labels.iter().zip(rows.chunks_exact(ROW)).enumerate() {
                let path = format!("{}/{index:05}.png", split.name());
                let place = format!("{}: {member} row {row}", self.container.path().display());
                index += 1;
                let content = Content::Pixels(planes::by_rows(planes, SIDE));
                if visitor(SourceImage { path, place, label: *label, content })?.is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

fn names(pickle: &Pickle<'_>, key: &str) -> Option<Vec<String>> {
    let name = |value: &Value| String::from_utf8(pickle.text(*value)?.into_owned()).ok();
    pickle.items(pickle.get(key)?)?.iter().map(name).collect()
}

/// Labels and rows of a file, or what is wrong with them.
fn rows_of(pickle: &Pickle<'_>, key: &str) -> Result<(Vec<u32>, Vec<u8>), String> {
    let labels = pickle.get(key).and_then(|labels| pickle.items(labels)).ok_or(format!("no list `{key}`"))?;
    let label = |value: &Value| if let Value::Int(label) = value { u32::try_from(*label).ok() } else { None };
    let labels = labels
        .iter()
        .map(label)
        .collect::<Option<Vec<u32>>>()
        .ok_or(format!("`{key}` that are no labels"))?;
    let data = pickle.get("data").and_then(|data| pickle.byte_array(data));
    let (shape, rows) = data.ok_or("no array `data` of bytes, row by row")?;
    if shape != [labels.len(), ROW] {
        return Err(format!("`data` of {shape:?} and {} labels", labels.len()));
    }
    Ok((labels, rows.into_owned()))
}

fn unreadable(container: &Container, member: &str, found: &str) -> IngestError {
    let problem =
        format!("{member}: found {found}, expected a pickle of CIFAR's Python version; download it again");
    IngestError::layout(container.path(), problem)
}
