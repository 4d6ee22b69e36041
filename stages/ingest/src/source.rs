//! A source of real images, opened: its classes, its fingerprint, and its pictures one after the other.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use delt_formats::canonical::Digest;
use delt_formats::picture::Picture;
use delt_harness::config::ingest::Source;

use crate::cifar::{Cifar, Variant};
use crate::digits::Digits;
use crate::error::{IngestError, Result};
use crate::huggingface::{Huggingface, Request};
use crate::image_folder::ImageFolder;
use crate::picture_files::PictureFile;
use crate::picture_table::Columns;
use crate::tiny_imagenet::TinyImagenet;
use crate::{cifar_parquet, download, fingerprint};

/// Which part of the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// What the teacher learns from and initial images are selected from.
    Train,
    /// What students are tested on.
    Test,
}

impl Split {
    /// `train` or `test`, as in the names of the artifact's files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Test => "test",
        }
    }
}

/// One picture as the source has it.
#[derive(Debug)]
pub struct SourceImage {
    /// What it is called: a path relative to the source, with `/`.
    pub path: String,
    /// Where it is found, for messages: that path, or a file and a row.
    pub place: String,
    /// Index into the source's class list.
    pub label: u32,
    /// The picture.
    pub content: Content,
}

/// A picture in the form that costs least before it is known to be wanted.
#[derive(Debug)]
pub enum Content {
    /// The bytes of a JPEG or PNG.
    Encoded(Vec<u8>),
    /// A JPEG or PNG not read yet.
    File {
        /// Where it lies.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// Bare pixels.
    Pixels(Picture),
}

impl Content {
    /// Bytes of memory that it takes once it is read.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Encoded(bytes) => bytes.len() as u64,
            Self::File { bytes, .. } => *bytes,
            Self::Pixels(picture) => picture.rgb.len() as u64,
        }
    }
}

/// Takes one picture; `Break` means that no more are wanted.
pub type Visitor<'a> = dyn FnMut(SourceImage) -> Result<ControlFlow<()>> + 'a;

/// A source whose layout has been checked.
#[derive(Debug)]
pub enum OpenSource {
    /// The digits of `data/`.
    Digits(Digits),
    /// An official CIFAR archive.
    Cifar(Cifar),
    /// Parquet files.
    Huggingface(Huggingface),
    /// A folder per class.
    ImageFolder(ImageFolder),
    /// Tiny-ImageNet.
    TinyImagenet(TinyImagenet),
}

impl OpenSource {
    /// Opens the source that a pipeline names. `downloads` is the folder where downloaded archives stay; they are
    /// fetched only if `may_download`.
    ///
    /// # Errors
    /// What is missing or laid out otherwise than expected.
    pub fn open(source: &Source, downloads: &Path, may_download: bool) -> Result<Self> {
        let cifar = |variant: Variant, path: &Option<PathBuf>, sha256: &Option<String>| match path {
            Some(path) => local_cifar(variant, path, sha256.as_deref()),
            None => {
                let archive = download::archive(variant.source_name(), downloads, may_download)?;
                Ok(Self::Cifar(Cifar::open(variant, archive)?))
            }
        };
        Ok(match source {
            Source::EmbeddedDigits { test_fraction, split_seed } => {
                Self::Digits(Digits::open(*test_fraction, *split_seed)?)
            }
            Source::Cifar10 { path, sha256 } => cifar(Variant::Cifar10, path, sha256)?,
            Source::Cifar100 { path, sha256 } => cifar(Variant::Cifar100, path, sha256)?,
            Source::HuggingfaceParquet {
                path,
                train,
                test,
                image_column,
                label_column,
                class_names,
                test_fraction,
                split_seed,
            } => Self::Huggingface(Huggingface::open(&Request {
                path,
                train: train.as_deref(),
                test: test.as_deref(),
                columns: Columns { image: image_column.clone(), label: label_column.clone() },
                class_names: class_names.as_deref(),
                test_fraction: *test_fraction,
                split_seed: *split_seed,
            })?),
            Source::ImageFolder { path, test_fraction, split_seed } => {
                Self::ImageFolder(ImageFolder::open(path, *test_fraction, *split_seed)?)
            }
            Source::TinyImagenet { path } => Self::TinyImagenet(TinyImagenet::open(path)?),
        })
    }

    /// Class names; a label is an index into this list.
    pub fn classes(&self) -> &[String] {
        match self {
            Self::Digits(digits) => digits.classes(),
            Self::Cifar(cifar) => cifar.classes(),
            Self::Huggingface(files) => files.classes(),
            Self::ImageFolder(folder) => folder.classes(),
            Self::TinyImagenet(folder) => folder.classes(),
        }
    }

