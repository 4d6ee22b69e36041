//! MnasNet 1.3 (variant B1, without squeeze-excitation) with torchvision's names.

use serde::{Deserialize, Serialize};

use crate::builder::{Builder, Value};
use crate::family::Family;
use crate::graph::{Activation, Convolution};
use crate::inverted_residual::{InvertedResidual, in_sequence};
use crate::start::{Rule, Rules};

/// Stacks of blocks: side of the depthwise convolution, stride of the first, expansion, blocks, channels (those of MnasNet 1.0
/// times 1.3, rounded to multiples of 8).
const STACKS: [(usize, usize, usize, usize, usize); 6] = [
    (3, 2, 3, 3, 32),
    (5, 2, 3, 3, 56),
    (5, 2, 6, 3, 104),
    (3, 1, 6, 2, 128),
    (5, 2, 6, 4, 248),
    (3, 1, 6, 1, 416),
];
const STEM_CHANNELS: usize = 40;
const SEPARABLE_CHANNELS: usize = 24;
const LAST_CHANNELS: usize = 1280;
const DROPOUT: f64 = 0.2;

/// What torchvision gives its BatchNorm layers: TensorFlow's 0.9997 the other way round.
const BN_MOMENTUM: f64 = 3e-4;

/// Which share of a batch goes into the running statistics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BnMomentum {
    /// torchvision's, 0.0003: after 600 steps they have moved by 16 %.
    #[default]
    Own,
    /// That of the recipe, as for other networks: what short trainings need to be tested by them.
    Recipe,
}

pub(crate) struct MnasNet {
    pub(crate) bn_momentum: BnMomentum,
}

impl Family for MnasNet {
    fn pass(&self, network: &mut Builder, image: Value, classes: usize) {
        let mut x = norm_relu(network, 0, image, STEM_CHANNELS, Convolution::same(3, 2));
        let depthwise = Convolution { groups: STEM_CHANNELS, ..Convolution::same(3, 1) };
        x = norm_relu(network, 3, x, STEM_CHANNELS, depthwise);
        // no ReLU follows this one
        x = network.convolution("layers.6", x, SEPARABLE_CHANNELS, Convolution::same(1, 1));
        x = network.batch_norm("layers.7", x);
        for (stack, (kernel, first_stride, expansion, blocks, channels)) in (8..).zip(STACKS) {
            for block in 0..blocks {
                let stride = if block == 0 { first_stride } else { 1 };
                let hidden = x.channels() * expansion;
                let activation = Activation::Relu;
                let way = InvertedResidual { hidden, channels, kernel, stride, activation, has_bias: false };
                x = way.residual(network, &in_sequence(&format!("layers.{stack}.{block}.layers")), x);
            }
        }
        x = norm_relu(network, 14, x, LAST_CHANNELS, Convolution::same(1, 1));
        let features = network.mean(x);
        let kept = network.dropout(features, DROPOUT);
        network.linear("classifier.1", kept, classes);
    }

    fn bn_momentum(&self) -> Option<f64> {
        (self.bn_momentum == BnMomentum::Own).then_some(BN_MOMENTUM)
    }

    fn rules(&self) -> Rules {
        Rules {
            convolution: Rule::KaimingNormalFanOut,
            // kaiming_uniform_ by fan-out for a sigmoid
            linear: Rule::UniformFanOut(3.0),
            linear_bias: Rule::Zero,
            ..Rules::default()
        }
    }

    fn suffix(&self) -> String {
        match self.bn_momentum {
            BnMomentum::Own => String::new(),
            BnMomentum::Recipe => " (bn_momentum of the recipe)".to_owned(),
        }
    }
}

/// Places of `layers` from `place` on.
fn norm_relu(
    network: &mut Builder,
    place: usize,
    x: Value,
    channels: usize,
    convolution: Convolution,
) -> Value {
    let x = network.convolution(&format!("layers.{place}"), x, channels, convolution);
    let x = network.batch_norm(&format!("layers.{}", place + 1), x);
    network.relu(x)
}
