//! CIFAR-10 and CIFAR-100: the official binary archive, a local one or downloaded; the archive for Python; what either unpacks to;
//! or Parquet as at Hugging Face.

pub mod binary;
pub mod parquet;
pub mod python;

use std::ops::ControlFlow;
use std::path::Path;

use delt_pipeline::config::ingest::Cifar;

use crate::download::{self, Downloads, Sum};
use crate::error::{IngestError, Result};
use crate::source::{Source, counts_note, expect_exists};
use crate::sources::container::Container;
use crate::tar_archive::for_each_member;
use binary::BinaryFiles;
use python::PythonBatches;

/// Images of both published data sets.
const PUBLISHED: [u64; 2] = [50_000, 10_000];

/// What is particular to one of the two data sets.
#[derive(Debug, PartialEq, Eq)]
pub struct Variant {
    /// Name in `data/sources.yaml`.
    pub name: &'static str,
    /// Name for people.
    pub title: &'static str,
    /// File name of the official archive.
    pub archive: &'static str,
    /// The folder that it unpacks to.
    folder: &'static str,
    /// Its member with the class names.
    names_member: &'static str,
    /// Its members with training images, in order.
    train_members: &'static [&'static str],
    /// Its members with test images.
    test_members: &'static [&'static str],
    /// Label bytes before the pixels of a record; the last of them is the label that is read.
    label_bytes: usize,
    /// Column of labels in Parquet.
    label_column: &'static str,
    /// Class names in the order of the labels, as the archive has them.
    class_names: &'static [&'static str],
    /// The version for Python.
    python: Python,
}

/// What is particular to the version for Python.
#[derive(Debug, PartialEq, Eq)]
struct Python {
    archive: &'static str,
    /// As Keras checks it.
    sha256: &'static str,
    folder: &'static str,
    names_member: &'static str,
    names_key: &'static str,
    train_members: &'static [&'static str],
    test_members: &'static [&'static str],
    labels_key: &'static str,
}

/// The two versions of the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    Binary,
    Python,
}

impl Version {
    /// The file of class names, then those of images.
    fn members(self, variant: &Variant) -> Vec<&'static str> {
        let python = &variant.python;
        let (names, train, test) = match self {
            Self::Binary => (variant.names_member, variant.train_members, variant.test_members),
            Self::Python => (python.names_member, python.train_members, python.test_members),
        };
        [&[names], train, test].concat()
    }

    fn open(self, variant: &'static Variant, container: Container) -> Result<Box<dyn Source>> {
        Ok(match self {
            Self::Binary => Box::new(BinaryFiles::open(variant, container)?),
            Self::Python => Box::new(PythonBatches::open(variant, container)?),
        })
    }
}

impl Variant {
    fn official_names(&self) -> Vec<String> {
        self.class_names.iter().map(|name| (*name).to_owned()).collect()
    }
}

/// CIFAR-10, ten classes.
pub static CIFAR10: Variant = Variant {
    name: "cifar10",
    title: "CIFAR-10",
    archive: "cifar-10-binary.tar.gz",
    folder: "cifar-10-batches-bin",
    names_member: "batches.meta.txt",
    train_members: &[
        "data_batch_1.bin",
        "data_batch_2.bin",
        "data_batch_3.bin",
        "data_batch_4.bin",
        "data_batch_5.bin",
    ],
    test_members: &["test_batch.bin"],
    label_bytes: 1,
    label_column: "label",
    class_names: &["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"],
    python: Python {
        archive: "cifar-10-python.tar.gz",
        sha256: "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
        folder: "cifar-10-batches-py",
        names_member: "batches.meta",
        names_key: "label_names",
        train_members: &["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5"],
        test_members: &["test_batch"],
        labels_key: "labels",
    },
};

/// CIFAR-100, a hundred fine classes.
#[rustfmt::skip]
pub static CIFAR100: Variant = Variant {
    name: "cifar100",
    title: "CIFAR-100",
    archive: "cifar-100-binary.tar.gz",
    folder: "cifar-100-binary",
    names_member: "fine_label_names.txt",
    train_members: &["train.bin"],
    test_members: &["test.bin"],
    label_bytes: 2,
    label_column: "fine_label",
    class_names: &[
        "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle",
        "bowl", "boy", "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle",
        "chair", "chimpanzee", "clock", "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur",
        "dolphin", "elephant", "flatfish", "forest", "fox", "girl", "hamster", "house", "kangaroo", "keyboard",
        "lamp", "lawn_mower", "leopard", "lion", "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain",
        "mouse", "mushroom", "oak_tree", "orange", "orchid", "otter", "palm_tree", "pear", "pickup_truck", "pine_tree",
        "plain", "plate", "poppy", "porcupine", "possum", "rabbit", "raccoon", "ray", "road", "rocket",
        "rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper", "snail", "snake", "spider",
        "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank", "telephone", "television", "tiger", "tractor",
        "train", "trout", "tulip", "turtle", "wardrobe", "whale", "willow_tree", "wolf", "woman", "worm",
    ],
    python: Python {
        archive: "cifar-100-python.tar.gz",
        sha256: "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
        folder: "cifar-100-python",
        names_member: "meta",
        names_key: "fine_label_names",
        train_members: &["train"],
        test_members: &["test"],
        labels_key: "fine_labels",
    },
};

