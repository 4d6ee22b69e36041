//! The loss of recovery: cross-entropy plus the distance of the teacher's BatchNorm statistics (SRe2L, eq. 7), and what may
//! take the place of either or come beside it.

use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Int, Tensor, TensorData};
use delt_formats::Normalization;
use delt_harness::config::synthesize::Synthesize;
use delt_harness::config::target::Target;
use delt_networks::FrozenNetwork;

use crate::class_target::ClassTarget;
use crate::convolution_statistics::ConvolutionStatistics;

/// The frozen teacher with what recovery needs of it.
#[derive(Debug)]
pub struct RecoveryTeacher {
    network: FrozenNetwork,
    /// Range of a valid pixel in normalised space, by channel.
    pixel_range: [(f32, f32); 3],
    device: Device,
    pub(crate) losses_read_every: usize,
    /// What the features of each slot are pulled to in place of the label, `[ipc, features]`.
    points: Option<Tensor<2>>,
    /// What else is matched.
    convolutions: Option<ConvolutionStatistics>,
}

/// Loss of one batch of images, with its parts.
#[derive(Debug)]
pub struct RecoveryLoss {
    /// What is minimised.
    pub total: Tensor<1>,
    /// Cross-entropy to the hard labels, or the weighted squared distance of features that takes its place.
    pub cross_entropy: Tensor<1>,
    /// Weighted sum of the BatchNorm terms, before alpha_BN.
    pub bn_statistics: Tensor<1>,
}

impl RecoveryTeacher {
    /// Takes a network on a device without autodiff: its weights are constants of the graph.
    pub fn new(network: FrozenNetwork, normalization: &Normalization, device: &Device) -> Self {
        let pixel_range = delt_augment::normalize::pixel_range(normalization);
        Self {
            network,
            pixel_range,
            device: device.clone(),
            losses_read_every: 1,
            points: None,
            convolutions: None,
        }
    }

    /// The losses go to the host once in so many iterations: a GPU need not wait for each. A loss that is no number is
    /// noticed then. The results are the same.
    #[must_use]
    pub fn reading_losses_every(self, iterations: usize) -> Self {
        Self { losses_read_every: iterations.max(1), ..self }
    }

    /// The network.
    pub fn network(&self) -> &FrozenNetwork {
        &self.network
    }

    /// The same teacher, which pulls features and statistics to those of a class in place of labels and running statistics.
    #[must_use]
    pub fn pulling_to(&self, target: ClassTarget) -> Self {
        Self {
            network: target.network,
            pixel_range: self.pixel_range,
            device: self.device.clone(),
            losses_read_every: self.losses_read_every,
            points: Some(target.points),
            convolutions: None,
        }
    }

    /// The same teacher, which matches the statistics of what enters its convolutions too.
    #[must_use]
    pub fn matching_convolutions(self, statistics: ConvolutionStatistics) -> Self {
        Self { convolutions: Some(statistics), ..self }
    }

    /// `CE(teacher(x), y) + alpha_BN Σ_l w_l (‖mean_l − μ_l‖₂ + ‖var_l − σ²_l‖₂)`, w = `first_bn_multiplier` for the
    /// first BatchNorm in forward order, 1 for the others.
    ///
    /// With a barycenter's points b, `weight / n Σ_i ‖features(x_i) − b_i‖²` takes the place of CE (WMDD, section 3.3).
    ///
    /// # Shapes
    /// `images`: `[n, 3, size, size]`, normalised, augmented; `labels`: n class indices.
    pub fn loss(&self, images: Tensor<4>, labels: &[u32], config: &Synthesize) -> RecoveryLoss {
        self.loss_in(0, 0, images, labels, config)
    }

    /// As [`Self::loss`], in an iteration of a batch: where convolutions are matched, these decide which are left out, and the
    /// first convolution has the multiplier of the first BatchNorm (G-VBSM, which counts all layers together).
    pub(crate) fn loss_in(
        &self,
        batch: u32,
        iteration: u32,
        images: Tensor<4>,
        labels: &[u32],
        config: &Synthesize,
    ) -> RecoveryLoss {
        let (features, terms) = match &self.convolutions {
            None => {
                let (features, terms) = self.network.features_with_bn_terms(images);
                (features, terms.into_iter().map(Some).collect())
            }
            Some(convolutions) => {
                let recorded = self.network.forward_recorded(images);
                let mut terms = convolutions.terms(recorded.convolution_inputs, batch, iteration);
                terms.extend(recorded.bn_terms.into_iter().map(Some));
                (recorded.features, terms)
            }
        };
        let mut weighted = terms.into_iter().enumerate().filter_map(|(layer, term)| {
            if layer == 0 { term.map(|term| term.mul_scalar(config.first_bn_multiplier)) } else { term }
        });
        let zero = Tensor::zeros([1], &self.device);
        let first = weighted.next().unwrap_or(zero);
        let bn_statistics = weighted.fold(first, |sum, term| sum + term);
        let cross_entropy = match (config.target, &self.points) {
            (Target::Barycenter { weight }, Some(points)) => {
                let [active, _] = features.dims();
                let apart = features - points.clone().narrow(0, 0, active);
                apart.square().sum_dim(1).mean().mul_scalar(weight)
            }
            _ => cross_entropy(self.network.classify(features), labels),
        };
        let total = cross_entropy.clone() + bn_statistics.clone().mul_scalar(config.bn_matching_weight);
        RecoveryLoss { total, cross_entropy, bn_statistics }
    }

    /// Clips each channel to the range of a valid pixel.
    pub fn clip(&self, images: Tensor<4>) -> Tensor<4> {
        let of_channels = |end: fn(&(f32, f32)) -> f32| {
            let ends: Vec<f32> = self.pixel_range.iter().map(end).collect();
            Tensor::<4>::from_data(TensorData::new(ends, [1, 3, 1, 1]), &self.device)
        };
        images.max_pair(of_channels(|range| range.0)).min_pair(of_channels(|range| range.1))
    }

    /// The device the recovery runs on.
    pub fn device(&self) -> &Device {
        &self.device
    }
}

fn cross_entropy(logits: Tensor<2>, labels: &[u32]) -> Tensor<1> {
    let device = logits.device().without_autodiff();
    let indices: Vec<i32> = labels.iter().map(|label| *label as i32).collect();
    let indices = Tensor::<1, Int>::from_data(TensorData::new(indices, [labels.len()]), &device);
    log_softmax(logits, 1).gather(1, indices.unsqueeze_dim(1)).mean().neg()
}
