//! ResNets of basic blocks with torchvision's names; a 3x3 stem without max-pool for small images, or the standard one.

use serde::{Deserialize, Serialize};

use crate::builder::{Builder, Value};
use crate::family::Family;
use crate::graph::{Convolution, Window};
use crate::layout::{Layout, RESIDUAL_FUNCTION, SHORTCUT_CLASSIFIER, SHORTCUT_LINEAR};
use crate::start::{Rule, Rules};

/// Channels of the four groups; the first are those of the stem too.
const CHANNELS: [usize; 4] = [64, 128, 256, 512];

/// How a ResNet begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stem {
    /// A 3x3 convolution of stride 1 and no max-pool, for 32 and 64 px.
    Small,
    /// torchvision's 7x7 convolution of stride 2 and max-pool.
    Standard,
}

pub(crate) struct ResNet {
    /// Blocks of each group.
    pub(crate) blocks: [usize; 4],
    pub(crate) stem: Stem,
}

impl Family for ResNet {
    fn pass(&self, network: &mut Builder, image: Value, classes: usize) {
        let stem = match self.stem {
            Stem::Small => Convolution::same(3, 1),
            Stem::Standard => Convolution::same(7, 2),
        };
        let mut x = network.convolution("conv1", image, CHANNELS[0], stem);
        x = network.batch_norm("bn1", x);
        x = network.relu(x);
        if self.stem == Stem::Standard {
            x = network.max_pool(x, Window::same(3, 2));
        }
        for (group, (blocks, channels)) in (1..).zip(self.blocks.into_iter().zip(CHANNELS)) {
            for block in 0..blocks {
                x = basic_block(network, &format!("layer{group}.{block}"), x, channels);
            }
        }
        let features = network.mean(x);
        network.linear("fc", features, classes);
    }

    fn published_lr(&self) -> f64 {
        1e-3
    }

    fn rules(&self) -> Rules {
        Rules { convolution: Rule::KaimingNormalFanOut, ..Rules::default() }
    }

    fn other_layouts(&self) -> &'static [Layout] {
        &[SHORTCUT_LINEAR, SHORTCUT_CLASSIFIER, RESIDUAL_FUNCTION]
    }

    fn suffix(&self) -> String {
        match self.stem {
            Stem::Small => " (small stem)".to_owned(),
            Stem::Standard => " (standard stem)".to_owned(),
        }
    }
}

/// Two 3x3 convolutions beside a shortcut; the side is halved wherever the number of channels changes.
fn basic_block(network: &mut Builder, name: &str, x: Value, channels: usize) -> Value {
    let is_changing = x.channels() != channels;
    let stride = if is_changing { 2 } else { 1 };
    let mut y = network.convolution(&format!("{name}.conv1"), x, channels, Convolution::same(3, stride));
    y = network.batch_norm(&format!("{name}.bn1"), y);
    y = network.relu(y);
    y = network.convolution(&format!("{name}.conv2"), y, channels, Convolution::same(3, 1));
    y = network.batch_norm(&format!("{name}.bn2"), y);
    let shortcut = match is_changing {
        true => network.conv_norm(&format!("{name}.downsample"), x, channels, Convolution::same(1, stride)),
        false => x,
    };
    let sum = network.sum(y, shortcut);
    network.relu(sum)
}
