//! Section `ingest`: where real images come from.

use std::collections::BTreeSet;

use delt_formats::teacher::Normalization;
use serde::{Deserialize, Serialize};

use super::{Invalid, SourcePath};

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
    /// Count and leave out pictures that cannot be read, where the default is to stop and name the file.
    #[serde(default)]
    pub skip_broken: bool,
    /// Mean and standard deviation per channel; computed from the training images when absent.
    #[serde(default)]
    pub normalization: Option<Normalization>,
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

/// A kind of source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Source {
    /// The 1,797 handwritten digits committed in `data/`.
    EmbeddedDigits {
        /// Share of the images that become the test split.
        test_fraction: f64,
        /// Seed of the split.
        split_seed: u64,
    },
    /// CIFAR-10: the official binary `.tar.gz`, a local file or downloaded as `data/sources.yaml` says; or Parquet in the
    /// Hugging Face layout.
    Cifar10 {
        /// The archive, the folder it lies in, or Parquet files; the archive is downloaded when absent.
        #[serde(default)]
        path: Option<SourcePath>,
        /// SHA-256 of a local archive that is not the published one; without it, no other is read.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sha256: Option<String>,
    },
    /// CIFAR-100: the official binary `.tar.gz`, a local file or downloaded as `data/sources.yaml` says; or Parquet in the
    /// Hugging Face layout.
    Cifar100 {
        /// The archive, the folder it lies in, or Parquet files; the archive is downloaded when absent.
        #[serde(default)]
        path: Option<SourcePath>,
        /// SHA-256 of a local archive that is not the published one; without it, no other is read.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sha256: Option<String>,
    },
    /// Parquet as Hugging Face stores image sets.
    HuggingfaceParquet {
        /// A folder with `train-*.parquet` and `test-*.parquet` (or `validation-*`), or one file of training images.
        path: SourcePath,
        /// Training files relative to `path`, where names do not tell.
        #[serde(default)]
        train: Option<Vec<SourcePath>>,
        /// Test files relative to `path`, where names do not tell.
        #[serde(default)]
        test: Option<Vec<SourcePath>>,
        /// Column of pictures, a struct of `bytes` and `path`.
        image_column: String,
        /// Column of labels, integers.
        label_column: String,
        /// Class names by label, where the file's metadata has none.
        #[serde(default)]
        class_names: Option<Vec<String>>,
        // Left out of the key where absent, as in the files of stores that are older than these two.
        /// Share of each class that becomes the test split where there are no test files.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        test_fraction: Option<f64>,
        /// Seed of that split.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        split_seed: Option<u64>,
    },
    /// A folder per class: `train/<class>/*`, `val/<class>/*` (or `test/`), or `<class>/*` with a seeded split.
    ImageFolder {
        /// The root of the tree.
        path: SourcePath,
        /// Share of each class that becomes the test split where the tree has none.
        #[serde(default)]
        test_fraction: Option<f64>,
        /// Seed of that split.
        #[serde(default)]
        split_seed: Option<u64>,
    },
    /// Tiny-ImageNet as distributed: `train/<id>/images`, `val/val_annotations.txt`, `words.txt`.
    TinyImagenet {
        /// The folder `tiny-imagenet-200`, or its `.zip` unpacked.
        path: SourcePath,
    },
}

impl Ingest {
    /// Whether the test images are all those that the data set is published with.
    pub fn has_published_test_set(&self) -> bool {
        let is_split_here = match &self.source {
            Source::EmbeddedDigits { .. } => true,
            Source::ImageFolder { test_fraction, .. } | Source::HuggingfaceParquet { test_fraction, .. } => {
                test_fraction.is_some()
            }
            Source::Cifar10 { .. } | Source::Cifar100 { .. } | Source::TinyImagenet { .. } => false,
        };
        self.classes.is_none() && self.max_test_per_class.is_none() && !is_split_here
    }

    pub(super) fn validate(&self) -> Result<(), Invalid> {
        if let Some(classes) = &self.classes {
            if classes.len() < 2 {
                return Err(Invalid::new("ingest.classes", "expected at least two class names"));
            }
            if classes.iter().collect::<BTreeSet<_>>().len() != classes.len() {
                return Err(Invalid::new("ingest.classes", "a class is named twice; name each once"));
            }
        }
        let fraction = match &self.source {
            Source::EmbeddedDigits { test_fraction, .. } => Some(*test_fraction),
            Source::ImageFolder { test_fraction, .. } | Source::HuggingfaceParquet { test_fraction, .. } => {
                *test_fraction
            }
            _ => None,
        };
        if fraction.is_some_and(|f| !(f > 0.0 && f < 1.0)) {
            return Err(Invalid::new(
                "ingest.source.test_fraction",
                "expected a share between 0 and 1, e.g. 0.2",
            ));
        }
        if let Source::Cifar10 { path, sha256: Some(sha256) }
        | Source::Cifar100 { path, sha256: Some(sha256) } = &self.source
        {
            let is_hex = sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            if path.is_none() || sha256.len() != SHA256_DIGITS || !is_hex {
                let problem = "expected 64 lower-case hex digits, and a `path`: it is the sum of an archive of your own";
                return Err(Invalid::new("ingest.source.sha256", problem));
            }
        }
        if self.max_train_per_class == Some(0) || self.max_test_per_class == Some(0) {
            return Err(Invalid::new(
                "ingest",
                "a limit per class of 0 leaves no images; leave the key out for all",
            ));
        }
        if let Some(normalization) = &self.normalization {
            if normalization.mean.iter().any(|m| !m.is_finite()) {
                return Err(Invalid::new("ingest.normalization.mean", "expected three finite numbers"));
            }
            if normalization.std.iter().any(|s| !(s.is_finite() && *s > 0.0)) {
                return Err(Invalid::new("ingest.normalization.std", "expected three positive numbers"));
            }
        }
        Ok(())
    }
}
