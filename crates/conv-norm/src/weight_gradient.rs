//! The gradient of the filters: sums over all pixels of input times output gradient.

use pulp::Simd;
use rayon::prelude::*;

use crate::correlate::Pixel;
use crate::depthwise;
use crate::filters::LANES;
use crate::plan::{Direction, Plan, Way, copy_channels};
use crate::shape::{ConvShape, Padded};
use crate::vectors::{ByLanes, run_by_lanes};
use crate::winograd::{self, F2, F4, Tile};

/// Pixels whose values stay in the cache while all places of a run pass over them.
const PIXELS_IN_CACHE: usize = 64;

/// Blocks of output channels of one task: each task pads all images once.
const BLOCKS_PER_TASK: usize = 2;

/// Filters of at most so many values are summed up by groups of images, and the groups are added up at the end; larger ones
/// by blocks of output channels, each over all images.
const SMALL_FILTERS: usize = 1 << 14;

/// Groups of images for small filters and those of single channels.
const GROUPS: usize = 16;

/// Gradient of the filters, `[outputs, inputs / groups, kernel, kernel]`, from the input `x` and the output's gradient
/// `dz`, both channels last.
///
/// Images are taken in their order and groups depend on sizes only, so the sums do not depend on threads.
pub(crate) fn of(shape: &ConvShape, x: &[f32], dz: &[f32]) -> Vec<f32> {
    let Plan { padded, way, .. } = Plan::new(shape, Direction::Forward);
    match way {
        Way::Direct(phases) => direct(shape, &padded, &phases[0], x, dz),
        Way::Depthwise(phases) => {
            of_depthwise(shape, &depthwise::Gradient::new(*shape, padded, &phases), x, dz)
        }
        Way::Grouped(_) => grouped(shape, x, dz),
        Way::Winograd(tiling) => match tiling.tile {
            Tile::Two => winograd::weight_gradient::<F2, 2, 4>(&tiling, shape, x, dz),
            Tile::Four => winograd::weight_gradient::<F4, 4, 6>(&tiling, shape, x, dz),
        },
    }
}

/// One group of channels after another.
fn grouped(shape: &ConvShape, x: &[f32], dz: &[f32]) -> Vec<f32> {
    let group = shape.group();
    let part = |values: &[f32], all: usize, channels: usize, index: usize| {
        let mut part = vec![0.0; values.len() / all * channels];
        let pixels = shape.images_per_task() * shape.out_pixels();
        part.par_chunks_mut(pixels * channels).zip(values.par_chunks(pixels * all)).for_each(
            |(part, values)| {
                copy_channels(values, [all, index * channels], part, [channels, 0], channels);
            },
        );
        part
    };
    (0..shape.geometry.groups)
        .flat_map(|index| {
            let x = part(x, shape.inputs, group.inputs, index);
            let dz = part(dz, shape.outputs, group.outputs, index);
            of(&group, &x, &dz)
        })
        .collect()
}

/// Each channel by itself.
fn of_depthwise(shape: &ConvShape, gradient: &depthwise::Gradient, x: &[f32], dz: &[f32]) -> Vec<f32> {
    let packed = by_groups(shape, x, dz, gradient.values(), |x, dz, sums| {
        let mut buffer = Vec::new();
        for (x, dz) in x.chunks(shape.task_inputs()).zip(dz.chunks(shape.task_outputs())) {
            gradient.add(x, dz, sums, &mut buffer);
        }
    });
    gradient.unpack(&packed)
}

/// So many sums over all images: `add` adds the share of some of them.
fn by_groups(
    shape: &ConvShape,
    x: &[f32],
    dz: &[f32],
    length: usize,
    add: impl Fn(&[f32], &[f32], &mut [f32]) + Sync,
) -> Vec<f32> {
    let images = images_per_group(shape);
    let groups: Vec<Vec<f32>> = x
        .par_chunks(images * shape.input_values())
        .zip(dz.par_chunks(images * shape.output_values()))
        .map(|(x, dz)| {
            let mut sums = vec![0.0; length];
            add(x, dz, &mut sums);
            sums
        })
        .collect();
    added_up(groups, length)
}

/// Sums of groups of images, in their order.
pub(crate) fn added_up(groups: Vec<Vec<f32>>, length: usize) -> Vec<f32> {
    let mut sums = vec![0.0; length];
    for group in groups {
        for (sum, value) in sums.iter_mut().zip(group) {
            *sum += value;
        }
    }
    sums
}

/// Images of one of the groups that are summed up by themselves.
pub(crate) fn images_per_group(shape: &ConvShape) -> usize {
    shape.images.div_ceil(GROUPS).max(1)
}

/// `pixels` are those of a full task.
fn direct(shape: &ConvShape, padded: &Padded, pixels: &[Pixel], x: &[f32], dz: &[f32]) -> Vec<f32> {
    let kernel = shape.geometry.kernel;
    let run = kernel * shape.inputs;
    let block_values = kernel * run * LANES;
    // adds the share of some images to the sums of the blocks from `first_block` on
    let add = |first_block: usize, x: &[f32], dz: &[f32], sums: &mut [f32]| {
        let mut buffer = Vec::new();
        for (x, dz) in x.chunks(shape.task_inputs()).zip(dz.chunks(shape.task_outputs())) {
            let (input, row_stride) = (padded.pad(x, &mut buffer), padded.row());
            let pixels = &pixels[..x.len() / shape.input_values() * shape.out_pixels()];
            for (block, sums) in sums.chunks_exact_mut(block_values).enumerate() {
                let first = (first_block + block) * LANES;
                let outputs = first..shape.outputs.min(first + LANES);
                let accumulate = Accumulate { input, row_stride, pixels, dz, outputs, run, sums };
                run_by_lanes(accumulate);
            }
        }
    };
    let length = shape.outputs.div_ceil(LANES) * block_values;
    if length <= SMALL_FILTERS {
        return unpack(shape, &by_groups(shape, x, dz, length, |x, dz, sums| add(0, x, dz, sums)));
    }
    let mut packed = vec![0.0; length];
    packed.par_chunks_mut(BLOCKS_PER_TASK * block_values).enumerate().for_each(|(task, sums)| {
        add(task * BLOCKS_PER_TASK, x, dz, sums);
    });
    unpack(shape, &packed)
}

