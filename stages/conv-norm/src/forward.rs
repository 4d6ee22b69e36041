//! Convolution, statistics and activation in one pass over a few images at a time.

use pulp::Arch;
use rayon::prelude::*;

use crate::activation::{self, Activation};
use crate::correlate::{Correlate, Pixel};
use crate::filters::Filters;
use crate::shape::{ConvShape, Padded};
use crate::statistics::Partial;

/// A convolution that is ready to run.
#[derive(Clone, Copy)]
pub(crate) struct Convolution<'a> {
    pub(crate) shape: &'a ConvShape,
    pub(crate) filters: &'a Filters,
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
    z: Vec<f32>,
}

/// Images with a margin of zeros, one after another, in a buffer that is zero at first.
pub(crate) fn pad<'a>(padded: &Padded, images: &[f32], values: usize, buffer: &'a mut Vec<f32>) -> &'a [f32] {
    let count = images.len() / values;
    if buffer.len() < count * padded.values() {
        buffer.resize(count * padded.values(), 0.0);
    }
    for (image, buffer) in images.chunks_exact(values).zip(buffer.chunks_exact_mut(padded.values())) {
        padded.fill(image, buffer);
    }
    &buffer[..count * padded.values()]
}

impl Convolution<'_> {
    /// `z = conv(x)` of the images of one task; `pixels` are those of a full task.
    fn task(&self, x: &[f32], pixels: &[Pixel], buffer: &mut Vec<f32>, z: &mut [f32]) {
        let Self { shape, filters, bias } = *self;
        let images = x.len() / shape.input_values();
        let padded = shape.padded_input();
        let input =
            if shape.geometry.padding == 0 { x } else { pad(&padded, x, shape.input_values(), buffer) };
        let pixels = &pixels[..images * shape.out_pixels()];
        Arch::new().dispatch(Correlate { filters, bias, input, row_stride: padded.row(), pixels, out: z });
    }

    /// `z = conv(x)` with its statistics by task.
    pub(crate) fn with_statistics(&self, x: &[f32]) -> (Vec<f32>, Vec<Partial>) {
        let shape = self.shape;
        let images = shape.images_per_task();
        let pixels = shape.pixels(images);
        let mut z = vec![0.0; shape.images * shape.output_values()];
        let parts = x
            .par_chunks(images * shape.input_values())
            .zip(z.par_chunks_mut(images * shape.output_values()))
            .map_init(Scratch::default, |scratch, (x, z)| {
                self.task(x, &pixels, &mut scratch.padded, z);
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
        let pixels = shape.pixels(images);
        let out_values = affine.activation.out_values(shape);
        let mut y = vec![0.0; shape.images * out_values];
        let mut z = vec![0.0; if keep { shape.images * shape.output_values() } else { 0 }];
        let task = |scratch: &mut Scratch, x: &[f32], kept: Option<&mut [f32]>, y: &mut [f32]| {
            let Scratch { padded, z } = scratch;
            let z = match kept {
                Some(z) => z,
                None => {
                    z.resize(images * shape.output_values(), 0.0);
                    &mut z[..x.len() / shape.input_values() * shape.output_values()]
                }
            };
            self.task(x, &pixels, padded, z);
            Arch::new().dispatch(|| {
                activation::forward(affine.activation, shape, affine.scale, affine.shift, z, y);
            });
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
            Arch::new().dispatch(|| {
                activation::forward(affine.activation, shape, affine.scale, affine.shift, z, y);
            });
        });
    y
}
