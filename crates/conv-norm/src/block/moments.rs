//! Mean and variance of images with the derivatives that go into a normalization, and sums for its backward pass: rows
//! first in 32 bits, then in 64, in their order.

use crate::shape::ConvShape;
use crate::vectors::with_vectors;

/// Of one image or of several, per channel.
#[derive(Clone, Debug, Default)]
pub(crate) struct Moments {
    /// Pixels.
    pub(crate) count: f64,
    /// Mean of z.
    pub(crate) mean: Vec<f64>,
    /// Σ (z − mean)².
    pub(crate) squares: Vec<f64>,
    /// Mean of ż; empty without derivatives, as the next.
    pub(crate) mean_dot: Vec<f64>,
    /// Σ (z − mean)(ż − mean of ż).
    pub(crate) cross: Vec<f64>,
}

impl Moments {
    /// Of one image.
    pub(crate) fn of(shape: &ConvShape, [z, z_dot]: [&[f32]; 2]) -> Self {
        let mean = mean(shape, z);
        let squares = products(shape, [z, z], [&mean, &mean]);
        let count = shape.out_pixels() as f64;
        if z_dot.is_empty() {
            return Self { count, mean, squares, ..Self::default() };
        }
        let mean_dot = self::mean(shape, z_dot);
        let cross = products(shape, [z, z_dot], [&mean, &mean_dot]);
        Self { count, mean, squares, mean_dot, cross }
    }

    /// Of all images together, in their order (Chan, Golub and LeVeque's pairwise update).
    pub(crate) fn join<'a>(mut parts: impl Iterator<Item = &'a Self>) -> Self {
        let mut joined = parts.next().cloned().unwrap_or_default();
        for part in parts {
            let count = joined.count + part.count;
            let (share, weight) = (part.count / count, joined.count * part.count / count);
            for c in 0..joined.mean.len() {
                let distance = part.mean[c] - joined.mean[c];
                joined.squares[c] += part.squares[c] + distance * distance * weight;
                joined.mean[c] += distance * share;
                if !joined.cross.is_empty() {
                    let distance_dot = part.mean_dot[c] - joined.mean_dot[c];
                    joined.cross[c] += part.cross[c] + distance * distance_dot * weight;
                    joined.mean_dot[c] += distance_dot * share;
                }
            }
            joined.count = count;
        }
        joined
    }
}

/// Adds the sums of a row to those of an image, and empties them.
#[inline(always)]
pub(crate) fn add_row(sums: &mut [f64], row: &mut [f32]) {
    for (sum, row) in sums.iter_mut().zip(row) {
        *sum += f64::from(*row);
        *row = 0.0;
    }
}

fn mean(shape: &ConvShape, z: &[f32]) -> Vec<f64> {
    let channels = shape.outputs;
    let (mut sums, mut line) = (vec![0.0; channels], vec![0.0; channels]);
    with_vectors!({
        for row in z.chunks_exact(shape.out_row()) {
            for pixel in row.chunks_exact(channels) {
                for (sum, z) in line.iter_mut().zip(pixel) {
                    *sum += z;
                }
            }
            add_row(&mut sums, &mut line);
        }
    });
    let share = 1.0 / shape.out_pixels() as f64;
    sums.iter_mut().for_each(|sum| *sum *= share);
    sums
}

/// Σ (a − mean of a)(b − mean of b).
fn products(shape: &ConvShape, [a, b]: [&[f32]; 2], means: [&[f64]; 2]) -> Vec<f64> {
    let (channels, row) = (shape.outputs, shape.out_row());
    let means = means.map(|means| means.iter().map(|mean| *mean as f32).collect::<Vec<f32>>());
    let (mut sums, mut line) = (vec![0.0; channels], vec![0.0; channels]);
    with_vectors!({
        let [mean_a, mean_b] = [means[0].as_slice(), means[1].as_slice()];
        for (a, b) in a.chunks_exact(row).zip(b.chunks_exact(row)) {
            for (a, b) in a.chunks_exact(channels).zip(b.chunks_exact(channels)) {
                let centers = mean_a.iter().zip(mean_b);
                for ((sum, (a, b)), (mean_a, mean_b)) in line.iter_mut().zip(a.iter().zip(b)).zip(centers) {
                    *sum += (a - mean_a) * (b - mean_b);
                }
            }
            add_row(&mut sums, &mut line);
        }
    });
    sums
}
