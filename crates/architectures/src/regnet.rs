//! RegNetY-8GF with torchvision's names.

use crate::builder::{Builder, Value};
use crate::family::Family;
use crate::graph::{Activation, Convolution};
use crate::start::{Rule, Rules};

/// Blocks and channels of each stage: what the paper's rule makes of depth 17, first width 192, slope 76.82 and step 2.19.
const STAGES: [(usize, usize); 4] = [(2, 224), (4, 448), (10, 896), (1, 2016)];
const STEM_CHANNELS: usize = 32;

/// Channels of each group of a 3x3 convolution.
const GROUP_WIDTH: usize = 56;

/// Channels that enter a block for each one that its squeeze leaves.
const SQUEEZE: usize = 4;

pub(crate) struct RegNet;

impl Family for RegNet {
    fn pass(&self, network: &mut Builder, image: Value, classes: usize) {
        let mut x = network.conv_norm("stem", image, STEM_CHANNELS, Convolution::same(3, 2));
        x = network.relu(x);
        for (stage, (blocks, channels)) in (1..).zip(STAGES) {
            for block in 0..blocks {
                let name = format!("trunk_output.block{stage}.block{stage}-{block}");
                x = bottleneck(network, &name, x, channels, if block == 0 { 2 } else { 1 });
            }
        }
        let features = network.mean(x);
        network.linear("fc", features, classes);
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

/// 1x1, grouped 3x3, squeeze-excitation and 1x1 beside a shortcut, which is a convolution in the first block of a stage.
fn bottleneck(network: &mut Builder, name: &str, x: Value, channels: usize, stride: usize) -> Value {
    let squeeze = x.channels() / SQUEEZE;
    let shortcut = match stride {
        1 => x,
        _ => network.conv_norm(&format!("{name}.proj"), x, channels, Convolution::same(1, stride)),
    };
    let mut y = network.conv_norm(&format!("{name}.f.a"), x, channels, Convolution::same(1, 1));
    y = network.relu(y);
    let grouped = Convolution { groups: channels / GROUP_WIDTH, ..Convolution::same(3, stride) };
    y = network.conv_norm(&format!("{name}.f.b"), y, channels, grouped);
    y = network.relu(y);
    y = network.squeeze_excitation(&format!("{name}.f.se"), y, squeeze, Activation::Relu);
    y = network.conv_norm(&format!("{name}.f.c"), y, channels, Convolution::same(1, 1));
    let sum = network.sum(shortcut, y);
    network.relu(sum)
}
