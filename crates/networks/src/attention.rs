//! Attention among all positions of an image, and within the windows of a map (Swin).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use burn::tensor::activation::{relu, sigmoid};
use burn::tensor::{Device, Int, Tensor, TensorData};
use delt_architectures::WindowAttention;
use delt_conv_norm::Activation;

use crate::layers::{Rows, rows_linear};
use crate::map::Map;
use crate::shapes::padded;
use crate::state_dict::{relative_coordinates, relative_positions};
use crate::weights::Weights;

/// What is added where two positions are not to see each other.
const APART: f32 = -100.0;
/// The largest factor of cosines in Swin V2.
const LARGEST_SCALE: f64 = 100.0;
/// The largest bias of a position in Swin V2.
const LARGEST_BIAS: f64 = 16.0;
/// The square of the least length that a vector is divided by.
const LEAST_SQUARE: f64 = 1e-24;

/// PyTorch's `MultiheadAttention`: `in_proj_weight`, `in_proj_bias`, `out_proj.weight`, `out_proj.bias`.
pub(crate) fn attention(rows: Rows, weights: &[&Weights], heads: usize, x: Map) -> Map {
    let x = x.last();
    let shape @ [n, _, _, channels] = x.dims();
    let stacked = rows.product(x, weights[0].two(), Some(weights[1].one()), Activation::Identity);
    let [q, k, v] = by_head(stacked.flatten(0, 2), n, heads);
    let scale = 1.0 / ((channels / heads) as f64).sqrt();
    let scores = rows.softmax((q * scale).matmul(k.transpose()));
    let y = joined(scores.matmul(v)).reshape(shape);
    Map::Last(rows.product(y, weights[2].two(), Some(weights[3].one()), Activation::Identity))
}

/// Queries, keys and values side by side, `[n · positions, 3 c]` → three of `[n, heads, positions, c / heads]`.
fn by_head(stacked: Tensor<2>, n: usize, heads: usize) -> [Tensor<4>; 3] {
    let [rows, width] = stacked.dims();
    let split = stacked.reshape([n, rows / n, 3, heads, width / 3 / heads]);
    [0, 1, 2].map(|part| split.clone().narrow(2, part, 1).squeeze_dim::<4>(2).swap_dims(1, 2))
}

/// `[n, heads, positions, c / heads]` → `[n · positions, c]`.
fn joined(x: Tensor<4>) -> Tensor<2> {
    let [n, heads, positions, width] = x.dims();
    x.swap_dims(1, 2).reshape([n * positions, heads * width])
}

/// What follows from the sizes of a map and its windows alone, which all layers and passes share: made once a process.
type Tables<K, V> = Mutex<BTreeMap<K, Arc<[V]>>>;

static MASKS: Tables<Windows, f32> = Mutex::new(BTreeMap::new());
static POSITIONS: Tables<usize, i64> = Mutex::new(BTreeMap::new());
static COORDINATES: Tables<usize, f32> = Mutex::new(BTreeMap::new());

fn once<K: Ord, V>(tables: &Tables<K, V>, of: K, make: impl FnOnce() -> Vec<V>) -> Arc<[V]> {
    let mut tables = tables.lock().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(tables.entry(of).or_insert_with(|| make().into()))
}

/// The windows of a map whose sides they divide.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Windows {
    window: usize,
    /// Windows in each direction.
    count: [usize; 2],
    /// How far they are moved.
    shift: [usize; 2],
}

impl Windows {
    fn new(attention: WindowAttention, sides: [usize; 2]) -> Self {
        let WindowAttention { window, shift, .. } = attention;
        let count = sides.map(|side| side.div_ceil(window));
        // a single window is not moved
        Self { window, count, shift: count.map(|count| if count > 1 { shift } else { 0 }) }
    }

    fn sides(&self) -> [usize; 2] {
        self.count.map(|count| count * self.window)
    }

    /// `[n, h, w, c]` → `[n · windows · positions, c]`.
    fn split(&self, x: Tensor<4>) -> Tensor<2> {
        let [n, .., channels] = x.dims();
        let (window, [rows, columns]) = (self.window, self.count);
        let x = rolled(x, self.shift).reshape([n, rows, window, columns, window, channels]);
        let positions = rows * columns * window * window;
        x.permute([0, 1, 3, 2, 4, 5]).reshape([n * positions, channels])
    }

    /// Back again.
    fn join(&self, x: Tensor<2>, n: usize) -> Tensor<4> {
        let [_, channels] = x.dims();
        let (window, [rows, columns], [height, width]) = (self.window, self.count, self.sides());
        let x = x.reshape([n, rows, columns, window, window, channels]).permute([0, 1, 3, 2, 4, 5]);
        let back = [0, 1].map(|at| (self.sides()[at] - self.shift[at]) % self.sides()[at]);
        rolled(x.reshape([n, height, width, channels]), back)
    }

