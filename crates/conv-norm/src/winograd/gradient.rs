//! The gradient of the filters: sums over all tiles, at each frequency.

use rayon::prelude::*;

use super::transform::{Algorithm, transform_lanes};
use super::wide::Spectrum;
use super::{STRIP, Tile, Tiling};
use crate::correlate::Pixel;
use crate::filters::LANES;
use crate::memory::{Lent, apart};
use crate::shape::ConvShape;
use crate::vectors::{run_by_lanes, with_vectors};
use crate::weight_gradient::{Accumulate, BLOCKS_PER_TASK};

/// Transformed values that are held at a time, so that they stay in the cache.
const VALUES: usize = 2 << 20;

/// The same for filters that each thread makes at once.
const VALUES_AT_ONCE: usize = 4 << 20;

/// Gradient of the filters, `[outputs, inputs, 3, 3]`, from the input and the output's gradient.
pub(crate) fn weight_gradient<A: Algorithm<TILE, PATCH>, const TILE: usize, const PATCH: usize>(
    tiling: &Tiling,
    shape: &ConvShape,
    x: &[f32],
    dz: &[f32],
) -> Vec<f32> {
    let (inputs, outputs, frequencies) = (shape.inputs, shape.outputs, PATCH * PATCH);
    let images = shape.images_per_task();
    let tiles = images * tiling.count();
    let of_part = frequencies * (apart(tiles * inputs) + apart(tiles * outputs));
    let values = if shape.has_large_filters() { VALUES_AT_ONCE } else { VALUES };
    let parts = (values / of_part).clamp(1, shape.images.div_ceil(images));
    let mut spectrum_in = Spectrum::new(frequencies, parts, tiles, inputs);
    let mut spectrum_out = Spectrum::new(frequencies, parts, tiles, outputs);
    let (padded, covered) = (&tiling.padded(inputs), &tiling.covered(outputs));
    let mut weight = vec![0.0; outputs * inputs * 9];
    let width = BLOCKS_PER_TASK * LANES;
    let plane = apart(width * inputs);
    let tasks = outputs.div_ceil(width);
    // gradients at all frequencies, `[frequency][task][block][input][LANES]`; where one thread makes those of a task at once, they
    // are there for that long only
    let is_at_once = shape.has_large_filters() && parts * images >= shape.images;
    let mut sums = Lent::new(if is_at_once { 0 } else { frequencies * tasks * plane });
    let groups = x.chunks(parts * shape.task_inputs()).zip(dz.chunks(parts * shape.task_outputs()));
    for (group, (x, dz)) in groups.enumerate() {
        spectrum_in.expand::<A, PATCH, PATCH>(tiling, padded, images, x);
        spectrum_out.expand::<A, TILE, PATCH>(tiling, covered, images, dz);
        let count = x.len() / shape.input_values() * tiling.count();
        let pixels: Vec<Pixel> = (0..count)
            .map(|tile| Pixel { from: spectrum_in.place(tile), to: spectrum_out.place(tile) })
            .collect();
        let add = |task: usize, frequency: usize, sums: &mut [f32]| {
            let outputs = task * width..outputs.min((task + 1) * width);
            let sums = &mut sums[..outputs.len() * inputs];
            if group == 0 {
                sums.fill(0.0);
            }
            let input = &spectrum_in.values[frequency * spectrum_in.plane..];
            let dz = &spectrum_out.values[frequency * spectrum_out.plane..];
            let (row_stride, run, pixels) = (0, inputs, pixels.as_slice());
            run_by_lanes(Accumulate { input, row_stride, pixels, dz, outputs, run, sums });
        };
        if is_at_once {
            weight.par_chunks_mut(width * inputs * 9).enumerate().for_each(|(task, weight)| {
                let mut sums = Lent::new(frequencies * plane);
                for (frequency, sums) in sums.chunks_exact_mut(plane).enumerate() {
                    add(task, frequency, sums);
                }
                to_filters::<A, TILE, PATCH>(&sums, plane, inputs, weight);
            });
        } else {
            let sums = sums.par_chunks_exact_mut(plane).enumerate();
            sums.for_each(|(at, sums)| add(at % tasks, at / tasks, sums));
        }
    }
    if !is_at_once {
        weight.par_chunks_mut(width * inputs * 9).enumerate().for_each(|(task, weight)| {
            to_filters::<A, TILE, PATCH>(&sums[task * plane..], tasks * plane, inputs, weight);
        });
    }
    weight
}

/// Gradients of some blocks of filters, `[outputs, inputs, 3, 3]`, from those at all frequencies,
/// `[frequency][block][input][LANES]`, so many values from one frequency to the next.
fn to_filters<A: Algorithm<TILE, PATCH>, const TILE: usize, const PATCH: usize>(
    sums: &[f32],
    plane: usize,
    inputs: usize,
    weight: &mut [f32],
) {
    let (sums, _) = sums.as_chunks::<LANES>();
    let mut strip = [[[0.0; 9]; STRIP]; LANES];
    let mut frequencies = [[[0.0; LANES]; STRIP]; Tile::Four.frequencies()];
    with_vectors!({
        for (block, weight) in weight.chunks_exact_mut(LANES * inputs * 9).enumerate() {
            for first in (0..inputs).step_by(STRIP) {
                let width = STRIP.min(inputs - first);
                for (strip, sums) in frequencies.iter_mut().zip(sums.chunks(plane / LANES)) {
                    strip[..width].copy_from_slice(&sums[block * inputs + first..][..width]);
                }
                for at in 0..width {
                    transform_lanes(
                        A::filter_gradient,
                        #[inline(always)]
                        |frequency| frequencies[frequency][at],
                        #[inline(always)]
                        |tap, lanes| {
                            for (lane, value) in lanes.iter().enumerate() {
                                strip[lane][at][tap] = *value;
                            }
                        },
                    );
                }
                for (lane, filters) in strip.iter().enumerate() {
                    weight[(lane * inputs + first) * 9..][..width * 9]
                        .copy_from_slice(&filters.as_flattened()[..width * 9]);
                }
            }
        }
    });
}
