//! The steps in which a network is computed: layers that a block can take as one operation go together.

use std::collections::BTreeMap;

use delt_architectures::{Activation, Description, Layer, Operation, StateTensor, Window};
use delt_conv_norm::Activation as BlockActivation;

use crate::state_dict::{Entry, entries};

/// The pooling that ends a block.
const POOLING: Window = Window { kernel: 2, stride: 2, padding: 0 };

/// How a network is computed.
#[derive(Debug)]
pub(crate) struct Program {
    /// What it is.
    pub(crate) description: Description,
    /// Its tensors, and what is written beside them.
    pub(crate) entries: Vec<Entry>,
    /// For each layer, the places of its tensors among those of the network.
    pub(crate) places: Vec<Vec<usize>>,
    /// All layers but the image and the classifier.
    pub(crate) steps: Vec<Step>,
    /// Layers of batch normalization.
    pub(crate) norms: Vec<usize>,
}

/// One or several layers one after the other.
#[derive(Debug)]
pub(crate) struct Step {
    /// The first layer.
    pub(crate) at: usize,
    /// What it does.
    pub(crate) kind: Kind,
    /// The layers that it reads: those of the first layer, then what a block adds.
    pub(crate) reads: Vec<usize>,
    /// The last layer, whose result is kept.
    pub(crate) end: usize,
    /// Results that are not read any more.
    pub(crate) done: Vec<usize>,
}

/// What is computed as one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    /// A single layer.
    Layer,
    /// A linear layer at every position and what follows.
    Linear(BlockActivation),
    /// A convolution, batch normalization, perhaps the sum with an earlier result, and what follows.
    BatchBlock(BlockActivation),
    /// A convolution, normalization of each image by itself or none, and what follows.
    ImageBlock {
        /// Whether there is a normalization.
        is_normalized: bool,
        /// What follows.
        activation: BlockActivation,
    },
}

impl Program {
    pub(crate) fn new(description: Description) -> Self {
        let entries = entries(&description);
        let by_name: BTreeMap<&str, usize> =
            tensors(&entries).enumerate().map(|(at, tensor)| (tensor.name.as_str(), at)).collect();
        let of_layer =
            |layer: &Layer| layer.tensors.iter().map(|tensor| by_name[tensor.name.as_str()]).collect();
        let places = description.layers.iter().map(of_layer).collect();
        let is_norm = |at: &usize| description.layers[*at].operation == Operation::BatchNorm;
        let norms = (0..description.layers.len()).filter(is_norm).collect();
        let steps = steps(&description.layers);
        Self { entries, places, steps, norms, description }
    }

    /// The tensors in the order of PyTorch's `state_dict`.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = &StateTensor> {
        tensors(&self.entries)
    }

    /// The last layer.
    pub(crate) fn classifier(&self) -> usize {
        self.description.layers.len() - 1
    }
}

fn tensors(entries: &[Entry]) -> impl Iterator<Item = &StateTensor> {
    entries.iter().filter_map(|entry| match entry {
        Entry::Tensor(tensor) => Some(tensor),
        Entry::Constant(_) => None,
    })
}

fn steps(layers: &[Layer]) -> Vec<Step> {
    let mut readers = vec![0; layers.len()];
    for read in layers.iter().flat_map(|layer| &layer.reads) {
        readers[*read] += 1;
    }
    // the layer after this one, where it alone reads this one
    let after = |at: usize| layers.get(at + 1).filter(|next| readers[at] == 1 && next.reads == [at]);
    let mut steps = Vec::new();
    let mut at = 1;
    while at + 1 < layers.len() {
        let (kind, end) = step(layers, at, after);
        let mut reads = layers[at].reads.clone();
        let (kind, end) = match residual(layers, kind, end, &readers) {
            Some((added, kind, end)) => {
                reads.push(added);
                (kind, end)
            }
            None => (kind, end),
        };
        steps.push(Step { at, kind, reads, end, done: Vec::new() });
        at = end + 1;
    }
    let mut is_read = vec![false; layers.len()];
    for read in layers.last().iter().flat_map(|classifier| &classifier.reads) {
        is_read[*read] = true;
    }
    for step in steps.iter_mut().rev() {
        for read in &step.reads {
            if !std::mem::replace(&mut is_read[*read], true) {
                step.done.push(*read);
            }
        }
    }
    steps
}

/// The sum that follows a block without activation, of its result and an earlier one, with a ReLU behind it: what is added, what
/// the block becomes, and where it ends.
fn residual(layers: &[Layer], kind: Kind, end: usize, readers: &[usize]) -> Option<(usize, Kind, usize)> {
    let reads_alone = |at: usize| readers[at] == 1 && at + 2 < layers.len();
    let sum = layers.get(end + 1)?;
    let is_sum = kind == Kind::BatchBlock(BlockActivation::Identity) && sum.operation == Operation::Add;
    let added = *sum.reads.iter().find(|read| **read != end)?;
    if !(is_sum && reads_alone(end) && sum.reads.contains(&end)) {
        return None;
    }
    let end = end + 1;
    let next = &layers[end + 1];
    let is_gated = next.operation == Operation::Activation(Activation::Relu) && next.reads == [end];
    if is_gated && reads_alone(end) {
        return Some((added, Kind::BatchBlock(BlockActivation::Relu), end + 1));
    }
    Some((added, Kind::BatchBlock(BlockActivation::Identity), end))
}

/// What begins at this layer, and where it ends: convolution, normalization that blocks have, activation that they have, pooling
/// after ReLU.
fn step<'a>(layers: &[Layer], at: usize, after: impl Fn(usize) -> Option<&'a Layer>) -> (Kind, usize) {
    if let Operation::Linear { .. } = layers[at].operation {
        let next = after(at).map(|layer| layer.operation);
        return match next {
            Some(Operation::Activation(Activation::Gelu)) => (Kind::Linear(BlockActivation::Gelu), at + 1),
            _ => (Kind::Linear(BlockActivation::Identity), at),
        };
    }
    if !matches!(layers[at].operation, Operation::Convolution(_)) {
        return (Kind::Layer, at);
    }
    let (norm, mut end) = match after(at).map(|layer| (layer.operation, layer.input.channels)) {
        Some((norm @ Operation::BatchNorm, _)) => (Some(norm), at + 1),
        Some((norm @ Operation::GroupNorm { groups }, channels)) if groups == channels => {
            (Some(norm), at + 1)
        }
        _ => (None, at),
    };
    let activation = match after(end).map(|layer| layer.operation) {
        Some(Operation::Activation(Activation::Relu)) => BlockActivation::Relu,
        Some(Operation::Activation(Activation::Relu6)) => BlockActivation::Relu6,
        Some(Operation::Activation(Activation::Silu)) => BlockActivation::Silu,
        _ => BlockActivation::Identity,
    };
    end += usize::from(activation != BlockActivation::Identity);
    let is_pooled = after(end).is_some_and(|layer| layer.operation == Operation::AveragePool(POOLING));
    let (activation, end) = match activation {
        BlockActivation::Relu if is_pooled => (BlockActivation::ReluAveragePool, end + 1),
        activation => (activation, end),
    };
    let kind = match norm {
        Some(Operation::BatchNorm) => Kind::BatchBlock(activation),
        norm => Kind::ImageBlock { is_normalized: norm.is_some(), activation },
    };
    (kind, end)
}
