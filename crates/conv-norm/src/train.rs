//! A convolution and batch normalization in training mode.

use rayon::prelude::*;

use crate::activation::{Activation, Affine};
use crate::backward::StatisticsGradient;
use crate::forward::{activate, with_statistics};
use crate::plan::{Direction, Packed, Plan, Scratch};
use crate::shape::{ConvShape, Geometry};
use crate::statistics::{Moments, column_sums};
use crate::vectors::with_vectors;
use crate::weight_gradient;

/// What a forward pass leaves for the backward pass, besides its inputs.
#[derive(Clone, Debug)]
pub(crate) struct Saved {
    pub(crate) shape: ConvShape,
    affine: Affine,
    z: Vec<f32>,
    pub(crate) moments: Moments,
    /// 1 / sqrt(variance + ε).
    inverse: Vec<f32>,
}

/// The weights of a block in training mode, as plain values.
#[derive(Clone, Copy)]
pub(crate) struct Weights<'a> {
    /// `[outputs, inputs / groups, kernel, kernel]`.
    pub(crate) weight: &'a [f32],
    /// One per output, or none.
    pub(crate) bias: &'a [f32],
    pub(crate) gamma: &'a [f32],
    pub(crate) beta: &'a [f32],
}

/// Gradients of a block in training mode.
pub(crate) struct Gradients {
    /// Of the input, where it was asked for.
    pub(crate) dx: Option<Vec<f32>>,
    /// Of the filters, `[outputs, inputs / groups, kernel, kernel]`.
    pub(crate) weight: Vec<f32>,
    /// Of γ.
    pub(crate) gamma: Vec<f32>,
    /// Of β.
    pub(crate) beta: Vec<f32>,
}

/// Forward: the output, channels last, and what the backward pass needs.
pub(crate) fn forward(
    input: [usize; 4],
    x: &[f32],
    weights: Weights<'_>,
    geometry: Geometry,
    activation: Activation,
    epsilon: f64,
) -> (Vec<f32>, Saved) {
    let outputs = weights.gamma.len();
    let shape = ConvShape::new(input, outputs, geometry);
    let filters = Packed::new(&shape, Direction::Forward, weights.weight, weights.bias);
    let (z, moments) = with_statistics(&shape, &filters, x);
    let inverse: Vec<f32> =
        moments.variance.iter().map(|v| (1.0 / (f64::from(*v) + epsilon).sqrt()) as f32).collect();
    let scale: Vec<f32> =
        weights.gamma.iter().zip(&inverse).map(|(gamma, inverse)| gamma * inverse).collect();
    let shift = (0..outputs).map(|c| weights.beta[c] - moments.mean[c] * scale[c]).collect();
    let affine = Affine { scale, shift, activation };
    let y = activate(&shape, &affine, &z);
    (y, Saved { shape, affine, z, moments, inverse })
}

impl Saved {
    /// Shape of the output, `[n, h, w, c]`.
    pub(crate) fn out_shape(&self) -> [usize; 4] {
        self.affine.out_shape(&self.shape)
    }

    /// The backward pass, from the gradient of the output.
    pub(crate) fn gradients(mut self, weight: &[f32], x: &[f32], dy: &[f32], wants_dx: bool) -> Gradients {
        let [beta, gamma] = self.affine_gradients(dy);
        self.replace_z_by_its_gradient(&beta, &gamma, dy);
        let Self { shape, z: dz, .. } = self;
        let dx = wants_dx.then(|| {
            let filters = Packed::new(&shape, Direction::InputGradient, weight, &[]);
            let plan = Plan::new(&shape, Direction::InputGradient);
            let mut dx = vec![0.0; shape.images * shape.input_values()];
            dx.par_chunks_mut(shape.task_inputs())
                .zip(dz.par_chunks(shape.task_outputs()))
                .for_each_init(Scratch::default, |scratch, (dx, dz)| plan.run(&filters, dz, dx, scratch));
            dx
        });
        Gradients { dx, weight: weight_gradient::of(&shape, x, &dz), gamma, beta }
    }

