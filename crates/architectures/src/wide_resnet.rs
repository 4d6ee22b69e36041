//! Wide ResNets (Zagoruyko and Komodakis, 2016) with the names of the CRD code base; normalization stands before convolution.

use crate::builder::{Builder, Value};
use crate::family::Family;
use crate::graph::Convolution;
use crate::start::{Rule, Rules};

/// Channels of the stem, and of the three groups before they are widened.
const CHANNELS: [usize; 3] = [16, 32, 64];

pub(crate) struct WideResNet {
    /// Blocks of each group.
    pub(crate) blocks: usize,
    /// So many times the channels.
    pub(crate) widening: usize,
}

impl Family for WideResNet {
    fn pass(&self, network: &mut Builder, image: Value, classes: usize) {
        let mut x = network.convolution("conv1", image, CHANNELS[0], Convolution::same(3, 1));
        for (group, channels) in (1..).zip(CHANNELS) {
            for block in 0..self.blocks {
                let stride = if group > 1 && block == 0 { 2 } else { 1 };
                let name = format!("block{group}.layer.{block}");
                x = basic_block(network, &name, x, self.widening * channels, stride);
            }
        }
        x = network.batch_norm("bn1", x);
        x = network.relu(x);
        let features = network.mean(x);
        network.linear("fc", features, classes);
    }

    fn rules(&self) -> Rules {
        Rules { convolution: Rule::KaimingNormalFanOut, linear_bias: Rule::Zero, ..Rules::default() }
    }
}

/// Where the number of channels changes, the shortcut is a convolution of what the first one sees.
fn basic_block(network: &mut Builder, name: &str, x: Value, channels: usize, stride: usize) -> Value {
    let mut seen = network.batch_norm(&format!("{name}.bn1"), x);
    seen = network.relu(seen);
    let mut y = network.convolution(&format!("{name}.conv1"), seen, channels, Convolution::same(3, stride));
    y = network.batch_norm(&format!("{name}.bn2"), y);
    y = network.relu(y);
    y = network.convolution(&format!("{name}.conv2"), y, channels, Convolution::same(3, 1));
    let shortcut = match x.channels() == channels {
        true => x,
        false => {
            let convolution = Convolution::same(1, stride);
            network.convolution(&format!("{name}.convShortcut"), seen, channels, convolution)
        }
    };
    network.sum(y, shortcut)
}
