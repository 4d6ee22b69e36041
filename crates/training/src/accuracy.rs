//! How well a network classifies a set of images.

use burn::tensor::Device;
use delt_formats::Normalization;
use delt_networks::{FrozenNetwork, Network};
use delt_pipeline::watch::Watch;
use serde::{Deserialize, Serialize};

use crate::ahead::ahead;
use crate::error::TrainingError;
use crate::image_set::ImageSet;

/// What a test found.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Accuracy {
    /// Percent of images whose class has the largest logit.
    pub top1: f64,
    /// Percent of images whose class is among the five largest logits.
    pub top5: f64,
    /// Mean cross-entropy.
    pub cross_entropy: f64,
}

/// Tests a network, on a device without autodiff, in evaluation mode; `progress` advances by images.
///
/// # Errors
///
/// [`TrainingError::Interrupted`] once the user asked to stop; where the device does not return logits, or a disk images.
pub fn test_accuracy(
    network: &Network,
    images: &ImageSet,
    normalization: &Normalization,
    batch: usize,
    device: &Device,
    progress: &dyn Watch,
) -> Result<Accuracy, TrainingError> {
    let normalized = |batch: &[usize]| images.normalized(batch, normalization);
    test_accuracy_on(network, images, normalized, batch, device, progress)
}

/// As [`test_accuracy`], of what `values` makes of the images at some indices: `[n, 3, size, size]` row by row.
///
/// # Errors
///
/// As [`test_accuracy`].
pub fn test_accuracy_on(
    network: &Network,
    images: &ImageSet,
    values: impl Fn(&[usize]) -> Result<Vec<f32>, TrainingError> + Send,
    batch: usize,
    device: &Device,
    progress: &dyn Watch,
) -> Result<Accuracy, TrainingError> {
    let network = FrozenNetwork::new(network.clone(), device);
    let mut scores = Vec::with_capacity(images.len());
    let indices: Vec<usize> = (0..images.len()).collect();
    let batches = indices.chunks(batch.max(1));
    ahead(batches.clone().map(values), |pixels| {
        for (batch, pixels) in batches.zip(pixels) {
            let logits = network.forward(images.on_device(pixels?, device));
            let [_, classes] = logits.dims();
            let logits = logits
                .try_into_vec_as::<f32>()
                .map_err(|source| TrainingError::Read { what: "the logits of a test batch", source })?;
            for (row, index) in logits.chunks_exact(classes).zip(batch) {
                let label = images.labels[*index] as usize;
                scores.push((rank(row, label), cross_entropy(row, label)));
            }
            progress.advance(batch.len() as u64)?;
        }
        Ok(Accuracy::of(&scores))
    })
}

impl Accuracy {
    /// Of the rank and the cross-entropy of each image.
    fn of(scores: &[(usize, f64)]) -> Self {
        let count = scores.len().max(1) as f64;
        let percent =
            |most: usize| 100.0 * scores.iter().filter(|(rank, _)| *rank < most).count() as f64 / count;
        let sum = scores.iter().fold(0.0, |sum, (_, cross_entropy)| sum + cross_entropy);
        Self { top1: percent(1), top5: percent(5), cross_entropy: sum / count }
    }
}

fn cross_entropy(logits: &[f32], label: usize) -> f64 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|logit| f64::from(logit - largest).exp()).sum();
    sum.ln() - f64::from(logits[label] - largest)
}

/// How many classes come before `label`; of equal logits the lower class comes first, and a logit that is NaN last.
fn rank(logits: &[f32], label: usize) -> usize {
    let own = logits[label];
    if own.is_nan() {
        return logits.len();
    }
    let is_before = |(class, logit): &(usize, &f32)| **logit > own || (**logit == own && *class < label);
    logits.iter().enumerate().filter(is_before).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_count_the_classes_before_the_true_one() {
        assert_eq!(rank(&[0.1, 0.9, 0.5], 1), 0);
        assert_eq!(rank(&[0.1, 0.9, 0.5], 0), 2);
        assert_eq!(rank(&[0.5, 0.5, 0.5], 2), 2);
        assert_eq!(rank(&[f32::NAN, 0.5, 0.5], 0), 3);
    }

    #[test]
    fn scores_become_percent_and_means() {
        let scores = [0, 1].map(|label| (rank(&[0.0, 0.0], label), cross_entropy(&[0.0, 0.0], label)));
        let accuracy = Accuracy::of(&scores);
        assert_eq!((accuracy.top1, accuracy.top5), (50.0, 100.0));
        assert!((accuracy.cross_entropy - 2.0_f64.ln()).abs() < 1e-12);
    }
}
