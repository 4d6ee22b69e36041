//! The inner loop: sliding filters over channels-last values, [`TILE`] pixels and [`LANES`] output channels at a time, all
//! sums in registers.

use pulp::{Simd, WithSimd};

use crate::filters::{Filters, LANES};

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

impl WithSimd for Correlate<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match LANES / S::F32_LANES {
            1 => self.run::<S, 1>(simd),
            2 => self.run::<S, 2>(simd),
            4 => self.run::<S, 4>(simd),
            8 => self.run::<S, 8>(simd),
            _ => self.run::<S, 16>(simd),
        }
    }
}

impl Correlate<'_> {
    /// `VECTORS` vectors make up [`LANES`].
    #[inline(always)]
    fn run<S: Simd, const VECTORS: usize>(self, simd: S) {
        let Self { filters, bias, input, row_stride, pixels, out } = self;
        for pixels in pixels.chunks(PIXELS_IN_CACHE) {
            for block in 0..filters.blocks() {
                let first = block * LANES;
                let width = LANES.min(filters.outputs - first);
                let mut start = [0.0; LANES];
                if !bias.is_empty() {
                    start[..width].copy_from_slice(&bias[first..first + width]);
                }
                let weights = filters.block(block);
                for tile in pixels.chunks(TILE) {
                    // a last tile with fewer pixels repeats its last one
                    let from: [usize; TILE] = std::array::from_fn(|p| tile[p.min(tile.len() - 1)].from);
                    let sums =
                        tile_sums::<S, VECTORS>(simd, weights, filters, input, row_stride, from, &start);
                    for (pixel, sums) in tile.iter().zip(&sums) {
                        let mut lanes = [0.0_f32; LANES];
                        S::as_mut_simd_f32s(&mut lanes).0.copy_from_slice(sums);
                        let to = pixel.to + first;
                        out[to..to + width].copy_from_slice(&lanes[..width]);
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
    let mut sums: [[S::f32s; VECTORS]; TILE] = [std::array::from_fn(|v| start[v]); TILE];
    for row in 0..filters.rows {
        let (weights, _) = S::as_simd_f32s(&weights[row * filters.run * LANES..][..filters.run * LANES]);
        let (weights, _) = weights.as_chunks::<VECTORS>();
        let run = weights.len();
        let values: [&[f32]; TILE] = from.map(|from| &input[from + row * row_stride..][..run]);
        for (at, weights) in weights.iter().enumerate() {
            for (sums, values) in sums.iter_mut().zip(&values) {
                let value = simd.splat_f32s(values[at]);
                for (sum, weight) in sums.iter_mut().zip(weights) {
                    *sum = simd.mul_add_e_f32s(value, *weight, *sum);
                }
            }
        }
    }
    sums
}
