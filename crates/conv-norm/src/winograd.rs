//! Convolutions of 3x3 filters by Winograd's minimal filtering, F(2x2, 3x3) and F(4x4, 3x3): 2.25 and 4 times fewer
//! multiplications.
//!
//! The output is cut into square tiles; the inputs under a tile, its *patch*, and the filters are transformed to
//! *frequencies*, at each of which the convolution is a matrix product over channels (Lavin and Gray, "Fast Algorithms for
//! Convolutional Neural Networks", 2015, section 4; the points are 0, ±1 and, for tiles of four, ±2). Channels last makes
//! each transform one over whole vectors. Tiles of two round about as direct sums do, tiles of four several times worse.

#![expect(clippy::needless_range_loop, reason = "indices of the second dimension")]

mod transform;

use std::marker::PhantomData;

use pulp::Arch;
use rayon::prelude::*;

use crate::correlate::{Correlate, Pixel};
use crate::filters::{Filters, LANES, Lanes, Weights};
use crate::memory::{Lent, apart, room};
use crate::shape::{ConvShape, Geometry, Padded};
use crate::vectors::{run_by_lanes, with_vectors};
use crate::weight_gradient::{Accumulate, BLOCKS_PER_TASK};
pub(crate) use transform::{Algorithm, F2, F4};
use transform::{Collapse, Expand, transform_lanes};

/// Side of the tiles that outputs are cut into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tile {
    /// F(2x2, 3x3).
    Two,
    /// F(4x4, 3x3).
    Four,
}

impl Tile {
    const fn side(self) -> usize {
        match self {
            Self::Two => 2,
            Self::Four => 4,
        }
    }

    /// Frequencies of a tile.
    pub(crate) const fn frequencies(self) -> usize {
        (self.side() + 2).pow(2)
    }
}

/// Transformed values that are held at a time for the gradient of the filters, so that they stay in the cache.
const GRADIENT_VALUES: usize = 2 << 20;

/// The tiles of one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tiling {
    pub(crate) tile: Tile,
    size: [usize; 2],
    tiles: [usize; 2],
}

impl Tiling {
    /// The largest tiles that the shape allows and that save work: 3x3 filters of stride 1 between whole vectors of
    /// channels without groups, and tiles that are at least half filled.
    pub(crate) fn of(shape: &ConvShape) -> Option<Self> {
        let Geometry { kernel, stride, padding, groups } = shape.geometry;
        let is_same = [kernel, stride, padding, groups] == [3, 1, 1, 1];
        let has_vectors = shape.inputs.is_multiple_of(LANES) && shape.outputs.is_multiple_of(LANES);
        if !(is_same && has_vectors) {
            return None;
        }
        let size = [shape.out_height, shape.out_width];
        let tilings = [Tile::Four, Tile::Two].map(|tile| Self {
            tile,
            size,
            tiles: size.map(|side| side.div_ceil(tile.side())),
        });
        tilings.into_iter().find(|tiling| {
            let side = tiling.tile.side();
            side <= shape.largest_tile.side() && tiling.count() * side * side <= 2 * shape.out_pixels()
        })
    }

    /// Tiles of one image.
    pub(crate) fn count(&self) -> usize {
        self.tiles[0] * self.tiles[1]
    }

    /// Rows or columns that the tiles reach over the image.
    fn excess(&self) -> usize {
        let over = |at: usize| self.tiles[at] * self.tile.side() - self.size[at];
        over(0).max(over(1))
    }

    /// An image with the zeros that the patches of all tiles want.
    pub(crate) fn padded(&self, channels: usize) -> Padded {
        Padded::new([self.size[0], self.size[1], channels], [1, 1 + self.excess()])
    }

    /// An image with zeros where tiles reach over it.
    fn covered(&self, channels: usize) -> Padded {
        Padded::new([self.size[0], self.size[1], channels], [0, self.excess()])
    }

    /// Upper left corners of the tiles of an image, rows first.
    fn corners(self) -> impl Iterator<Item = [usize; 2]> {
        let side = self.tile.side();
        (0..self.tiles[0]).flat_map(move |y| (0..self.tiles[1]).map(move |x| [y * side, x * side]))
    }
}

/// Memory of one thread: inputs and outputs of a task at all frequencies.
#[derive(Default)]
pub(crate) struct Scratch {
    inputs: Vec<f32>,
    outputs: Vec<f32>,
}

impl Scratch {
    /// A convolution of some images in [`Tiling::padded`], with filters of [`Filters::winograd`].
    pub(crate) fn convolve<A: Algorithm<TILE, PATCH>, const TILE: usize, const PATCH: usize>(
        &mut self,
        tiling: &Tiling,
        filters: &Filters,
        bias: &[f32],
        input: &[f32],
        out: &mut [f32],
    ) {
        self.expand::<A, TILE, PATCH>(tiling, filters.run, &[input]);
        self.multiply::<A, TILE, PATCH>(tiling, filters, 1, bias, out);
    }

