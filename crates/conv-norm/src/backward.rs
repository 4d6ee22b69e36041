//! The way back: gradients of the input and of the filters.

use rayon::prelude::*;

use crate::activation;
use crate::forward::{Affine, Scratch};
use crate::plan::{Packed, Plan};
use crate::shape::ConvShape;
use crate::statistics::column_sums;
use crate::vectors::with_vectors;
use crate::weight_gradient;

/// What a statistic of `z` adds to its gradient: `constant + slope · z` per channel.
pub(crate) struct StatisticsGradient {
    pub(crate) constant: Vec<f32>,
    pub(crate) slope: Vec<f32>,
}

/// Gradient of the input of a frozen block: back through the activation and the affine map, plus the share of the
/// statistics, through the convolution. Nothing larger than a task is stored on the way.
pub(crate) fn frozen(
    shape: &ConvShape,
    filters: &Packed,
    affine: Affine<'_>,
    statistics: Option<&StatisticsGradient>,
    z: &[f32],
    dy: &[f32],
) -> Vec<f32> {
    let images = shape.images_per_task();
    let plan = Plan::input_gradient(shape);
    let (channels, in_values, values) = (shape.outputs, shape.input_values(), shape.output_values());
    let out_values = affine.activation.out_values(shape);
    let Affine { scale, shift, activation } = affine;
    let none = StatisticsGradient { constant: vec![0.0; channels], slope: vec![0.0; channels] };
    let StatisticsGradient { constant, slope } = statistics.unwrap_or(&none);
    let mut dx = vec![0.0; shape.images * in_values];
    dx.par_chunks_mut(images * in_values)
        .zip(z.par_chunks(images * values).zip(dy.par_chunks(images * out_values)))
        .for_each_init(Scratch::default, |scratch, (dx, (z, dy))| {
            let padded = plan.padded;
            let gradient = padded.zeroed(z.len() / values, &mut scratch.padded);
            let images_of_task = z.chunks_exact(values).zip(dy.chunks_exact(out_values));
            for ((z, dy), dz) in images_of_task.zip(gradient.chunks_exact_mut(padded.values())) {
                let mut rows = padded.inner_rows(dz);
                with_vectors(
                    #[inline(always)]
                    || {
                        activation::backward(
                            activation,
                            shape,
                            [scale, shift],
                            z,
                            dy,
                            #[inline(always)]
                            |row, gradient| {
                                let Some(dz) = rows.next() else { return };
                                let z = &z[row * gradient.len()..][..gradient.len()];
                                let pixels =
                                    dz.chunks_exact_mut(channels).zip(gradient.chunks_exact(channels));
                                for ((dz, gradient), z) in pixels.zip(z.chunks_exact(channels)) {
                                    let values = dz.iter_mut().zip(gradient).zip(z);
                                    for ((((dz, gradient), z), scale), (constant, slope)) in
                                        values.zip(scale).zip(constant.iter().zip(slope))
                                    {
                                        *dz = gradient * scale + (constant + slope * z);
                                    }
                                }
                            },
                        );
                    },
                );
            }
            plan.run(filters, &[], gradient, dx, &mut scratch.winograd);
        });
    dx
}

/// Gradients of a block in training mode.
pub(crate) struct TrainGradients {
    /// Of the input, where it was asked for.
    pub(crate) dx: Option<Vec<f32>>,
    /// Of the filters, `[outputs, inputs, kernel, kernel]`.
    pub(crate) weight: Vec<f32>,
    /// Of γ.
    pub(crate) gamma: Vec<f32>,
    /// Of β.
    pub(crate) beta: Vec<f32>,
}

/// The batch's statistics as the backward pass needs them.
pub(crate) struct BatchNormalization<'a> {
    pub(crate) mean: &'a [f32],
    /// 1 / sqrt(variance + ε).
    pub(crate) inverse: &'a [f32],
}

