//! EfficientNet-B0 with torchvision's names.

use crate::builder::{Builder, Value};
use crate::family::Family;
use crate::graph::{Activation, Convolution};
use crate::start::{Rule, Rules};

/// Stages as in table 1 of the EfficientNet paper: expansion, side of the depthwise convolution, stride of the first block,
/// channels, blocks.
const STAGES: [(usize, usize, usize, usize, usize); 7] = [
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
];
const STEM_CHANNELS: usize = 32;
const LAST_CHANNELS: usize = 1280;

/// Channels that enter a block for each one that its squeeze leaves.
const SQUEEZE: usize = 4;

const DROPOUT: f64 = 0.2;

/// Share of images whose last block is left out in training; it grows from 0 block by block.
const STOCHASTIC_DEPTH: f64 = 0.2;

pub(crate) struct EfficientNet;

impl Family for EfficientNet {
    fn pass(&self, network: &mut Builder, image: Value, classes: usize) {
        let mut x = network.conv_norm_activation(
            "features.0",
            image,
            STEM_CHANNELS,
            Convolution::same(3, 2),
            Activation::Silu,
        );
        let all_blocks: usize = STAGES.iter().map(|stage| stage.4).sum();
        let mut before = 0;
        for (stage, (expansion, kernel, first_stride, channels, blocks)) in (1..).zip(STAGES) {
            for block in 0..blocks {
                let hidden = x.channels() * expansion;
                let stride = if block == 0 { first_stride } else { 1 };
                let depthwise = Convolution { groups: hidden, ..Convolution::same(kernel, stride) };
                let y = beside(network, &format!("features.{stage}.{block}.block"), x, channels, depthwise);
                x = match y.map == x.map {
                    true => {
                        let share = STOCHASTIC_DEPTH * before as f64 / all_blocks as f64;
                        let kept = network.stochastic_depth(y, share);
                        network.sum(kept, x)
                    }
                    false => y,
                };
                before += 1;
            }
        }
        let last = format!("features.{}", STAGES.len() + 1);
        x = network.conv_norm_activation(&last, x, LAST_CHANNELS, Convolution::same(1, 1), Activation::Silu);
        let features = network.mean(x);
        let kept = network.dropout(features, DROPOUT);
        network.linear("classifier.1", kept, classes);
    }

    fn published_lr(&self) -> Option<f64> {
        Some(2e-3)
    }

    fn rules(&self) -> Rules {
        Rules {
            convolution: Rule::KaimingNormalFanOut,
            convolution_bias: Rule::Zero,
            linear: Rule::UniformFanOut(1.0),
            linear_bias: Rule::Zero,
            ..Rules::default()
        }
    }
}

/// Expansion, where there is one, depthwise convolution, squeeze-excitation and projection.
fn beside(network: &mut Builder, name: &str, x: Value, channels: usize, depthwise: Convolution) -> Value {
    let (hidden, squeeze) = (depthwise.groups, x.channels() / SQUEEZE);
    let (mut y, mut place) = (x, 0);
    if hidden != x.channels() {
        y = network.conv_norm_activation(
            &format!("{name}.0"),
            x,
            hidden,
            Convolution::same(1, 1),
            Activation::Silu,
        );
        place = 1;
    }
    y = network.conv_norm_activation(&format!("{name}.{place}"), y, hidden, depthwise, Activation::Silu);
    y = network.squeeze_excitation(&format!("{name}.{}", place + 1), y, squeeze, Activation::Silu);
    network.conv_norm(&format!("{name}.{}", place + 2), y, channels, Convolution::same(1, 1))
}
