//! The ResNets that He et al. (2016) made for CIFAR, with the names of akamaster/pytorch_resnet_cifar10: shortcuts without
//! tensors (option A).

use crate::builder::{Builder, Value};
use crate::family::Family;
use crate::graph::Convolution;
use crate::start::{Rule, Rules};

/// Channels of the three groups; the first are those of the stem too.
const CHANNELS: [usize; 3] = [16, 32, 64];

pub(crate) struct CifarResNet {
    /// Blocks of each group.
    pub(crate) blocks: usize,
}

impl Family for CifarResNet {
    fn pass(&self, network: &mut Builder, image: Value, classes: usize) {
        let mut x = network.convolution("conv1", image, CHANNELS[0], Convolution::same(3, 1));
        x = network.batch_norm("bn1", x);
        x = network.relu(x);
        for (group, channels) in (1..).zip(CHANNELS) {
            for block in 0..self.blocks {
                x = basic_block(network, &format!("layer{group}.{block}"), x, channels);
            }
        }
        let features = network.mean(x);
        network.linear("linear", features, classes);
    }

    fn rules(&self) -> Rules {
        Rules { convolution: Rule::KaimingNormalFanIn, linear: Rule::KaimingNormalFanIn, ..Rules::default() }
    }
}

/// Where the number of channels changes, the shortcut takes every second row and column and adds channels of zeros.
fn basic_block(network: &mut Builder, name: &str, x: Value, channels: usize) -> Value {
    let is_changing = x.channels() != channels;
    let stride = if is_changing { 2 } else { 1 };
    let mut y = network.convolution(&format!("{name}.conv1"), x, channels, Convolution::same(3, stride));
    y = network.batch_norm(&format!("{name}.bn1"), y);
    y = network.relu(y);
    y = network.convolution(&format!("{name}.conv2"), y, channels, Convolution::same(3, 1));
    y = network.batch_norm(&format!("{name}.bn2"), y);
    let mut shortcut = x;
    if is_changing {
        shortcut = network.subsample(shortcut, stride);
        shortcut = network.pad_channels(shortcut, (channels - x.channels()) / 2);
    }
    let sum = network.sum(y, shortcut);
    network.relu(sum)
}