    /// For the same filters W and those of both, Ẇ above W: `first = W ⋆ a` unless it is empty, `second = W ⋆ b + Ẇ ⋆ a`.
    pub(crate) fn convolve_pair<A: Algorithm<TILE, PATCH>, const TILE: usize, const PATCH: usize>(
        &mut self,
        tiling: &Tiling,
        [filters, both]: [&Filters; 2],
        pair: [&[f32]; 2],
        [first, second]: [&mut [f32]; 2],
    ) {
        self.expand::<A, TILE, PATCH>(tiling, filters.run, &pair);
        if !first.is_empty() {
            self.multiply::<A, TILE, PATCH>(tiling, filters, 2, &[], first);
        }
        self.multiply::<A, TILE, PATCH>(tiling, both, 2, &[], second);
    }

    /// Inputs at all frequencies, `[frequency][source][tile][channel]`.
    fn expand<A: Algorithm<TILE, PATCH>, const TILE: usize, const PATCH: usize>(
        &mut self,
        tiling: &Tiling,
        channels: usize,
        sources: &[&[f32]],
    ) {
        let padded = &tiling.padded(channels);
        let part = sources[0].len() / padded.values() * tiling.count() * channels;
        let (plane, algorithm) = (apart(sources.len() * part), PhantomData::<A>);
        let spectrum = room(&mut self.inputs, PATCH * PATCH * plane);
        for (at, input) in sources.iter().enumerate() {
            let out = &mut spectrum[at * part..];
            Arch::new().dispatch(Expand::<PATCH, PATCH, A> { tiling, padded, input, plane, out, algorithm });
        }
    }

    /// The product with filters that have a row for each of the sources that they read, and the transform back to images.
    fn multiply<A: Algorithm<TILE, PATCH>, const TILE: usize, const PATCH: usize>(
        &mut self,
        tiling: &Tiling,
        filters: &Filters,
        sources: usize,
        bias: &[f32],
        out: &mut [f32],
    ) {
        let (inputs, channels) = (filters.run, filters.outputs);
        let tiles = out.len() / (tiling.size[0] * tiling.size[1] * channels) * tiling.count();
        let (row_stride, out_plane) = (tiles * inputs, apart(tiles * channels));
        let plane = apart(sources * row_stride);
        let Self { inputs: spectrum, outputs: input } = self;
        let input = room(input, PATCH * PATCH * out_plane);
        let spectrum = &spectrum[..PATCH * PATCH * plane];
        let pixels: Vec<Pixel> =
            (0..tiles).map(|tile| Pixel { from: tile * inputs, to: tile * channels }).collect();
        let planes = spectrum.chunks_exact(plane).zip(input.chunks_exact_mut(out_plane));
        for (plane, (input, out)) in planes.enumerate() {
            let pixels = pixels.as_slice();
            let (bias, after): (&[f32], _) = (&[], None);
            run_by_lanes(Correlate { filters, plane, bias, input, row_stride, pixels, out, after });
        }
        let algorithm = PhantomData::<A>;
        Arch::new().dispatch(Collapse::<TILE, PATCH, A> { tiling, channels, input, bias, out, algorithm });
    }
}

/// The filters of [`LANES`] output channels from `first` on at all frequencies, `[frequency][column][lane]` with [`apart`].
pub(crate) fn pack_filters<A: Algorithm<TILE, PATCH>, const TILE: usize, const PATCH: usize>(
    weights: &Weights<'_>,
    first: usize,
    columns: usize,
    block: &mut [Lanes],
) {
    let plane = block.len() / (PATCH * PATCH);
    let mut strip = [[[0.0; LANES]; STRIP]; Tile::Four.frequencies()];
    with_vectors!({
        for start in (0..columns).step_by(STRIP) {
            let width = STRIP.min(columns - start);
            for at in 0..width {
                let taps = weights.nine(first, start + at);
                transform_lanes(
                    A::filter,
                    #[inline(always)]
                    |tap| taps[tap],
                    #[inline(always)]
                    |frequency, lanes| strip[frequency][at] = *lanes,
                );
            }
            for (block, strip) in block.chunks_exact_mut(plane).zip(&strip) {
                block[start..start + width].copy_from_slice(&strip[..width]);
            }
        }
    });
}

/// Input channels whose filters are put together in the cache: at each frequency and for each output channel they lie far from the
/// others.
const STRIP: usize = 8;

