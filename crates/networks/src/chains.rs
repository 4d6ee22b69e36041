//! Steps of a frozen network that are taken together: blocks and squeeze-excitations that follow one another.

use std::collections::BTreeMap;
use std::sync::Arc;

use delt_architectures::{Activation, Operation};
use delt_conv_norm::{Activation as BlockActivation, FrozenChain, FrozenConvNorm, FrozenSqueeze, Link, Part};

use crate::network::Network;
use crate::pass::prepare_alone;
use crate::program::{Kind, Step};

/// Some steps as one operation.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    /// How many.
    pub(crate) steps: usize,
    /// What they compute.
    pub(crate) links: Arc<FrozenChain>,
}

/// By the step that they begin at, as many steps as there are at a time: all that they read is what enters the first of them or
/// comes from them, and only what the last makes is read by others.
pub(crate) fn chains(network: &Network, blocks: &[Option<Arc<FrozenConvNorm>>]) -> BTreeMap<usize, Chain> {
    let program = network.program();
    let mut last_reads = BTreeMap::new();
    for (at, step) in program.steps.iter().enumerate() {
        last_reads.extend(step.reads.iter().map(|read| (*read, at)));
    }
    let classifier = &program.description.layers[program.classifier()];
    last_reads.extend(classifier.reads.iter().map(|read| (*read, program.steps.len())));
    let mut chains = BTreeMap::new();
    let mut first = 0;
    while let Some(step) = program.steps.get(first) {
        let made = BTreeMap::from([(step.reads[0], 0)]);
        let joined =
            Joined { network, blocks, last_reads: &last_reads, made, links: Vec::new(), is_open: false };
        let (links, steps) = joined.from(first);
        if links.len() > 1 {
            chains.insert(first, Chain { steps, links: Arc::new(FrozenChain::new(links)) });
        }
        first += steps.max(1);
    }
    chains
}

/// Steps that are being joined.
struct Joined<'a> {
    network: &'a Network,
    blocks: &'a [Option<Arc<FrozenConvNorm>>],
    /// The last step that reads what a layer makes.
    last_reads: &'a BTreeMap<usize, usize>,
    /// The values of the chain, by layer.
    made: BTreeMap<usize, usize>,
    links: Vec<Link>,
    /// Whether the last link is a block that could still add a value.
    is_open: bool,
}

impl Joined<'_> {
    /// As many links from a step on as lead to a single value, and how many steps they are.
    fn from(mut self, first: usize) -> (Vec<Link>, usize) {
        let (mut whole, mut end) = ((0, 0), first);
        while let Some(taken) = self.take(end) {
            end += taken;
            let result = self.steps()[end - 1].end;
            self.made.insert(result, self.links.len());
            if !self.is_read_after(end - 1, |layer, value| layer != result && value > 0) {
                whole = (self.links.len(), end - first);
            }
        }
        self.links.truncate(whole.0);
        (self.links, whole.1)
    }

    fn steps(&self) -> &[Step] {
        &self.network.program().steps
    }

    /// Whether a step after this one reads a value of the chain.
    fn is_read_after(&self, step: usize, which: impl Fn(usize, usize) -> bool) -> bool {
        let is_read = |layer| self.last_reads.get(layer) > Some(&step);
        self.made.iter().any(|(layer, value)| which(*layer, *value) && is_read(layer))
    }

    /// Takes in what begins at a step, so that its result is that of the last link; how many steps it is, none where it does
    /// not fit.
    fn take(&mut self, at: usize) -> Option<usize> {
        let step = self.steps().get(at)?;
        let reads: Vec<usize> =
            step.reads.iter().map(|read| self.made.get(read).copied()).collect::<Option<_>>()?;
        if let Kind::BatchBlock(activation) = step.kind {
            let block = self.blocks[self.network.batch_norm(step.at + 1).place].clone()?;
            let adds = reads.get(1).copied();
            self.is_open = adds.is_none() && activation == BlockActivation::Identity;
            self.links.push(Link { part: Part::Block(block), reads: reads[0], adds });
            return Some(1);
        }
        match self.network.program().description.layers[step.at].operation {
            Operation::Mean => {
                let (squeeze, steps) = self.squeeze(at)?;
                self.is_open = false;
                self.links.push(Link { part: Part::Squeeze(Arc::new(squeeze)), reads: reads[0], adds: None });
                Some(steps)
            }
            // nothing is dropped in evaluation
            Operation::StochasticDepth { .. } | Operation::Dropout { .. } => {
                (reads[0] > 0 && reads[0] == self.links.len()).then_some(1)
            }
            Operation::Add => self.add(at, &reads),
            _ => None,
        }
    }

    /// A sum, which the block before it can take in if nothing else reads what that makes.
    fn add(&mut self, at: usize, reads: &[usize]) -> Option<usize> {
        let last = self.links.len();
        let added = *reads.iter().find(|read| **read != last)?;
        if !(self.is_open && reads.contains(&last)) || self.is_read_after(at, |_, value| value == last) {
            return None;
        }
        self.is_open = false;
        self.links.last_mut()?.adds = Some(added);
        Some(1)
    }

    /// The squeeze-excitation whose mean is this step, and how many steps it is.
    fn squeeze(&self, at: usize) -> Option<(FrozenSqueeze, usize)> {
        let (layers, mean) = (&self.network.program().description.layers, self.steps()[at].at);
        let parts = layers.get(mean..mean + 6)?;
        let activation = match [1, 2, 3, 4, 5].map(|part| parts[part].operation) {
            [
                Operation::Convolution(_),
                Operation::Activation(activation),
                Operation::Convolution(_),
                Operation::Activation(Activation::Sigmoid),
                Operation::Gate,
            ] => match activation {
                Activation::Relu => BlockActivation::Relu,
                Activation::Silu => BlockActivation::Silu,
                _ => return None,
            },
            _ => return None,
        };
        let steps = self.steps()[at..].iter().position(|step| step.end == mean + 5)? + 1;
        let follow = (1..5).all(|part| parts[part].reads == [mean + part - 1]);
        let gate_reads = parts[5].reads == [parts[0].reads[0], mean + 4];
        let is_read = |layer| self.last_reads.get(&layer) >= Some(&(at + steps));
        if !(follow && gate_reads) || (mean..mean + 5).any(is_read) {
            return None;
        }
        let product = |part: usize, activation| {
            let convolution = self.network.convolution(mean + part);
            let geometry = convolution.geometry();
            let is_product = [geometry.kernel, geometry.groups] == [1, 1];
            if is_product { prepare_alone(convolution, activation) } else { None }
        };
        let squeeze = FrozenSqueeze::new(product(1, activation)?, product(3, BlockActivation::Identity)?);
        Some((squeeze, steps))
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use delt_architectures::{Architecture, Stem};

    use super::*;
    use crate::FrozenNetwork;

    #[test]
    fn blocks_up_to_what_is_none_are_one_chain() {
        let device = Device::flex();
        let lengths = |architecture: Architecture| {
            let network = Network::initialize(&architecture, 3, 64, 1, &device).expect("a network");
            let chains = FrozenNetwork::new(network, &device).chains;
            chains.values().map(|chain| chain.links.len()).collect::<Vec<_>>()
        };
        assert_eq!(lengths(Architecture::MobilenetV2 {}), [52]);
        assert_eq!(lengths(Architecture::resnet18(Stem::Small)), [20]);
        // around the maximum of the large stem
        assert_eq!(lengths(Architecture::resnet18(Stem::Standard)), [19]);
        // 49 blocks and 16 squeeze-excitations
        assert_eq!(lengths(Architecture::EfficientnetB0 {}), [65]);
    }
}
