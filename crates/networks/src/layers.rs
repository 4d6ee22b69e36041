//! Convolution, normalizations and linear layer, over Burn's tensor functions and PyTorch's layouts of weights.

use burn::tensor::activation::softmax;
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{FloatDType, Tensor};
use delt_architectures::{Convolution, Window};
use delt_conv_norm::{
    Activation, BlockWeights, Geometry, Normalize, conv_block, normalize_rows, scale_channels, softmax_rows,
};
use delt_device::product;

use crate::map::Map;
use crate::pass::activate;
use crate::weights::Weights;

/// Added to the variance before the square root; PyTorch's default.
pub(crate) const NORM_EPSILON: f64 = 1e-5;

/// A 2-d convolution.
pub(crate) struct Conv {
    /// `[out, in / groups, kernel, kernel]`.
    pub(crate) weight: Tensor<4>,
    /// One value per output channel.
    pub(crate) bias: Option<Tensor<1>>,
    convolution: Convolution,
}

impl Conv {
    pub(crate) fn new(convolution: Convolution, weights: &[&Weights]) -> Self {
        let bias = weights.get(1).map(|bias| bias.one());
        Self { weight: weights[0].four(), bias, convolution }
    }

    pub(crate) fn forward(self, x: Map) -> Map {
        let options = self.options();
        Map::First(conv2d(x.first(), self.weight, self.bias, options))
    }

    /// As [`Self::forward`] with the products taken in bf16, from f32 and to f32: what PyTorch's autocast does.
    pub(crate) fn forward_bf16(self, x: Map) -> Map {
        let options = self.options();
        let weight = self.weight.cast(FloatDType::BF16);
        let bias = self.bias.map(|bias| bias.cast(FloatDType::BF16));
        Map::First(conv2d(x.first().cast(FloatDType::BF16), weight, bias, options).cast(FloatDType::F32))
    }

    /// With a normalization of each image by its channels, or none, and the activation as one operation.
    pub(crate) fn forward_block(self, norm: Option<GroupNorm>, activation: Activation, x: Map) -> Map {
        let geometry = self.geometry();
        let normalize = if norm.is_some() { Normalize::Instance } else { Normalize::None };
        let norm = norm.map(|norm| (norm.weight, norm.bias));
        let weights = BlockWeights { weight: self.weight, bias: self.bias, norm };
        Map::Last(conv_block(x.last(), weights, geometry, normalize, activation, NORM_EPSILON))
    }

    /// How the filter moves.
    pub(crate) fn geometry(&self) -> Geometry {
        let Window { kernel, stride, padding } = self.convolution.window;
        Geometry { kernel, stride, padding, groups: self.convolution.groups }
    }

    fn options(&self) -> ConvOptions<2> {
        let Window { stride, padding, .. } = self.convolution.window;
        ConvOptions::new([stride; 2], [padding; 2], [1; 2], self.convolution.groups)
    }
}

/// Batch normalization.
pub(crate) struct BatchNorm {
    /// Its place among the layers of its kind.
    pub(crate) place: usize,
    /// Scale per channel (γ).
    pub(crate) weight: Tensor<1>,
    /// Shift per channel (β).
    pub(crate) bias: Tensor<1>,
    /// Running mean per channel, not trained.
    pub(crate) running_mean: Tensor<1>,
    /// Running variance per channel, not trained.
    pub(crate) running_var: Tensor<1>,
}

impl BatchNorm {
    pub(crate) fn new(place: usize, weights: &[&Weights]) -> Self {
        let [weight, bias, running_mean, running_var] = [0, 1, 2, 3].map(|at| weights[at].one());
        Self { place, weight, bias, running_mean, running_var }
    }

    /// Evaluation mode: normalizes by the running statistics, as y = scale · x + shift.
    pub(crate) fn forward(self, x: Map) -> Map {
        let scale = self.weight / (self.running_var + NORM_EPSILON).sqrt();
        let shift = self.bias - self.running_mean * scale.clone();
        x.affine(scale, shift)
    }
}

/// Normalization of each image by groups of its channels, the same in training and in evaluation mode.
pub(crate) struct GroupNorm {
    /// Scale per channel (γ).
    weight: Tensor<1>,
    /// Shift per channel (β).
    bias: Tensor<1>,
    groups: usize,
}

