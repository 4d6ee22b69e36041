//! Filters in the order in which the inner loop reads them.

use std::ops::Range;

use rayon::prelude::*;

use crate::memory::{Lent, apart};
use crate::plan::Direction;
use crate::shape::ConvShape;
use crate::vectors::with_vectors;
use crate::winograd::{F2, F4, Tile, pack_filters};

/// Output channels that one pass of the inner loop computes.
pub(crate) const LANES: usize = 16;

/// Values of [`LANES`] output channels.
pub(crate) type Lanes = [f32; LANES];

/// The weights of a convolution without groups, `[outputs, inputs, kernel, kernel]`, as a correlation in one direction
/// reads them.
pub(crate) struct Weights<'a> {
    values: &'a [f32],
    kernel: usize,
    /// Channels that the correlation makes, and those that it sums over.
    channels: [usize; 2],
    /// Values from one of these channels to the next.
    strides: [usize; 2],
    direction: Direction,
}

impl<'a> Weights<'a> {
    pub(crate) fn new(shape: &ConvShape, direction: Direction, values: &'a [f32]) -> Self {
        let kernel = shape.geometry.kernel;
        let mut channels = [shape.outputs, shape.inputs];
        let mut strides = [shape.inputs * kernel * kernel, kernel * kernel];
        if direction == Direction::InputGradient {
            channels.reverse();
            strides.reverse();
        }
        Self { values, kernel, channels, strides, direction }
    }

    /// Of [`LANES`] output channels from `first` on, the weights of an input channel at a tap; zeros beyond the last.
    #[inline(always)]
    pub(crate) fn lanes(&self, first: usize, input: usize, [row, column]: [usize; 2]) -> Lanes {
        let start = first * self.strides[0] + input * self.strides[1] + row * self.kernel + column;
        let mut lanes = [0.0; LANES];
        for (lane, value) in lanes.iter_mut().enumerate().take(self.channels[0] - first) {
            *value = self.values[start + lane * self.strides[0]];
        }
        lanes
    }

    /// Of [`LANES`] output channels from `first` on, the weights of 1x1 filters at all input channels; zeros beyond the last.
    fn pointwise(&self, first: usize, block: &mut [Lanes]) {
        let width = LANES.min(self.channels[0] - first);
        if width < LANES {
            block.fill([0.0; LANES]);
        }
        let values = &self.values[first * self.strides[0]..];
        with_vectors!({
            if self.strides[0] == 1 {
                for (lanes, values) in block.iter_mut().zip(values.chunks(self.strides[1])) {
                    lanes[..width].copy_from_slice(&values[..width]);
                }
            } else {
                transpose(values, self.strides[0], width, block);
            }
        });
    }

    /// Of [`LANES`] output channels from `first` on, all of which are there, the taps of 3x3 filters at an input channel, in the
    /// order of the values under them.
    #[inline(always)]
    pub(crate) fn nine(&self, first: usize, input: usize) -> [Lanes; 9] {
        let mut taps = [[0.0; LANES]; 9];
        for lane in 0..LANES {
            let start = (first + lane) * self.strides[0] + input * self.strides[1];
            let values = &self.values[start..start + 9];
            for (tap, lanes) in taps.iter_mut().enumerate() {
                let at = if self.direction == Direction::Forward { tap } else { 8 - tap };
                lanes[lane] = values[at];
            }
        }
        taps
    }
}

/// `rows` of values, so many from one to the next, to `columns` of one value of each.
#[inline(always)]
fn transpose(values: &[f32], stride: usize, rows: usize, columns: &mut [Lanes]) {
    // of each row as many values at a time as fill a cache line
    for (at, columns) in columns.chunks_mut(LANES).enumerate() {
        for row in 0..rows {
            let values = &values[row * stride + at * LANES..][..columns.len()];
            for (lanes, value) in columns.iter_mut().zip(values) {
                lanes[row] = *value;
            }
        }
    }
}

/// The filters of one correlation, packed.
///
/// In channels-last layout the values under one row of a filter lie one after another, `width × channels` of them; that is
/// a *run*. A packed block holds, for [`LANES`] output channels, the weights of all rows and runs: `[row][run][LANES]`.
/// Filters at the frequencies of [`crate::winograd`] have one row, the input channels, and a block for each frequency.
/// Depthwise filters lie as the values under them do: `[row][run]`.
#[derive(Clone, Debug)]
pub(crate) struct Filters {
    /// Rows of a filter.
    pub(crate) rows: usize,
    /// Values of one row of a filter.
    pub(crate) run: usize,
    /// Output channels.
    pub(crate) outputs: usize,
    /// Frequencies; 1 for filters as they are.
    planes: usize,
    packed: Lent,
}

impl Filters {
    /// The filters of these taps, for so many adjacent pixels at a time.
    pub(crate) fn direct(weights: &Weights<'_>, rows: &[usize], columns: &[usize], adjacent: usize) -> Self {
        let [outputs, inputs] = weights.channels;
        if adjacent > 1 {
            return Self::adjacent(weights, rows, columns, adjacent);
        }
        if weights.kernel == 1 && rows.len() == 1 {
            return Self::pack(outputs, 1, [1, inputs], |first, block| weights.pointwise(first, block));
        }
        let run = columns.len() * inputs;
        Self::pack(outputs, 1, [rows.len(), run], |first, block| {
            for input in 0..inputs {
                for (r, row) in rows.iter().enumerate() {
                    for (c, column) in columns.iter().enumerate() {
                        block[r * run + c * inputs + input] = weights.lanes(first, input, [*row, *column]);
                    }
                }
            }
        })
    }

