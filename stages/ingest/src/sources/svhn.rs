//! SVHN, the cropped digits: MATLAB files with images `X` of 32 x 32 x 3 x n bytes and labels `y`, in which 10 stands for the digit 0.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use delt_formats::canonical::Digest;
use delt_images::stored_image::Content;
use delt_pipeline::config::ingest::Svhn;
use serde_json::json;

use super::planes;
use crate::download::Downloads;
use crate::error::{IngestError, Result};
use crate::fingerprint;
use crate::matlab::{self, broken};
use crate::source::{Source, SourceImage, Split, Visitor, counts_note, expect_exists};

/// Pixels of a side, and bytes of an image.
const SIDE: usize = 32;
const IMAGE: usize = 3 * SIDE * SIDE;
/// The published files, of which the last is read only where it is asked for, and images of the first two and of the last.
const FILES: [(&str, Split); 3] =
    [("train_32x32.mat", Split::Train), ("test_32x32.mat", Split::Test), ("extra_32x32.mat", Split::Train)];
const PUBLISHED: [u64; 2] = [73_257, 26_032];
const PUBLISHED_EXTRA: u64 = 531_131;

/// Files whose labels have been read.
#[derive(Debug)]
pub struct SvhnFiles {
    folder: PathBuf,
    classes: Vec<String>,
    parts: Vec<Part>,
    has_extra: bool,
}

#[derive(Debug)]
struct Part {
    split: Split,
    file: PathBuf,
    labels: Vec<u32>,
}

/// Reads the labels, and the rest of each file to its checksum. Images are read when they are visited, one at a time.
///
/// # Errors
/// A file that is missing, damaged or holds other arrays; a label that is no digit.
pub fn open(section: &Svhn, downloads: &Downloads) -> Result<SvhnFiles> {
    let wanted = &FILES[..if section.extra { 3 } else { 2 }];
    let mut parts = Vec::new();
    for (name, split) in wanted {
        let file = match &section.path {
            Some(folder) => folder.join(name),
            None => downloads.file("svhn", name)?,
        };
        expect_exists(&file, "a file of SVHN's cropped digits (format 2)")?;
        parts.push(Part { split: *split, labels: labels(&file)?, file });
    }
    let folder = parts[0].file.parent().unwrap_or(Path::new(".")).to_path_buf();
    let classes = (0..10).map(|digit| digit.to_string()).collect();
    Ok(SvhnFiles { folder, classes, parts, has_extra: section.extra })
}

/// The digits of a file.
fn labels(file: &Path) -> Result<Vec<u32>> {
    let (mut images, mut labels) = (None, None);
    matlab::for_each(file, &mut fs_err::File::open(file)?, &mut |array, input| {
        match array.name.as_str() {
            "X" => {
                let expected = array.count();
                let is_image = array.sides.starts_with(&[SIDE as u64, SIDE as u64, 3]);
                if !is_image || array.bytes(input).map_err(broken(file))? != expected {
                    let sides = &array.sides;
                    let problem = format!(
                        "holds `X` of the sides {sides:?}, expected [32, 32, 3, n] bytes; download it again"
                    );
                    return Err(IngestError::layout(file, problem));
                }
                images = Some(expected / IMAGE as u64);
            }
            "y" => labels = Some(array.numbers(input).map_err(broken(file))?),
            _ => {}
        }
        Ok(ControlFlow::Continue(()))
    })?;
    let (Some(images), Some(labels)) = (images, labels) else {
        return Err(IngestError::layout(
            file,
            "holds no arrays `X` and `y`, expected SVHN's; download it again",
        ));
    };
    if images != labels.len() as u64 {
        let problem = format!("holds {images} images and {} labels; download it again", labels.len());
        return Err(IngestError::layout(file, problem));
    }
    let digit = |(row, label): (usize, &f64)| match *label as u32 {
        digit @ 1..=10 if f64::from(digit) == *label => Ok(digit % 10),
        _ => {
            let problem =
                format!("`y` {row} is {label}, expected 1 to 10, which is the digit 0; download it again");
            Err(IngestError::layout(file, problem))
        }
    };
    labels.iter().enumerate().map(digit).collect()
}

impl SvhnFiles {
    fn of(&self, split: Split) -> impl Iterator<Item = &Part> {
        self.parts.iter().filter(move |part| part.split == split)
    }
}

impl Source for SvhnFiles {
    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn description(&self) -> String {
        "SVHN, cropped digits".to_owned()
    }

    /// The digests of the files.
    fn fingerprint(&self) -> Result<Digest> {
        let digests: Vec<Digest> =
            self.parts.iter().map(|part| fingerprint::of_archive(&part.file)).collect::<Result<_>>()?;
        Ok(Digest::of_json(&json!(digests)))
    }

    fn len(&self, split: Split) -> u64 {
        self.of(split).map(|part| part.labels.len() as u64).sum()
    }

    fn notes(&self) -> Vec<String> {
        let [train, test] = PUBLISHED;
        let train = if self.has_extra { train + PUBLISHED_EXTRA } else { train };
        counts_note("SVHN", &self.folder, self, [train, test]).into_iter().collect()
    }

    /// In the order of the files, each image as it is unpacked.
    fn visit(&self, split: Split, visitor: &mut Visitor<'_>) -> Result<()> {
        let (mut index, mut flow) = (0, ControlFlow::Continue(()));
        for Part { file, labels, .. } in self.of(split) {
            matlab::for_each(file, &mut fs_err::File::open(file)?, &mut |array, input| {
                if array.name != "X" {
                    return Ok(ControlFlow::Continue(()));
                }
                array.bytes(input).map_err(broken(file))?;
                let mut image = [0; IMAGE];
                for (row, label) in labels.iter().enumerate() {
                    input.read_exact(&mut image).map_err(broken(file))?;
                    let (path, place) = (
                        format!("{}/{index:06}.png", split.name()),
                        format!("{} image {row}", file.display()),
                    );
                    index += 1;
                    let content = Content::Pixels(planes::by_columns(&image, SIDE));
                    flow = visitor(SourceImage { path, place, label: *label, content })?;
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
