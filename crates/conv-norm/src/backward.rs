//! The backward pass through the affine map of a block, and that of a frozen block.

use rayon::prelude::*;

use crate::activation::Affine;
use crate::convolution::Convolution;
use crate::memory::{Memory, with_memory};
use crate::plan::{Direction, Plan};
use crate::shape::ConvShape;
use crate::vectors::with_vectors;

/// What a statistic of `z` adds to its gradient: `constant + slope · z` per channel.
pub(crate) struct StatisticsGradient {
    pub(crate) constant: Vec<f32>,
    pub(crate) slope: Vec<f32>,
}

impl StatisticsGradient {
    /// Overwrites pixels of `z` with their gradient, from that of `scale · z + shift`.
    #[inline(always)]
    pub(crate) fn add_to(&self, scale: &[f32], gradient: &[f32], z: &mut [f32]) {
        let (constant, slope) = (self.constant.as_slice(), self.slope.as_slice());
        let channels = scale.len();
        for (z, gradient) in z.chunks_exact_mut(channels).zip(gradient.chunks_exact(channels)) {
            let values = z.iter_mut().zip(gradient).zip(scale);
            for (((z, gradient), scale), (constant, slope)) in values.zip(constant.iter().zip(slope)) {
                *z = gradient * scale + (constant + slope * *z);
            }
        }
    }
}

/// Gradient of the input of a frozen block: back through the activation and the affine map, plus the share of the
/// statistics, through the convolution. Nothing larger than a task is stored on the way, except where [`Convolution::Whole`]
/// takes all images.
pub(crate) fn frozen(
    shape: &ConvShape,
    filters: &Convolution<'_>,
    affine: &Affine,
    statistics: &StatisticsGradient,
    z: &[f32],
    dy: &[f32],
) -> Vec<f32> {
    let Convolution::ByTasks(filters) = filters else {
        let mut dz = z.to_vec();
        dz.par_chunks_mut(shape.task_outputs())
            .zip(dy.par_chunks(shape.images_per_task() * affine.out_values(shape)))
            .for_each(|(z, dy)| replace_by_gradient(shape, affine, statistics, z, dy));
        return filters.run(shape, Direction::InputGradient, &dz, |_| ()).0;
    };
    let plan = Plan::new(shape, Direction::InputGradient);
    let (values, out_values) = (shape.output_values(), affine.out_values(shape));
    let scale = affine.scale.as_slice();
    let mut dx = vec![0.0; shape.images * shape.input_values()];
    dx.par_chunks_mut(shape.task_inputs())
        .zip(z.par_chunks(shape.task_outputs()).zip(dy.par_chunks(shape.images_per_task() * out_values)))
        .for_each(|(dx, (z, dy))| {
            with_memory(|Memory { scratch, .. }| {
                let padded = plan.padded;
                let dz = padded.with_margins(z.len() / values, &mut scratch.padded);
                let mut masked = vec![0.0; shape.out_row()];
                let images = z.chunks_exact(values).zip(dy.chunks_exact(out_values));
                for ((z, dy), dz) in images.zip(dz.chunks_exact_mut(padded.values())) {
                    with_vectors!({
                        let rows = z.chunks_exact(shape.out_row()).zip(padded.inner_rows(dz));
                        for (row, (z, dz)) in rows.enumerate() {
                            let gradient = affine.gradient_of_row(shape, row, z, dy, &mut masked);
                            dz.copy_from_slice(z);
                            statistics.add_to(scale, gradient, dz);
                        }
                    });
                }
                plan.run_padded(filters, dz, dx, &mut scratch.work);
            });
        });
    dx
}

/// Puts the gradient of some images of `z` in their place.
pub(crate) fn replace_by_gradient(
    shape: &ConvShape,
    affine: &Affine,
    statistics: &StatisticsGradient,
    z: &mut [f32],
    dy: &[f32],
) {
    let (values, out_values) = (shape.output_values(), affine.out_values(shape));
    let scale = affine.scale.as_slice();
    let mut masked = vec![0.0; shape.out_row()];
    with_vectors!({
        for (z, dy) in z.chunks_exact_mut(values).zip(dy.chunks_exact(out_values)) {
            for (row, z) in z.chunks_exact_mut(shape.out_row()).enumerate() {
                let gradient = affine.gradient_of_row(shape, row, z, dy, &mut masked);
                statistics.add_to(scale, gradient, z);
            }
        }
    });
}
