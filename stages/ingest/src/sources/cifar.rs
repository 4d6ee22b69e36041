//! CIFAR-10 and CIFAR-100: the official binary archive, a local one or downloaded, or Parquet as at Hugging Face.

pub mod binary;
pub mod parquet;

use delt_pipeline::config::ingest::Cifar;

use crate::download::Downloads;
use crate::error::Result;
use crate::source::{Source, expect_exists};
use binary::BinaryArchive;

/// What is particular to one of the two data sets.
#[derive(Debug, PartialEq, Eq)]
pub struct Variant {
    /// Name in `data/sources.yaml`.
    pub name: &'static str,
    /// Name for people.
    pub title: &'static str,
    /// File name of the official archive.
    pub archive: &'static str,
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
}

/// CIFAR-10, ten classes.
pub static CIFAR10: Variant = Variant {
    name: "cifar10",
    title: "CIFAR-10",
    archive: "cifar-10-binary.tar.gz",
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
};

/// CIFAR-100, a hundred fine classes.
#[rustfmt::skip]
pub static CIFAR100: Variant = Variant {
    name: "cifar100",
    title: "CIFAR-100",
    archive: "cifar-100-binary.tar.gz",
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
};

/// Opens the archive, or Parquet files, at a path of the user's; the published archive where none is given.
///
/// # Errors
/// Nothing at the path, or not what it should be.
pub fn open(variant: &'static Variant, section: &Cifar, downloads: &Downloads) -> Result<Box<dyn Source>> {
    let Some(path) = &section.path else {
        let archive = downloads.archive(variant.name)?;
        return Ok(Box::new(BinaryArchive::open(variant, archive)?));
    };
    if parquet::is_at(variant, path)? {
        return Ok(Box::new(parquet::open(variant, path)?));
    }
    // the file itself, or the folder in which it lies under its published name
    let file = if path.is_dir() { path.join(variant.archive) } else { path.clone() };
    let expected = format!(
        "the archive {}, the folder it lies in, or one with train-*.parquet and test-*.parquet",
        variant.archive
    );
    expect_exists(&file, expected)?;
    let archive = BinaryArchive::open(variant, file)?;
    archive.verify(section.sha256.as_deref())?;
    Ok(Box::new(archive))
}
