//! External weights: read, brought to the dataset's class order, and asked whether they know its images.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use delt_augment::resize::fit;
use delt_formats::canonical::Digest;
use delt_formats::dataset::{DatasetReader, ImageRow};
use delt_formats::error::FormatError;
use delt_formats::rgb_image::RgbImage;
use delt_formats::teacher::Architecture;
use delt_guard::weights::{WeightsError, read_weights};
use delt_networks::{Network, NetworkError};
use delt_pipeline::config::teacher::Import;
use delt_training::{ImageSet, TrainingError};
use serde_json::json;

use crate::class_order::{ClassOrderError, permute_classifier};

/// Training images that an imported network must know.
pub const GATE_IMAGES: u64 = 1000;

/// An imported network below this multiple of chance is refused.
pub const GATE_OVER_CHANCE: f64 = 3.0;

/// Points that an imported network may lie off the accuracy its makers state, on the test images that they tested on.
pub const EXPECTED_TOP1_TOLERANCE: f64 = 1.0;

/// Standard errors that it may lie off on other or fewer test images, where that is more: about one sound
/// network in 400 is refused by chance.
pub const EXPECTED_TOP1_STANDARD_ERRORS: f64 = 3.0;

/// What goes wrong while weights are imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The class order does not fit.
    #[error(transparent)]
    ClassOrder(#[from] ClassOrderError),
    /// The file cannot be read; the message names it.
    #[error(transparent)]
    Unreadable(WeightsError),
    /// The weights do not fit the network.
    #[error("{path}", path = .path.display())]
    Weights {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        #[source]
        source: NetworkError,
    },
    /// A weight is NaN or infinite.
    #[error("{path}: tensor `{tensor}` holds {value}, expected finite numbers; its training diverged; use an earlier checkpoint", path = .path.display())]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The value.
        value: f32,
    },
    /// The network does not know the dataset's images.
    #[error(
        "{path}: right on {top1:.1} % of {images} training images, expected at least {expected:.1} %; most likely the class \
         order (`import.classes`) or the normalization (`import.normalization`) is not the one the weights were trained with",
        path = .path.display()
    )]
    Gate {
        /// The file.
        path: PathBuf,
        /// Percent found.
        top1: f64,
        /// Percent expected.
        expected: f64,
        /// Images asked.
        images: usize,
    },
    /// The network is not as good as its makers state.
    #[error(
        "{path}: top-1 is {top1:.2} % of {images} test images, expected_top1 says {expected}, more than {tolerance:.1} points \
         away; check the class order (teacher.import.classes) and the constants (teacher.import.normalization)",
        path = .path.display()
    )]
    Stated {
        /// The file.
        path: PathBuf,
        /// Percent found.
        top1: f64,
        /// Percent stated.
        expected: f64,
        /// Points allowed between them.
        tolerance: f64,
        /// Images asked.
        images: usize,
    },
    /// The dataset cannot be read.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// An image cannot be read.
    #[error(transparent)]
    Training(#[from] TrainingError),
}

/// What identifies an import: the bytes of the file and the order of its classes.
///
/// # Errors
/// A file that cannot be read.
pub fn digest(path: &Path, order: &[String]) -> Result<Digest, FormatError> {
    Ok(Digest::of_json(&json!({ "weights": Digest::of_file(path)?, "classes": order })))
}

/// Reads the weights and sorts the classifier's rows from `order` to `dataset`.
///
/// # Errors
/// A file that cannot be read, or [`ImportError::Weights`] listing tensors that are missing, unused or of another shape.
pub fn read_network(
    import: &Import,
    architecture: &Architecture,
    size: u32,
    (order, dataset): (&[String], &[String]),
    device: &Device,
) -> Result<Network, ImportError> {
    let mut tensors =
        read_weights(&import.path, import.top_level_key.as_deref()).map_err(ImportError::Unreadable)?;
    permute_classifier(&mut tensors, architecture, order, dataset);
    let network = Network::from_named(architecture, dataset.len(), size as usize, tensors, device);
    let weights = |source| ImportError::Weights { path: import.path.clone(), source };
    let network = network.map_err(weights)?;
    match network.first_not_finite().map_err(weights)? {
        Some((tensor, value)) => Err(ImportError::NotFinite { path: import.path.clone(), tensor, value }),
        None => Ok(network),
    }
}

/// Every n/`count`-th training image in class order: each class in proportion, the same images every time.
///
/// # Errors
/// A file that cannot be read.
pub fn gate_images(path: &Path, per_class: &[u64], size: u32, count: u64) -> Result<ImageSet, ImportError> {
    let all: u64 = per_class.iter().sum();
    let count = count.min(all);
    let mut next: Vec<u64> = per_class
        .iter()
        .scan(0, |start, images| {
            let first = *start;
            *start += images;
            Some(first)
        })
        .collect();
    let mut set = ImageSet { size, pictures: Vec::new(), labels: Vec::new(), ids: Vec::new() };
    for row in DatasetReader::open(path)?.rows() {
        let ImageRow { bytes, label, image_id, .. } = row?;
        let Some(place) = next.get_mut(label as usize) else { continue };
        let chosen = is_chosen(*place, all, count);
        *place += 1;
        if !chosen {
            continue;
        }
        let picture = RgbImage::decode(&bytes).map_err(|source| TrainingError::RgbImage {
            path: path.to_owned(),
            image_id,
            source,
        })?;
        set.pictures.push(fit(&picture, size));
        set.labels.push(label);
        set.ids.push(image_id);
    }
    Ok(set)
}