/// From `[block][row][column, input][LANES]` to `[output, input, row, column]`.
fn unpack(shape: &ConvShape, packed: &[f32]) -> Vec<f32> {
    let kernel = shape.geometry.kernel;
    let run = kernel * shape.inputs;
    let filter = shape.inputs * kernel * kernel;
    let mut weight = vec![0.0; shape.outputs * filter];
    weight.par_chunks_exact_mut(filter).enumerate().for_each(|(output, weight)| {
        let (block, lane) = (output / LANES, output % LANES);
        let packed = &packed[block * kernel * run * LANES..];
        for input in 0..shape.inputs {
            for row in 0..kernel {
                for column in 0..kernel {
                    weight[(input * kernel + row) * kernel + column] =
                        packed[(row * run + column * shape.inputs + input) * LANES + lane];
                }
            }
        }
    });
    weight
}

/// `sums[row][at][lane] += Σ_pixel input[pixel.from + row · row_stride + at] · dz[pixel.to + output]`.
pub(crate) struct Accumulate<'a> {
    pub(crate) input: &'a [f32],
    /// Values from one row of the input to the next.
    pub(crate) row_stride: usize,
    pub(crate) pixels: &'a [Pixel],
    pub(crate) dz: &'a [f32],
    /// At most [`LANES`] output channels.
    pub(crate) outputs: std::ops::Range<usize>,
    /// Values of one row under a filter.
    pub(crate) run: usize,
    /// `[row][run][LANES]`.
    pub(crate) sums: &'a mut [f32],
}

impl ByLanes for Accumulate<'_> {
    #[inline(always)]
    fn run<S: Simd, const VECTORS: usize>(self, simd: S) {
        let Self { input, row_stride, pixels, dz, outputs, run, sums } = self;
        let width = outputs.len();
        // the gradients of the block's channels, one pixel after another
        let mut gradients = [[0.0_f32; LANES]; PIXELS_IN_CACHE];
        for pixels in pixels.chunks(PIXELS_IN_CACHE) {
            for (gradient, pixel) in gradients.iter_mut().zip(pixels) {
                gradient[..width].copy_from_slice(&dz[pixel.to + outputs.start..][..width]);
            }
            let gradients = &gradients[..pixels.len()];
            for (row, sums) in sums.chunks_exact_mut(run * LANES).enumerate() {
                let mut places = Places { input, offset: row * row_stride, pixels, gradients, sums, done: 0 };
                // as many sums as there are registers for
                if VECTORS == 1 {
                    places.add::<S, VECTORS, 16>(simd);
                    places.add::<S, VECTORS, 8>(simd);
                } else {
                    places.add::<S, VECTORS, 6>(simd);
                }
                places.add::<S, VECTORS, 4>(simd);
                places.add::<S, VECTORS, 2>(simd);
                places.add::<S, VECTORS, 1>(simd);
            }
        }
    }
}

/// The places of a run, at some pixels.
struct Places<'a> {
    input: &'a [f32],
    /// Of the run, from a pixel's first value.
    offset: usize,
    pixels: &'a [Pixel],
    gradients: &'a [[f32; LANES]],
    /// `[run][LANES]`.
    sums: &'a mut [f32],
    /// Places that were added.
    done: usize,
}

impl Places<'_> {
    /// Adds `PLACES` at a time while there are as many.
    #[inline(always)]
    fn add<S: Simd, const VECTORS: usize, const PLACES: usize>(&mut self, simd: S) {
        let Self { input, offset, pixels, gradients, sums, done } = self;
        while let Some(sums) = sums.get_mut(*done * LANES..(*done + PLACES) * LANES) {
            accumulate::<S, VECTORS, PLACES>(simd, input, *offset + *done, pixels, gradients, sums);
            *done += PLACES;
        }
    }
}

/// `PLACES` places of a run.
#[inline(always)]
fn accumulate<S: Simd, const VECTORS: usize, const PLACES: usize>(
    simd: S,
    input: &[f32],
    offset: usize,
    pixels: &[Pixel],
    gradients: &[[f32; LANES]],
    sums: &mut [f32],
) {
    let (memory, _) = S::as_mut_simd_f32s(sums);
    let mut sums = [[simd.splat_f32s(0.0); VECTORS]; PLACES];
    for place in 0..PLACES {
        for vector in 0..VECTORS {
            sums[place][vector] = memory[place * VECTORS + vector];
        }
    }
    for (pixel, gradient) in pixels.iter().zip(gradients) {
        let values = &input[pixel.from + offset..][..PLACES];
        let (gradient, _) = S::as_simd_f32s(gradient);
        for place in 0..PLACES {
            let value = simd.splat_f32s(values[place]);
            for vector in 0..VECTORS {
                sums[place][vector] = simd.mul_add_e_f32s(value, gradient[vector], sums[place][vector]);
            }
        }
    }
    for place in 0..PLACES {
        for vector in 0..VECTORS {
            memory[place * VECTORS + vector] = sums[place][vector];
        }
    }
}
