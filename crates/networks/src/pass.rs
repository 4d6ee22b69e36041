//! The ways to go through a network: what its convolution and batch normalization layers do to what passes.

use std::sync::Arc;

use burn::module::Param;
use burn::tensor::Tensor;
use burn::tensor::activation::{relu, relu6, silu, softplus};
use burn::tensor::module::{avg_pool2d, batch_norm_train};
use burn::tensor::ops::AvgPoolOptions;
use delt_conv_norm::{
    Activation, FrozenConvNorm, FrozenWeights, TrainWeights, channels_first, channels_last, conv_norm_frozen,
    conv_norm_frozen_statistics, conv_norm_train,
};

use crate::block_norm::BlockNorm;
use crate::bn_statistics::LayerStatistics;
use crate::layers::{BN_EPSILON, BatchNorm, Conv};
use crate::network::BatchStatistics;

/// One way through a network.
pub(crate) trait Pass {
    /// Convolution, batch normalization and what follows them.
    fn block(&mut self, conv: &Conv, norm: &BatchNorm, x: Tensor<4>, activation: Activation) -> Tensor<4>;

    /// A convolution, normalization of each image by itself or none, and what follows them.
    fn image_block(
        &mut self,
        conv: &Conv,
        norm: &BlockNorm,
        x: Tensor<4>,
        activation: Activation,
    ) -> Tensor<4> {
        if self.is_channels_last() {
            return norm.fused(conv, x, activation);
        }
        let x = self.convolve(conv, x);
        activate(norm.forward(x), activation)
    }

    /// A convolution by itself. Networks that have it are not fusible, so only passes layer by layer meet it; likewise
    /// [`Self::batch_norm`].
    fn convolve(&mut self, conv: &Conv, x: Tensor<4>) -> Tensor<4> {
        conv.forward(x)
    }

    /// Batch normalization by itself.
    fn batch_norm(&mut self, norm: &BatchNorm, x: Tensor<4>) -> Tensor<4> {
        norm.forward(x)
    }

    /// Whether images lie channels last between [`Self::enter`] and [`Self::leave`].
    fn is_channels_last(&self) -> bool {
        false
    }

    /// From `[n, c, h, w]` to the layout of the pass.
    fn enter(&self, x: Tensor<4>) -> Tensor<4> {
        if self.is_channels_last() { channels_last(x) } else { x }
    }

    /// Back to `[n, c, h, w]`.
    fn leave(&self, x: Tensor<4>) -> Tensor<4> {
        if self.is_channels_last() { channels_first(x) } else { x }
    }
}

fn activate(x: Tensor<4>, activation: Activation) -> Tensor<4> {
    let pool = |x| avg_pool2d(x, AvgPoolOptions::new([2, 2]).with_stride([2, 2]));
    match activation {
        Activation::Identity => x,
        Activation::Relu => relu(x),
        Activation::Relu6 => relu6(x),
        Activation::Silu => silu(x),
        Activation::ReluAveragePool => pool(relu(x)),
        Activation::SoftplusAveragePool(beta) => pool(softplus(x, beta.into())),
    }
}

/// What a pass in evaluation mode leaves beside its result.
#[derive(Clone, Copy, Default, PartialEq, PartialOrd)]
pub(crate) enum Record {
    /// Nothing.
    #[default]
    Nothing,
    /// What is known of the input of every batch normalization layer.
    Norms,
    /// That, and what enters every convolution.
    NormsAndConvolutions,
}

/// Evaluation mode, layer by layer: running statistics.
#[derive(Default)]
pub(crate) struct Evaluation {
    /// Whether convolutions are computed in bf16; what is recorded is f32.
    pub(crate) is_bf16: bool,
    pub(crate) record: Record,
    pub(crate) norm_inputs: Vec<Tensor<4>>,
    pub(crate) convolution_inputs: Vec<Tensor<4>>,
}

impl Pass for Evaluation {
    fn block(&mut self, conv: &Conv, norm: &BatchNorm, x: Tensor<4>, activation: Activation) -> Tensor<4> {
        let x = self.convolve(conv, x);
        activate(self.batch_norm(norm, x), activation)
    }

    fn convolve(&mut self, conv: &Conv, x: Tensor<4>) -> Tensor<4> {
        if self.record >= Record::NormsAndConvolutions {
            self.convolution_inputs.push(x.clone());
        }
        if self.is_bf16 { conv.forward_bf16(x) } else { conv.forward(x) }
    }

    fn batch_norm(&mut self, norm: &BatchNorm, x: Tensor<4>) -> Tensor<4> {
        if self.record >= Record::Norms {
            self.norm_inputs.push(x.clone());
        }
        norm.forward(x)
    }
}

/// Training mode: the batch's statistics.
pub(crate) struct Training {
    /// Whether blocks are taken as one operation.
    pub(crate) is_fused: bool,
    pub(crate) statistics: Vec<BatchStatistics>,
}

impl Training {
    /// Keeps the statistics of a layer, which are over so many values.
    fn keep(&mut self, mean: Tensor<1>, variance: Tensor<1>, values: usize) {
        let unbiased = values as f64 / (values as f64 - 1.0).max(1.0);
        let variance_unbiased = variance.inner() * unbiased;
        self.statistics.push(BatchStatistics { mean: mean.inner(), variance_unbiased });
    }
}

