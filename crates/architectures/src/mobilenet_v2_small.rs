//! MobileNetV2 as published code changed it for images of 32 and 64 px: three networks, each with its own names.

use crate::builder::{Builder, Value};
use crate::family::Family;
use crate::graph::{Activation, Convolution, Window};
use crate::inverted_residual::{Group, InvertedResidual, in_sequence};
use crate::start::{Rule, Rules};

const LAST_CHANNELS: usize = 1280;

/// DELT's (`mobilenet_v2_modified`), from mdistiller: all convolutions have biases, the first is 1x1 with a padding of 1, the
/// classifier is one too.
pub(crate) struct Modified;

/// CV-DD's and FADRM's, from pytorch-cifar: ReLU, and a convolution as shortcut where only the channels change.
pub(crate) struct Cvdd;

/// G-VBSM's and EDC's, from CRD (`mobile_half`): half the width, ReLU.
pub(crate) struct Gvbsm;

impl Family for Modified {
    fn pass(&self, network: &mut Builder, image: Value, classes: usize) {
        const GROUPS: [Group; 7] = [
            (1, 16, 1, 1),
            (6, 24, 2, 2),
            (6, 32, 3, 2),
            (6, 64, 4, 2),
            (6, 96, 3, 1),
            (6, 160, 3, 1),
            (6, 320, 1, 1),
        ];
        let window = Window { kernel: 1, stride: 1, padding: 1 };
        let first = Convolution { window, groups: 1, has_bias: true };
        let mut x = network.conv_norm("pre", image, 32, first);
        x = network.activation(x, Activation::Relu6);
        for (stage, group) in (1..).zip(GROUPS) {
            let name = |block| match group.2 {
                1 => format!("stage{stage}.residual"),
                _ => format!("stage{stage}.{block}.residual"),
            };
            for (block, way) in blocks(group, x.channels(), Activation::Relu6, true).into_iter().enumerate() {
                x = way.residual(network, &in_sequence(&name(block)), x);
            }
        }
        let pointwise = Convolution { has_bias: true, ..Convolution::same(1, 1) };
        x = network.conv_norm("conv1", x, LAST_CHANNELS, pointwise);
        x = network.activation(x, Activation::Relu6);
        let features = network.mean(x);
        network.convolution("conv2", features, classes, pointwise);
    }

    fn published_lr(&self) -> Option<f64> {
        Some(2.5e-3)
    }
}

impl Family for Cvdd {
    fn pass(&self, network: &mut Builder, image: Value, classes: usize) {
        const GROUPS: [Group; 7] = [
            (1, 16, 1, 1),
            (6, 24, 2, 1),
            (6, 32, 3, 2),
            (6, 64, 4, 2),
            (6, 96, 3, 1),
            (6, 160, 3, 2),
            (6, 320, 1, 1),
        ];
        let mut x = network.convolution("conv1", image, 32, Convolution::same(3, 1));
        x = network.batch_norm("bn1", x);
        x = network.relu(x);
        let mut layer = 0;
        for group in GROUPS {
            for way in blocks(group, x.channels(), Activation::Relu, false) {
                x = block_of_cvdd(network, &format!("layers.{layer}"), x, &way);
                layer += 1;
            }
        }
        x = network.convolution("conv2", x, LAST_CHANNELS, Convolution::same(1, 1));
        x = network.batch_norm("bn2", x);
        x = network.relu(x);
        let features = network.mean(x);
        network.linear("linear", features, classes);
    }
}

impl Family for Gvbsm {
    fn pass(&self, network: &mut Builder, image: Value, classes: usize) {
        // widths are halved and not rounded
        const GROUPS: [Group; 7] = [
            (1, 8, 1, 1),
            (6, 12, 2, 1),
            (6, 16, 3, 2),
            (6, 32, 4, 2),
            (6, 48, 3, 1),
            (6, 80, 3, 2),
            (6, 160, 1, 1),
        ];
        let mut x = network.conv_norm("conv1", image, 16, Convolution::same(3, 2));
        x = network.relu(x);
        for (place, group) in GROUPS.into_iter().enumerate() {
            for (block, way) in blocks(group, x.channels(), Activation::Relu, false).into_iter().enumerate() {
                x = way.residual(network, &in_sequence(&format!("blocks.{place}.{block}.conv")), x);
            }
        }
        x = network.conv_norm("conv2", x, LAST_CHANNELS, Convolution::same(1, 1));
        x = network.relu(x);
        let features = network.mean(x);
        network.linear("classifier.0", features, classes);
    }

    fn rules(&self) -> Rules {
        Rules {
            convolution: Rule::KaimingNormalFanOut,
            linear: Rule::Normal(0.01),
            linear_bias: Rule::Zero,
            ..Rules::default()
        }
    }
}

/// The blocks of a group that so many channels enter.
fn blocks(
    (expansion, channels, count, stride): Group,
    entering: usize,
    activation: Activation,
    has_bias: bool,
) -> Vec<InvertedResidual> {
    let block = |place| {
        let (entering, stride) = if place == 0 { (entering, stride) } else { (channels, 1) };
        InvertedResidual { hidden: entering * expansion, channels, kernel: 3, stride, activation, has_bias }
    };
    (0..count).map(block).collect()
}

fn block_of_cvdd(network: &mut Builder, name: &str, x: Value, way: &InvertedResidual) -> Value {
    let names = [1, 2, 3].map(|place| [format!("{name}.conv{place}"), format!("{name}.bn{place}")]);
    if way.stride > 1 || way.channels == x.channels() {
        return way.residual(network, &names, x);
    }
    let y = way.pass(network, &names, x);
    let shortcut = network.conv_norm(&format!("{name}.shortcut"), x, way.channels, Convolution::same(1, 1));
    network.sum(y, shortcut)
}
