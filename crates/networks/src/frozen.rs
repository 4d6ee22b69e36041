//! A network whose weights do not change any more, prepared for speed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use delt_conv_norm::{FrozenConvNorm, is_supported, on_worker};
use delt_formats::{TeacherFacts, read_safetensors};

use crate::bn_statistics::{LayerStatistics, bn_statistics_terms};
use crate::chains::{Chain, chains};
use crate::error::NetworkError;
use crate::network::{BnLayer, Network};
use crate::pass::{Evaluation, Frozen, Measuring, Record, measured, prepare};
use crate::program::Kind;

/// A network in evaluation mode for good: the teacher, the ranker, a student under test.
///
/// On the CPU backend, convolution, normalization and what follows go as one operation, wherever they follow one another;
/// elsewhere the network runs layer by layer. The results are the same within rounding.
#[derive(Debug)]
pub struct FrozenNetwork {
    network: Network,
    layers: Vec<BnLayer>,
    /// By batch normalization layer; none where that stands alone.
    blocks: Option<Vec<Option<Arc<FrozenConvNorm>>>>,
    /// What follows one another, by the step that it begins at.
    pub(crate) chains: Arc<BTreeMap<usize, Chain>>,
    is_bf16: bool,
}

/// What a forward pass of a frozen network leaves.
#[derive(Debug)]
pub struct Recorded {
    /// What enters the last linear layer, `[n, features]`. A loss that takes in the terms must take it in too.
    pub features: Tensor<2>,
    /// Distances of statistics by batch normalization layer, `[1]` each, as of [`FrozenNetwork::features_with_bn_terms`].
    pub bn_terms: Vec<Tensor<1>>,
    /// What enters each convolution, `[n, channels, height, width]`, in forward order.
    pub convolution_inputs: Vec<Tensor<4>>,
}

impl FrozenNetwork {
    /// Takes a network on a device without autodiff: its weights are constants of any graph.
    pub fn new(network: Network, device: &Device) -> Self {
        let layers = network.bn_layers();
        let blocks = if is_supported(device) { prepared(&network) } else { None };
        let chains = blocks.as_ref().map(|blocks| chains(&network, blocks)).unwrap_or_default();
        Self { network, layers, blocks, chains: Arc::new(chains), is_bf16: false }
    }

    /// Reads `weights.safetensors` of a teacher artifact.
    ///
    /// # Errors
    /// A file that cannot be read, or tensors that are missing, unused or of another shape.
    pub fn load(
        facts: &TeacherFacts,
        classes: usize,
        path: &Path,
        device: &Device,
    ) -> Result<Self, NetworkError> {
        let TeacherFacts { architecture, size, .. } = facts;
        let (tensors, _) = read_safetensors(path)?;
        let network = Network::from_named(architecture, classes, *size as usize, tensors, device)?;
        Ok(Self::new(network, device))
    }

    /// The same network, layer by layer on every backend.
    #[must_use]
    pub fn without_fusion(self) -> Self {
        Self { blocks: None, ..self }
    }

    /// The same network, layer by layer, its convolutions computed in bf16 (about 3 significant digits); batch
    /// normalization and its statistics stay in f32. For GPUs that are fast at it; on a CPU it is slower.
    #[must_use]
    pub fn in_bf16(self) -> Self {
        Self { is_bf16: true, ..self.without_fusion() }
    }

