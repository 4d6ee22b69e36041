//! The inner loop: sliding filters over channels-last values, [`TILE`] pixels and [`LANES`] output channels at a time, all
//! sums in registers.

#![expect(
    clippy::manual_memcpy,
    clippy::needless_range_loop,
    reason = "sums that are never referred to stay in registers"
)]

use pulp::Simd;

use crate::filters::{Filters, LANES};
use crate::vectors::ByLanes;

/// Pixels that one pass of the inner loop computes.
const TILE: usize = 6;

/// Pixels whose inputs stay in the cache while all blocks of output channels pass over them.
const PIXELS_IN_CACHE: usize = 96;

/// Where the values of one output pixel come from and go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pixel {
    /// First value under the filter.
    pub(crate) from: usize,
    /// First output channel.
    pub(crate) to: usize,
}

/// `out[pixel.to + o] = bias[o] + Σ_row Σ_at filter[o][row][at] · input[pixel.from + row · row_stride + at]`.
pub(crate) struct Correlate<'a> {
    /// The filters.
    pub(crate) filters: &'a Filters,
    /// Which plane of them.
    pub(crate) plane: usize,
    /// Added to every output; one per output channel, or none.
    pub(crate) bias: &'a [f32],
    /// Channels-last values with their padding.
    pub(crate) input: &'a [f32],
    /// Values from one row of the input to the next.
    pub(crate) row_stride: usize,
    /// The pixels to compute.
    pub(crate) pixels: &'a [Pixel],
    /// Where the results go.
    pub(crate) out: &'a mut [f32],
}

impl ByLanes for Correlate<'_> {
    #[inline(always)]
    fn run<S: Simd, const VECTORS: usize>(mut self, simd: S) {
        let blocks = self.filters.blocks();
        // where a block is one vector, there are registers for the sums of two
        let paired = if VECTORS == 1 { blocks / 2 * 2 } else { 0 };
        for pixels in self.pixels.chunks(PIXELS_IN_CACHE) {
            for first in (0..paired).step_by(2) {
                self.blocks::<S, VECTORS, 2>(simd, pixels, first);
            }
            for block in paired..blocks {
                self.blocks::<S, VECTORS, 1>(simd, pixels, block);
            }
        }
    }
}

impl Correlate<'_> {
    /// `BLOCKS` blocks of output channels from `block` on, at some pixels.
    #[inline(always)]
    fn blocks<S: Simd, const VECTORS: usize, const BLOCKS: usize>(
        &mut self,
        simd: S,
        pixels: &[Pixel],
        block: usize,
    ) {
        let first = block * LANES;
        let mut start = [[0.0; LANES]; BLOCKS];
        let mut weights: [&[f32]; BLOCKS] = [&[]; BLOCKS];
        for at in 0..BLOCKS {
            if let Some(bias) = self.bias.get(first + at * LANES..) {
                let width = LANES.min(bias.len());
                start[at][..width].copy_from_slice(&bias[..width]);
            }
            weights[at] = self.filters.block(self.plane, block + at);
        }
        for tile in pixels.chunks(TILE) {
            let sums = self.tile_sums::<S, VECTORS, BLOCKS>(simd, weights, tile, &start);
            // constant bounds: the sums stay in registers
            for pixel in 0..TILE {
                if pixel >= tile.len() {
                    break;
                }
                for at in 0..BLOCKS {
                    let first = first + at * LANES;
                    let (to, width) = (tile[pixel].to + first, LANES.min(self.filters.outputs - first));
                    if width == LANES {
                        let (out, _) = S::as_mut_simd_f32s(&mut self.out[to..to + LANES]);
                        for vector in 0..VECTORS {
                            out[vector] = sums[pixel][at][vector];
                        }
                    } else {
                        let mut lanes = [0.0_f32; LANES];
                        let (memory, _) = S::as_mut_simd_f32s(&mut lanes);
                        for vector in 0..VECTORS {
                            memory[vector] = sums[pixel][at][vector];
                        }
                        self.out[to..to + width].copy_from_slice(&lanes[..width]);
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn tile_sums<S: Simd, const VECTORS: usize, const BLOCKS: usize>(
        &self,
        simd: S,
        weights: [&[f32]; BLOCKS],
        tile: &[Pixel],
        start: &[[f32; LANES]; BLOCKS],
    ) -> [[[S::f32s; VECTORS]; BLOCKS]; TILE] {
        let Self { filters, input, row_stride, .. } = self;
        // a last tile with fewer pixels repeats its last one
        let mut from = [tile[tile.len() - 1].from; TILE];
        for (from, pixel) in from.iter_mut().zip(tile) {
            *from = pixel.from;
        }
        let mut sums = [[[simd.splat_f32s(0.0); VECTORS]; BLOCKS]; TILE];
        for pixel in 0..TILE {
            for at in 0..BLOCKS {
                for vector in 0..VECTORS {
                    sums[pixel][at][vector] = S::as_simd_f32s(&start[at]).0[vector];
                }
            }
        }
        let run = filters.run;
        for row in 0..filters.rows {
            let mut lanes: [&[[S::f32s; VECTORS]]; BLOCKS] = [&[]; BLOCKS];
            for at in 0..BLOCKS {
                let (weights, _) = S::as_simd_f32s(&weights[at][row * run * LANES..][..run * LANES]);
                lanes[at] = &weights.as_chunks::<VECTORS>().0[..run];
            }
            let mut values: [&[f32]; TILE] = [&[]; TILE];
            for (values, from) in values.iter_mut().zip(from) {
                *values = &input[from + row * row_stride..][..run];
            }
            for at in 0..run {
                for pixel in 0..TILE {
                    let value = simd.splat_f32s(values[pixel][at]);
                    for block in 0..BLOCKS {
                        let weights = &lanes[block][at];
                        for vector in 0..VECTORS {
                            let sum = sums[pixel][block][vector];
                            sums[pixel][block][vector] = simd.mul_add_e_f32s(value, weights[vector], sum);
                        }
                    }
                }
            }
        }
        sums
    }
}
