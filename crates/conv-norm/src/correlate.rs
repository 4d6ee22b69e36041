//! The inner loop: sliding filters over channels-last values, some pixels and [`LANES`] output channels at a time, all
//! sums in registers.

#![expect(
    clippy::manual_memcpy,
    clippy::needless_range_loop,
    reason = "sums that are never referred to stay in registers"
)]

use pulp::Simd;

use crate::activation::After;
use crate::filters::{Filters, LANES};
use crate::vectors::ByLanes;

/// Pixels that one pass of the inner loop computes.
const TILE: usize = 6;

/// The same where a block is one vector, so that there are registers for more sums.
const LARGE_TILE: usize = 8;

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
    /// The first of the filters that are wanted, at a whole block, and how many.
    pub(crate) wanted: [usize; 2],
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
    /// What is done to the results, which lie one after another, while they are in the cache.
    pub(crate) after: Option<After<'a>>,
}

impl ByLanes for Correlate<'_> {
    #[inline(always)]
    fn run<S: Simd, const VECTORS: usize>(mut self, simd: S) {
        let blocks = self.wanted[1].div_ceil(LANES);
        // where a block is one vector, there are registers for the sums of two
        let paired = if VECTORS == 1 { blocks / 2 * 2 } else { 0 };
        for pixels in self.pixels.chunks(PIXELS_IN_CACHE) {
            for first in (0..paired).step_by(2) {
                self.blocks::<S, VECTORS, 2>(simd, pixels, first);
            }
            for block in paired..blocks {
                self.blocks::<S, VECTORS, 1>(simd, pixels, block);
            }
            if let (Some(after), [first, .., last] | [first @ last]) = (&self.after, pixels) {
                let results = first.to..last.to + self.wanted[1];
                after.apply(results.start, &mut self.out[results]);
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
            weights[at] = self.filters.block(self.plane, self.wanted[0] / LANES + block + at);
        }
        if VECTORS == 1 {
            self.tiles::<S, VECTORS, BLOCKS, LARGE_TILE>(simd, weights, pixels, &start, first);
        } else {
            self.tiles::<S, VECTORS, BLOCKS, TILE>(simd, weights, pixels, &start, first);
        }
    }

    /// As many pixels at a time as there are registers for; where fewer are left, the last one again and again.
    #[inline(always)]
    fn tiles<S: Simd, const VECTORS: usize, const BLOCKS: usize, const PIXELS: usize>(
        &mut self,
        simd: S,
        weights: [&[f32]; BLOCKS],
        pixels: &[Pixel],
        start: &[[f32; LANES]; BLOCKS],
        first: usize,
    ) {
        let (tiles, rest) = pixels.as_chunks::<PIXELS>();
        for tile in tiles {
            self.tile::<S, VECTORS, BLOCKS, PIXELS>(simd, weights, tile, PIXELS, start, first);
        }
        let Some(last) = rest.last() else { return };
        if PIXELS > TILE && rest.len() <= TILE {
            let mut tile = [*last; TILE];
            tile[..rest.len()].copy_from_slice(rest);
            self.tile::<S, VECTORS, BLOCKS, TILE>(simd, weights, &tile, rest.len(), start, first);
        } else {
            let mut tile = [*last; PIXELS];
            tile[..rest.len()].copy_from_slice(rest);
            self.tile::<S, VECTORS, BLOCKS, PIXELS>(simd, weights, &tile, rest.len(), start, first);
        }
    }

    /// The output channels from `first` on at the first `count` of some pixels.
    #[inline(always)]
    fn tile<S: Simd, const VECTORS: usize, const BLOCKS: usize, const PIXELS: usize>(
        &mut self,
        simd: S,
        weights: [&[f32]; BLOCKS],
        tile: &[Pixel; PIXELS],
        count: usize,
        start: &[[f32; LANES]; BLOCKS],
        first: usize,
    ) {
        let sums = self.tile_sums::<S, VECTORS, BLOCKS, PIXELS>(simd, weights, tile, start);
        // constant bounds: the sums stay in registers
        for pixel in 0..PIXELS {
            if pixel >= count {
                break;
            }
            for at in 0..BLOCKS {
                let first = first + at * LANES;
                let (to, width) = (tile[pixel].to + first, LANES.min(self.wanted[1] - first));
                // by way of memory, the sums of two blocks would wait for it, and those of one would not stay in registers without
                if BLOCKS > 1 && width == LANES {
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

    #[inline(always)]
    fn tile_sums<S: Simd, const VECTORS: usize, const BLOCKS: usize, const PIXELS: usize>(
        &self,
        simd: S,
        weights: [&[f32]; BLOCKS],
        tile: &[Pixel; PIXELS],
        start: &[[f32; LANES]; BLOCKS],
    ) -> [[[S::f32s; VECTORS]; BLOCKS]; PIXELS] {
        let Self { filters, input, row_stride, .. } = self;
        let mut sums = [[[simd.splat_f32s(0.0); VECTORS]; BLOCKS]; PIXELS];
        for pixel in 0..PIXELS {
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
            let mut values: [&[f32]; PIXELS] = [&[]; PIXELS];
            for pixel in 0..PIXELS {
                let from = tile[pixel].from;
                values[pixel] = &input[from + row * row_stride..][..run];
            }
            for at in 0..run {
                for pixel in 0..PIXELS {
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
