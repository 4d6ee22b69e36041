//! MobileNetV2 with torchvision's names.

use crate::builder::{Builder, Value};
use crate::family::Family;
use crate::graph::{Activation, Convolution};
use crate::start::{Rule, Rules};

/// Groups of blocks as in table 2 of the MobileNetV2 paper: expansion, channels, blocks, stride of the first.
const GROUPS: [(usize, usize, usize, usize); 7] = [
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
];
const STEM_CHANNELS: usize = 32;
const LAST_CHANNELS: usize = 1280;
const DROPOUT: f64 = 0.2;

pub(crate) struct MobileNetV2;

impl Family for MobileNetV2 {
    fn pass(&self, network: &mut Builder, image: Value, classes: usize) {
        let mut x = network.conv_norm_activation(
            "features.0",
            image,
            STEM_CHANNELS,
            Convolution::same(3, 2),
            Activation::Relu6,
        );
        let mut feature = 1;
        for (expansion, channels, blocks, stride) in GROUPS {
            for block in 0..blocks {
                let name = format!("features.{feature}.conv");
                let stride = if block == 0 { stride } else { 1 };
                x = inverted_residual(network, &name, x, [x.channels() * expansion, channels], stride);
                feature += 1;
            }
        }
        let last = format!("features.{feature}");
        x = network.conv_norm_activation(&last, x, LAST_CHANNELS, Convolution::same(1, 1), Activation::Relu6);
        let features = network.mean(x);
        let kept = network.dropout(features, DROPOUT);
        network.linear("classifier.1", kept, classes);
    }

    fn published_lr(&self) -> Option<f64> {
        Some(2.5e-3)
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

/// Expansion, where there is one, depthwise convolution and projection.
fn inverted_residual(
    network: &mut Builder,
    name: &str,
    x: Value,
    [hidden, channels]: [usize; 2],
    stride: usize,
) -> Value {
    let (mut y, mut position) = (x, 0);
    if hidden != x.channels() {
        y = network.conv_norm_activation(
            &format!("{name}.0"),
            x,
            hidden,
            Convolution::same(1, 1),
            Activation::Relu6,
        );
        position = 1;
    }
    let depthwise = Convolution { groups: hidden, ..Convolution::same(3, stride) };
    y = network.conv_norm_activation(&format!("{name}.{position}"), y, hidden, depthwise, Activation::Relu6);
    y = network.convolution(&format!("{name}.{}", position + 1), y, channels, Convolution::same(1, 1));
    y = network.batch_norm(&format!("{name}.{}", position + 2), y);
    if y.map == x.map { network.sum(x, y) } else { y }
}
