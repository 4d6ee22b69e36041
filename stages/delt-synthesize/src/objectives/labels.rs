//! Cross-entropy to the labels plus the distance of the teacher's BatchNorm statistics (SRe2L, eq. 7; DELT, section 3.1).

use burn::tensor::{Device, Tensor};
use delt_networks::FrozenNetwork;
use delt_pipeline::config::synthesize::Synthesize;
use delt_training::losses::{self, class_indices};

use super::{Loss, Moment, Objective};

/// The objective of DELT and SRe2L.
#[derive(Debug)]
pub struct Labels {
    /// On a device without autodiff: its weights are constants of the graph.
    pub network: FrozenNetwork,
}

impl Objective for Labels {
    /// `CE(teacher(x), y) + alpha_BN Σ_l w_l (‖mean_l − μ_l‖₂ + ‖var_l − σ²_l‖₂)`, w = `first_bn_multiplier` for the first
    /// BatchNorm in forward order, 1 for the others.
    fn loss(&self, _: Moment, images: Tensor<4>, labels: &[u32], config: &Synthesize) -> Loss {
        let (features, terms) = self.network.features_with_bn_terms(images);
        let statistics = weighted(terms.into_iter().map(Some).collect(), &features.device(), config);
        Loss::new(cross_entropy(self.network.classify(features), labels), statistics, config)
    }
}

impl Loss {
    /// `target + alpha_BN · statistics`.
    pub(super) fn new(target: Tensor<1>, statistics: Tensor<1>, config: &Synthesize) -> Self {
        let total = target.clone() + statistics.clone().mul_scalar(config.bn_matching_weight);
        Self { total, target, statistics }
    }
}

/// The sum of the terms of the layers that are not left out; the first layer's has `first_bn_multiplier`. Of none, as of a
/// network without BatchNorm, it is 0 on the device.
pub(super) fn weighted(terms: Vec<Option<Tensor<1>>>, device: &Device, config: &Synthesize) -> Tensor<1> {
    let mut weighted = terms.into_iter().enumerate().filter_map(|(layer, term)| {
        if layer == 0 { term.map(|term| term.mul_scalar(config.first_bn_multiplier)) } else { term }
    });
    match weighted.next() {
        Some(first) => weighted.fold(first, |sum, term| sum + term),
        None => Tensor::zeros([1], &device.clone().without_autodiff()),
    }
}

/// Cross-entropy to class indices, mean over the images, `[1]`.
pub(super) fn cross_entropy(logits: Tensor<2>, labels: &[u32]) -> Tensor<1> {
    let labels = class_indices(labels.iter().copied(), &logits.device().without_autodiff());
    losses::cross_entropy(logits, labels, 0.0)
}
