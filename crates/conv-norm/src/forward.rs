//! Convolution, statistics and activation in one pass over a few images at a time.

use rayon::prelude::*;

use crate::activation::{self, Activation};
use crate::plan::{Packed, Plan};
use crate::shape::ConvShape;
use crate::statistics::Partial;
use crate::vectors::with_vectors;
use crate::winograd;

/// A convolution that is ready to run.
#[derive(Clone, Copy)]
pub(crate) struct Convolution<'a> {
    pub(crate) shape: &'a ConvShape,
    pub(crate) filters: &'a Packed,
    /// One per output channel, or none.
    pub(crate) bias: &'a [f32],
}

/// Scale and shift per channel and what follows.
#[derive(Clone, Copy)]
pub(crate) struct Affine<'a> {
    pub(crate) scale: &'a [f32],
    pub(crate) shift: &'a [f32],
    pub(crate) activation: Activation,
}

/// Memory of one thread, reused from task to task.
#[derive(Default)]
pub(crate) struct Scratch {
    pub(crate) padded: Vec<f32>,
    pub(crate) winograd: winograd::Scratch,
    z: Vec<f32>,
}

impl Convolution<'_> {
    /// `z = conv(x)` of the images of one task.
    fn task(
        &self,
        plan: &Plan,
        x: &[f32],
        padded: &mut Vec<f32>,
        spectrum: &mut winograd::Scratch,
        z: &mut [f32],
    ) {
        plan.run(self.filters, self.bias, plan.padded.pad(x, padded), z, spectrum);
    }

    /// `z = conv(x)` with its statistics by task.
    pub(crate) fn with_statistics(&self, x: &[f32]) -> (Vec<f32>, Vec<Partial>) {
        let shape = self.shape;
        let images = shape.images_per_task();
        let plan = Plan::forward(shape);
        let mut z = vec![0.0; shape.images * shape.output_values()];
        let parts = x
            .par_chunks(images * shape.input_values())
            .zip(z.par_chunks_mut(images * shape.output_values()))
            .map_init(Scratch::default, |scratch, (x, z)| {
                self.task(&plan, x, &mut scratch.padded, &mut scratch.winograd, z);
                Partial::of(z, shape.outputs)
            })
            .collect();
        (z, parts)
    }

    /// `y = activation(scale · conv(x) + shift)`. `z` is kept where `keep` asks for it, its statistics taken where
    /// `measure` does.
    pub(crate) fn with_affine(
        &self,
        x: &[f32],
        affine: Affine<'_>,
        keep: bool,
        measure: bool,
    ) -> (Vec<f32>, Vec<f32>, Vec<Partial>) {
        let shape = self.shape;
        let images = shape.images_per_task();
        let plan = Plan::forward(shape);
        let out_values = affine.activation.out_values(shape);
        let mut y = vec![0.0; shape.images * out_values];
        let mut z = vec![0.0; if keep { shape.images * shape.output_values() } else { 0 }];
        let task = |scratch: &mut Scratch, x: &[f32], kept: Option<&mut [f32]>, y: &mut [f32]| {
            let Scratch { padded, winograd, z } = scratch;
            let z = match kept {
                Some(z) => z,
                None => {
                    z.resize(images * shape.output_values(), 0.0);
                    &mut z[..x.len() / shape.input_values() * shape.output_values()]
                }
            };
            self.task(&plan, x, padded, winograd, z);
            with_vectors(
                #[inline(always)]
                || {
                    activation::forward(affine.activation, shape, affine.scale, affine.shift, z, y);
                },
            );
            measure.then(|| Partial::of(z, shape.outputs))
        };
        let inputs =
            x.par_chunks(images * shape.input_values()).zip(y.par_chunks_mut((images * out_values).max(1)));
        let parts: Vec<Option<Partial>> = if keep {
            inputs
                .zip(z.par_chunks_mut(images * shape.output_values()))
                .map_init(Scratch::default, |scratch, ((x, y), z)| task(scratch, x, Some(z), y))
                .collect()
        } else {
            inputs.map_init(Scratch::default, |scratch, (x, y)| task(scratch, x, None, y)).collect()
        };
        (y, z, parts.into_iter().flatten().collect())
    }
}

/// `y = activation(scale · z + shift)` for all images.
pub(crate) fn activate(shape: &ConvShape, affine: Affine<'_>, z: &[f32]) -> Vec<f32> {
    let images = shape.images_per_task();
    let out_values = affine.activation.out_values(shape);
    let mut y = vec![0.0; shape.images * out_values];
    z.par_chunks(images * shape.output_values())
        .zip(y.par_chunks_mut((images * out_values).max(1)))
        .for_each(|(z, y)| {
            with_vectors(
                #[inline(always)]
                || {
                    activation::forward(affine.activation, shape, affine.scale, affine.shift, z, y);
                },
            );
        });
    y
}