impl Pass for Training {
    fn block(&mut self, conv: &Conv, norm: &BatchNorm, x: Tensor<4>, activation: Activation) -> Tensor<4> {
        if !self.is_fused {
            let x = self.convolve(conv, x);
            return activate(self.batch_norm(norm, x), activation);
        }
        let [n, height, width, _] = x.dims();
        let geometry = conv.geometry();
        let bias = conv.bias.as_ref().map(Param::val);
        let (gamma, beta) = (norm.weight.val(), norm.bias.val());
        let weights = TrainWeights { weight: conv.weight.val(), bias, gamma, beta };
        let (y, mean, variance) = conv_norm_train(x, weights, geometry, activation, BN_EPSILON);
        self.keep(mean, variance, n * geometry.out_size(height) * geometry.out_size(width));
        y
    }

    fn batch_norm(&mut self, norm: &BatchNorm, x: Tensor<4>) -> Tensor<4> {
        let [n, _, height, width] = x.dims();
        let normalized = batch_norm_train(x, norm.weight.val(), norm.bias.val(), BN_EPSILON);
        self.keep(normalized.mean, normalized.variance, n * height * width);
        normalized.output
    }

    fn is_channels_last(&self) -> bool {
        self.is_fused
    }
}

/// Evaluation mode through prepared blocks, in their order.
#[derive(Default)]
pub(crate) struct Frozen<'a> {
    pub(crate) blocks: std::slice::Iter<'a, Arc<FrozenConvNorm>>,
    pub(crate) record: Record,
    /// Distances of the batch's statistics from the running ones.
    pub(crate) distances: Vec<Tensor<1>>,
    /// Channels first.
    pub(crate) convolution_inputs: Vec<Tensor<4>>,
}

impl Pass for Frozen<'_> {
    fn block(&mut self, _: &Conv, _: &BatchNorm, x: Tensor<4>, _: Activation) -> Tensor<4> {
        let Some(block) = self.blocks.next() else { return x };
        if self.record >= Record::NormsAndConvolutions {
            self.convolution_inputs.push(channels_first(x.clone()));
        }
        let (y, distance) = conv_norm_frozen(x, block, self.record >= Record::Norms);
        self.distances.extend(distance);
        y
    }

    fn image_block(
        &mut self,
        conv: &Conv,
        norm: &BlockNorm,
        x: Tensor<4>,
        activation: Activation,
    ) -> Tensor<4> {
        if self.record >= Record::NormsAndConvolutions {
            self.convolution_inputs.push(channels_first(x.clone()));
        }
        norm.fused(conv, x, activation)
    }

    fn is_channels_last(&self) -> bool {
        true
    }
}

/// As [`Frozen`] outside any graph, with the batch's own statistics.
pub(crate) struct Measuring<'a> {
    pub(crate) blocks: std::slice::Iter<'a, Arc<FrozenConvNorm>>,
    pub(crate) statistics: Vec<LayerStatistics>,
}

impl Pass for Measuring<'_> {
    fn block(&mut self, _: &Conv, _: &BatchNorm, x: Tensor<4>, _: Activation) -> Tensor<4> {
        let Some(block) = self.blocks.next() else { return x };
        let (y, mean, variance) = conv_norm_frozen_statistics(x, block);
        self.statistics.push(LayerStatistics { mean, variance });
        y
    }

    fn is_channels_last(&self) -> bool {
        true
    }
}

/// Prepares the blocks without computing anything: `None` where the weights of a block could not be read.
#[derive(Default)]
pub(crate) struct Preparation(pub(crate) Vec<Option<Arc<FrozenConvNorm>>>);

impl Pass for Preparation {
    fn block(&mut self, conv: &Conv, norm: &BatchNorm, x: Tensor<4>, activation: Activation) -> Tensor<4> {
        let [outputs, ..] = conv.weight.dims();
        self.0.push(prepare(conv, norm, activation).map(Arc::new));
        Tensor::zeros([1, outputs, 1, 1], &x.device())
    }

    /// Nothing to prepare.
    fn image_block(&mut self, conv: &Conv, _: &BlockNorm, x: Tensor<4>, _: Activation) -> Tensor<4> {
        let [outputs, ..] = conv.weight.dims();
        Tensor::zeros([1, outputs, 1, 1], &x.device())
    }
}

fn prepare(conv: &Conv, norm: &BatchNorm, activation: Activation) -> Option<FrozenConvNorm> {
    let [outputs, inputs, ..] = conv.weight.dims();
    let weights = FrozenWeights {
        channels: [outputs, inputs],
        weight: host(conv.weight.val())?,
        bias: conv.bias.as_ref().map_or(Some(Vec::new()), |bias| host(bias.val()))?,
        gamma: host(norm.weight.val())?,
        beta: host(norm.bias.val())?,
        running_mean: host(norm.running_mean.val())?,
        running_var: host(norm.running_var.val())?,
    };
    Some(FrozenConvNorm::new(weights, conv.geometry(), activation, BN_EPSILON))
}

fn host<const D: usize>(tensor: Tensor<D>) -> Option<Vec<f32>> {
    tensor.without_autodiff().try_into_vec_as().ok()
}