    /// The filters of these taps, one per channel, from `[channels, 1, kernel, kernel]`.
    pub(crate) fn depthwise(
        values: &[f32],
        channels: usize,
        kernel: usize,
        rows: &[usize],
        columns: &[usize],
    ) -> Self {
        let taps = rows.iter().flat_map(|row| columns.iter().map(move |column| row * kernel + column));
        let weights = |tap| (0..channels).map(move |channel| values[channel * kernel * kernel + tap]);
        let values: Vec<f32> = taps.flat_map(weights).collect();
        let mut packed = Lent::new(values.len());
        packed.copy_from_slice(&values);
        Self { rows: rows.len(), run: columns.len() * channels, outputs: channels, planes: 1, packed }
    }

    /// The weights of depthwise filters, `[row][run]`.
    pub(crate) fn values(&self) -> &[f32] {
        &self.packed
    }

    /// One block, whose lanes are the channels of one pixel after another.
    fn adjacent(weights: &Weights<'_>, rows: &[usize], columns: &[usize], pixels: usize) -> Self {
        let [outputs, inputs] = weights.channels;
        let run = (columns.len() + pixels - 1) * inputs;
        Self::pack(pixels * outputs, 1, [rows.len(), run], |_, block| {
            block.fill([0.0; LANES]);
            for (r, row) in rows.iter().enumerate() {
                for (c, column) in columns.iter().enumerate() {
                    for input in 0..inputs {
                        let lanes = weights.lanes(0, input, [*row, *column]);
                        for pixel in 0..pixels {
                            let lane = pixel * outputs;
                            block[r * run + (c + pixel) * inputs + input][lane..lane + outputs]
                                .copy_from_slice(&lanes[..outputs]);
                        }
                    }
                }
            }
        })
    }

    /// 3x3 filters at all frequencies.
    pub(crate) fn winograd(weights: &Weights<'_>, tile: Tile) -> Self {
        let inputs = weights.channels[1];
        Self::pack(weights.channels[0], tile.frequencies(), [1, inputs], |first, block| match tile {
            Tile::Two => pack_filters::<F2, 2, 4>(weights, first, inputs, block),
            Tile::Four => pack_filters::<F4, 4, 6>(weights, first, inputs, block),
        })
    }

    /// Those of some output channels, whole blocks, by this thread alone.
    pub(crate) fn of_outputs(weights: &Weights<'_>, tile: Tile, outputs: Range<usize>) -> Self {
        let (run, planes) = (weights.channels[1], tile.frequencies());
        let length = planes * Self::plane_values(planes, 1, run);
        let mut packed = Lent::new(outputs.len() / LANES * length);
        for (at, block) in packed.chunks_exact_mut(length).enumerate() {
            let (first, block) = (outputs.start + at * LANES, block.as_chunks_mut().0);
            match tile {
                Tile::Two => pack_filters::<F2, 2, 4>(weights, first, run, block),
                Tile::Four => pack_filters::<F4, 4, 6>(weights, first, run, block),
            }
        }
        Self { rows: 1, run, outputs: outputs.len(), planes, packed }
    }

    /// `fill(first output, block)` writes every block with all its planes.
    fn pack(
        outputs: usize,
        planes: usize,
        [rows, run]: [usize; 2],
        fill: impl Fn(usize, &mut [Lanes]) + Sync,
    ) -> Self {
        let length = planes * Self::plane_values(planes, rows, run);
        let mut packed = Lent::new(outputs.div_ceil(LANES) * length);
        packed.par_chunks_mut(length).enumerate().for_each(|(block, values)| {
            fill(block * LANES, values.as_chunks_mut().0);
        });
        Self { rows, run, outputs, planes, packed }
    }

    /// Filters of one row each as the rows of one filter.
    pub(crate) fn above(&self, below: &Self) -> Self {
        let length = self.run * LANES;
        let [one, both] = [1, 2].map(|rows| Self::plane_values(self.planes, rows, self.run));
        let mut packed = Lent::new(self.packed.len() / one * both);
        let rows = self.packed.par_chunks_exact(one).zip(below.packed.par_chunks_exact(one));
        packed.par_chunks_exact_mut(both).zip(rows).for_each(|(packed, (above, below))| {
            packed[..length].copy_from_slice(&above[..length]);
            packed[length..2 * length].copy_from_slice(&below[..length]);
        });
        Self { rows: 2, packed, ..*self }
    }

    /// Values from one plane to the next.
    fn plane_values(planes: usize, rows: usize, run: usize) -> usize {
        let values = rows * run * LANES;
        if planes > 1 { apart(values) } else { values }
    }

    /// One block of a plane, `[row][run][LANES]`.
    pub(crate) fn block(&self, plane: usize, block: usize) -> &[f32] {
        let plane_values = Self::plane_values(self.planes, self.rows, self.run);
        &self.packed[(block * self.planes + plane) * plane_values..][..self.rows * self.run * LANES]
    }
}
