//! How a convolution, or its gradient with respect to the input, is computed for a few images at a time.

use std::sync::OnceLock;

use crate::correlate::{Correlate, Pixel};
use crate::filters::{Filters, Weights};
use crate::shape::{ConvShape, Padded, Taps};
use crate::vectors::run_by_lanes;
use crate::winograd::{self, F2, F4, Tile, Tiling};

/// Where a correlation leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From the input to the output.
    Forward,
    /// From the output's gradient to the input's.
    InputGradient,
}

/// The way from images to results.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The margin that it wants around its input.
    pub(crate) padded: Padded,
    /// Values of one resulting image.
    out_values: usize,
    /// Images of a full task.
    images: usize,
    pub(crate) way: Way,
}

#[derive(Clone, Debug)]
pub(crate) enum Way {
    /// Sums over the filter, for each phase at these pixels of the images of a full task.
    Direct(Vec<Vec<Pixel>>),
    Winograd(Tiling),
}

/// The filters of a [`Plan`], packed, and its bias.
#[derive(Clone, Debug)]
pub(crate) struct Packed {
    /// For each phase of [`Way::Direct`]; one for [`Way::Winograd`].
    filters: Vec<Filters>,
    /// One per output channel, or none.
    bias: Vec<f32>,
}

impl Packed {
    /// From weights `[outputs, inputs, kernel, kernel]`. The bias has no part in the gradient of the input.
    pub(crate) fn new(shape: &ConvShape, direction: Direction, weights: &[f32], bias: &[f32]) -> Self {
        let weights = Weights::new(shape, direction, weights);
        let taps = Taps::of(shape.geometry, direction);
        let filters = match Tiling::of(shape) {
            Some(tiling) => vec![Filters::winograd(&weights, &taps[0].taps, tiling.tile)],
            None => phases(&taps)
                .map(|[rows, columns]| Filters::direct(&weights, &rows.taps, &columns.taps))
                .collect(),
        };
        let bias = if direction == Direction::Forward { bias.to_vec() } else { Vec::new() };
        Self { filters, bias }
    }
}

/// Weights that are packed when they are first used: the way depends on the size of the images.
#[derive(Debug)]
pub(crate) struct PackedOnce {
    weights: Vec<f32>,
    bias: Vec<f32>,
    /// By direction; filters as they are, for tiles of two, for tiles of four.
    packed: [[OnceLock<Packed>; 3]; 2],
}

impl PackedOnce {
    /// `weights`: `[outputs, inputs, kernel, kernel]`; `bias`: one per output, or none.
    pub(crate) fn new(weights: Vec<f32>, bias: Vec<f32>) -> Self {
        Self { weights, bias, packed: Default::default() }
    }

    /// The filters for a shape.
    pub(crate) fn get(&self, shape: &ConvShape, direction: Direction) -> &Packed {
        let way = match Tiling::of(shape).map(|tiling| tiling.tile) {
            None => 0,
            Some(Tile::Two) => 1,
            Some(Tile::Four) => 2,
        };
        self.packed[direction as usize][way]
            .get_or_init(|| Packed::new(shape, direction, &self.weights, &self.bias))
    }
}

/// Pairs of residues that have taps.
fn phases(taps: &[Taps]) -> impl Iterator<Item = [&Taps; 2]> {
    let pairs = taps.iter().flat_map(move |rows| taps.iter().map(move |columns| [rows, columns]));
    pairs.filter(|pair| pair.iter().all(|taps| !taps.taps.is_empty()))
}

/// Memory of one thread, reused from task to task.
#[derive(Default)]
pub(crate) struct Scratch {
    pub(crate) padded: Vec<f32>,
    pub(crate) winograd: winograd::Scratch,
}

