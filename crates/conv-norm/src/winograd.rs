//! Convolutions of 3x3 filters by Winograd's minimal filtering, F(2x2, 3x3) and F(4x4, 3x3): 2.25 and 4 times fewer
//! multiplications.
//!
//! The output is cut into square tiles; the inputs under a tile, its *patch*, and the filters are transformed to
//! *frequencies*, at each of which the convolution is a matrix product over channels (Lavin and Gray, "Fast Algorithms for
//! Convolutional Neural Networks", 2015, section 4; the points are 0, ±1 and, for tiles of four, ±2). Channels last makes
//! each transform one over whole vectors. A task takes a few images through all of it; where filters are large, [`wide`] takes some
//! output channels of all images. Tiles of two round about as direct sums do, tiles of four several times worse.

#![expect(clippy::needless_range_loop, reason = "indices of the second dimension")]

mod gradient;
mod transform;
mod wide;

use std::marker::PhantomData;

use pulp::Arch;

use crate::correlate::{Correlate, Pixel};
use crate::filters::{Filters, LANES, Lanes, Weights};
use crate::memory::{apart, room};
use crate::shape::{ConvShape, Geometry, Padded};
use crate::vectors::{run_by_lanes, with_vectors};
pub(crate) use gradient::weight_gradient;
pub(crate) use transform::{Algorithm, F2, F4};
use transform::{Collapse, Expand, ToFrequencies, transform_lanes};
pub(crate) use wide::{Source, Wide};

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
            let (wanted, bias, after): (_, &[f32], _) = ([0, channels], &[], None);
            run_by_lanes(Correlate { filters, wanted, plane, bias, input, row_stride, pixels, out, after });
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
