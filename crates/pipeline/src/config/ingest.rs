//! Section `ingest`: where real images come from.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::path::Path;

use delt_formats::teacher::Normalization;
use serde::{Deserialize, Serialize};

use super::{Invalid, SourcePath, range};

/// Hex digits of a SHA-256.
const SHA256_DIGITS: usize = 64;

/// Section `ingest`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ingest {
    /// The kind of source and where it is.
    pub source: Source,
    /// Only these classes, by name (default: all).
    #[serde(default)]
    pub classes: Option<Vec<String>>,
    /// What happens to the label space when `classes` leaves some out.
    #[serde(default)]
    pub label_space: LabelSpace,
    /// At most so many training images of a class, the first ones (default: all).
    #[serde(default)]
    pub max_train_per_class: Option<u64>,
    /// At most so many test images of a class, the first ones (default: all).
    #[serde(default)]
    pub max_test_per_class: Option<u64>,
    /// Count and leave out images that cannot be read, where the default is to stop and name the file.
    #[serde(default)]
    pub skip_broken: bool,
    /// Mean and standard deviation per channel; computed from the training images when absent.
    #[serde(default)]
    pub normalization: Option<Normalization>,
    /// Images whose shorter side has more pixels are stored brought to it, as RGB PNG: less to decode in every stage. With 256 or
    /// more, those that networks see at 224 px stay the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shorter_side: Option<NonZeroU32>,
}

/// What happens to labels when only some classes are read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LabelSpace {
    /// Labels are numbered anew, 0..classes.
    #[default]
    Shrink,
    /// All class names stay, with their labels; the missing ones have no images.
    Keep,
}

/// A kind of source. A new one is a variant here with a section of its own below, a row in `ingest::sources::open` and a
/// module beside that. Keys that only say where the data lie are left out of the artifact's key by
/// [`crate::dag::Dag::dataset_plan`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Source {
    /// The 1,797 handwritten digits committed in `data/`.
    EmbeddedDigits(EmbeddedDigits),
    /// CIFAR-10.
    Cifar10(Cifar),
    /// CIFAR-100.
    Cifar100(Cifar),
    /// MNIST.
    Mnist(Published),
    /// Fashion-MNIST.
    FashionMnist(Published),
    /// Street View House Numbers, the cropped digits.
    Svhn(Svhn),
    /// STL-10, without its unlabeled images.
    Stl10(Published),
    /// ImageNette, version 2.
    Imagenette(Imagenette),
    /// ImageWoof, version 2.
    Imagewoof(Imagenette),
    /// ImageNet-1K (ILSVRC 2012) as distributed.
    Imagenet1k(Imagenet),
    /// The 100 classes of ImageNet-1K that the field calls ImageNet-100, in its order.
    Imagenet100(Imagenet),
    /// A table of paths and labels: CSV, or with tabs, semicolons or bars.
    Csv(Csv),
    /// Parquet as Hugging Face stores image sets.
    HuggingfaceParquet(HuggingfaceParquet),
    /// IDX files, as those of MNIST.
    Idx(Idx),
    /// A folder per class: `train/<class>/*`, `val/<class>/*` (or `test/`), or `<class>/*` with a seeded split.
    ImageFolder(ImageFolder),
    /// Tiny-ImageNet as distributed: `train/<id>/images`, `val/val_annotations.txt`, `words.txt`.
    TinyImagenet(Published),
    /// Tar shards of webdataset.
    Webdataset(Webdataset),
}

/// Source `embedded_digits`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbeddedDigits {
    /// Share of the images that become the test split.
    pub test_fraction: f64,
    /// Seed of the split.
    pub split_seed: u64,
}

