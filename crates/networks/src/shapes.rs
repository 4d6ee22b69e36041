//! Layers without weights: activations, poolings, and what moves values between places and channels.

use burn::tensor::Tensor;
use burn::tensor::activation::{gelu, relu, relu6, sigmoid, silu};
use burn::tensor::module::{adaptive_avg_pool2d, avg_pool2d, max_pool2d};
use burn::tensor::ops::{AvgPoolOptions, MaxPoolOptions};
use delt_architectures::{Activation, Window};

use crate::map::Map;

pub(crate) fn activation(x: Map, activation: Activation) -> Map {
    x.apply(|x| match activation {
        Activation::Relu => relu(x),
        Activation::Relu6 => relu6(x),
        Activation::Silu => silu(x),
        Activation::Gelu => gelu(x),
        Activation::Sigmoid => sigmoid(x),
    })
}

pub(crate) fn max_pool(x: Map, Window { kernel, stride, padding }: Window) -> Map {
    let options = MaxPoolOptions::new([kernel; 2]).with_stride([stride; 2]).with_padding([padding; 2]);
    Map::First(max_pool2d(x.first(), options))
}

pub(crate) fn average_pool(x: Map, Window { kernel, stride, padding }: Window) -> Map {
    let options = AvgPoolOptions::new([kernel; 2]).with_stride([stride; 2]).with_padding([padding; 2]);
    Map::First(avg_pool2d(x.first(), options))
}

pub(crate) fn adaptive_average_pool(x: Map, side: usize) -> Map {
    Map::First(adaptive_avg_pool2d(x.first(), [side; 2]))
}

/// Mean over the image.
pub(crate) fn mean(x: Map) -> Map {
    Map::row(match x {
        Map::First(x) => x.flatten::<3>(2, 3).mean_dim(2).squeeze_dim(2),
        Map::Last(x) => x.flatten::<3>(1, 2).mean_dim(1).squeeze_dim(1),
    })
}

/// Every n-th row and column: means of single pixels.
pub(crate) fn subsample(x: Map, stride: usize) -> Map {
    average_pool(x, Window { kernel: 1, stride, padding: 0 })
}

pub(crate) fn concatenate(parts: Vec<Map>) -> Map {
    let mut parts = parts.into_iter();
    let first = parts.next().expect("a concatenation reads something");
    let dimension = first.channel_dimension();
    parts.fold(first, |all, part| all.with(part, |all, part| Tensor::cat(vec![all, part], dimension)))
}

pub(crate) fn channels(x: Map, from: usize, count: usize) -> Map {
    let dimension = x.channel_dimension();
    x.apply(|x| x.narrow(dimension, from, count))
}

/// Channels as a matrix `[groups, c / groups]`, transposed.
pub(crate) fn shuffle(x: Map, groups: usize) -> Map {
    let dimension = x.channel_dimension();
    x.apply(|x| {
        let shape @ [n, a, b, c] = x.dims();
        let grouped: Tensor<5> = match dimension {
            1 => x.reshape([n, groups, a / groups, b, c]),
            _ => x.reshape([n, a, b, groups, c / groups]),
        };
        grouped.swap_dims(dimension, dimension + 1).reshape(shape)
    })
}

pub(crate) fn pad_channels(x: Map, count: usize) -> Map {
    let dimension = x.channel_dimension();
    x.apply(|x| {
        let mut shape = x.dims();
        shape[dimension] = count;
        let zeros = Tensor::zeros(shape, &x.device());
        Tensor::cat(vec![zeros.clone(), x, zeros], dimension)
    })
}

/// Positions in a column.
pub(crate) fn positions(x: Map) -> Map {
    let x = x.last();
    let [n, height, width, channels] = x.dims();
    Map::Last(x.reshape([n, height * width, 1, channels]))
}

pub(crate) fn first_position(x: Map) -> Map {
    Map::Last(x.last().narrow(1, 0, 1).narrow(2, 0, 1))
}

/// A token `[1, 1, c]` before all positions.
pub(crate) fn class_token(token: Tensor<3>, x: Map) -> Map {
    let x = x.last();
    let [n, _, width, channels] = x.dims();
    let token = token.unsqueeze::<4>().expand([n, 1, width, channels]);
    Map::Last(Tensor::cat(vec![token, x], 1))
}

/// Adds `[1, positions, c]`.
pub(crate) fn position_embedding(embedding: Tensor<3>, x: Map) -> Map {
    let x = x.last();
    let [_, height, width, channels] = x.dims();
    Map::Last(x + embedding.reshape([1, height, width, channels]))
}

/// Zeros below and to the right.
pub(crate) fn padded(x: Tensor<4>, height: usize, width: usize) -> Tensor<4> {
    let [n, own_height, own_width, channels] = x.dims();
    let zeros = |shape, x: &Tensor<4>| Tensor::<4>::zeros(shape, &x.device());
    let x = match height - own_height {
        0 => x,
        below => Tensor::cat(vec![x.clone(), zeros([n, below, own_width, channels], &x)], 1),
    };
    match width - own_width {
        0 => x,
        right => Tensor::cat(vec![x.clone(), zeros([n, height, right, channels], &x)], 2),
    }
}

pub(crate) fn merge_squares(x: Map) -> Map {
    let x = x.last();
    let [n, height, width, channels] = x.dims();
    let [rows, columns] = [height, width].map(|side| side.div_ceil(2));
    let x = padded(x, 2 * rows, 2 * columns).reshape([n, rows, 2, columns, 2, channels]);
    Map::Last(x.permute([0, 1, 3, 4, 2, 5]).reshape([n, rows, columns, 4 * channels]))
}
