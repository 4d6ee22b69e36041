//! Convolution, statistics and activation in one pass over a few images at a time; wide convolutions take all.

use rayon::prelude::*;

use crate::activation::Affine;
use crate::convolution::Convolution;
use crate::memory::{Memory, room, with_memory};
use crate::plan::{Direction, Plan};
use crate::shape::ConvShape;
use crate::statistics::{Moments, Partial};

/// `z = conv(x)` with its statistics.
pub(crate) fn with_statistics(
    shape: &ConvShape,
    filters: &Convolution<'_>,
    x: &[f32],
) -> (Vec<f32>, Moments) {
    let (z, parts) = filters.run(shape, Direction::Forward, x, |z| Partial::of(z, shape.outputs));
    (z, Moments::join(&parts, shape.outputs))
}

/// `y = activation(scale · conv(x) + shift + residual)`. `z` is kept where `keep` asks for it, its statistics taken where `measure`
/// does.
pub(crate) fn with_affine(
    shape: &ConvShape,
    filters: &Convolution<'_>,
    affine: &Affine,
    [x, residual]: [&[f32]; 2],
    [keep, measure]: [bool; 2],
) -> (Vec<f32>, Vec<f32>, Option<Moments>) {
    let Convolution::ByTasks(filters) = filters else {
        let (z, parts) =
            filters.run(shape, Direction::Forward, x, |z| measure.then(|| Partial::of(z, shape.outputs)));
        let y = activate(shape, affine, &z, residual);
        return (y, if keep { z } else { Vec::new() }, joined(parts, shape.outputs));
    };
    let plan = Plan::new(shape, Direction::Forward);
    let out_values = affine.out_values(shape);
    let mut y = vec![0.0; shape.images * out_values];
    let mut z = vec![0.0; if keep { shape.images * shape.output_values() } else { 0 }];
    let mut kept: Vec<&mut [f32]> = z.chunks_mut(shape.task_outputs()).collect();
    kept.resize_with(shape.images.div_ceil(shape.images_per_task()), Default::default);
    let parts: Vec<Option<Partial>> = x
        .par_chunks(shape.task_inputs())
        .zip(y.par_chunks_mut((shape.images_per_task() * out_values).max(1)))
        .zip(kept)
        .enumerate()
        .map(|(task, ((x, y), kept))| {
            with_memory(|Memory { scratch, values, .. }| {
                let residual = of_task(residual, task, shape.images_per_task() * out_values, y.len());
                if let (Some(after), false) = (affine.after(residual), keep || measure) {
                    plan.run_then(filters, x, y, Some(after), scratch);
                    return None;
                }
                let z = if keep {
                    kept
                } else {
                    room(values, x.len() / shape.input_values() * shape.output_values())
                };
                plan.run(filters, x, z, scratch);
                affine.forward(shape, z, residual, y);
                measure.then(|| Partial::of(z, shape.outputs))
            })
        })
        .collect();
    (y, z, joined(parts, shape.outputs))
}

/// The statistics of all tasks, where they were measured.
fn joined(parts: Vec<Option<Partial>>, channels: usize) -> Option<Moments> {
    let parts: Option<Vec<Partial>> = parts.into_iter().collect();
    parts.map(|parts| Moments::join(&parts, channels))
}

/// The values of a task, where there are any.
fn of_task(values: &[f32], task: usize, of_tasks: usize, count: usize) -> &[f32] {
    if values.is_empty() { values } else { &values[task * of_tasks..][..count] }
}

/// `y = activation(scale · z + shift + residual)` for all images.
pub(crate) fn activate(shape: &ConvShape, affine: &Affine, z: &[f32], residual: &[f32]) -> Vec<f32> {
    let out_values = affine.out_values(shape);
    let of_tasks = shape.images_per_task() * out_values;
    let mut y = vec![0.0; shape.images * out_values];
    z.par_chunks(shape.task_outputs())
        .zip(y.par_chunks_mut(of_tasks.max(1)))
        .enumerate()
        .for_each(|(task, (z, y))| affine.forward(shape, z, of_task(residual, task, of_tasks, y.len()), y));
    y
}