/// Sources `cifar10` and `cifar100`: the official binary `.tar.gz`, a local file or downloaded as `data/sources.yaml` says; the one
/// for Python; the folder that either unpacks to; or Parquet in the Hugging Face layout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cifar {
    /// An archive, the folder it lies in or unpacks to, or Parquet files; the archive is downloaded when absent.
    #[serde(default)]
    pub path: Option<SourcePath>,
    /// SHA-256 of a local archive that is not the published one; without it, no other is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// Source `huggingface_parquet`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HuggingfaceParquet {
    /// A folder with `train-*.parquet` and `test-*.parquet` (or `validation-*`) as it was cloned, or one file of training images.
    pub path: SourcePath,
    /// Training files relative to `path`, where names do not tell.
    #[serde(default)]
    pub train: Option<Vec<SourcePath>>,
    /// Test files relative to `path`, where names do not tell.
    #[serde(default)]
    pub test: Option<Vec<SourcePath>>,
    /// Column of images: a struct of `bytes` and `path`, bytes, or paths.
    pub image_column: String,
    /// Column of labels: integers, text, or true and false.
    pub label_column: String,
    /// Class names by label. Files whose metadata has the same names are joined by name; other names rename theirs.
    #[serde(default)]
    pub class_names: Option<Vec<String>>,
    // Left out of the key where absent, as in the files of stores that are older than these two.
    /// Share of each class that becomes the test split where there are no test files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_fraction: Option<f64>,
    /// Seed of that split.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split_seed: Option<u64>,
}

/// Source `csv`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Csv {
    /// The table.
    pub path: SourcePath,
    /// The folder that its paths are relative to (default: that of the table).
    #[serde(default)]
    pub images: Option<SourcePath>,
    /// Column of paths (default: `path`).
    #[serde(default)]
    pub path_column: Option<String>,
    /// Column of labels, names or numbers (default: `label`).
    #[serde(default)]
    pub label_column: Option<String>,
    /// Column that says train, val or test (default: `split` where there is one).
    #[serde(default)]
    pub split_column: Option<String>,
    /// Class names by number.
    #[serde(default)]
    pub class_names: Option<Vec<String>>,
    /// Share of each class that becomes the test split where no row is of one.
    #[serde(default)]
    pub test_fraction: Option<f64>,
    /// Seed of that split.
    #[serde(default)]
    pub split_seed: Option<u64>,
}

/// Source `idx`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Idx {
    /// The folder of the four files, or the one that torchvision was given.
    pub path: SourcePath,
    /// Class names by label (default: the numbers).
    #[serde(default)]
    pub class_names: Option<Vec<String>>,
}

/// Source `image_folder`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageFolder {
    /// The root of the tree.
    pub path: SourcePath,
    /// Share of each class that becomes the test split where the tree has none.
    #[serde(default)]
    pub test_fraction: Option<f64>,
    /// Seed of that split.
    #[serde(default)]
    pub split_seed: Option<u64>,
}

/// Sources `mnist`, `fashion_mnist`, `stl10` and `tiny_imagenet`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// The files as published, packed or unpacked, or the folder they lie in; downloaded when absent.
    #[serde(default)]
    pub path: Option<SourcePath>,
}

/// Source `svhn`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Svhn {
    /// The folder of `train_32x32.mat` and `test_32x32.mat`; downloaded when absent.
    #[serde(default)]
    pub path: Option<SourcePath>,
    /// Whether the easier images of `extra_32x32.mat` are training images too.
    #[serde(default)]
    pub extra: bool,
}

/// Sources `imagenette` and `imagewoof`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Imagenette {
    /// The archive, the folder that it unpacks to, or the one they lie in; downloaded when absent.
    #[serde(default)]
    pub path: Option<SourcePath>,
    /// The shorter side of the published version that is read: 160 or 320 (default: the full size).
    #[serde(default)]
    pub px: Option<u32>,
}

/// Sources `imagenet1k` and `imagenet100`: who reads them needs an account of image-net.org, so nothing is downloaded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Imagenet {
    /// The folder of the archives for training, validation and development kit, or of what they unpack to.
    pub path: SourcePath,
}

/// Source `webdataset`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webdataset {
    /// A folder of shards, a shard, or a pattern as `shard-{0000..0099}.tar`.
    pub path: SourcePath,
    /// Training shards relative to `path`, names or patterns, where names do not tell.
    #[serde(default)]
    pub train: Option<Vec<SourcePath>>,
    /// Test shards relative to `path`.
    #[serde(default)]
    pub test: Option<Vec<SourcePath>>,
    /// The key of the label where it stands in `key.json` (default: `label`, `cls`, `class` or `class_id`).
    #[serde(default)]
    pub label_key: Option<String>,
    /// Class names by number.
    #[serde(default)]
    pub class_names: Option<Vec<String>>,
    /// Share of each class that becomes the test split where there are no test shards.
    #[serde(default)]
    pub test_fraction: Option<f64>,
    /// Seed of that split.
    #[serde(default)]
    pub split_seed: Option<u64>,
}

