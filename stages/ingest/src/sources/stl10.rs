//! STL-10 in its binary version: images of 96 x 96 as planes of red, green and blue, column by column, labels from 1 in files beside them.

use std::io::Read;
use std::ops::ControlFlow;

use delt_formats::canonical::Digest;
use delt_images::stored_image::Content;
use delt_pipeline::config::ingest::Published;

use super::container::Container;
use super::planes;
use crate::download::Downloads;
use crate::error::{IngestError, Result};
use crate::source::{Source, SourceImage, Split, Visitor, counts_note, expect_exists};
use crate::tar_archive::broken;

const ARCHIVE: &str = "stl10_binary.tar.gz";
const FOLDER: &str = "stl10_binary";
/// Pixels of a side, and bytes of an image.
const SIDE: usize = 96;
const IMAGE: usize = 3 * SIDE * SIDE;
/// Images and labels of both splits.
const FILES: [&str; 4] = ["train_X.bin", "train_y.bin", "test_X.bin", "test_y.bin"];
const PUBLISHED: [u64; 2] = [5_000, 8_000];
/// The names of `class_names.txt`.
const CLASSES: [&str; 10] =
    ["airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck"];
/// Bytes of labels, at most.
const MOST_LABELS: u64 = 1 << 20;

/// Files whose labels have been read.
#[derive(Debug)]
pub struct Stl10Files {
    container: Container,
    classes: Vec<String>,
    /// Labels from 0, of both splits.
    labels: [Vec<u8>; 2],
}

/// Reads the labels and, of an archive, everything to its checksum: what lies at a path of the user's, or the published archive where
/// none is given. The unlabeled images are not read.
///
/// # Errors
/// A file that is missing or of another size than its labels say; a label beyond 10.
pub fn open(section: &Published, downloads: &Downloads) -> Result<Stl10Files> {
    let path = match &section.path {
        Some(path) => path.clone(),
        None => downloads.file("stl10", ARCHIVE)?,
    };
    expect_exists(
        &path,
        format!("{ARCHIVE}, the folder {FOLDER} that it unpacks to, or the one they lie in"),
    )?;
    let inside = [path.join(FOLDER), path.join(ARCHIVE)];
    let found = inside.into_iter().find(|path| path.exists()).unwrap_or(path);
    let container = if found.is_dir() { Container::Folder(found) } else { Container::Archive(found) };
    let (mut sizes, mut labels) = ([None; 4], [Vec::new(), Vec::new()]);
    container.for_each(&FILES, |name, bytes, mut input| {
        let place = FILES.iter().position(|file| *file == name).unwrap_or_default();
        sizes[place] = Some(bytes);
        if place % 2 == 1 {
            (&mut input)
                .take(MOST_LABELS)
                .read_to_end(&mut labels[place / 2])
                .map_err(broken(container.path()))?;
        }
        Ok(ControlFlow::Continue(()))
    })?;
    for (split, labels) in labels.iter_mut().enumerate() {
        let (images, name) = (FILES[2 * split], FILES[2 * split + 1]);
        let expected = (labels.len() * IMAGE) as u64;
        if let Some(bytes) = sizes[2 * split..2 * split + 2].iter().position(Option::is_none) {
            let problem =
                format!("holds no {}, expected the binary version of STL-10", FILES[2 * split + bytes]);
            return Err(IngestError::layout(container.path(), problem));
        }
        if sizes[2 * split] != Some(expected) {
            let problem = format!(
                "{images} has {} bytes, expected {expected} for the {} labels of {name}; download it again",
                sizes[2 * split].unwrap_or_default(),
                labels.len()
            );
            return Err(IngestError::layout(container.path(), problem));
        }
        if let Some(row) = labels.iter().position(|label| !(1..=CLASSES.len() as u8).contains(label)) {
            let problem = format!("{name} {row} is {}, expected 1 to 10; download it again", labels[row]);
            return Err(IngestError::layout(container.path(), problem));
        }
        labels.iter_mut().for_each(|label| *label -= 1);
    }
    Ok(Stl10Files { container, classes: CLASSES.map(str::to_owned).to_vec(), labels })
}

impl Stl10Files {
    fn labels(&self, split: Split) -> &[u8] {
        &self.labels[usize::from(split == Split::Test)]
    }
}

impl Source for Stl10Files {
    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn description(&self) -> String {
        "STL-10, binary version".to_owned()
    }

    fn fingerprint(&self) -> Result<Digest> {
        self.container.fingerprint(&FILES)
    }

    fn len(&self, split: Split) -> u64 {
        self.labels(split).len() as u64
    }

    fn notes(&self) -> Vec<String> {
        counts_note("STL-10", self.container.path(), self, PUBLISHED).into_iter().collect()
    }

    fn visit(&self, split: Split, visitor: &mut Visitor<'_>) -> Result<()> {
        let name = FILES[2 * usize::from(split == Split::Test)];
        self.container.for_each(&[name], |_, _, input| {
            let mut image = vec![0; IMAGE];
            for (row, label) in self.labels(split).iter().enumerate() {
                input.read_exact(&mut image).map_err(IngestError::reading(self.container.path()))?;
                let path = format!("{}/{row:05}.png", split.name());
                let place = format!("{}: {name} image {row}", self.container.path().display());
                let content = Content::Pixels(planes::by_columns(&image, SIDE));
                if visitor(SourceImage { path, place, label: u32::from(*label), content })?.is_break() {
                    break;
                }
            }
            Ok(ControlFlow::Break(()))
        })
    }
}
