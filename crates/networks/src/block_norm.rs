//! What normalizes the blocks of a ConvNet: the batch, the image itself, or nothing.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use delt_architectures::Operation;
use delt_conv_norm::{Activation, BlockWeights, Normalize, conv_block};

use crate::builder::Builder;
use crate::error::NetworkError;
use crate::layers::{BN_EPSILON, BatchNorm, Conv};
use crate::pass::Pass;

/// The normalization of a block.
#[derive(Module, Debug)]
pub enum BlockNorm {
    /// By the batch, in evaluation mode by running statistics.
    Batch(BatchNorm),
    /// By groups of channels of each image.
    Group(GroupNorm),
    /// By all values of each image.
    Layer(LayerNorm),
    /// None.
    Absent(Absent),
}

/// No normalization.
#[derive(Module, Debug)]
pub struct Absent {}

/// Normalization of each image by groups of its channels, the same in training and in evaluation mode.
#[derive(Module, Debug)]
pub struct GroupNorm {
    /// Scale per channel (γ).
    pub weight: Param<Tensor<1>>,
    /// Shift per channel (β).
    pub bias: Param<Tensor<1>>,
    #[module(skip)]
    groups: usize,
}

/// Normalization of each image by all its values, the same in training and in evaluation mode.
#[derive(Module, Debug)]
pub struct LayerNorm {
    /// Scale of each value (γ), `[c, h, w]`.
    pub weight: Param<Tensor<3>>,
    /// Shift of each value (β), `[c, h, w]`.
    pub bias: Param<Tensor<3>>,
}

impl BlockNorm {
    /// As the layer of this name is described, if there is one.
    pub(crate) fn build(builder: &mut Builder<'_>, name: &str) -> Result<Self, NetworkError> {
        if !builder.has(name) {
            return Ok(Self::Absent(Absent {}));
        }
        let [weight, bias] = ["weight", "bias"].map(|leaf| format!("{name}.{leaf}"));
        Ok(match builder.layer(name).operation {
            Operation::GroupNorm { groups } => Self::Group(GroupNorm {
                weight: builder.tensor(&weight)?,
                bias: builder.tensor(&bias)?,
                groups,
            }),
            Operation::LayerNorm => {
                Self::Layer(LayerNorm { weight: builder.tensor(&weight)?, bias: builder.tensor(&bias)? })
            }
            _ => Self::Batch(BatchNorm::build(builder, name)?),
        })
    }

    /// Convolution, this normalization and the activation.
    pub(crate) fn after(
        &self,
        conv: &Conv,
        x: Tensor<4>,
        activation: Activation,
        pass: &mut dyn Pass,
    ) -> Tensor<4> {
        match self {
            Self::Batch(norm) => pass.block(conv, norm, x, activation),
            own => pass.image_block(conv, own, x, activation),
        }
    }

    /// This normalization, convolution and the activation.
    pub(crate) fn before(
        &self,
        conv: &Conv,
        x: Tensor<4>,
        activation: Activation,
        pass: &mut dyn Pass,
    ) -> Tensor<4> {
        let x = match self {
            Self::Batch(norm) => pass.batch_norm(norm, x),
            own => own.forward(x),
        };
        pass.image_block(conv, &Self::Absent(Absent {}), x, activation)
    }

    /// Whether a block that is one operation can have it.
    pub(crate) fn is_fusible(&self) -> bool {
        match self {
            Self::Batch(_) | Self::Absent(_) => true,
            Self::Group(norm) => norm.is_instance_norm(),
            Self::Layer(_) => false,
        }
    }

    /// Convolution, instance norm or none, and the activation as one operation, channels last.
    pub(crate) fn fused(&self, conv: &Conv, x: Tensor<4>, activation: Activation) -> Tensor<4> {
        let (normalize, norm) = match self {
            Self::Group(norm) => (Normalize::Instance, Some((norm.weight.val(), norm.bias.val()))),
            _ => (Normalize::None, None),
        };
        let bias = conv.bias.as_ref().map(Param::val);
        let weights = BlockWeights { weight: conv.weight.val(), bias, norm };
        conv_block(x, weights, conv.geometry(), normalize, activation, BN_EPSILON)
    }

    /// `[n, c, h, w]` → `[n, c, h, w]`, batch normalization in evaluation mode.
    pub(crate) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        match self {
            Self::Batch(norm) => norm.forward(x),
            Self::Group(norm) => norm.forward(x),
            Self::Layer(norm) => norm.forward(x),
            Self::Absent(_) => x,
        }
    }
}

impl GroupNorm {
    /// Whether each channel is a group of its own.
    fn is_instance_norm(&self) -> bool {
        self.weight.dims() == [self.groups]
    }

    /// `[n, c, h, w]` → `[n, c, h, w]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        // [c] -> [1, c, 1, 1], to be broadcast over images
        let per_channel = |values: Tensor<1>| {
            let [channels] = values.dims();
            values.reshape([1, channels, 1, 1])
        };
        standardized(x, self.groups) * per_channel(self.weight.val()) + per_channel(self.bias.val())
    }
}

impl LayerNorm {
    /// `[n, c, h, w]` → `[n, c, h, w]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        standardized(x, 1) * self.weight.val().unsqueeze() + self.bias.val().unsqueeze()
    }
}

/// Mean 0 and biased variance 1 over so many groups of the channels of each image. Sums run within a channel first and over
/// channels next: the order of addition is then the same in every run.
fn standardized(x: Tensor<4>, groups: usize) -> Tensor<4> {
    let [n, channels, height, width] = x.dims();
    let mean = |rows: Tensor<4>| rows.mean_dim(3).mean_dim(2);
    let rows = x.reshape([n, groups, channels / groups, height * width]);
    let centered = rows.clone() - mean(rows);
    let variance = mean(centered.clone().square());
    (centered / (variance + BN_EPSILON).sqrt()).reshape([n, channels, height, width])
}
