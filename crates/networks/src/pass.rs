//! The ways to go through a network: what its convolutions and batch normalization layers do to what passes.

use std::collections::BTreeMap;
use std::sync::Arc;

use burn::tensor::activation::{gelu, relu, relu6, silu, softplus};
use burn::tensor::module::{avg_pool2d, batch_norm_train};
use burn::tensor::ops::AvgPoolOptions;
use burn::tensor::{Device, Tensor, TensorData};
use delt_conv_norm::{
    Activation, FrozenConvNorm, FrozenWeights, TrainWeights, channels_first, conv_norm_frozen,
    conv_norm_frozen_statistics, conv_norm_train,
};

use crate::bn_statistics::{LayerStatistics, batch_statistics, distance};
use crate::chains::Chain;
use crate::error::{NetworkError, read};
use crate::layers::{BatchNorm, Conv, GroupNorm, NORM_EPSILON};
use crate::map::Map;
use crate::network::{BatchStatistics, BnLayer, Drawn};

/// One way through a network.
pub(crate) trait Pass {
    /// Whether blocks and layers are single operations.
    fn is_fused(&self) -> bool {
        false
    }

    /// Steps from one on that are taken together, where nothing else is wanted of them.
    fn chain(&self, _step: usize) -> Option<Chain> {
        None
    }

    /// Batch normalization by itself.
    fn batch_norm(&mut self, norm: BatchNorm, x: Map) -> Map;

    /// What training leaves out at random at a layer, by its place: `draws` are those of an image. Evaluation keeps all.
    fn drop(&mut self, _at: usize, _share: f64, _draws: usize, x: Map) -> Map {
        x
    }

    /// A convolution by itself.
    fn convolve(&mut self, conv: Conv, x: Map) -> Map {
        conv.forward(x)
    }

    /// Convolution, batch normalization, the sum with what is added, if anything is, and what follows them.
    fn batch_block(
        &mut self,
        conv: Conv,
        norm: BatchNorm,
        x: Map,
        added: Option<Map>,
        activation: Activation,
    ) -> Map {
        unfused_batch_block(self, conv, norm, x, added, activation)
    }

    /// A convolution, normalization of each image by itself or none, and what follows them.
    fn image_block(&mut self, conv: Conv, norm: Option<GroupNorm>, x: Map, activation: Activation) -> Map {
        unfused_image_block(self, conv, norm, x, activation)
    }
}

/// A block of batch normalization, layer by layer.
fn unfused_batch_block(
    pass: &mut (impl Pass + ?Sized),
    conv: Conv,
    norm: BatchNorm,
    x: Map,
    added: Option<Map>,
    activation: Activation,
) -> Map {
    let x = pass.convolve(conv, x);
    let x = pass.batch_norm(norm, x);
    let sum = match added {
        Some(added) => x.with(added, |a, b| a + b),
        None => x,
    };
    activate(sum, activation)
}

/// A block of each image by itself, layer by layer.
fn unfused_image_block(
    pass: &mut (impl Pass + ?Sized),
    conv: Conv,
    norm: Option<GroupNorm>,
    x: Map,
    activation: Activation,
) -> Map {
    let x = pass.convolve(conv, x);
    let x = match norm {
        Some(norm) => norm.forward(x),
        None => x,
    };
    activate(x, activation)
}

/// What follows a block, over Burn's functions.
pub(crate) fn activate(x: Map, activation: Activation) -> Map {
    let pool = |x: Map| Map::First(avg_pool2d(x.first(), AvgPoolOptions::new([2, 2]).with_stride([2, 2])));
    match activation {
        Activation::Identity => x,
        Activation::Relu => x.apply(relu),
        Activation::Relu6 => x.apply(relu6),
        Activation::Silu => x.apply(silu),
        Activation::Gelu => x.apply(gelu),
        Activation::ReluAveragePool => pool(x.apply(relu)),
        Activation::SoftplusAveragePool(beta) => pool(x.apply(|x| softplus(x, beta.into()))),
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
    fn convolve(&mut self, conv: Conv, x: Map) -> Map {
        if self.record >= Record::NormsAndConvolutions {
            self.convolution_inputs.push(x.clone().first());
        }
        if self.is_bf16 { conv.forward_bf16(x) } else { conv.forward(x) }
    }

    fn batch_norm(&mut self, norm: BatchNorm, x: Map) -> Map {
        if self.record >= Record::Norms {
            self.norm_inputs.push(x.clone().first());
        }
        norm.forward(x)
    }
}

/// Training mode: the batch's statistics.
#[derive(Default)]
pub(crate) struct Training<'a> {
    /// Whether blocks are taken as one operation.
    pub(crate) is_fused: bool,
    /// Whether convolutions are computed in bf16, where blocks are not one operation.
    pub(crate) is_bf16: bool,
    /// Without it nothing is dropped.
    pub(crate) drawn: Option<&'a Drawn<'a>>,
    pub(crate) statistics: Vec<BatchStatistics>,
}