/// Opens what lies at a path of the user's, or the published archive where none is given: an archive of either version or the
/// folder in which it lies, the folder that one unpacks to or the one above, or Parquet files.
///
/// # Errors
/// Nothing at the path, or not what it should be.
pub fn open(variant: &'static Variant, section: &Cifar, downloads: &Downloads) -> Result<Box<dyn Source>> {
    let Some(path) = &section.path else {
        let archive = downloads.file(variant.name, variant.archive)?;
        return Ok(Box::new(BinaryFiles::open(variant, Container::Archive(archive))?));
    };
    if parquet::is_at(variant, path)? {
        return Ok(Box::new(parquet::open(variant, path)?));
    }
    let (version, container) = match found_in(variant, path) {
        Some(found) => found,
        None => {
            // the file itself, or where it would lie under its published name
            let file = if path.is_dir() { path.join(variant.archive) } else { path.clone() };
            let expected = format!(
                "the archive {}, the folder it lies in, or one with train-*.parquet and test-*.parquet, {} or {}",
                variant.archive, variant.python.archive, variant.python.folder
            );
            expect_exists(&file, expected)?;
            (version_of(variant, &file), Container::Archive(file))
        }
    };
    let source = version.open(variant, container.clone())?;
    verify(variant, &container, version, section.sha256.as_deref())?;
    Ok(source)
}

/// What lies in a folder under its published name.
fn found_in(variant: &Variant, folder: &Path) -> Option<(Version, Container)> {
    use Version::{Binary, Python};
    let python = &variant.python;
    for (version, archive) in [(Binary, variant.archive), (Python, python.archive)] {
        let file = folder.join(archive);
        if file.is_file() {
            return Some((version, Container::Archive(file)));
        }
    }
    let is_there = |(version, unpacked): &(Version, std::path::PathBuf)| {
        unpacked.join(version.members(variant)[1]).is_file()
    };
    let places = [
        (Binary, folder.to_path_buf()),
        (Python, folder.to_path_buf()),
        (Binary, folder.join(variant.folder)),
        (Python, folder.join(python.folder)),
    ];
    places.into_iter().find(is_there).map(|(version, unpacked)| (version, Container::Folder(unpacked)))
}

/// The version of an archive by the first file that one of them has; the binary one where none is found, which says what is
/// wrong.
fn version_of(variant: &Variant, archive: &Path) -> Version {
    let (binary, python) = (Version::Binary.members(variant), Version::Python.members(variant));
    let mut version = Version::Binary;
    let _ = for_each_member(archive, |name, _| {
        if python.contains(&name) {
            version = Version::Python;
        }
        let is_known = python.contains(&name) || binary.contains(&name);
        Ok(if is_known { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    });
    version
}

/// Refuses an archive that is not the published one, or not that of the SHA-256 which the pipeline gives. A folder has no sum.
fn verify(variant: &Variant, container: &Container, version: Version, given: Option<&str>) -> Result<()> {
    let archive = match (container, given) {
        (Container::Archive(archive), _) => archive,
        (Container::Folder(_), None) => return Ok(()),
        (Container::Folder(folder), Some(_)) => {
            let problem =
                "holds unpacked files, and `ingest.source.sha256` is the sum of an archive; leave it out";
            return Err(IngestError::layout(folder, problem));
        }
    };
    let (expected, origin) = match (given, version) {
        (Some(given), _) => (given.to_owned(), "`ingest.source.sha256`"),
        (None, Version::Binary) => match download::published(variant.name, variant.archive)?.sum {
            Sum::Sha256(sum) | Sum::Md5(sum) => (sum, "data/sources.yaml"),
        },
        (None, Version::Python) => (variant.python.sha256.to_owned(), "the published archive"),
    };
    let mut file = fs_err::File::open(archive)?;
    let found = download::sha256(&mut file).map_err(IngestError::reading(archive))?;
    if found == expected {
        return Ok(());
    }
    let problem = format!(
        "has SHA-256 {found}, expected {expected} ({origin}); download it again, or set `ingest.source.sha256` to the \
         former if this archive is meant"
    );
    Err(IngestError::layout(archive, problem))
}

/// Says of a folder, which has no checksum, that it does not hold as many images as are published.
fn folder_note(variant: &Variant, container: &Container, source: &dyn Source) -> Vec<String> {
    let note = || counts_note(variant.title, container.path(), source, PUBLISHED);
    if container.is_archive() { Vec::new() } else { note().into_iter().collect() }
}
