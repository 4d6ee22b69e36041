//! Statistics of what enters a network's convolutions, matched beside those of batch normalization (G-VBSM, CVPR 2024,
//! section 3.2, generalized statistical matching).
//!
//! For each convolution: mean and variance by channel, and by patch of 4 x 4 pixels over images and channels. Targets are
//! those of all real training images. Differs from the published code: targets are exact over the whole set, where it averages
//! the variances of batches; the batch is matched itself, where it matches a running average over iterations.

use anyhow::Result;
use burn::tensor::{Device, Tensor, TensorData};
use delt_augment::draws::Draws;
use delt_augment::resample::bilinear_matrix;
use delt_formats::Normalization;
use delt_harness::progress::Progress;
use delt_networks::bn_statistics::{batch_statistics, distance};
use delt_networks::{FrozenNetwork, JoinedStatistics, LayerStatistics};
use delt_training::ImageSet;
use rand::RngExt;

use delt_pipeline::config::synthesize::{ConvolutionStatistics as Matched, Synthesize};

use super::labels::{cross_entropy, weighted};
use super::{Loss, Moment, Objective, Preparation, REAL_BATCH};
use crate::augmentation::resampled_rows;
use crate::recover::values;

/// Side of a patch, in pixels of what enters the convolution.
const PATCH: usize = 4;

/// The objective of G-VBSM: cross-entropy, and statistics of convolutions and BatchNorm together.
#[derive(Debug)]
pub struct ConvolutionStatistics {
    network: FrozenNetwork,
    /// For each convolution in forward order, means and variances by channel and by patch.
    targets: Vec<[(Tensor<1>, Tensor<1>); 2]>,
    /// Share of the convolutions that an iteration leaves out.
    drop: f64,
    draws: Draws,
}

impl ConvolutionStatistics {
    /// Finds the targets in all real training images, or takes those that an earlier run kept: going through them takes
    /// minutes.
    ///
    /// # Errors
    /// A device that returns no values, a checkpoint, an interrupt.
    pub fn prepare(
        network: FrozenNetwork,
        matched: Matched,
        member: usize,
        preparation: &Preparation<'_>,
    ) -> Result<Self> {
        let Preparation { normalization, draws, place, .. } = preparation;
        let (real, device) = (preparation.real_images()?, &place.opened.device);
        let targets = place.checkpoints.statistics(&format!("network-{member}"), || {
            let label = "delt-synthesize convolution statistics";
            let progress = (place.announce)(label, real.len() as u64, "images");
            let found = from_real_images(&network, real, normalization, device, &progress)?;
            progress.finish();
            Ok(found)
        })?;
        let tensor =
            |values: &Vec<f32>| Tensor::from_data(TensorData::new(values.clone(), [values.len()]), device);
        let of = |layer: &LayerStatistics| (tensor(&layer.mean), tensor(&layer.variance));
        // those by channel and by patch come in turns
        let targets = targets.chunks_exact(2).map(|pair| [of(&pair[0]), of(&pair[1])]).collect();
        Ok(Self { network, targets, drop: matched.drop, draws: *draws })
    }

    /// For each convolution that an iteration of a batch does not leave out, the distance of the statistics of what enters it
    /// from the real ones, `[1]`: ‖mean − μ‖₂ + ‖var − σ²‖₂ by channel, and the same by patch.
    fn terms(&self, inputs: Vec<Tensor<4>>, moment: Moment) -> Vec<Option<Tensor<1>>> {
        let mut rng =
            self.draws.stream("convolutions-left-out", u64::from(moment.batch), u64::from(moment.iteration));
        let terms = inputs.into_iter().zip(&self.targets).map(|(input, targets)| {
            let is_kept = rng.random::<f64>() >= self.drop;
            is_kept.then(|| {
                let [channels, patches] = measure(input);
                distance(channels, targets[0].clone()) + distance(patches, targets[1].clone())
            })
        });
        terms.collect()
    }
}

impl Objective for ConvolutionStatistics {
    /// As of [`super::labels`], where the terms of the convolutions come first: the first convolution has the multiplier of the
    /// first BatchNorm (G-VBSM, which counts all layers together).
    fn loss(&self, moment: Moment, images: Tensor<4>, labels: &[u32], config: &Synthesize) -> Loss {
        let recorded = self.network.forward_recorded(images);
        let mut terms = self.terms(recorded.convolution_inputs, moment);
        terms.extend(recorded.bn_terms.into_iter().map(Some));
        let target = cross_entropy(self.network.classify(recorded.features), labels);
        let statistics = weighted(terms, &target.device(), config);
        Loss::new(target, statistics, config)
    }
}

