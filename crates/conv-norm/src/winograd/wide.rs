//! Convolutions of a whole batch between so many channels that their filters fill the caches: output channels are divided among
//! the threads instead of images, so that each filter is transformed, used for all tiles and forgotten while it is near.

use std::marker::PhantomData;

use pulp::Arch;
use rayon::prelude::*;

use super::transform::{Collapse, Expand};
use super::{Algorithm, F2, F4, Tile, Tiling, ToFrequencies};
use crate::correlate::{Correlate, Pixel};
use crate::filters::{Filters, LANES, Weights};
use crate::memory::{Lent, apart, with_memory};
use crate::plan::Direction;
use crate::shape::{ConvShape, Padded};
use crate::vectors::run_by_lanes;

/// Products of channels from which on filters that are packed are divided among threads.
const LARGE_PACKED: usize = 1 << 17;

/// Inputs at all frequencies, at most: they are held for all images.
const MOST_VALUES: usize = 1 << 24;

/// Blocks of output channels of one task.
const BLOCKS: usize = 2;

/// Values of some images at all frequencies, `[part][frequency][tile][channel]`: some images a part, planes [`apart`].
pub(super) struct Spectrum {
    pub(super) values: Lent,
    pub(super) plane: usize,
    part: usize,
    /// Tiles of a full part.
    tiles: usize,
    channels: usize,
}

impl Spectrum {
    /// Room for so many parts of so many tiles.
    pub(super) fn new(frequencies: usize, parts: usize, tiles: usize, channels: usize) -> Self {
        let plane = apart(tiles * channels);
        let part = frequencies * plane;
        Self { values: Lent::new(parts * part), plane, part, tiles, channels }
    }

    /// Puts images there, so many a part, which are `padded` at first.
    pub(super) fn expand<A: ToFrequencies<IN, PATCH> + Sync, const IN: usize, const PATCH: usize>(
        &mut self,
        tiling: &Tiling,
        padded: &Padded,
        images: usize,
        values: &[f32],
    ) {
        let [height, width, channels] = padded.inner;
        let plane = self.plane;
        let parts = values.par_chunks(images * height * width * channels);
        parts.zip(self.values.par_chunks_exact_mut(self.part)).for_each(|(values, out)| {
            with_memory(|memory| {
                let input = padded.pad(values, &mut memory.scratch.padded);
                let algorithm = PhantomData::<A>;
                Arch::new().dispatch(Expand::<IN, PATCH, A> { tiling, padded, input, plane, out, algorithm });
            });
        });
    }

    /// Where the values of a tile lie in a plane.
    pub(super) fn place(&self, tile: usize) -> usize {
        tile / self.tiles * self.part + tile % self.tiles * self.channels
    }
}

/// Where the filters come from.
pub(crate) enum Source<'a> {
    /// From all that do not change.
    Packed(&'a Filters),
    /// From weights `[outputs, inputs, 3, 3]`.
    Weights(Weights<'a>),
}

impl Source<'_> {
    /// Whether each thread should take some of the filters, not some of the images: those that are packed already need to be larger.
    fn is_better_divided(&self, shape: &ConvShape) -> bool {
        shape.has_large_filters()
            && match self {
                Self::Packed(_) => shape.inputs * shape.outputs >= LARGE_PACKED,
                Self::Weights(_) => true,
            }
    }
}

/// A convolution of all images of a batch.
pub(crate) struct Wide<'a> {
    source: Source<'a>,
    bias: &'a [f32],
    tiling: Tiling,
    /// Input and output channels.
    channels: [usize; 2],
    images_per_task: usize,
}

impl<'a> Wide<'a> {
    /// Where filters are that large, and a batch is not.
    pub(crate) fn of(
        shape: &ConvShape,
        direction: Direction,
        source: Source<'a>,
        bias: &'a [f32],
    ) -> Option<Self> {
        let tiling = Tiling::of(shape).filter(|_| source.is_better_divided(shape))?;
        let mut channels = [shape.inputs, shape.outputs];
        if direction == Direction::InputGradient {
            channels.reverse();
        }
        let values = shape.images * tiling.count() * tiling.tile.frequencies() * channels[0];
        if !(1..=MOST_VALUES).contains(&values) {
            return None;
        }
        Some(Self { source, bias, tiling, channels, images_per_task: shape.images_per_task() })
    }