/// Whether `place` is one of the `count` places ⌊i · all / count⌋.
fn is_chosen(place: u64, all: u64, count: u64) -> bool {
    let i = (place * count).div_ceil(all.max(1));
    i < count && i * all / count == place
}

/// Percent of training images that an imported network must get right: three times chance, and with four classes or fewer
/// half way from chance to all.
pub fn gate_percent(classes: usize) -> f64 {
    let chance = 1.0 / classes.max(1) as f64;
    100.0 * (GATE_OVER_CHANCE * chance).min(0.5 * (1.0 + chance))
}

/// Refuses a network that knows too few of the gate's images.
///
/// # Errors
/// [`ImportError::Gate`].
pub fn check_gate(path: &Path, top1: f64, images: usize, classes: usize) -> Result<(), ImportError> {
    let expected = gate_percent(classes);
    if top1 >= expected {
        return Ok(());
    }
    Err(ImportError::Gate { path: path.to_path_buf(), top1, expected, images })
}

/// The test images that a stated accuracy is compared on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tested {
    /// How many there are.
    pub images: usize,
    /// Whether they are those that the data set is published with.
    pub is_published: bool,
}

impl Tested {
    /// Points that a network of `expected` percent may lie off: [`EXPECTED_TOP1_TOLERANCE`], and on a sample at least
    /// [`EXPECTED_TOP1_STANDARD_ERRORS`] of a share of so many images.
    pub fn tolerance(self, expected: f64) -> f64 {
        if self.is_published {
            return EXPECTED_TOP1_TOLERANCE;
        }
        let share = expected / 100.0;
        let standard_error = 100.0 * (share * (1.0 - share) / self.images.max(1) as f64).sqrt();
        EXPECTED_TOP1_TOLERANCE.max(EXPECTED_TOP1_STANDARD_ERRORS * standard_error)
    }
}

/// Refuses a network that is further off the stated accuracy than [`Tested::tolerance`]. Accuracies are in percent.
///
/// # Errors
/// [`ImportError::Stated`].
pub fn check_stated(path: &Path, top1: f64, tested: Tested, expected: f64) -> Result<(), ImportError> {
    let tolerance = tested.tolerance(expected);
    if (top1 - expected).abs() <= tolerance {
        return Ok(());
    }
    let images = tested.images;
    Err(ImportError::Stated { path: path.to_path_buf(), top1, expected, tolerance, images })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gate_asks_images_that_are_spread_evenly() {
        let chosen = |all, count| (0..all).filter(|place| is_chosen(*place, all, count)).collect::<Vec<_>>();
        assert_eq!(chosen(10, 4), [0, 2, 5, 7]);
        assert_eq!(chosen(4, 4), [0, 1, 2, 3]);
        for (all, count) in [(50_000, 1000), (1797, 1000), (1001, 1000), (999, 999)] {
            assert_eq!(chosen(all, count).len() as u64, count);
        }
    }

    #[test]
    fn a_network_that_is_not_as_good_as_stated_is_refused() {
        let tested = Tested { images: 500, is_published: true };
        for top1 in [60.0, 61.0, 62.0] {
            check_stated(Path::new("w.pth"), top1, tested, 61.0).expect("passes");
        }
        let message = check_stated(Path::new("w.pth"), 59.5, tested, 61.0).expect_err("refused").to_string();
        assert_eq!(
            message,
            "w.pth: top-1 is 59.50 % of 500 test images, expected_top1 says 61, more than 1.0 points away; check the class \
             order (teacher.import.classes) and the constants (teacher.import.normalization)"
        );
        check_stated(Path::new("w.pth"), f64::NAN, tested, 61.0).expect_err("refused");
    }

    #[test]
    fn on_a_sample_of_test_images_the_sampling_error_is_allowed_for() {
        // 3 · 100 · sqrt(0.61 · 0.39 / 500) = 6.54
        let sample = Tested { images: 500, is_published: false };
        assert!((sample.tolerance(61.0) - 6.5437).abs() < 1e-3, "{}", sample.tolerance(61.0));
        check_stated(Path::new("w.pth"), 55.0, sample, 61.0).expect("passes");
        check_stated(Path::new("w.pth"), 54.0, sample, 61.0).expect_err("refused");
        check_stated(Path::new("w.pth"), f64::NAN, sample, 61.0).expect_err("refused");
        // never less than a point, and none at all is no division by zero
        assert_eq!(sample.tolerance(100.0), EXPECTED_TOP1_TOLERANCE);
        assert!(Tested { images: 0, is_published: false }.tolerance(50.0).is_finite());
    }

    #[test]
    fn a_network_near_chance_is_refused_with_the_likely_reasons() {
        assert!((gate_percent(100) - 3.0).abs() < 1e-12);
        assert!((gate_percent(2) - 75.0).abs() < 1e-12);
        check_gate(Path::new("w.pth"), 3.0, 1000, 100).expect("passes");
        let message = check_gate(Path::new("w.pth"), 1.25, 1000, 100).expect_err("refused").to_string();
        assert_eq!(
            message,
            "w.pth: right on 1.2 % of 1000 training images, expected at least 3.0 %; most likely the class order \
             (`import.classes`) or the normalization (`import.normalization`) is not the one the weights were trained with"
        );
    }
}