impl Training<'_> {
    /// Keeps the statistics of a layer, which are over so many values.
    fn keep(&mut self, mean: Tensor<1>, variance: Tensor<1>, values: usize) {
        let unbiased = values as f64 / (values as f64 - 1.0).max(1.0);
        let variance_unbiased = variance.inner() * unbiased;
        self.statistics.push(BatchStatistics { mean: mean.inner(), variance_unbiased });
    }
}

impl Pass for Training<'_> {
    fn is_fused(&self) -> bool {
        self.is_fused
    }

    fn drop(&mut self, at: usize, share: f64, draws: usize, x: Map) -> Map {
        let Some(drawn) = self.drawn else { return x };
        let kept = (1.0 / (1.0 - share)) as f32;
        let factor = |u: f32| if f64::from(u) < share { 0.0 } else { kept };
        let factors = |[n, c, h, w]: [usize; 4], device: &Device| {
            let values: Vec<f32> = drawn(at, n * draws).into_iter().map(factor).collect();
            let shape = if draws == 1 { [n, 1, 1, 1] } else { [n, c, h, w] };
            Tensor::<4>::from_data(TensorData::new(values, shape), device)
        };
        let x = if draws == 1 { x } else { Map::First(x.first()) };
        x.apply(|x| {
            let factors = factors(x.dims(), &x.device());
            x * factors
        })
    }

    fn convolve(&mut self, conv: Conv, x: Map) -> Map {
        if self.is_bf16 { conv.forward_bf16(x) } else { conv.forward(x) }
    }

    fn batch_block(
        &mut self,
        conv: Conv,
        norm: BatchNorm,
        x: Map,
        added: Option<Map>,
        activation: Activation,
    ) -> Map {
        if !self.is_fused {
            return unfused_batch_block(self, conv, norm, x, added, activation);
        }
        let x = x.last();
        let [n, height, width, _] = x.dims();
        let geometry = conv.geometry();
        let weights =
            TrainWeights { weight: conv.weight, bias: conv.bias, gamma: norm.weight, beta: norm.bias };
        let (y, mean, variance) =
            conv_norm_train(x, added.map(Map::last), weights, geometry, activation, NORM_EPSILON);
        self.keep(mean, variance, n * geometry.out_size(height) * geometry.out_size(width));
        Map::Last(y)
    }

    fn image_block(&mut self, conv: Conv, norm: Option<GroupNorm>, x: Map, activation: Activation) -> Map {
        if self.is_fused {
            return conv.forward_block(norm, activation, x);
        }
        unfused_image_block(self, conv, norm, x, activation)
    }

    fn batch_norm(&mut self, norm: BatchNorm, x: Map) -> Map {
        let x = x.first();
        let [n, _, height, width] = x.dims();
        let normalized = batch_norm_train(x, norm.weight, norm.bias, NORM_EPSILON);
        self.keep(normalized.mean, normalized.variance, n * height * width);
        Map::First(normalized.output)
    }
}

/// Evaluation mode through prepared blocks.
pub(crate) struct Frozen<'a> {
    /// By the place of their batch normalization among its kind; none where that stands alone.
    pub(crate) blocks: &'a [Option<Arc<FrozenConvNorm>>],
    /// By the step that they begin at; none where gradients or statistics are wanted.
    pub(crate) chains: &'a BTreeMap<usize, Chain>,
    /// What statistics are measured against.
    pub(crate) layers: &'a [BnLayer],
    pub(crate) record: Record,
    /// Distances of the batch's statistics from these.
    pub(crate) distances: Vec<Tensor<1>>,
    /// Channels first.
    pub(crate) convolution_inputs: Vec<Tensor<4>>,
}