impl Ingest {
    /// Whether the test images are all those that the data set is published with.
    pub fn has_published_test_set(&self) -> bool {
        self.classes.is_none() && self.max_test_per_class.is_none() && self.source.test_fraction().is_none()
    }

    /// Refuses a path at which nothing lies; without one, the source is downloaded.
    ///
    /// # Errors
    /// [`Invalid`] naming the path.
    pub fn check_source(&self) -> Result<(), Invalid> {
        let section = serde_yaml::to_value(&self.source).unwrap_or_default();
        // a pattern stands for many files
        let path = section.get("path").and_then(|path| path.as_str()).filter(|path| !path.contains('{'));
        let Some(path) = path.map(Path::new) else { return Ok(()) };
        let problem = format!(
            "{}: not found{}; put the images there, or a link to them, or give DATA=path to one cell",
            path.display(),
            range::counted_from(path)
        );
        range::ensure(path.exists(), "ingest.source.path", problem)
    }

    pub(super) fn validate(&self) -> Result<(), Invalid> {
        if let Some(classes) = &self.classes {
            range::ensure(classes.len() >= 2, "ingest.classes", "expected at least two class names")?;
            let distinct: BTreeSet<&String> = classes.iter().collect();
            let is_once = distinct.len() == classes.len();
            range::ensure(is_once, "ingest.classes", "a class is named twice; name each once")?;
        }
        self.source.validate()?;
        let leaves_any = ![self.max_train_per_class, self.max_test_per_class].contains(&Some(0));
        range::ensure(
            leaves_any,
            "ingest",
            "a limit per class of 0 leaves no images; leave the key out for all",
        )?;
        if let Some(Normalization { mean, std }) = self.normalization {
            let at = |key: &str| format!("ingest.normalization.{key}");
            mean.into_iter().try_for_each(|mean| range::PIXEL_MEAN.check(at("mean"), f64::from(mean)))?;
            std.into_iter().try_for_each(|std| range::PIXEL_STD.check(at("std"), f64::from(std)))?;
        }
        Ok(())
    }
}

impl Source {
    /// The share of the images that becomes the test split, where the source is split here and not by who published it.
    fn test_fraction(&self) -> Option<f64> {
        match self {
            Self::EmbeddedDigits(digits) => Some(digits.test_fraction),
            Self::Csv(table) => table.test_fraction,
            Self::HuggingfaceParquet(files) => files.test_fraction,
            Self::ImageFolder(folder) => folder.test_fraction,
            Self::Webdataset(shards) => shards.test_fraction,
            _ => None,
        }
    }

    fn validate(&self) -> Result<(), Invalid> {
        let is_share = self.test_fraction().is_none_or(|share| share > 0.0 && share < 1.0);
        let problem = "expected a share between 0 and 1, e.g. 0.2";
        range::ensure(is_share, "ingest.source.test_fraction", problem)?;
        match self {
            Self::Cifar10(cifar) | Self::Cifar100(cifar) => cifar.validate(),
            Self::Imagenette(set) | Self::Imagewoof(set) => {
                let is_published = set.px.is_none_or(|px| [160, 320].contains(&px));
                let problem = "expected 160 or 320; leave it out for the full size";
                range::ensure(is_published, "ingest.source.px", problem)
            }
            _ => Ok(()),
        }
    }
}

impl Cifar {
    fn validate(&self) -> Result<(), Invalid> {
        let Some(sha256) = &self.sha256 else { return Ok(()) };
        let is_hex = sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let is_sum = sha256.len() == SHA256_DIGITS && is_hex;
        let problem =
            "expected 64 lower-case hex digits, and a `path`: it is the sum of an archive of your own";
        range::ensure(is_sum && self.path.is_some(), "ingest.source.sha256", problem)
    }
}