    /// Logits of normalized images: `[n, 3, size, size]` → `[n, classes]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        self.network.classify(self.features(x))
    }

    /// Logits as [`Self::forward`], but every batch normalization layer normalizes by the statistics of this batch. The running
    /// ones stay as they are.
    pub fn forward_by_batch_statistics(&self, x: Tensor<4>) -> Tensor<2> {
        self.network.forward_train(x).0.inner()
    }

    /// What enters the last linear layer: `[n, 3, size, size]` → `[n, features]`.
    pub fn features(&self, x: Tensor<4>) -> Tensor<2> {
        self.run(x, Record::Nothing).features
    }

    /// Logits, and for every batch normalization layer in forward order the distance of the batch's statistics from the
    /// running ones, or from those that took their place, see [`bn_statistics_terms`]; each `[1]`. A loss that takes in the
    /// distances must take in the logits.
    pub fn forward_with_bn_terms(&self, x: Tensor<4>) -> (Tensor<2>, Vec<Tensor<1>>) {
        let (features, terms) = self.features_with_bn_terms(x);
        (self.classify(features), terms)
    }

    /// As [`Self::forward_with_bn_terms`] with features in place of logits: a loss that takes in the distances must take in
    /// the features.
    pub fn features_with_bn_terms(&self, x: Tensor<4>) -> (Tensor<2>, Vec<Tensor<1>>) {
        let recorded = self.run(x, Record::Norms);
        (recorded.features, recorded.bn_terms)
    }

    /// As [`Self::features_with_bn_terms`], with what enters every convolution.
    pub fn forward_recorded(&self, x: Tensor<4>) -> Recorded {
        self.run(x, Record::NormsAndConvolutions)
    }

    fn run(&self, x: Tensor<4>, record: Record) -> Recorded {
        if let Some(blocks) = &self.blocks {
            let is_alone = record == Record::Nothing && !x.device().is_autodiff();
            let mut pass = Frozen {
                blocks,
                chains: if is_alone { &self.chains } else { &BTreeMap::new() },
                layers: &self.layers,
                record,
                distances: Vec::new(),
                convolution_inputs: Vec::new(),
            };
            let features = on_worker(&x.device(), || self.network.features_with(x, &mut pass));
            let Frozen { distances: bn_terms, convolution_inputs, .. } = pass;
            return Recorded { features, bn_terms, convolution_inputs };
        }
        let mut pass = Evaluation { is_bf16: self.is_bf16, record, ..Default::default() };
        let features = self.network.features_with(x, &mut pass);
        let bn_terms = bn_statistics_terms(&pass.norm_inputs, &self.layers);
        Recorded { features, bn_terms, convolution_inputs: pass.convolution_inputs }
    }

    /// The last linear layer: `[n, features]` → `[n, classes]`.
    pub fn classify(&self, features: Tensor<2>) -> Tensor<2> {
        self.network.classify(features)
    }

    /// Features, and the batch's own statistics at the input of every batch normalization layer in forward order.
    ///
    /// # Shapes
    /// `[n, 3, size, size]`, outside any graph → `[n, features]`.
    ///
    /// # Errors
    /// Where the device does not give the statistics back.
    pub fn features_with_statistics(
        &self,
        x: Tensor<4>,
    ) -> Result<(Tensor<2>, Vec<LayerStatistics>), NetworkError> {
        if let Some(blocks) = &self.blocks {
            let mut pass = Measuring { blocks, statistics: Vec::new() };
            let features = on_worker(&x.device(), || self.network.features_with(x, &mut pass));
            return Ok((features, pass.statistics.into_iter().collect::<Result<_, _>>()?));
        }
        let mut pass = Evaluation { is_bf16: self.is_bf16, record: Record::Norms, ..Default::default() };
        let features = self.network.features_with(x, &mut pass);
        let statistics = pass.norm_inputs.into_iter().map(measured);
        Ok((features, statistics.collect::<Result<_, _>>()?))
    }

    /// The same network, which normalizes by the same running statistics, but measures the statistics of a batch against
    /// these, one for every batch normalization layer in forward order. Packed weights are shared.
    ///
    /// # Panics
    /// Where `targets` are not those of this network's layers.
    #[must_use]
    pub fn with_bn_targets(&self, targets: &[LayerStatistics]) -> Self {
        assert_eq!(targets.len(), self.layers.len(), "one target for each batch normalization layer");
        let layers = self.layers.iter().zip(targets).map(|(layer, target)| {
            let device = layer.running_mean.device();
            BnLayer {
                name: layer.name.clone(),
                running_mean: Tensor::from_data(target.mean.as_slice(), &device),
                running_var: Tensor::from_data(target.variance.as_slice(), &device),
            }
        });
        let with_target = |(block, target): (&Option<Arc<FrozenConvNorm>>, &LayerStatistics)| {
            let with = |block: &Arc<FrozenConvNorm>| {
                Arc::new(block.with_targets(target.mean.clone(), target.variance.clone()))
            };
            block.as_ref().map(with)
        };
        let blocks = self.blocks.as_ref().map(|blocks| blocks.iter().zip(targets).map(with_target).collect());
        let (network, chains) = (self.network.clone(), Arc::clone(&self.chains));
        Self { network, layers: layers.collect(), blocks, chains, is_bf16: self.is_bf16 }
    }

    /// The batch normalization layers in forward order, with what the statistics of a batch are measured against.
    pub fn bn_layers(&self) -> &[BnLayer] {
        &self.layers
    }
}

/// The blocks of batch normalization, if all their weights could be read.
fn prepared(network: &Network) -> Option<Vec<Option<Arc<FrozenConvNorm>>>> {
    let mut blocks = vec![None; network.program().norms.len()];
    for step in &network.program().steps {
        if let Kind::BatchBlock(activation) = step.kind {
            let norm = network.batch_norm(step.at + 1);
            let place = norm.place;
            blocks[place] = Some(Arc::new(prepare(network.convolution(step.at), norm, activation)?));
        }
    }
    Some(blocks)
}