/// Goes through all real images once: for each convolution in forward order the statistics by channel, then those by patch;
/// `progress` advances by images.
///
/// # Errors
/// A device that returns no values, or [`delt_pipeline::watch::Interrupted`].
fn from_real_images(
    network: &FrozenNetwork,
    images: &ImageSet,
    normalization: &Normalization,
    device: &Device,
    progress: &Progress,
) -> Result<Vec<LayerStatistics>> {
    let indices: Vec<usize> = (0..images.len()).collect();
    let mut joined = JoinedStatistics::default();
    for indices in indices.chunks(REAL_BATCH) {
        let batch = images.on_device(images.normalized(indices, normalization)?, device);
        let measured = network.forward_recorded(batch).convolution_inputs.into_iter().flat_map(measure);
        let on_host =
            |(mean, variance)| Ok(LayerStatistics { mean: values(mean)?, variance: values(variance)? });
        joined.add(indices.len(), &measured.map(on_host).collect::<Result<Vec<_>>>()?);
        progress.advance(indices.len() as u64)?;
    }
    Ok(joined.layers())
}

/// Mean and biased variance by channel, `[c]`, and by patch, `[patches]`, of `[n, c, h, w]`.
fn measure(x: Tensor<4>) -> [(Tensor<1>, Tensor<1>); 2] {
    [batch_statistics(x.clone()), patch_statistics(x)]
}

/// Over images, channels and the pixels of each patch. A side that patches do not fill is stretched to the next one that
/// they do (bilinear), as published.
fn patch_statistics(x: Tensor<4>) -> (Tensor<1>, Tensor<1>) {
    let [n, c, h, w] = x.dims();
    let (rows, columns) = (h.div_ceil(PATCH), w.div_ceil(PATCH));
    let x = stretch(x, rows * PATCH);
    let x = stretch(x.swap_dims(2, 3), columns * PATCH).swap_dims(2, 3);
    let x = x.reshape([n * c, rows, PATCH, columns, PATCH]);
    let mean_of = |x: Tensor<5>| x.mean_dim(4).mean_dim(2).mean_dim(0);
    let mean = mean_of(x.clone());
    // the variance does not change with the mean it is centered by (to first order), so no gradient flows through that
    let variance = mean_of((x - mean.clone().detach()).square());
    (mean.reshape([rows * columns]), variance.reshape([rows * columns]))
}

/// `[n, c, h, w]` → `[n, c, side, w]`.
fn stretch(x: Tensor<4>, side: usize) -> Tensor<4> {
    let [_, _, h, _] = x.dims();
    if h == side {
        return x;
    }
    resampled_rows(x, bilinear_matrix(h, side, 0, h))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(values: Vec<f32>, shape: [usize; 4]) -> Tensor<4> {
        Tensor::from_data(TensorData::new(values, shape), &Device::flex())
    }

    #[test]
    fn patches_are_measured_over_pictures_channels_and_their_pixels() {
        // two images, two channels, 4 x 8: the left patch holds p + 2 q, the right one that plus ten times its row
        let at = |p: usize, q: usize, y: usize, x: usize| {
            (p + 2 * q) as f32 + if x < 4 { 0.0 } else { 10.0 * y as f32 }
        };
        let mut all = Vec::new();
        for p in 0..2 {
            for q in 0..2 {
                all.extend((0..32).map(|i| at(p, q, i / 8, i % 8)));
            }
        }
        let (mean, variance) = patch_statistics(tensor(all, [2, 2, 4, 8]));
        // 0, 1, 2, 3 alike: mean 1.5, variance 1.25; rows 0, 10, 20, 30 add 15 and 125
        let host = |tensor: Tensor<1>| values(tensor).expect("readable");
        for (found, expected) in host(mean).into_iter().zip([1.5, 16.5]) {
            assert!((found - expected).abs() < 1e-4, "{found}");
        }
        for (found, expected) in host(variance).into_iter().zip([1.25, 126.25]) {
            assert!((found - expected).abs() < 1e-3, "{found}");
        }
    }

    #[test]
    fn sides_that_patches_do_not_fill_are_stretched() {
        let ramp = (0..4).map(|i| (i / 2) as f32).collect();
        let (mean, variance) = patch_statistics(tensor(ramp, [1, 1, 2, 2]));
        // 0 and 1 over two rows become 0, ¼, ¾, 1 over four
        let host = |tensor: Tensor<1>| values(tensor).expect("readable");
        assert!((host(mean)[0] - 0.5).abs() < 1e-6);
        assert!((host(variance)[0] - 0.156_25).abs() < 1e-6);
    }
}
