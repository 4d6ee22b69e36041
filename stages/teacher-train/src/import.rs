//! External weights: read, brought to the dataset's class order, and asked whether they know its images.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use burn::tensor::Device;
use delt_formats::canonical::Digest;
use delt_formats::dataset::ImageRow;
use delt_formats::error::FormatError;
use delt_formats::teacher::{Architecture, Normalization};
use delt_formats::tensors::NamedTensor;
use delt_guard::{read_names, read_weights};
use delt_networks::Network;
use delt_networks::checkpoint::{self, Found};
use delt_pipeline::config::teacher::Import;
use delt_training::ImageSet;
use serde_json::json;

use crate::class_order::permute_classifier;

/// Training images that an imported network must know.
pub const GATE_IMAGES: u64 = 1000;

/// An imported network below this multiple of chance is refused.
pub const GATE_OVER_CHANCE: f64 = 3.0;

/// Points that an imported network may lie off the accuracy its makers state, on the test images that they tested on.
pub const EXPECTED_TOP1_TOLERANCE: f64 = 1.0;

/// Standard errors that it may lie off on other or fewer test images, where that is more: about one sound
/// network in 400 is refused by chance.
pub const EXPECTED_TOP1_STANDARD_ERRORS: f64 = 3.0;

/// What identifies an import: the bytes of the file, the order of its classes and, where the file holds several copies, the one
/// that was preferred ([`Found::preferred`]).
///
/// # Errors
/// A file that cannot be read.
pub fn digest(path: &Path, order: &[String], preferred: Option<&str>) -> Result<Digest, FormatError> {
    let mut parts = json!({ "weights": Digest::of_file(path)?, "classes": order });
    if let Some(copy) = preferred {
        parts["copy"] = json!(copy);
    }
    Ok(Digest::of_json(&parts))
}

/// Finds the network in the file, by its names or else by the order of a `.pth`, and refuses one that does not fit.
///
/// # Errors
/// A file that cannot be read; several copies of which none is preferred; tensors that are missing, unused or of another shape.
pub fn find(import: &Import, architecture: &Architecture, size: u32, classes: usize) -> Result<Found> {
    let tensors = read_weights(&import.path)?;
    let path = import.path.display();
    let (key, size) = (import.top_level_key.as_deref(), size as usize);
    let found = checkpoint::find(architecture, &tensors, key).with_context(|| path.to_string())?;
    let Err(misfit) = Network::check_named(architecture, classes, size, &found.tensors) else {
        return Ok(found);
    };
    let (wanted, order) = (architecture.description(size, classes), read_names(&import.path));
    let in_order = checkpoint::find_in_order(&wanted, &tensors, &order.unwrap_or_default(), key)
        .with_context(|| path.to_string())?;
    let said = || found.said.as_ref().map_or_else(|| path.to_string(), |said| format!("{path}: {said}"));
    in_order.map_or_else(|| Err(misfit).with_context(said), Ok)
}

/// Builds the network, the classifier's rows sorted from `order` to `dataset`.
///
/// # Errors
/// Tensors that do not fit; a weight that is NaN or infinite.
pub fn build(
    import: &Import,
    architecture: &Architecture,
    size: u32,
    mut tensors: Vec<NamedTensor>,
    (order, dataset): (&[String], &[String]),
    device: &Device,
) -> Result<Network> {
    permute_classifier(&mut tensors, architecture, order, dataset);
    let path = import.path.display();
    let network = Network::from_named(architecture, dataset.len(), size as usize, tensors, device)
        .with_context(|| path.to_string())?;
    if let Some((tensor, value)) = network.first_not_finite().with_context(|| path.to_string())? {
        bail!(
            "{path}: tensor `{tensor}` holds {value}, expected finite numbers; its training diverged; use an earlier checkpoint"
        );
    }
    Ok(network)
}

