//! ResNets with torchvision's names; a 3x3 stem without max-pool for small images, or the standard one.

use serde::{Deserialize, Serialize};

use crate::builder::{Builder, Value};
use crate::family::Family;
use crate::graph::{Convolution, Window};
use crate::layout::{Layout, RESIDUAL_FUNCTION, SHORTCUT_CLASSIFIER, SHORTCUT_LINEAR};
use crate::start::{Rule, Rules};

/// Channels of the four groups; the first are those of the stem too.
const CHANNELS: [usize; 4] = [64, 128, 256, 512];

/// So many times its channels leave a bottleneck.
const EXPANSION: usize = 4;

/// How a ResNet begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stem {
    /// A 3x3 convolution of stride 1 and no max-pool, for 32 and 64 px.
    Small,
    /// torchvision's 7x7 convolution of stride 2 and max-pool.
    Standard,
}

/// How the 3x3 convolution of [`Stem::Small`] starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Conv1Start {
    /// As all convolutions of the network.
    #[default]
    Kaiming,
    /// By PyTorch's default: published code (RDED, SRe2L, DELT) puts it in the place of torchvision's after that has started.
    Default,
}

pub(crate) struct ResNet {
    pub(crate) block: Block,
    /// Blocks of each group.
    pub(crate) blocks: [usize; 4],
    pub(crate) stem: Stem,
    pub(crate) conv1_start: Conv1Start,
}

/// What stands beside a shortcut.
#[derive(Clone, Copy)]
pub(crate) enum Block {
    /// Two 3x3 convolutions.
    Basic,
    /// A 3x3 convolution between two 1x1, of which the last leaves more channels.
    Bottleneck,
}

impl Block {
    /// The side is halved in the first block of each group but the first.
    fn add(self, network: &mut Builder, name: &str, x: Value, channels: usize, stride: usize) -> Value {
        let layers = match self {
            Self::Basic => vec![(3, stride, channels), (3, 1, channels)],
            Self::Bottleneck => vec![(1, 1, channels), (3, stride, channels), (1, 1, EXPANSION * channels)],
        };
        let mut y = x;
        for (number, &(kernel, stride, channels)) in (1..).zip(&layers) {
            y = network.convolution(
                &format!("{name}.conv{number}"),
                y,
                channels,
                Convolution::same(kernel, stride),
            );
            y = network.batch_norm(&format!("{name}.bn{number}"), y);
            if number < layers.len() {
                y = network.relu(y);
            }
        }
        let shortcut = match x.map == y.map {
            true => x,
            false => {
                let convolution = Convolution::same(1, stride);
                network.conv_norm(&format!("{name}.downsample"), x, y.channels(), convolution)
            }
        };
        let sum = network.sum(y, shortcut);
        network.relu(sum)
    }
}

impl ResNet {
    fn stem(&self, network: &mut Builder, image: Value) -> Value {
        let convolution = match self.stem {
            Stem::Small => Convolution::same(3, 1),
            Stem::Standard => Convolution::same(7, 2),
        };
        if self.conv1_start == Conv1Start::Default {
            network.rules.convolution = Rule::FanIn;
        }
        let mut x = network.convolution("conv1", image, CHANNELS[0], convolution);
        network.rules = self.rules();
        x = network.batch_norm("bn1", x);
        x = network.relu(x);
        match self.stem {
            Stem::Small => x,
            Stem::Standard => network.max_pool(x, Window::same(3, 2)),
        }
    }
}

impl Family for ResNet {
    fn pass(&self, network: &mut Builder, image: Value, classes: usize) {
        let mut x = self.stem(network, image);
        for (group, (blocks, channels)) in (1..).zip(self.blocks.into_iter().zip(CHANNELS)) {
            for block in 0..blocks {
                let stride = if group > 1 && block == 0 { 2 } else { 1 };
                x = self.block.add(network, &format!("layer{group}.{block}"), x, channels, stride);
            }
        }
        let features = network.mean(x);
        network.linear("fc", features, classes);
    }

    fn published_lr(&self) -> Option<f64> {
        Some(1e-3)
    }

    fn rules(&self) -> Rules {
        Rules { convolution: Rule::KaimingNormalFanOut, ..Rules::default() }
    }

    fn other_layouts(&self) -> &'static [Layout] {
        &[SHORTCUT_LINEAR, SHORTCUT_CLASSIFIER, RESIDUAL_FUNCTION]
    }

    fn misfit(&self, _size: usize) -> Option<String> {
        let is_idle = self.stem == Stem::Standard && self.conv1_start == Conv1Start::Default;
        is_idle.then(|| {
            "conv1_start: default is how published code starts the conv1 of stem: small, found stem: standard; leave it out"
                .to_owned()
        })
    }

    fn suffix(&self) -> String {
        let stem = match self.stem {
            Stem::Small => "small stem",
            Stem::Standard => "standard stem",
        };
        let start = match self.conv1_start {
            Conv1Start::Kaiming => "",
            Conv1Start::Default => ", conv1 from PyTorch's default",
        };
        format!(" ({stem}{start})")
    }
}