    /// All images, channels last.
    pub(crate) fn run(&self, x: &[f32]) -> Vec<f32> {
        match self.tiling.tile {
            Tile::Two => self.run_in::<F2, 2, 4>(x),
            Tile::Four => self.run_in::<F4, 4, 6>(x),
        }
    }

    fn run_in<A: Algorithm<TILE, PATCH>, const TILE: usize, const PATCH: usize>(
        &self,
        x: &[f32],
    ) -> Vec<f32> {
        let (tiling, [inputs, outputs]) = (&self.tiling, self.channels);
        let pixels = tiling.size[0] * tiling.size[1];
        let images = x.len() / (pixels * inputs);
        let (per_part, frequencies) = (self.images_per_task, PATCH * PATCH);
        let per_tiles = per_part * tiling.count();
        let mut spectrum = Spectrum::new(frequencies, images.div_ceil(per_part), per_tiles, inputs);
        spectrum.expand::<A, PATCH, PATCH>(tiling, &tiling.padded(inputs), per_part, x);
        let width = BLOCKS * LANES;
        let tiles = images * tiling.count();
        let mut columns = Lent::new(images * pixels * outputs);
        columns.par_chunks_mut(images * pixels * width).enumerate().for_each(|(task, out)| {
            let first = task * width;
            let channels = width.min(outputs - first);
            let plane = apart(tiles * channels);
            let places: Vec<Pixel> =
                (0..tiles).map(|tile| Pixel { from: spectrum.place(tile), to: tile * channels }).collect();
            let transformed;
            let (filters, wanted) = match &self.source {
                Source::Packed(filters) => (*filters, [first, channels]),
                Source::Weights(weights) => {
                    transformed = Filters::of_outputs(weights, tiling.tile, first..first + channels);
                    (&transformed, [0, channels])
                }
            };
            let mut products = Lent::new(frequencies * plane);
            for (frequency, out) in products.chunks_exact_mut(plane).enumerate() {
                let input = &spectrum.values[frequency * spectrum.plane..];
                let (plane, row_stride, bias) = (frequency, 0, &[][..]);
                let (pixels, after) = (places.as_slice(), None);
                run_by_lanes(Correlate {
                    filters,
                    wanted,
                    plane,
                    bias,
                    input,
                    row_stride,
                    pixels,
                    out,
                    after,
                });
            }
            let (input, algorithm) = (&products[..], PhantomData::<A>);
            let bias = self.bias.get(first..first + channels).unwrap_or_default();
            Arch::new().dispatch(Collapse::<TILE, PATCH, A> {
                tiling,
                channels,
                input,
                bias,
                out,
                algorithm,
            });
        });
        self.beside_each_other(&columns, images * pixels)
    }

    /// From `[task][pixel][channel of the task]` to `[pixel][channel]`.
    fn beside_each_other(&self, columns: &[f32], pixels: usize) -> Vec<f32> {
        let (outputs, width) = (self.channels[1], BLOCKS * LANES);
        let mut out = vec![0.0; pixels * outputs];
        let rows = self.images_per_task * pixels_of(&self.tiling);
        out.par_chunks_mut(rows * outputs).enumerate().for_each(|(part, out)| {
            for (task, columns) in columns.chunks(pixels * width).enumerate() {
                let channels = columns.len() / pixels;
                let columns = columns[part * rows * channels..].chunks_exact(channels);
                for (out, columns) in out.chunks_exact_mut(outputs).zip(columns) {
                    out[task * width..][..channels].copy_from_slice(columns);
                }
            }
        });
        out
    }
}

fn pixels_of(tiling: &Tiling) -> usize {
    tiling.size[0] * tiling.size[1]
}