impl Frozen<'_> {
    /// What enters a convolution, in the layout of blocks: also where it is recorded, so that sums over it keep their order.
    fn enter(&mut self, x: Map) -> Tensor<4> {
        let x = x.last();
        if self.record >= Record::NormsAndConvolutions {
            self.convolution_inputs.push(channels_first(x.clone()));
        }
        x
    }
}

impl Pass for Frozen<'_> {
    fn is_fused(&self) -> bool {
        true
    }

    fn chain(&self, step: usize) -> Option<Chain> {
        self.chains.get(&step).cloned()
    }

    fn batch_block(&mut self, _: Conv, norm: BatchNorm, x: Map, added: Option<Map>, _: Activation) -> Map {
        let x = self.enter(x);
        let block = self.blocks[norm.place].as_ref().expect("every block was prepared");
        let (y, distance) = conv_norm_frozen(x, added.map(Map::last), block, self.record >= Record::Norms);
        self.distances.extend(distance);
        Map::Last(y)
    }

    fn image_block(&mut self, conv: Conv, norm: Option<GroupNorm>, x: Map, activation: Activation) -> Map {
        let x = Map::Last(self.enter(x));
        conv.forward_block(norm, activation, x)
    }

    fn batch_norm(&mut self, norm: BatchNorm, x: Map) -> Map {
        if self.record >= Record::Norms {
            let BnLayer { running_mean, running_var, .. } = self.layers[norm.place].clone();
            let found = batch_statistics(x.clone().first());
            self.distances.push(distance(found, (running_mean, running_var)));
        }
        norm.forward(x)
    }
}

/// As [`Frozen`] outside any graph, with the batch's own statistics.
pub(crate) struct Measuring<'a> {
    pub(crate) blocks: &'a [Option<Arc<FrozenConvNorm>>],
    pub(crate) statistics: Vec<Result<LayerStatistics, NetworkError>>,
}

impl Pass for Measuring<'_> {
    fn is_fused(&self) -> bool {
        true
    }

    fn batch_block(&mut self, _: Conv, norm: BatchNorm, x: Map, added: Option<Map>, _: Activation) -> Map {
        let block = self.blocks[norm.place].as_ref().expect("every block was prepared");
        let (y, mean, variance) = conv_norm_frozen_statistics(x.last(), added.map(Map::last), block);
        self.statistics.push(Ok(LayerStatistics { mean, variance }));
        Map::Last(y)
    }

    fn image_block(&mut self, conv: Conv, norm: Option<GroupNorm>, x: Map, activation: Activation) -> Map {
        conv.forward_block(norm, activation, x)
    }

    fn batch_norm(&mut self, norm: BatchNorm, x: Map) -> Map {
        self.statistics.push(measured(x.clone().first()));
        norm.forward(x)
    }
}

/// The statistics of what enters a batch normalization layer.
pub(crate) fn measured(x: Tensor<4>) -> Result<LayerStatistics, NetworkError> {
    let (mean, variance) = batch_statistics(x);
    let read = |values| read(values, "statistics of a batch normalization layer");
    Ok(LayerStatistics { mean: read(mean)?, variance: read(variance)? })
}

/// A block with its weights packed; none where the weights could not be read.
pub(crate) fn prepare(conv: Conv, norm: BatchNorm, activation: Activation) -> Option<FrozenConvNorm> {
    let [outputs, inputs_of_group, ..] = conv.weight.dims();
    let geometry = conv.geometry();
    let weights = FrozenWeights {
        channels: [outputs, inputs_of_group * geometry.groups],
        weight: host(conv.weight)?,
        bias: conv.bias.map_or(Some(Vec::new()), host)?,
        gamma: host(norm.weight)?,
        beta: host(norm.bias)?,
        running_mean: host(norm.running_mean)?,
        running_var: host(norm.running_var)?,
    };
    Some(FrozenConvNorm::new(weights, geometry, activation, NORM_EPSILON))
}

/// A convolution without normalization, as [`prepare`].
pub(crate) fn prepare_alone(conv: Conv, activation: Activation) -> Option<FrozenConvNorm> {
    let ([outputs, inputs_of_group, ..], geometry) = (conv.weight.dims(), conv.geometry());
    let values = [host(conv.weight)?, conv.bias.map_or(Some(Vec::new()), host)?];
    Some(FrozenConvNorm::plain([outputs, inputs_of_group * geometry.groups], values, geometry, activation))
}

fn host<const D: usize>(tensor: Tensor<D>) -> Option<Vec<f32>> {
    tensor.without_autodiff().try_into_vec_as().ok()
}
