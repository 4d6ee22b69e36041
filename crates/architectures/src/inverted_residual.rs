//! The block of MobileNetV2 and of what followed it: a 1x1 convolution to more channels, a depthwise one, a 1x1 one to few.

use crate::builder::{Builder, Value};
use crate::graph::{Activation, Convolution};

/// Groups of such blocks as in table 2 of the MobileNetV2 paper: expansion, channels, blocks, stride of the first.
pub(crate) type Group = (usize, usize, usize, usize);

/// What lies beside the shortcut.
pub(crate) struct InvertedResidual {
    /// Channels of the depthwise convolution.
    pub(crate) hidden: usize,
    /// Channels that leave.
    pub(crate) channels: usize,
    /// Side of the depthwise convolution.
    pub(crate) kernel: usize,
    /// Its step.
    pub(crate) stride: usize,
    /// After all but the last convolution.
    pub(crate) activation: Activation,
    /// Of all convolutions.
    pub(crate) has_bias: bool,
}

impl InvertedResidual {
    /// The three convolutions with their normalizations; `names` are theirs.
    pub(crate) fn pass(&self, network: &mut Builder, names: &[[String; 2]; 3], x: Value) -> Value {
        let &Self { hidden, channels, kernel, stride, activation, has_bias } = self;
        let [expansion, depthwise, projection] = names;
        let pointwise = Convolution { has_bias, ..Convolution::same(1, 1) };
        let mut y = pair(network, expansion, x, hidden, pointwise);
        y = network.activation(y, activation);
        let each = Convolution { groups: hidden, has_bias, ..Convolution::same(kernel, stride) };
        y = pair(network, depthwise, y, hidden, each);
        y = network.activation(y, activation);
        pair(network, projection, y, channels, pointwise)
    }

    /// As [`Self::pass`], with the image added where its shape has not changed.
    pub(crate) fn residual(&self, network: &mut Builder, names: &[[String; 2]; 3], x: Value) -> Value {
        let y = self.pass(network, names, x);
        if y.map == x.map { network.sum(x, y) } else { y }
    }
}

/// Names in a `Sequential`, where each activation takes a place too.
pub(crate) fn in_sequence(name: &str) -> [[String; 2]; 3] {
    [0, 3, 6].map(|place| [format!("{name}.{place}"), format!("{name}.{}", place + 1)])
}

fn pair(
    network: &mut Builder,
    [convolution, norm]: &[String; 2],
    x: Value,
    channels: usize,
    seen: Convolution,
) -> Value {
    let x = network.convolution(convolution, x, channels, seen);
    network.batch_norm(norm, x)
}
