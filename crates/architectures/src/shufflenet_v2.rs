//! ShuffleNetV2 with torchvision's names, and with the first layers that published code gives it for small images.

use crate::builder::{Builder, Value};
use crate::family::Family;
use crate::graph::{Activation, Convolution, Window};

const STEM_CHANNELS: usize = 24;
const LAST_CHANNELS: usize = 1024;

/// Units of each stage.
const UNITS: [usize; 3] = [4, 8, 4];

/// How the network begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShuffleStem {
    /// torchvision's: 3x3 of stride 2, then max-pool.
    Standard,
    /// 3x3 of stride 1 (CV-DD, FADRM).
    Small,
    /// 1x1 (G-VBSM, EDC).
    Pointwise,
}

pub(crate) struct ShuffleNetV2 {
    /// Of each stage.
    pub(crate) channels: [usize; 3],
    pub(crate) stem: ShuffleStem,
}

impl Family for ShuffleNetV2 {
    fn pass(&self, network: &mut Builder, image: Value, classes: usize) {
        let stem = match self.stem {
            ShuffleStem::Standard => Convolution::same(3, 2),
            ShuffleStem::Small => Convolution::same(3, 1),
            ShuffleStem::Pointwise => Convolution::same(1, 1),
        };
        let mut x = network.conv_norm_activation("conv1", image, STEM_CHANNELS, stem, Activation::Relu);
        if self.stem == ShuffleStem::Standard {
            x = network.max_pool(x, Window::same(3, 2));
        }
        for (stage, (units, channels)) in (2..).zip(UNITS.into_iter().zip(self.channels)) {
            for unit in 0..units {
                let name = format!("stage{stage}.{unit}");
                x = match unit {
                    0 => halving_unit(network, &name, x, channels / 2),
                    _ => unit_of_half(network, &name, x),
                };
            }
        }
        x = network.conv_norm_activation(
            "conv5",
            x,
            LAST_CHANNELS,
            Convolution::same(1, 1),
            Activation::Relu,
        );
        let features = network.mean(x);
        network.linear("fc", features, classes);
    }
}

/// Halves the side; two branches see all channels.
fn halving_unit(network: &mut Builder, name: &str, x: Value, channels: usize) -> Value {
    let first = format!("{name}.branch1");
    let depthwise = Convolution { groups: x.channels(), ..Convolution::same(3, 2) };
    let mut y = network.conv_norm(&first, x, x.channels(), depthwise);
    y = network.convolution(&format!("{first}.2"), y, channels, Convolution::same(1, 1));
    y = network.batch_norm(&format!("{first}.3"), y);
    y = network.relu(y);
    let other = second_branch(network, name, x, channels, 2);
    joined(network, y, other)
}

/// The second half of the channels goes through a branch, the first is left as it is.
fn unit_of_half(network: &mut Builder, name: &str, x: Value) -> Value {
    let half = x.channels() / 2;
    let left = network.channels(x, 0, half);
    let right = network.channels(x, half, half);
    let changed = second_branch(network, name, right, half, 1);
    joined(network, left, changed)
}

/// 1x1, depthwise, which no ReLU follows, 1x1.
fn second_branch(network: &mut Builder, name: &str, x: Value, channels: usize, stride: usize) -> Value {
    let name = format!("{name}.branch2");
    let mut y = network.conv_norm_activation(&name, x, channels, Convolution::same(1, 1), Activation::Relu);
    let depthwise = Convolution { groups: channels, ..Convolution::same(3, stride) };
    y = network.convolution(&format!("{name}.3"), y, channels, depthwise);
    y = network.batch_norm(&format!("{name}.4"), y);
    y = network.convolution(&format!("{name}.5"), y, channels, Convolution::same(1, 1));
    y = network.batch_norm(&format!("{name}.6"), y);
    network.relu(y)
}

fn joined(network: &mut Builder, left: Value, right: Value) -> Value {
    let both = network.concatenate(&[left, right]);
    network.shuffle(both, 2)
}