    /// Gradients of β and γ: Σ g and Σ g·ẑ per channel, g the gradient of γẑ + β.
    fn affine_gradients(&self, dy: &[f32]) -> [Vec<f32>; 2] {
        let Self { shape, affine, z, moments, inverse } = self;
        let (values, out_values) = (shape.output_values(), affine.out_values(shape));
        let channels = shape.outputs;
        let mean = moments.mean.as_slice();
        let sums: Vec<(Vec<f32>, Vec<f32>)> = z
            .par_chunks(shape.task_outputs())
            .zip(dy.par_chunks(shape.images_per_task() * out_values))
            .map(|(z, dy)| {
                let (mut plain, mut weighted) = (vec![0.0; channels], vec![0.0; channels]);
                let mut masked = vec![0.0; shape.out_row()];
                with_vectors!({
                    for (z, dy) in z.chunks_exact(values).zip(dy.chunks_exact(out_values)) {
                        for (row, z) in z.chunks_exact(shape.out_row()).enumerate() {
                            let gradient = affine.gradient_of_row(shape, row, z, dy, &mut masked);
                            add_up(gradient, z, mean, &mut plain, &mut weighted);
                        }
                    }
                });
                (plain, weighted)
            })
            .collect();
        let (plain, weighted): (Vec<_>, Vec<_>) = sums.into_iter().unzip();
        let beta = column_sums(&plain, channels).into_iter().map(|sum| sum as f32).collect();
        let weighted = column_sums(&weighted, channels).into_iter().zip(inverse);
        [beta, weighted.map(|(sum, inverse)| (sum * f64::from(*inverse)) as f32).collect()]
    }

    /// Puts the gradient of `z` in its place: scale · (g − Σg/N − ẑ·Σgẑ/N) = scale · g + constant + slope · z.
    fn replace_z_by_its_gradient(&mut self, beta: &[f32], gamma: &[f32], dy: &[f32]) {
        let Self { shape, affine, z, moments, inverse } = self;
        let (values, out_values) = (shape.output_values(), affine.out_values(shape));
        let scale = affine.scale.as_slice();
        let count = (shape.images * shape.out_pixels()) as f32;
        let channels = 0..shape.outputs;
        let slope: Vec<f32> = channels.clone().map(|c| -scale[c] * inverse[c] * gamma[c] / count).collect();
        let constant = channels.map(|c| -scale[c] * beta[c] / count - slope[c] * moments.mean[c]).collect();
        let statistics = StatisticsGradient { constant, slope };
        z.par_chunks_mut(shape.task_outputs())
            .zip(dy.par_chunks(shape.images_per_task() * out_values))
            .for_each(|(z, dy)| {
                let mut masked = vec![0.0; shape.out_row()];
                with_vectors!({
                    for (z, dy) in z.chunks_exact_mut(values).zip(dy.chunks_exact(out_values)) {
                        for (row, z) in z.chunks_exact_mut(shape.out_row()).enumerate() {
                            let gradient = affine.gradient_of_row(shape, row, z, dy, &mut masked);
                            statistics.add_to(scale, gradient, z);
                        }
                    }
                });
            });
    }
}

/// Adds the gradients of some pixels to `plain`, and times the distance of `z` from its mean to `weighted`.
#[inline(always)]
fn add_up(gradient: &[f32], z: &[f32], mean: &[f32], plain: &mut [f32], weighted: &mut [f32]) {
    let channels = mean.len();
    for (gradient, z) in gradient.chunks_exact(channels).zip(z.chunks_exact(channels)) {
        let sums = plain.iter_mut().zip(weighted.iter_mut()).zip(mean);
        for (((plain, weighted), mean), (gradient, z)) in sums.zip(gradient.iter().zip(z)) {
            *plain += gradient;
            *weighted += gradient * (z - mean);
        }
    }
}