/// Gradients of a block in training mode. `z` is overwritten with its own gradient.
#[expect(clippy::too_many_lines, reason = "one pass over the block, whose steps share every buffer")]
pub(crate) fn train(
    shape: &ConvShape,
    filters: Option<&Packed>,
    affine: Affine<'_>,
    batch: &BatchNormalization<'_>,
    x: &[f32],
    mut z: Vec<f32>,
    dy: &[f32],
) -> TrainGradients {
    let Affine { scale, shift, activation } = affine;
    let images = shape.images_per_task();
    let (channels, in_values, values) = (shape.outputs, shape.input_values(), shape.output_values());
    let out_values = activation.out_values(shape);

    // Σ g and Σ g·ẑ per channel, g the gradient of γẑ + β
    let sums: Vec<(Vec<f32>, Vec<f32>)> = z
        .par_chunks(images * values)
        .zip(dy.par_chunks(images * out_values))
        .map(|(z, dy)| {
            let (mut plain, mut weighted) = (vec![0.0; channels], vec![0.0; channels]);
            with_vectors(
                #[inline(always)]
                || {
                    for (z, dy) in z.chunks_exact(values).zip(dy.chunks_exact(out_values)) {
                        activation::backward(
                            activation,
                            shape,
                            [scale, shift],
                            z,
                            dy,
                            #[inline(always)]
                            |row, gradient| {
                                let z = &z[row * gradient.len()..][..gradient.len()];
                                for (gradient, z) in
                                    gradient.chunks_exact(channels).zip(z.chunks_exact(channels))
                                {
                                    let sums = plain.iter_mut().zip(&mut weighted).zip(batch.mean);
                                    for (((plain, weighted), mean), (gradient, z)) in
                                        sums.zip(gradient.iter().zip(z))
                                    {
                                        *plain += gradient;
                                        *weighted += gradient * (z - mean);
                                    }
                                }
                            },
                        );
                    }
                },
            );
            (plain, weighted)
        })
        .collect();
    let (plain, weighted): (Vec<_>, Vec<_>) = sums.into_iter().unzip();
    let beta: Vec<f32> = column_sums(&plain, channels).into_iter().map(|sum| sum as f32).collect();
    let gamma: Vec<f32> = column_sums(&weighted, channels)
        .iter()
        .zip(batch.inverse)
        .map(|(sum, inverse)| (sum * f64::from(*inverse)) as f32)
        .collect();

    // dz = scale · (g − Σg/N − ẑ·Σgẑ/N) = scale · g + constant + slope · z
    let count = (shape.images * shape.out_pixels()) as f32;
    let slope: Vec<f32> = (0..channels).map(|c| -scale[c] * batch.inverse[c] * gamma[c] / count).collect();
    let constant: Vec<f32> =
        (0..channels).map(|c| -scale[c] * beta[c] / count - slope[c] * batch.mean[c]).collect();
    z.par_chunks_mut(images * values).zip(dy.par_chunks(images * out_values)).for_each_init(
        || vec![0.0; values],
        |before, (z, dy)| {
            with_vectors(
                #[inline(always)]
                || {
                    for (dz, dy) in z.chunks_exact_mut(values).zip(dy.chunks_exact(out_values)) {
                        before.copy_from_slice(dz);
                        activation::backward(
                            activation,
                            shape,
                            [scale, shift],
                            before,
                            dy,
                            #[inline(always)]
                            |row, gradient| {
                                let dz = &mut dz[row * gradient.len()..][..gradient.len()];
                                for (dz, gradient) in
                                    dz.chunks_exact_mut(channels).zip(gradient.chunks_exact(channels))
                                {
                                    let values = dz.iter_mut().zip(gradient).zip(scale);
                                    for (((dz, gradient), scale), (slope, constant)) in
                                        values.zip(slope.iter().zip(&constant))
                                    {
                                        *dz = gradient * scale + (constant + slope * *dz);
                                    }
                                }
                            },
                        );
                    }
                },
            );
        },
    );

    let dx = filters.map(|filters| {
        let plan = Plan::input_gradient(shape);
        let mut dx = vec![0.0; shape.images * in_values];
        dx.par_chunks_mut(images * in_values).zip(z.par_chunks(images * values)).for_each_init(
            Scratch::default,
            |scratch, (dx, dz)| {
                plan.run(filters, &[], plan.padded.pad(dz, &mut scratch.padded), dx, &mut scratch.winograd);
            },
        );
        dx
    });
    let weight = weight_gradient::of(shape, x, &z);
    TrainGradients { dx, weight, gamma, beta }
}
