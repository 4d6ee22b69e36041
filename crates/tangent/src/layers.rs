//! The layers as plain differentiable operations, each with its derivative along a direction in weight space.

use burn::tensor::Tensor;
use burn::tensor::activation::{relu, sigmoid};
use burn::tensor::module::{avg_pool2d, conv2d};
use burn::tensor::ops::{AvgPoolOptions, ConvOptions};

use crate::form::{Activation, KERNEL, Norm};
use crate::forward::Statistics;
use crate::fused;

/// Added to the variance before the square root.
pub(crate) const EPSILON: f64 = 1e-5;

/// A value, and its derivative along the direction where one is asked for and not 0.
pub(crate) struct Both {
    pub(crate) value: Tensor<4>,
    pub(crate) dot: Option<Tensor<4>>,
}

/// Where the channels of images lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Channels {
    /// `[n, c, h, w]`.
    First,
    /// `[n, h, w, c]`.
    Last,
}

impl Channels {
    /// `[c]` → `[1, c, 1, 1]`, or `[1, 1, 1, c]`.
    fn spread(self, values: Tensor<1>) -> Tensor<4> {
        let [channels] = values.dims();
        values.reshape(if self == Self::First { [1, channels, 1, 1] } else { [1, 1, 1, channels] })
    }

    /// Over what statistics are taken.
    fn dims(self, norm: Norm) -> &'static [usize] {
        match (self, norm == Norm::Batch) {
            (Self::First, true) => &[0, 2, 3],
            (Self::First, false) => &[2, 3],
            (Self::Last, true) => &[0, 1, 2],
            (Self::Last, false) => &[1, 2],
        }
    }
}

/// W * x + b.
fn convolved(x: Tensor<4>, weight: Tensor<4>, bias: Option<Tensor<1>>) -> Tensor<4> {
    conv2d(x, weight, bias, ConvOptions::new([1, 1], [KERNEL / 2; 2], [1, 1], 1))
}

/// z = W * x + b and ż = W * ẋ + Ẇ * x + ḃ.
pub(crate) fn convolution(
    x: Both,
    (weight, bias): &(Tensor<4>, Tensor<1>),
    direction: Option<&(Tensor<4>, Tensor<1>)>,
) -> Both {
    let (weight, bias) = (weight.clone(), bias.clone());
    let Some((weight_dot, bias_dot)) = direction else {
        return Both { value: convolved(x.value, weight, Some(bias)), dot: None };
    };
    let own = convolved(x.value.clone(), weight_dot.clone(), Some(bias_dot.clone()));
    let Some(x_dot) = x.dot else {
        return Both { value: convolved(x.value, weight, Some(bias)), dot: Some(own) };
    };
    // W * x and W * ẋ are one convolution of twice as many images
    let [n, ..] = x.value.dims();
    let both = convolved(Tensor::cat(vec![x.value, x_dot], 0), weight, None);
    let value = both.clone().narrow(0, 0, n) + Channels::First.spread(bias);
    Both { value, dot: Some(both.narrow(0, n, n) + own) }
}

/// By which statistics a layer normalizes.
pub(crate) enum By<'a> {
    /// Those of the batch or of each image, through which gradients flow.
    Own(Norm),
    /// Running ones.
    Running(&'a Statistics),
}

