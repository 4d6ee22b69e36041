//! DenseNet-121: torchvision's, and that of kuangliu/pytorch-cifar for small images, which CV-DD takes. They differ in stem,
//! names, start and the order of channels, so that the weights of one make another network of the other.

use crate::builder::{Builder, Value};
use crate::family::Family;
use crate::graph::{Convolution, Window};
use crate::layout::{DENSE_LAYERS_WITH_DOTS, Layout};
use crate::start::{Rule, Rules};

/// Layers of the four blocks.
const LAYERS: [usize; 4] = [6, 12, 24, 16];
/// Channels that a layer adds.
const GROWTH: usize = 32;
/// Channels within a layer.
const BOTTLENECK: usize = 4 * GROWTH;
const STEM_CHANNELS: usize = 2 * GROWTH;

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum DenseNet121 {
    Torchvision,
    Cvdd,
}

impl DenseNet121 {
    fn stem(self, network: &mut Builder, image: Value) -> Value {
        if self == Self::Cvdd {
            return network.convolution("conv1", image, STEM_CHANNELS, Convolution::same(3, 1));
        }
        let mut x = network.convolution("features.conv0", image, STEM_CHANNELS, Convolution::same(7, 2));
        x = network.batch_norm("features.norm0", x);
        x = network.relu(x);
        network.max_pool(x, Window::same(3, 2))
    }

    /// What its layer adds, beside what enters; `block` counts from 1, `layer` from 0.
    fn layer(self, network: &mut Builder, [block, layer]: [usize; 2], x: Value) -> Value {
        let (name, norm) = match self {
            Self::Torchvision => (format!("features.denseblock{block}.denselayer{}", layer + 1), "norm"),
            Self::Cvdd => (format!("dense{block}.{layer}"), "bn"),
        };
        let mut y = network.batch_norm(&format!("{name}.{norm}1"), x);
        y = network.relu(y);
        y = network.convolution(&format!("{name}.conv1"), y, BOTTLENECK, Convolution::same(1, 1));
        y = network.batch_norm(&format!("{name}.{norm}2"), y);
        y = network.relu(y);
        y = network.convolution(&format!("{name}.conv2"), y, GROWTH, Convolution::same(3, 1));
        match self {
            Self::Torchvision => network.concatenate(&[x, y]),
            Self::Cvdd => network.concatenate(&[y, x]),
        }
    }

    /// Halves channels and side.
    fn transition(self, network: &mut Builder, block: usize, x: Value) -> Value {
        let (name, norm) = match self {
            Self::Torchvision => (format!("features.transition{block}"), "norm"),
            Self::Cvdd => (format!("trans{block}"), "bn"),
        };
        let mut y = network.batch_norm(&format!("{name}.{norm}"), x);
        y = network.relu(y);
        y = network.convolution(&format!("{name}.conv"), y, x.channels() / 2, Convolution::same(1, 1));
        network.average_pool(y, Window::HALVES)
    }
}

impl Family for DenseNet121 {
    fn pass(&self, network: &mut Builder, image: Value, classes: usize) {
        let (norm, classifier) = match self {
            Self::Torchvision => ("features.norm5", "classifier"),
            Self::Cvdd => ("bn", "linear"),
        };
        let mut x = self.stem(network, image);
        for (block, layers) in (1..).zip(LAYERS) {
            for layer in 0..layers {
                x = self.layer(network, [block, layer], x);
            }
            if block < LAYERS.len() {
                x = self.transition(network, block, x);
            }
        }
        x = network.batch_norm(norm, x);
        x = network.relu(x);
        let features = network.mean(x);
        network.linear(classifier, features, classes);
    }

    fn rules(&self) -> Rules {
        match self {
            Self::Torchvision => {
                Rules { convolution: Rule::KaimingNormalFanIn, linear_bias: Rule::Zero, ..Rules::default() }
            }
            Self::Cvdd => Rules::default(),
        }
    }

    fn least_size(&self) -> usize {
        match self {
            Self::Torchvision => 29,
            Self::Cvdd => 8,
        }
    }

    fn other_layouts(&self) -> &'static [Layout] {
        match self {
            Self::Torchvision => &[DENSE_LAYERS_WITH_DOTS],
            Self::Cvdd => &[],
        }
    }
}
