//! CIFAR-10 and CIFAR-100 in Parquet, as Hugging Face's `cifar10` and `cifar100` hold them.

use std::path::Path;

use crate::cifar::Variant;
use crate::error::{IngestError, Result};
use crate::huggingface::{Huggingface, Request};
use crate::parquet_files::{self, TEST, TRAIN};
use crate::picture_table::Columns;

/// Column of pictures in both.
const IMAGE: &str = "img";
/// Files with other columns have a kind of their own, which names them.
const OTHER_COLUMNS: &str = "ingest.source: {kind: huggingface_parquet, image_column: .., label_column: ..}";
/// A class name that some revisions of Hugging Face's `cifar100` spell without its last letter, and the official one.
const MISSPELLED: (&str, &str) = ("cra", "crab");

/// Class names in the order of the labels, as `batches.meta.txt` of the archive has them.
const CIFAR10_CLASSES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// Fine class names in the order of the labels, as `fine_label_names.txt` of the archive has them.
#[rustfmt::skip]
const CIFAR100_CLASSES: [&str; 100] = [
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
];

/// Whether a path given for CIFAR is that of Parquet files, and not of the archive.
///
/// # Errors
/// A folder that cannot be listed.
pub fn is_at(variant: Variant, path: &Path) -> Result<bool> {
    if path.is_dir() {
        return Ok(
            !path.join(variant.archive_name()).exists() && !parquet_files::named(path, &[""])?.is_empty()
        );
    }
    Ok(parquet_files::is_parquet(path) && path.exists())
}

/// Opens the folder, or the folder of the file: both splits are needed. Class names are the official ones; those of the
/// metadata must agree.
///
/// # Errors
/// A split, a column or a class that is not as Hugging Face has it.
pub fn open(variant: Variant, path: &Path) -> Result<Huggingface> {
    let folder = if path.is_dir() { path } else { path.parent().unwrap_or(Path::new("")) };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    for beginnings in [&TRAIN[..], &TEST[..]] {
        if parquet_files::named(folder, beginnings)?.is_empty() {
            let problem = format!(
                "holds no {}, expected both splits of {}; download it too, or give the archive {}",
                parquet_files::patterns(beginnings),
                variant.title(),
                variant.archive_name()
            );
            return Err(IngestError::layout(folder, problem));
        }
    }
    let (label, official): (&str, &[&str]) = match variant {
        Variant::Cifar10 => ("label", &CIFAR10_CLASSES),
        Variant::Cifar100 => ("fine_label", &CIFAR100_CLASSES),
    };
    let official: Vec<String> = official.iter().map(|name| (*name).to_owned()).collect();
    let opened = Huggingface::open(&Request {
        path: folder,
        train: None,
        test: None,
        columns: Columns { image: IMAGE.to_owned(), label: label.to_owned() },
        class_names: Some(&official),
        test_fraction: None,
        split_seed: None,
    })
    .map_err(naming_the_other_kind)?;
    if let Some(described) = opened.described_classes() {
        check_names(folder, variant, described, &official)?;
    }
    Ok(opened)
}

/// The keys that name columns belong to `kind: huggingface_parquet`.
fn naming_the_other_kind(error: IngestError) -> IngestError {
    match error {
        IngestError::MissingColumn { path, column, found, .. } => {
            IngestError::MissingColumn { path, column, found, key: OTHER_COLUMNS }
        }
        IngestError::WrongColumn { path, column, found, expected, .. } => {
            IngestError::WrongColumn { path, column, found, expected, key: OTHER_COLUMNS }
        }
        other => other,
    }
}

fn check_names(folder: &Path, variant: Variant, found: &[String], official: &[String]) -> Result<()> {
    let title = variant.title();
    let agree = |found: &str, official: &str| found == official || (found, official) == MISSPELLED;
    let problem = if found.len() != official.len() {
        format!("its files name {} classes, expected the {} of {title}", found.len(), official.len())
    } else if let Some(label) = (0..official.len()).find(|label| !agree(&found[*label], &official[*label])) {
        format!(
            "its files name class {label} `{}`, expected `{}` as in {title}",
            found[label], official[label]
        )
    } else {
        return Ok(());
    };
    let hint =
        "correct `ingest.source.kind` or give DATA=path; other data is read by `kind: huggingface_parquet`";
    Err(IngestError::layout(folder, format!("{problem}; {hint}")))
}