    /// For each window and each two of its positions what is added, `[windows, positions, positions]`: after moving, what was far
    /// apart lies in one window.
    fn mask(&self, device: &Device) -> Option<Tensor<3>> {
        if self.shift == [0, 0] {
            return None;
        }
        let (window, [rows, columns]) = (self.window, self.count);
        let (positions, sides) = (window * window, self.sides());
        let region = |axis: usize, at: usize| {
            usize::from(at + window >= sides[axis]) + usize::from(at + self.shift[axis] >= sides[axis])
        };
        let regions = |of: usize, position: usize| {
            let row = of / columns * window + position / window;
            let column = of % columns * window + position % window;
            [region(0, row), region(1, column)]
        };
        let windows = rows * columns;
        let apart = || {
            (0..windows * positions * positions).map(|at| {
                let (of, a, b) = (at / positions / positions, at / positions % positions, at % positions);
                if regions(of, a) == regions(of, b) { 0.0 } else { APART }
            })
        };
        let values = once(&MASKS, *self, || apart().collect());
        let data = TensorData::new(values.to_vec(), [windows, positions, positions]);
        Some(Tensor::from_data(data, device))
    }
}

/// What comes first in each direction moves to the end.
fn rolled(x: Tensor<4>, shift: [usize; 2]) -> Tensor<4> {
    [1, 2].into_iter().zip(shift).filter(|(_, shift)| *shift > 0).fold(x, |x, (dimension, shift)| {
        let side = x.dims()[dimension];
        let moved = x.clone().narrow(dimension, 0, shift);
        Tensor::cat(vec![x.narrow(dimension, shift, side - shift), moved], dimension)
    })
}

/// Swin's attention; `tensor` gives a tensor by its name below the layer's.
pub(crate) fn window_attention<'a>(
    rows: Rows,
    tensor: impl Fn(&str) -> &'a Weights,
    attention: WindowAttention,
    x: Map,
) -> Map {
    let x = x.last();
    let [n, height, width, channels] = x.dims();
    let WindowAttention { heads, is_v2, .. } = attention;
    let (device, windows) = (x.device(), Windows::new(attention, [height, width]));
    let [padded_height, padded_width] = windows.sides();
    let inside = windows.split(padded(x, padded_height, padded_width));
    let mut bias = tensor("qkv.bias").one();
    if is_v2 {
        // keys have none
        let kept = [1.0_f32, 0.0, 1.0].map(|kept| vec![kept; channels]).concat();
        bias = bias * Tensor::<1>::from_data(kept.as_slice(), &device);
    }
    let count = n * windows.count[0] * windows.count[1];
    let by_window = |x: Tensor<2>, weight: &str, bias| {
        let [all, _] = x.dims();
        let x = x.reshape([count, all / count, 1, channels]);
        rows.product(x, tensor(weight).two(), Some(bias), Activation::Identity).flatten::<2>(0, 2)
    };
    let [q, k, v] = by_head(by_window(inside, "qkv.weight", bias), count, heads);
    let scores = if is_v2 {
        let scale = tensor("logit_scale").three().clamp_max(LARGEST_SCALE.ln()).exp();
        unit(q).matmul(unit(k).transpose()) * scale.unsqueeze()
    } else {
        (q * (1.0 / ((channels / heads) as f64).sqrt())).matmul(k.transpose())
    };
    let mut scores = scores + position_bias(&tensor, attention, &device).unsqueeze();
    if let Some(mask) = windows.mask(&device) {
        let [of_image, positions, _] = mask.dims();
        let mask = mask.reshape([1, of_image, 1, positions, positions]);
        let shape = scores.dims();
        let by_window = scores.reshape([n, of_image, heads, positions, positions]);
        scores = (by_window + mask).reshape(shape);
    }
    let y = joined(rows.softmax(scores).matmul(v));
    let y = by_window(y, "proj.weight", tensor("proj.bias").one());
    let y = windows.join(y, n).narrow(1, 0, height).narrow(2, 0, width);
    Map::Last(y)
}

/// Vectors of length 1.
fn unit(x: Tensor<4>) -> Tensor<4> {
    let length = x.clone().square().sum_dim(3).clamp_min(LEAST_SQUARE).sqrt();
    x / length
}

/// What is added by the distance of two positions, `[heads, positions, positions]`.
fn position_bias<'a>(
    tensor: &impl Fn(&str) -> &'a Weights,
    attention: WindowAttention,
    device: &Device,
) -> Tensor<3> {
    let WindowAttention { heads, window, is_v2, .. } = attention;
    let table = if is_v2 {
        let coordinates = once(&COORDINATES, window, || relative_coordinates(window));
        let data = TensorData::new(coordinates.to_vec(), [(2 * window - 1).pow(2), 2]);
        let hidden = rows_linear(
            Tensor::from_data(data, device),
            tensor("cpb_mlp.0.weight").two(),
            Some(tensor("cpb_mlp.0.bias").one()),
        );
        rows_linear(relu(hidden), tensor("cpb_mlp.2.weight").two(), None)
    } else {
        tensor("relative_position_bias_table").two()
    };
    let index = once(&POSITIONS, window, || relative_positions(window));
    let index = Tensor::<1, Int>::from_data(&*index, device);
    let positions = window * window;
    let biases = table.select(0, index).reshape([positions, positions, heads]).permute([2, 0, 1]);
    if is_v2 { sigmoid(biases) * LARGEST_BIAS } else { biases }
}