impl Plan {
    /// The gradient of the input has one correlation for each pair of residues of the stride.
    pub(crate) fn new(shape: &ConvShape, direction: Direction) -> Self {
        let images = shape.images_per_task();
        let mut sizes =
            [[shape.height, shape.width, shape.inputs], [shape.out_height, shape.out_width, shape.outputs]];
        if direction == Direction::InputGradient {
            sizes.reverse();
        }
        let [from, to] = sizes;
        let out_values = to.iter().product();
        if let Some(tiling) = Tiling::of(shape) {
            return Self { padded: tiling.padded(from[2]), out_values, images, way: Way::Winograd(tiling) };
        }
        let taps = Taps::of(shape.geometry, direction);
        let (mut before, mut after) = (0, 0);
        for taps in &taps {
            for (from, to) in from.into_iter().zip(to).take(2) {
                for (_, first) in taps.positions(to) {
                    before = before.max(-first);
                    after = after.max(first + taps.taps.len() as isize - from as isize);
                }
            }
        }
        let padded = Padded::new(from, [before as usize, after as usize]);
        let pixels = |[rows, columns]: [&Taps; 2]| {
            let mut pixels = Vec::new();
            for image in 0..images {
                for (y, from_y) in rows.positions(to[0]) {
                    for (x, from_x) in columns.positions(to[1]) {
                        let inside = padded.at((from_y + before) as usize, (from_x + before) as usize);
                        pixels.push(Pixel {
                            from: image * padded.values() + inside,
                            to: image * out_values + (y * to[1] + x) * to[2],
                        });
                    }
                }
            }
            pixels
        };
        let way = Way::Direct(phases(&taps).map(pixels).collect());
        Self { padded, out_values, images, way }
    }

    /// Runs it on the images of one task.
    pub(crate) fn run(&self, packed: &Packed, images: &[f32], out: &mut [f32], scratch: &mut Scratch) {
        let Scratch { padded, winograd } = scratch;
        self.run_padded(packed, self.padded.pad(images, padded), out, winograd);
    }

    /// Filters W below filters Ẇ, for [`Self::run_pair`]; none where it has no way of its own.
    pub(crate) fn stack(&self, weight: &Packed, dot: &Packed) -> Option<Filters> {
        matches!(self.way, Way::Winograd(_)).then(|| dot.filters[0].above(&weight.filters[0]))
    }

    /// `first = W ⋆ a` unless it is empty, `second = W ⋆ b + Ẇ ⋆ a` for the images of one task, without bias. `both`:
    /// of [`Self::stack`].
    pub(crate) fn run_pair(
        &self,
        weight: &Packed,
        both: &Filters,
        [a, b]: [&[f32]; 2],
        out: [&mut [f32]; 2],
        [scratch, other]: [&mut Scratch; 2],
    ) {
        let Way::Winograd(tiling) = &self.way else { return };
        let pair = [self.padded.pad(a, &mut scratch.padded), self.padded.pad(b, &mut other.padded)];
        let filters = [&weight.filters[0], both];
        match tiling.tile {
            Tile::Two => scratch.winograd.convolve_pair::<F2, 2, 4>(tiling, filters, pair, out),
            Tile::Four => scratch.winograd.convolve_pair::<F4, 4, 6>(tiling, filters, pair, out),
        }
    }

    /// Runs it on the images of one task, in their margins.
    pub(crate) fn run_padded(
        &self,
        Packed { filters, bias }: &Packed,
        input: &[f32],
        out: &mut [f32],
        scratch: &mut winograd::Scratch,
    ) {
        match &self.way {
            Way::Winograd(tiling) => match tiling.tile {
                Tile::Two => scratch.convolve::<F2, 2, 4>(tiling, &filters[0], bias, input, out),
                Tile::Four => scratch.convolve::<F4, 4, 6>(tiling, &filters[0], bias, input, out),
            },
            Way::Direct(phases) => {
                let images = out.len() / self.out_values;
                let row_stride = self.padded.row();
                for (pixels, filters) in phases.iter().zip(filters) {
                    let pixels = &pixels[..pixels.len() / self.images * images];
                    let correlate = Correlate { filters, plane: 0, bias, input, row_stride, pixels, out };
                    run_by_lanes(correlate);
                }
            }
        }
    }
}