/// Gradient of the filters, `[outputs, inputs, 3, 3]`, from the input and the output's gradient.
pub(crate) fn weight_gradient<A: Algorithm<TILE, PATCH>, const TILE: usize, const PATCH: usize>(
    tiling: &Tiling,
    shape: &ConvShape,
    x: &[f32],
    dz: &[f32],
) -> Vec<f32> {
    let inputs = shape.inputs;
    let spectrum = spectrum_of_gradient::<A, TILE, PATCH>(tiling, shape, x, dz);
    let (spectrum, _) = spectrum.as_chunks::<LANES>();
    let plane = spectrum.len() / (PATCH * PATCH);
    let mut weight = vec![0.0; shape.outputs * inputs * 9];
    weight.par_chunks_exact_mut(LANES * inputs * 9).enumerate().for_each(|(block, weight)| {
        let mut strip = [[[0.0; 9]; STRIP]; LANES];
        let mut frequencies = [[[0.0; LANES]; STRIP]; Tile::Four.frequencies()];
        with_vectors!({
            for first in (0..inputs).step_by(STRIP) {
                let width = STRIP.min(inputs - first);
                for (strip, spectrum) in frequencies.iter_mut().zip(spectrum.chunks_exact(plane)) {
                    strip[..width].copy_from_slice(&spectrum[block * inputs + first..][..width]);
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
        });
    });
    weight
}

/// Gradient of the filters at all frequencies, `[frequency][block][input][LANES]`, with [`apart`].
fn spectrum_of_gradient<A: Algorithm<TILE, PATCH>, const TILE: usize, const PATCH: usize>(
    tiling: &Tiling,
    shape: &ConvShape,
    x: &[f32],
    dz: &[f32],
) -> Lent {
    let (inputs, outputs, frequencies) = (shape.inputs, shape.outputs, PATCH * PATCH);
    let images = shape.images_per_task();
    let tiles = images * tiling.count();
    let (plane_in, plane_out) = (apart(tiles * inputs), apart(tiles * outputs));
    let (part_in, part_out) = (frequencies * plane_in, frequencies * plane_out);
    let parts = (GRADIENT_VALUES / (part_in + part_out)).clamp(1, shape.images.div_ceil(images));
    let mut spectrum_in = Lent::new(parts * part_in);
    let mut spectrum_out = Lent::new(parts * part_out);
    let plane_sums = apart(outputs * inputs);
    let mut sums = Lent::new(frequencies * plane_sums);
    let (padded, covered) = (&tiling.padded(inputs), &tiling.covered(outputs));
    let algorithm = PhantomData::<A>;
    let groups = x.chunks(parts * shape.task_inputs()).zip(dz.chunks(parts * shape.task_outputs()));
    for (group, (x, dz)) in groups.enumerate() {
        x.par_chunks(shape.task_inputs())
            .zip(dz.par_chunks(shape.task_outputs()))
            .zip(spectrum_in.par_chunks_exact_mut(part_in).zip(spectrum_out.par_chunks_exact_mut(part_out)))
            .for_each_init(
                || (Vec::new(), Vec::new()),
                |(buffer_in, buffer_out), ((x, dz), (spectrum_in, spectrum_out))| {
                    let (input, plane, out) = (padded.pad(x, buffer_in), plane_in, spectrum_in);
                    let expand = Expand::<PATCH, PATCH, A> { tiling, padded, input, plane, out, algorithm };
                    Arch::new().dispatch(expand);
                    let (input, plane, out) = (covered.pad(dz, buffer_out), plane_out, spectrum_out);
                    let padded = covered;
                    let expand = Expand::<TILE, PATCH, A> { tiling, padded, input, plane, out, algorithm };
                    Arch::new().dispatch(expand);
                },
            );
        let count = x.len() / shape.input_values();
        let pixels: Vec<Pixel> = (0..count * tiling.count())
            .map(|tile| {
                let (part, tile) = (tile / tiles, tile % tiles);
                Pixel { from: part * part_in + tile * inputs, to: part * part_out + tile * outputs }
            })
            .collect();
        let tasks = sums.par_chunks_exact_mut(plane_sums).enumerate().flat_map(|(frequency, sums)| {
            let pairs = sums[..outputs * inputs].par_chunks_mut(BLOCKS_PER_TASK * LANES * inputs).enumerate();
            pairs.map(move |(pair, sums)| (frequency, pair * BLOCKS_PER_TASK * LANES, sums))
        });
        tasks.for_each(|(frequency, first, sums)| {
            if group == 0 {
                sums.fill(0.0);
            }
            let (input, dz) = (&spectrum_in[frequency * plane_in..], &spectrum_out[frequency * plane_out..]);
            let outputs = first..outputs.min(first + BLOCKS_PER_TASK * LANES);
            let pixels = pixels.as_slice();
            run_by_lanes(Accumulate { input, row_stride: 0, pixels, dz, outputs, run: inputs, sums });
        });
    }
    sums
}
