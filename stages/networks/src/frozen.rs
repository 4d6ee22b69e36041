//! A network whose weights do not change any more, prepared for speed.

use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use delt_conv_norm::{FrozenConvNorm, is_supported};

use crate::bn_statistics::bn_statistics_terms;
use crate::network::{BnLayer, Network};
use crate::pass::{Evaluation, Frozen, Preparation, Recording};

/// A network in evaluation mode for good: the teacher, the ranker, a student under test.
///
/// On the CPU backend, convolution, batch normalisation and what follows go as one operation; elsewhere, and for
/// MobileNetV2, the network runs layer by layer. The results are the same within rounding.
#[derive(Debug)]
pub struct FrozenNetwork {
    network: Network,
    layers: Vec<BnLayer>,
    blocks: Option<Vec<Arc<FrozenConvNorm>>>,
    is_bf16: bool,
}

impl FrozenNetwork {
    /// Takes a network on a device without autodiff: its weights are constants of any graph.
    pub fn new(network: Network, device: &Device) -> Self {
        let layers = network.bn_layers();
        let blocks = (network.is_fusible() && is_supported(device)).then(|| {
            let device = device.clone().without_autodiff();
            let start = Tensor::zeros([1, 3, 1, 1], &device);
            let mut pass = Preparation { device, blocks: Some(Vec::new()) };
            network.features_with(start, &mut pass);
            pass.blocks
        });
        Self { network, layers, blocks: blocks.flatten(), is_bf16: false }
    }

    /// The same network, layer by layer on every backend.
    #[must_use]
    pub fn without_fusion(self) -> Self {
        Self { blocks: None, ..self }
    }

    /// The same network, layer by layer, its convolutions computed in bf16 (about 3 significant digits); batch
    /// normalisation and its statistics stay in f32. For GPUs that are fast at it; on a CPU it is slower.
    #[must_use]
    pub fn in_bf16(self) -> Self {
        Self { is_bf16: true, ..self.without_fusion() }
    }

    /// Logits of normalised pictures: `[n, 3, size, size]` → `[n, classes]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        self.network.classify(self.features(x))
    }

    /// What enters the last linear layer: `[n, 3, size, size]` → `[n, features]`.
    pub fn features(&self, x: Tensor<4>) -> Tensor<2> {
        match &self.blocks {
            Some(blocks) => {
                self.network.features_with(x, &mut Frozen { blocks: blocks.iter(), distances: None })
            }
            None => self.network.features_with(x, &mut Evaluation { is_bf16: self.is_bf16 }),
        }
    }

    /// Logits, and for every batch normalisation layer in forward order the distance of the batch's statistics from the
    /// running ones, see [`bn_statistics_terms`]; each `[1]`. A loss that takes in the distances must take in the logits.
    pub fn forward_with_bn_terms(&self, x: Tensor<4>) -> (Tensor<2>, Vec<Tensor<1>>) {
        match &self.blocks {
            Some(blocks) => {
                let mut pass = Frozen { blocks: blocks.iter(), distances: Some(Vec::new()) };
                let features = self.network.features_with(x, &mut pass);
                (self.network.classify(features), pass.distances.unwrap_or_default())
            }
            None => {
                let mut pass = Recording { is_bf16: self.is_bf16, inputs: Vec::new() };
                let features = self.network.features_with(x, &mut pass);
                (self.network.classify(features), bn_statistics_terms(&pass.inputs, &self.layers))
            }
        }
    }

    /// The batch normalisation layers in forward order.
    pub fn bn_layers(&self) -> &[BnLayer] {
        &self.layers
    }
}