/// Every n/`count`-th training image in class order: each class in proportion, the same images every time.
///
/// # Errors
/// A file that cannot be read.
pub fn gate_images(
    path: &Path,
    classes: &[String],
    per_class: &[u64],
    size: u32,
    count: u64,
) -> Result<ImageSet> {
    // place of the next image of each class, where all stand in class order
    let (mut all, mut next) = (0, Vec::new());
    for images in per_class {
        next.push(all);
        all += images;
    }
    let count = count.min(all);
    let is_asked = |row: &ImageRow| {
        let Some(place) = next.get_mut(row.label as usize) else { return false };
        *place += 1;
        is_chosen(*place - 1, all, count)
    };
    Ok(ImageSet::load_chosen(path, size, classes, count as usize, is_asked, &())?)
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

/// Refuses a network that knows too few of the gate's images: fewer than [`gate_percent`].
///
/// # Errors
/// The likely reasons.
pub fn check_gate(
    path: &Path,
    top1: f64,
    images: usize,
    classes: usize,
    normalization: &Normalization,
) -> Result<()> {
    let expected = gate_percent(classes);
    ensure!(
        top1 >= expected,
        "{}: right on {top1:.1} % of {images} training images, expected at least {expected:.1} %; most likely the class order \
         (`import.classes`) or the normalization (`import.normalization`; here {normalization}) is not the one the weights were \
         trained with",
        path.display()
    );
    Ok(())
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
/// Both accuracies, and what to check.
pub fn check_stated(
    path: &Path,
    top1: f64,
    tested: Tested,
    expected: f64,
    normalization: &Normalization,
) -> Result<()> {
    let tolerance = tested.tolerance(expected);
    ensure!(
        (top1 - expected).abs() <= tolerance,
        "{}: top-1 is {top1:.2} % of {} test images, expected_top1 says {expected}, more than {tolerance:.1} points away; check \
         the class order (teacher.import.classes) and the constants (teacher.import.normalization; here {normalization})",
        path.display(),
        tested.images
    );
    Ok(())
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
            check_stated(Path::new("w.pth"), top1, tested, 61.0, &Normalization::IMAGENET).expect("passes");
        }
        let message = check_stated(Path::new("w.pth"), 59.5, tested, 61.0, &Normalization::IMAGENET)
            .expect_err("refused")
            .to_string();
        assert_eq!(
            message,
            "w.pth: top-1 is 59.50 % of 500 test images, expected_top1 says 61, more than 1.0 points away; check the class \
             order (teacher.import.classes) and the constants (teacher.import.normalization; here mean [0.485, 0.456, 0.406] and std [0.229, 0.224, 0.225])"
        );
        check_stated(Path::new("w.pth"), f64::NAN, tested, 61.0, &Normalization::IMAGENET)
            .expect_err("refused");
    }

    #[test]
    fn on_a_sample_of_test_images_the_sampling_error_is_allowed_for() {
        // 3 · 100 · sqrt(0.61 · 0.39 / 500) = 6.54
        let sample = Tested { images: 500, is_published: false };
        assert!((sample.tolerance(61.0) - 6.5437).abs() < 1e-3, "{}", sample.tolerance(61.0));
        check_stated(Path::new("w.pth"), 55.0, sample, 61.0, &Normalization::IMAGENET).expect("passes");
        check_stated(Path::new("w.pth"), 54.0, sample, 61.0, &Normalization::IMAGENET).expect_err("refused");
        check_stated(Path::new("w.pth"), f64::NAN, sample, 61.0, &Normalization::IMAGENET)
            .expect_err("refused");
        // never less than a point, and none at all is no division by zero
        assert_eq!(sample.tolerance(100.0), EXPECTED_TOP1_TOLERANCE);
        assert!(Tested { images: 0, is_published: false }.tolerance(50.0).is_finite());
    }

    #[test]
    fn a_network_near_chance_is_refused_with_the_likely_reasons() {
        assert!((gate_percent(100) - 3.0).abs() < 1e-12);
        assert!((gate_percent(2) - 75.0).abs() < 1e-12);
        check_gate(Path::new("w.pth"), 3.0, 1000, 100, &Normalization::IMAGENET).expect("passes");
        let message = check_gate(Path::new("w.pth"), 1.25, 1000, 100, &Normalization::IMAGENET)
            .expect_err("refused")
            .to_string();
        assert_eq!(
            message,
            "w.pth: right on 1.2 % of 1000 training images, expected at least 3.0 %; most likely the class order \
             (`import.classes`) or the normalization (`import.normalization`; here mean [0.485, 0.456, 0.406] and std [0.229, 0.224, 0.225]) is not the one \
             the weights were trained with"
        );
    }
}
