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
    fn run<S: Simd, const VECTORS: usize>(self, simd: S) {
        let Self { filters, plane, bias, input, row_stride, pixels, out } = self;
        for pixels in pixels.chunks(PIXELS_IN_CACHE) {
            for block in 0..filters.blocks() {
                let first = block * LANES;
                let width = LANES.min(filters.outputs - first);
                let mut start = [0.0; LANES];
                if !bias.is_empty() {
                    start[..width].copy_from_slice(&bias[first..first + width]);
                }
                let weights = filters.block(plane, block);
                for tile in pixels.chunks(TILE) {
                    // a last tile with fewer pixels repeats its last one
                    let mut from = [tile[tile.len() - 1].from; TILE];
                    for (from, pixel) in from.iter_mut().zip(tile) {
                        *from = pixel.from;
                    }
                    let sums =
                        tile_sums::<S, VECTORS>(simd, weights, filters, input, row_stride, from, &start);
                    // constant bounds: the sums stay in registers
                    for pixel in 0..TILE {
                        if pixel >= tile.len() {
                            break;
                        }
                        let to = tile[pixel].to + first;
                        if width == LANES {
                            let (out, _) = S::as_mut_simd_f32s(&mut out[to..to + LANES]);
                            for vector in 0..VECTORS {
                                out[vector] = sums[pixel][vector];
                            }
                        } else {
                            let mut lanes = [0.0_f32; LANES];
                            let (memory, _) = S::as_mut_simd_f32s(&mut lanes);
                            for vector in 0..VECTORS {
                                memory[vector] = sums[pixel][vector];
                            }
                            out[to..to + width].copy_from_slice(&lanes[..width]);
                        }
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn tile_sums<S: Simd, const VECTORS: usize>(
    simd: S,
    weights: &[f32],
    filters: &Filters,
    input: &[f32],
    row_stride: usize,
    from: [usize; TILE],
    start: &[f32; LANES],
) -> [[S::f32s; VECTORS]; TILE] {
    let start = S::as_simd_f32s(start).0;
    let mut sums = [[simd.splat_f32s(0.0); VECTORS]; TILE];
    for pixel in 0..TILE {
        for vector in 0..VECTORS {
            sums[pixel][vector] = start[vector];
        }
    }
    for row in 0..filters.rows {
        let (weights, _) = S::as_simd_f32s(&weights[row * filters.run * LANES..][..filters.run * LANES]);
        let (weights, _) = weights.as_chunks::<VECTORS>();
        let run = weights.len();
        let mut values: [&[f32]; TILE] = [&[]; TILE];
        for (values, from) in values.iter_mut().zip(from) {
            *values = &input[from + row * row_stride..][..run];
        }
        for at in 0..run {
            let weights = weights[at];
            for pixel in 0..TILE {
                let value = simd.splat_f32s(values[pixel][at]);
                for vector in 0..VECTORS {
                    sums[pixel][vector] = simd.mul_add_e_f32s(value, weights[vector], sums[pixel][vector]);
                }
            }
        }
    }
    sums
}