/// u = (z − mean) r, a = γu + β and their derivatives; also the batch's statistics where they were taken.
pub(crate) fn normalization(
    z: Both,
    (gamma, beta): &(Tensor<1>, Tensor<1>),
    direction: Option<&(Tensor<1>, Tensor<1>)>,
    by: &By<'_>,
    channels: Channels,
) -> (Both, Option<Statistics>) {
    let per_channel = |values| channels.spread(values);
    let (gamma, beta) = (per_channel(gamma.clone()), per_channel(beta.clone()));
    let mut found = None;
    let (u, u_dot) = match by {
        By::Running(Statistics { mean, variance }) => {
            let r = per_channel((variance.clone() + EPSILON).sqrt().recip());
            let u = (z.value - per_channel(mean.clone())) * r.clone();
            (u, z.dot.map(|z_dot| z_dot * r))
        }
        By::Own(norm) => {
            let mean = |x: Tensor<4>| x.mean_dims(channels.dims(*norm));
            let mu = mean(z.value.clone());
            let c = z.value - mu.clone();
            let variance = mean(c.clone() * c.clone());
            if *norm == Norm::Batch {
                let flat = |x: Tensor<4>| x.without_autodiff().flatten(0, 3);
                found = Some(Statistics { mean: flat(mu), variance: flat(variance.clone()) });
            }
            let r = (variance + EPSILON).sqrt().recip();
            let u = c * r.clone();
            let u_dot = z.dot.map(|z_dot| {
                let c_dot = z_dot.clone() - mean(z_dot);
                let s = mean(u.clone() * c_dot.clone());
                (c_dot - u.clone() * s) * r
            });
            (u, u_dot)
        }
    };
    let dot = match (u_dot, direction) {
        (Some(u_dot), Some((gamma_dot, beta_dot))) => Some(
            gamma.clone() * u_dot
                + per_channel(gamma_dot.clone()) * u.clone()
                + per_channel(beta_dot.clone()),
        ),
        // nothing before the first layer moves, but its own γ and β do
        (None, Some((gamma_dot, beta_dot))) => {
            Some(per_channel(gamma_dot.clone()) * u.clone() + per_channel(beta_dot.clone()))
        }
        (_, None) => None,
    };
    (Both { value: gamma * u + beta, dot }, found)
}

/// The activation and its derivative times ȧ.
pub(crate) fn activation(a: Both, activation: Activation) -> Both {
    match activation {
        Activation::Relu => {
            let is_closed = a.value.clone().without_autodiff().lower_equal_scalar(0.0);
            let dot = a.dot.map(|dot| {
                let mask = if dot.device().is_autodiff() { is_closed.autodiff() } else { is_closed };
                dot.mask_fill(mask, 0.0)
            });
            Both { value: relu(a.value), dot }
        }
        Activation::Softplus { beta } => {
            let dot = a.dot.map(|dot| sigmoid(a.value.clone() * beta) * dot);
            // log(1 + exp(βa)) without exponents that overflow
            let small = ((a.value.clone().abs() * -beta).exp()).log1p() / beta;
            Both { value: relu(a.value) + small, dot }
        }
    }
}

impl Channels {
    /// W * x + b.
    pub(crate) fn convolved(self, x: Tensor<4>, weight: Tensor<4>, bias: Option<Tensor<1>>) -> Tensor<4> {
        if self == Self::First { convolved(x, weight, bias) } else { fused::convolved(x, weight, bias) }
    }

    /// The same where all that follows is linear.
    pub(crate) fn moved(self, x: Tensor<4>, weight: Tensor<4>, bias: Option<Tensor<1>>) -> Tensor<4> {
        if self == Self::First { convolved(x, weight, bias) } else { fused::moved(x, weight, bias) }
    }

    /// The activation of plain values, and its derivative.
    pub(crate) fn with_slope(self, a: Tensor<4>, by: Activation) -> [Tensor<4>; 2] {
        if self == Self::Last {
            return fused::with_slope(a, by);
        }
        let slope = match by {
            Activation::Relu => a.clone().greater_scalar(0.0).float(),
            Activation::Softplus { beta } => sigmoid(a.clone() * beta),
        };
        [activation(Both { value: a, dot: None }, by).value, slope]
    }

    /// Average pooling.
    pub(crate) fn pooled(self, x: Tensor<4>) -> Tensor<4> {
        if self == Self::First {
            return pooling(Both { value: x, dot: None }).value;
        }
        let [n, h, w, c] = x.dims();
        let (rows, columns) = (h / 2, w / 2);
        let x = x.slice([0..n, 0..2 * rows, 0..2 * columns, 0..c]);
        let x = x.reshape([n * rows, 2, 2 * columns * c]).sum_dim(1);
        x.reshape([n * rows * columns, 2, c]).sum_dim(1).reshape([n, rows, columns, c]) / 4.0
    }
}

/// Average pooling of both.
pub(crate) fn pooling(x: Both) -> Both {
    let pool = |x| avg_pool2d(x, AvgPoolOptions::new([2, 2]).with_stride([2, 2]));
    Both { value: pool(x.value), dot: x.dot.map(pool) }
}