impl GroupNorm {
    pub(crate) fn new(groups: usize, weights: &[&Weights]) -> Self {
        Self { weight: weights[0].one(), bias: weights[1].one(), groups }
    }

    pub(crate) fn forward(self, x: Map) -> Map {
        Map::First(standardized(x.first(), self.groups)).affine(self.weight, self.bias)
    }
}

/// Normalization of each image by all its values; scale and shift have its shape, `[c, h, w]`.
pub(crate) fn layer_norm(weights: &[&Weights], x: Map) -> Map {
    let [weight, bias] = [0, 1].map(|at| weights[at].three().unsqueeze());
    Map::First(standardized(x.first(), 1) * weight + bias)
}

/// Mean 0 and biased variance 1 over so many groups of the channels of each image. Sums run within a channel first and over
/// channels next: the order of addition is then the same in every run.
fn standardized(x: Tensor<4>, groups: usize) -> Tensor<4> {
    let [n, channels, height, width] = x.dims();
    let mean = |rows: Tensor<4>| rows.mean_dim(3).mean_dim(2);
    let rows = x.reshape([n, groups, channels / groups, height * width]);
    let centered = rows.clone() - mean(rows);
    let variance = mean(centered.clone().square());
    (centered / (variance + NORM_EPSILON).sqrt()).reshape([n, channels, height, width])
}

/// Layers that treat each position by itself, as one operation each or over Burn's.
#[derive(Clone, Copy)]
pub(crate) struct Rows {
    pub(crate) is_fused: bool,
}

impl Rows {
    /// Normalization of each position by its channels.
    pub(crate) fn position_norm(self, weights: &[&Weights], epsilon: f64, x: Map) -> Map {
        let x = x.last();
        if self.is_fused {
            return Map::Last(normalize_rows(x, weights[0].one(), weights[1].one(), epsilon));
        }
        let centered = x.clone() - x.mean_dim(3);
        let variance = centered.clone().square().mean_dim(3);
        Map::Last(centered / (variance + epsilon).sqrt()).affine(weights[0].one(), weights[1].one())
    }

    /// Shares that add up to 1 over the last dimension.
    pub(crate) fn softmax(self, x: Tensor<4>) -> Tensor<4> {
        if self.is_fused { softmax_rows(x) } else { softmax(x, 3) }
    }

    /// A factor for each channel of an image.
    pub(crate) fn gate(self, x: Map, factors: Map) -> Map {
        if self.is_fused {
            return Map::Last(scale_channels(x.last(), factors.last()));
        }
        x.with(factors, |a, b| a * b)
    }

    /// A linear layer at every position, and what follows it.
    pub(crate) fn linear(self, weights: &[&Weights], x: Map, activation: Activation) -> Map {
        let bias = weights.get(1).map(|bias| bias.one());
        Map::Last(self.product(x.last(), weights[0].two(), bias, activation))
    }

    /// `[n, h, w, in]` → `[n, h, w, out]`; `weight` is `[out, in]`, PyTorch's layout. Single positions are few rows with large
    /// matrices, which blocks are not made for.
    pub(crate) fn product(
        self,
        x: Tensor<4>,
        weight: Tensor<2>,
        bias: Option<Tensor<1>>,
        activation: Activation,
    ) -> Tensor<4> {
        let ([n, height, width, inputs], [outputs, _]) = (x.dims(), weight.dims());
        if self.is_fused && height * width > 1 {
            let geometry = Geometry { kernel: 1, stride: 1, padding: 0, groups: 1 };
            let weights = BlockWeights { weight: weight.reshape([outputs, inputs, 1, 1]), bias, norm: None };
            return conv_block(x, weights, geometry, Normalize::None, activation, NORM_EPSILON);
        }
        let y = rows_linear(x.reshape([n * height * width, inputs]), weight, bias);
        activate(Map::Last(y.reshape([n, height, width, outputs])), activation).last()
    }
}

/// `[rows, in]` → `[rows, out]`; `weight` is `[out, in]`, PyTorch's layout.
pub(crate) fn rows_linear(x: Tensor<2>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<2> {
    let y = product(x, weight.transpose());
    match bias {
        Some(bias) => y + bias.unsqueeze(),
        None => y,
    }
}
