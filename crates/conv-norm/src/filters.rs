//! Filters in the order in which the inner loop reads them.

use rayon::prelude::*;

use crate::shape::Taps;
use crate::winograd::{Tile, pack_filters};

/// Output channels that one pass of the inner loop computes.
pub(crate) const LANES: usize = 16;

/// The filters of one correlation, packed.
///
/// In channels-last layout the values under one row of a filter lie one after another, `width × channels` of them; that is
/// a *run*. A packed block holds, for [`LANES`] output channels, the weights of all rows and runs: `[row][run][LANES]`.
/// Filters at the frequencies of [`crate::winograd`] have one row, the input channels, and a block for each frequency.
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
    packed: Vec<f32>,
}

impl Filters {
    /// The filters of a convolution, from weights `[outputs, inputs, kernel, kernel]`.
    pub(crate) fn forward(weights: &[f32], [outputs, inputs]: [usize; 2], kernel: usize) -> Self {
        let run = kernel * inputs;
        Self::pack(outputs, 1, [kernel, run], |first, width, block| {
            for lane in 0..width {
                let filter = &weights[(first + lane) * inputs * kernel * kernel..];
                for input in 0..inputs {
                    for row in 0..kernel {
                        for column in 0..kernel {
                            block[(row * run + column * inputs + input) * LANES + lane] =
                                filter[(input * kernel + row) * kernel + column];
                        }
                    }
                }
            }
        })
    }

    /// The filters that lead from the gradient of the output to that of the input, for one pair of residues.
    pub(crate) fn backward(
        weights: &[f32],
        [outputs, inputs]: [usize; 2],
        kernel: usize,
        rows: &Taps,
        columns: &Taps,
    ) -> Self {
        let run = columns.taps.len() * outputs;
        Self::pack(inputs, 1, [rows.taps.len(), run], |first, width, block| {
            for output in 0..outputs {
                let filter = &weights[output * inputs * kernel * kernel..][..inputs * kernel * kernel];
                for (r, row) in rows.taps.iter().enumerate() {
                    for (c, column) in columns.taps.iter().enumerate() {
                        let lanes = &mut block[(r * run + c * outputs + output) * LANES..][..width];
                        for (lane, value) in lanes.iter_mut().enumerate() {
                            *value = filter[((first + lane) * kernel + row) * kernel + column];
                        }
                    }
                }
            }
        })
    }

    /// 3x3 filters at all frequencies: of the convolution, or, `mirrored`, of its gradient with respect to the input.
    pub(crate) fn winograd(
        tile: Tile,
        weights: &[f32],
        [outputs, inputs]: [usize; 2],
        mirrored: bool,
    ) -> Self {
        let (rows, columns) = if mirrored { (inputs, outputs) } else { (outputs, inputs) };
        Self::pack(rows, tile.frequencies(), [1, columns], |first, width, block| {
            pack_filters(
                tile,
                columns,
                #[inline(always)]
                |column, tap| {
                    let mut lanes = [0.0; LANES];
                    for (lane, value) in lanes.iter_mut().enumerate().take(width) {
                        *value = if mirrored {
                            weights[(column * inputs + first + lane) * 9 + 8 - tap]
                        } else {
                            weights[((first + lane) * inputs + column) * 9 + tap]
                        };
                    }
                    lanes
                },
                block,
            );
        })
    }

    /// `fill(first output, outputs, block)` for every block with all its planes.
    fn pack(
        outputs: usize,
        planes: usize,
        [rows, run]: [usize; 2],
        fill: impl Fn(usize, usize, &mut [f32]) + Sync,
    ) -> Self {
        let length = planes * rows * run * LANES;
        let mut packed = vec![0.0; outputs.div_ceil(LANES) * length];
        packed.par_chunks_mut(length).enumerate().for_each(|(block, values)| {
            let first = block * LANES;
            fill(first, LANES.min(outputs - first), values);
        });
        Self { rows, run, outputs, planes, packed }
    }

    /// Blocks of output channels.
    pub(crate) fn blocks(&self) -> usize {
        self.outputs.div_ceil(LANES)
    }

    /// One block of a plane, `[row][run][LANES]`.
    pub(crate) fn block(&self, plane: usize, block: usize) -> &[f32] {
        let length = self.rows * self.run * LANES;
        &self.packed[(block * self.planes + plane) * length..][..length]
    }
}
