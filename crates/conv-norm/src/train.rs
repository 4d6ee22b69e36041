//! A convolution and batch normalization in training mode.

use rayon::prelude::*;

use crate::activation::{Activation, Affine};
use crate::backward::{StatisticsGradient, replace_by_gradient};
use crate::convolution::Convolution;
use crate::depthwise;
use crate::forward::{activate, with_statistics};
use crate::memory::{Memory, with_memory};
use crate::plan::{Direction, Packed, Plan, Way};
use crate::shape::{ConvShape, Geometry};
use crate::statistics::{Moments, column_sums};
use crate::vectors::with_vectors;
use crate::weight_gradient::{self, added_up, images_per_group};

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

/// Forward, with a residual added before the activation unless it is empty: the output, channels last, and what the backward
/// pass needs.
pub(crate) fn forward(
    input: [usize; 4],
    [x, residual]: [&[f32]; 2],
    weights: Weights<'_>,
    geometry: Geometry,
    activation: Activation,
    epsilon: f64,
) -> (Vec<f32>, Saved) {
    let outputs = weights.gamma.len();
    let shape = ConvShape::new(input, outputs, geometry);
    let filters = Convolution::new(&shape, Direction::Forward, weights.weight, weights.bias);
    let (z, moments) = with_statistics(&shape, &filters, x);
    let inverse: Vec<f32> =
        moments.variance.iter().map(|v| (1.0 / (f64::from(*v) + epsilon).sqrt()) as f32).collect();
    let scale: Vec<f32> =
        weights.gamma.iter().zip(&inverse).map(|(gamma, inverse)| gamma * inverse).collect();
    let shift = (0..outputs).map(|c| weights.beta[c] - moments.mean[c] * scale[c]).collect();
    let affine = Affine { scale, shift, activation };
    let y = activate(&shape, &affine, &z, residual);
    (y, Saved { shape, affine, z, moments, inverse })
}

impl Saved {
    /// Shape of the output, `[n, h, w, c]`.
    pub(crate) fn out_shape(&self) -> [usize; 4] {
        self.affine.out_shape(&self.shape)
    }

    /// Takes back the gate behind a sum with a residual, in the gradient of the result.
    pub(crate) fn pull(&mut self, result: &[f32], gradient: &mut [f32]) {
        std::mem::replace(&mut self.affine.activation, Activation::Identity).pull(result, gradient);
    }

    /// The backward pass, from the gradient of the output.
    pub(crate) fn gradients(self, weight: &[f32], x: &[f32], dy: &[f32], wants_dx: bool) -> Gradients {
        let [beta, gamma] = self.affine_gradients(dy);
        let statistics = self.statistics_gradient(&beta, &gamma);
        let forward = Plan::new(&self.shape, Direction::Forward);
        if let Way::Depthwise(phases) = &forward.way {
            let gradient = depthwise::Gradient::new(self.shape, forward.padded, phases);
            let (dx, weight) = self.depthwise_gradients(&gradient, &statistics, weight, x, dy, wants_dx);
            return Gradients { dx: wants_dx.then_some(dx), weight, gamma, beta };
        }
        let Self { shape, affine, z: mut dz, .. } = self;
        dz.par_chunks_mut(shape.task_outputs())
            .zip(dy.par_chunks(shape.images_per_task() * affine.out_values(&shape)))
            .for_each(|(z, dy)| replace_by_gradient(&shape, &affine, &statistics, z, dy));
        let weight_gradient = weight_gradient::of(&shape, x, &dz);
        let dx = wants_dx.then(|| {
            let filters = Convolution::new(&shape, Direction::InputGradient, weight, &[]);
            if let (Convolution::ByTasks(filters), true) = (&filters, shape.is_reversible_in_place()) {
                let plan = Plan::new(&shape, Direction::InputGradient);
                dz.par_chunks_mut(shape.task_outputs()).for_each(|dz| {
                    with_memory(|memory| plan.run_in_place(filters, dz, &mut memory.scratch));
                });
                return dz;
            }
            filters.run(&shape, Direction::InputGradient, &dz, |_| ()).0
        });
        Gradients { dx, weight: weight_gradient, gamma, beta }
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

    /// The gradient of `z` is scale · (g − Σg/N − ẑ·Σgẑ/N) = scale · g + constant + slope · z.
    fn statistics_gradient(&self, beta: &[f32], gamma: &[f32]) -> StatisticsGradient {
        let Self { shape, affine, moments, inverse, .. } = self;
        let scale = affine.scale.as_slice();
        let count = (shape.images * shape.out_pixels()) as f32;
        let channels = 0..shape.outputs;
        let slope: Vec<f32> = channels.clone().map(|c| -scale[c] * inverse[c] * gamma[c] / count).collect();
        let constant = channels.map(|c| -scale[c] * beta[c] / count - slope[c] * moments.mean[c]).collect();
        StatisticsGradient { constant, slope }
    }

    /// Gradients of the input, where it is wanted, and of the filters in one go: a filter for each channel takes less time
    /// than its values take from memory, so each image is fetched once.
    fn depthwise_gradients(
        self,
        gradient: &depthwise::Gradient,
        statistics: &StatisticsGradient,
        weight: &[f32],
        x: &[f32],
        dy: &[f32],
        wants_dx: bool,
    ) -> (Vec<f32>, Vec<f32>) {
        let Self { shape, affine, mut z, .. } = self;
        let plan = Plan::new(&shape, Direction::InputGradient);
        let filters = Packed::new(&shape, Direction::InputGradient, weight, &[]);
        let images = images_per_group(&shape);
        let per_task = shape.images_per_task().min(images);
        let (inputs, outputs) = (shape.input_values(), shape.output_values());
        let results = affine.out_values(&shape);
        let in_place = shape.is_reversible_in_place();
        let mut dx = vec![0.0; if wants_dx && !in_place { shape.images * inputs } else { 0 }];
        let mut groups: Vec<&mut [f32]> = dx.chunks_mut(images * inputs).collect();
        groups.resize_with(shape.images.div_ceil(images), Default::default);
        let sums = z
            .par_chunks_mut(images * outputs)
            .zip(x.par_chunks(images * inputs).zip(dy.par_chunks((images * results).max(1))))
            .zip(groups)
            .map(|((z, (x, dy)), dx)| {
                with_memory(|Memory { scratch, values: buffer, .. }| {
                    let mut sums = vec![0.0; gradient.values()];
                    let mut dx = dx.chunks_mut(per_task * inputs);
                    let tasks = z.chunks_mut(per_task * outputs).zip(x.chunks(per_task * inputs));
                    for ((z, x), dy) in tasks.zip(dy.chunks((per_task * results).max(1))) {
                        replace_by_gradient(&shape, &affine, statistics, z, dy);
                        gradient.add(x, z, &mut sums, buffer);
                        match dx.next() {
                            Some(dx) => plan.run(&filters, z, dx, scratch),
                            None if wants_dx => plan.run_in_place(&filters, z, scratch),
                            None => {}
                        }
                    }
                    sums
                })
            })
            .collect();
        let weight = gradient.unpack(&added_up(sums, gradient.values()));
        (if in_place { z } else { dx }, weight)
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
