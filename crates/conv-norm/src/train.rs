//! A convolution and batch normalization in training mode.

use crate::activation::Activation;
use crate::backward::{self, BatchNormalization, TrainGradients};
use crate::forward::{Affine, Convolution, activate};
use crate::plan::Packed;
use crate::shape::{ConvShape, Geometry};
use crate::statistics::Moments;

/// What a forward pass leaves for the backward pass, besides its inputs.
#[derive(Clone, Debug)]
pub(crate) struct Saved {
    pub(crate) shape: ConvShape,
    activation: Activation,
    z: Vec<f32>,
    moments: Moments,
    inverse: Vec<f32>,
    scale: Vec<f32>,
    shift: Vec<f32>,
}

/// The weights of a block in training mode, as plain values.
#[derive(Clone, Copy)]
pub(crate) struct Weights<'a> {
    /// `[outputs, inputs, kernel, kernel]`.
    pub(crate) weight: &'a [f32],
    /// One per output, or none.
    pub(crate) bias: &'a [f32],
    pub(crate) gamma: &'a [f32],
    pub(crate) beta: &'a [f32],
}

/// Forward: the output, channels last, the batch's statistics and what the backward pass needs.
pub(crate) fn forward(
    input: [usize; 4],
    x: &[f32],
    weights: Weights<'_>,
    geometry: Geometry,
    activation: Activation,
    epsilon: f64,
) -> (Vec<f32>, Moments, Saved) {
    let outputs = weights.gamma.len();
    let shape = ConvShape::new(input, outputs, geometry);
    let filters = Packed::forward(&shape, weights.weight);
    let convolution = Convolution { shape: &shape, filters: &filters, bias: weights.bias };
    let (z, parts) = convolution.with_statistics(x);
    let moments = Moments::join(&parts, outputs);
    let inverse: Vec<f32> =
        moments.variance.iter().map(|v| (1.0 / (f64::from(*v) + epsilon).sqrt()) as f32).collect();
    let scale: Vec<f32> =
        weights.gamma.iter().zip(&inverse).map(|(gamma, inverse)| gamma * inverse).collect();
    let shift: Vec<f32> = (0..outputs).map(|c| weights.beta[c] - moments.mean[c] * scale[c]).collect();
    let y = activate(&shape, Affine { scale: &scale, shift: &shift, activation }, &z);
    (y, moments.clone(), Saved { shape, activation, z, moments, inverse, scale, shift })
}

/// The way back, from the gradient of the output.
pub(crate) fn gradients(
    saved: Saved,
    weight: &[f32],
    x: &[f32],
    dy: &[f32],
    wants_dx: bool,
) -> TrainGradients {
    let Saved { shape, activation, z, moments, inverse, scale, shift } = saved;
    let filters = wants_dx.then(|| Packed::input_gradient(&shape, weight));
    let batch = BatchNormalization { mean: &moments.mean, inverse: &inverse };
    let affine = Affine { scale: &scale, shift: &shift, activation };
    backward::train(&shape, filters.as_ref(), affine, &batch, x, z, dy)
}