    /// What this source is, for people; never where it lies.
    pub fn description(&self) -> String {
        match self {
            Self::Digits(_) => "UCI optdigits, 8x8 (CC BY 4.0: E. Alpaydin, C. Kaynak)".to_owned(),
            Self::Cifar(cifar) => format!("{}, official binary archive", cifar.variant().title()),
            Self::Huggingface(_) => "Parquet in the Hugging Face layout".to_owned(),
            Self::ImageFolder(_) => "image folder".to_owned(),
            Self::TinyImagenet(_) => "Tiny-ImageNet".to_owned(),
        }
    }

    /// Tells one content from another, wherever it lies: the digest of archives and of small Parquet files, and the cheap
    /// keys of [`fingerprint::of_parquet`] and [`fingerprint::of_tree`] for large ones and for folders.
    ///
    /// # Errors
    /// If the source cannot be read.
    pub fn fingerprint(&self) -> Result<Digest> {
        match self {
            Self::Digits(digits) => Ok(digits.fingerprint()),
            Self::Cifar(cifar) => fingerprint::of_archive(cifar.archive()),
            Self::Huggingface(files) => files.fingerprint(),
            Self::ImageFolder(folder) => fingerprint::of_tree(folder.files()),
            Self::TinyImagenet(folder) => folder.fingerprint(),
        }
    }

    /// How many pictures a split has before any are left out.
    pub fn len(&self, split: Split) -> u64 {
        match self {
            Self::Digits(digits) => digits.len(split),
            Self::Cifar(cifar) => cifar.len(split),
            Self::Huggingface(files) => files.len(split),
            Self::ImageFolder(folder) => folder.images(split).len() as u64,
            Self::TinyImagenet(folder) => folder.images(split).len() as u64,
        }
    }

    /// How many pictures each class of a split has, where that is known before any is read: in folders.
    pub fn per_class(&self, split: Split) -> Option<Vec<u64>> {
        let files = match self {
            Self::ImageFolder(folder) => folder.images(split),
            Self::TinyImagenet(folder) => folder.images(split),
            Self::Digits(_) | Self::Cifar(_) | Self::Huggingface(_) => return None,
        };
        let mut per_class = vec![0; self.classes().len()];
        for file in files {
            per_class[file.label as usize] += 1;
        }
        Some(per_class)
    }

    /// Hands over the pictures of a split, always in the same order.
    ///
    /// # Errors
    /// What the source or the visitor reports.
    pub fn visit(&self, split: Split, visitor: &mut Visitor<'_>) -> Result<()> {
        match self {
            Self::Digits(digits) => digits.visit(split, visitor),
            Self::Cifar(cifar) => cifar.visit(split, visitor),
            Self::Huggingface(files) => files.visit(split, visitor),
            Self::ImageFolder(folder) => visit_files(folder.images(split), visitor),
            Self::TinyImagenet(folder) => visit_files(folder.images(split), visitor),
        }
    }
}

/// A file of a folder source with its class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelledFile {
    /// Path relative to the source, with `/`.
    pub relative: String,
    /// Where it lies.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// Index into the class list.
    pub label: u32,
}

impl LabelledFile {
    /// A picture file of a class.
    pub fn new(file: &PictureFile, label: u32) -> Self {
        let PictureFile { relative, path, bytes } = file.clone();
        Self { relative, path, bytes, label }
    }
}

/// The archive, or Parquet files, at a path of the user's.
fn local_cifar(variant: Variant, path: &Path, sha256: Option<&str>) -> Result<OpenSource> {
    if cifar_parquet::is_at(variant, path)? {
        return Ok(OpenSource::Huggingface(cifar_parquet::open(variant, path)?));
    }
    let cifar = Cifar::open(variant, variant.archive_at(path)?)?;
    cifar.verify(sha256)?;
    Ok(OpenSource::Cifar(cifar))
}

fn visit_files(files: &[LabelledFile], visitor: &mut Visitor<'_>) -> Result<()> {
    for file in files {
        let content = Content::File { path: file.path.clone(), bytes: file.bytes };
        let (path, place) = (file.relative.clone(), file.relative.clone());
        if visitor(SourceImage { path, place, label: file.label, content })?.is_break() {
            break;
        }
    }
    Ok(())
}

/// Refuses a path at which nothing lies.
pub(crate) fn expect_exists(path: &Path, expected: &'static str) -> Result<()> {
    if path.exists() {
        Ok(())
    } else {
        Err(IngestError::SourceMissing { path: path.to_path_buf(), expected })
    }
}
