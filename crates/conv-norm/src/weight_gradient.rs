//! The gradient of the filters: sums over all pixels of input times output gradient.

#![expect(clippy::needless_range_loop, reason = "sums that are never referred to stay in registers")]

use std::ops::Range;

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

/// Blocks of output channels that are summed up together: each task pads all images once.
pub(crate) const BLOCKS_PER_TASK: usize = 2;

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
            for (task, sums) in sums.chunks_mut(BLOCKS_PER_TASK * block_values).enumerate() {
                let first = (first_block + task * BLOCKS_PER_TASK) * LANES;
                let outputs = first..shape.outputs.min(first + BLOCKS_PER_TASK * LANES);
                run_by_lanes(Accumulate { input, row_stride, pixels, dz, outputs, run, sums });
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
    let (inputs, kernel) = (shape.inputs, shape.geometry.kernel);
    let (run, taps) = (kernel * inputs, kernel * kernel);
    let mut weight = vec![0.0; shape.outputs * inputs * taps];
    let blocks = packed.par_chunks_exact(kernel * run * LANES);
    weight.par_chunks_mut(LANES * inputs * taps).zip(blocks).for_each(|(weight, packed)| {
        let packed = packed.as_chunks::<LANES>().0;
        // some inputs at a time: all lanes of a cache line are read while it is near
        for first in (0..inputs).step_by(LANES) {
            let width = LANES.min(inputs - first);
            for (lane, weight) in weight.chunks_exact_mut(inputs * taps).enumerate() {
                let weight = weight[first * taps..][..width * taps].chunks_exact_mut(taps);
                for (input, weight) in (first..).zip(weight) {
                    for (tap, weight) in weight.iter_mut().enumerate() {
                        *weight = packed[tap / kernel * run + tap % kernel * inputs + input][lane];
                    }
                }
            }
        }
    });
    weight
}

/// `sums[block][row][at][lane] += Σ_pixel input[pixel.from + row · row_stride + at] · dz[pixel.to + output]`.
pub(crate) struct Accumulate<'a> {
    pub(crate) input: &'a [f32],
    /// Values from one row of the input to the next.
    pub(crate) row_stride: usize,
    pub(crate) pixels: &'a [Pixel],
    pub(crate) dz: &'a [f32],
    /// At most [`BLOCKS_PER_TASK`] blocks of output channels.
    pub(crate) outputs: Range<usize>,
    /// Values of one row under a filter.
    pub(crate) run: usize,
    /// `[block][row][run][LANES]`.
    pub(crate) sums: &'a mut [f32],
}

impl ByLanes for Accumulate<'_> {
    #[inline(always)]
    fn run<S: Simd, const VECTORS: usize>(mut self, simd: S) {
        let Range { start, end } = self.outputs;
        let sums = std::mem::take(&mut self.sums);
        let length = sums.len() / (end - start).div_ceil(LANES);
        let (first, second) = sums.split_at_mut(length);
        let next = end.min(start + LANES);
        // where a block is one vector, there are registers for the sums of two
        if VECTORS == 1 && !second.is_empty() {
            self.blocks::<S, VECTORS, 2>(simd, start..end, [first, second]);
        } else {
            self.blocks::<S, VECTORS, 1>(simd, start..next, [first]);
            if !second.is_empty() {
                self.blocks::<S, VECTORS, 1>(simd, next..end, [second]);
            }
        }
    }
}

impl Accumulate<'_> {
    #[inline(always)]
    fn blocks<S: Simd, const VECTORS: usize, const BLOCKS: usize>(
        &self,
        simd: S,
        outputs: Range<usize>,
        mut sums: [&mut [f32]; BLOCKS],
    ) {
        let Self { input, row_stride, pixels, dz, run, .. } = *self;
        let (width, row) = (outputs.len(), run * LANES);
        // the gradients of the blocks' channels, one pixel after another
        let mut gradients = [[[0.0_f32; LANES]; BLOCKS]; PIXELS_IN_CACHE];
        for pixels in pixels.chunks(PIXELS_IN_CACHE) {
            for (gradient, pixel) in gradients.iter_mut().zip(pixels) {
                let values = &dz[pixel.to + outputs.start..][..width];
                gradient.as_flattened_mut()[..width].copy_from_slice(values);
            }
            let gradients = &gradients[..pixels.len()];
            for at in 0..sums[0].len() / row {
                let sums = sums.each_mut().map(|sums| &mut sums[at * row..][..row]);
                let offset = at * row_stride;
                let mut places = Places { input, offset, pixels, gradients, sums, done: 0 };
                // as many sums as there are registers for
                if VECTORS == 1 {
                    if BLOCKS == 1 {
                        places.add::<S, VECTORS, 16>(simd);
                    }
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
struct Places<'a, const BLOCKS: usize> {
    input: &'a [f32],
    /// Of the run, from a pixel's first value.
    offset: usize,
    pixels: &'a [Pixel],
    gradients: &'a [[[f32; LANES]; BLOCKS]],
    /// `[run][LANES]`.
    sums: [&'a mut [f32]; BLOCKS],
    /// Places that were added.
    done: usize,
}

impl<const BLOCKS: usize> Places<'_, BLOCKS> {
    /// Adds `PLACES` at a time while there are as many.
    #[inline(always)]
    fn add<S: Simd, const VECTORS: usize, const PLACES: usize>(&mut self, simd: S) {
        while (self.done + PLACES) * LANES <= self.sums[0].len() {
            self.accumulate::<S, VECTORS, PLACES>(simd);
            self.done += PLACES;
        }
    }

    /// The next `PLACES`.
    #[inline(always)]
    fn accumulate<S: Simd, const VECTORS: usize, const PLACES: usize>(&mut self, simd: S) {
        let offset = self.offset + self.done;
        let from = self.done * LANES;
        let mut sums = [[[simd.splat_f32s(0.0); VECTORS]; BLOCKS]; PLACES];
        for block in 0..BLOCKS {
            let (memory, _) = S::as_simd_f32s(&self.sums[block][from..][..PLACES * LANES]);
            for place in 0..PLACES {
                for vector in 0..VECTORS {
                    sums[place][block][vector] = memory[place * VECTORS + vector];
                }
            }
        }
        for (pixel, gradient) in self.pixels.iter().zip(self.gradients) {
            let values = &self.input[pixel.from + offset..][..PLACES];
            let (gradient, _) = S::as_simd_f32s(gradient.as_flattened());
            for place in 0..PLACES {
                let value = simd.splat_f32s(values[place]);
                for block in 0..BLOCKS {
                    for vector in 0..VECTORS {
                        let (gradient, sum) =
                            (gradient[block * VECTORS + vector], sums[place][block][vector]);
                        sums[place][block][vector] = simd.mul_add_e_f32s(value, gradient, sum);
                    }
                }
            }
        }
        for block in 0..BLOCKS {
            let (memory, _) = S::as_mut_simd_f32s(&mut self.sums[block][from..][..PLACES * LANES]);
            for place in 0..PLACES {
                for vector in 0..VECTORS {
                    memory[place * VECTORS + vector] = sums[place][block][vector];
                }
            }
        }
    }
}
