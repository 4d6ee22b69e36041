//! Convolutions in which every channel has a filter of its own: the same loops as between channels, over vectors of
//! channels, with no sums across them.

use pulp::{Arch, Simd, WithSimd};

use crate::activation::After;
use crate::correlate::Pixel;
use crate::filters::Filters;
use crate::shape::{ConvShape, Padded};

/// Pixels that one pass of the forward loop computes.
const PIXELS: usize = 6;

/// Taps of a filter whose gradients one pass of the loop over pixels sums up.
const TAPS: usize = 9;

/// Pixels whose values stay in the cache while all channels and taps pass over them.
const PIXELS_IN_CACHE: usize = 32;

/// Some values, of a whole vector or, where `PART` says so, of the first lanes of one.
#[inline(always)]
fn load<S: Simd, const PART: bool>(simd: S, values: &[f32]) -> S::f32s {
    if PART { simd.partial_load_f32s(values) } else { S::as_simd_f32s(values).0[0] }
}

#[inline(always)]
fn store<S: Simd, const PART: bool>(simd: S, to: &mut [f32], vector: S::f32s) {
    if PART { simd.partial_store_f32s(to, vector) } else { S::as_mut_simd_f32s(to).0[0] = vector }
}

/// `out[pixel.to + c] = bias[c] + Σ_row Σ_column filter[row][column][c] · input[pixel.from + row · row_stride +
/// column · channels + c]`.
pub(crate) struct Correlate<'a> {
    /// Of [`Filters::depthwise`].
    pub(crate) filters: &'a Filters,
    /// One per channel, or none.
    pub(crate) bias: &'a [f32],
    /// Channels-last values with their padding.
    pub(crate) input: &'a [f32],
    /// Values from one row of the input to the next.
    pub(crate) row_stride: usize,
    /// The pixels to compute.
    pub(crate) pixels: &'a [Pixel],
    /// Where the results go.
    pub(crate) out: &'a mut [f32],
    /// As between channels.
    pub(crate) after: Option<After<'a>>,
}

impl Correlate<'_> {
    pub(crate) fn run(self) {
        Arch::new().dispatch(self);
    }

    /// The results of a tile of pixels in `width` channels from `first` on.
    #[inline(always)]
    fn tile<S: Simd, const PART: bool>(&mut self, simd: S, tile: &[Pixel], first: usize, width: usize) {
        let Self { filters, bias, input, row_stride, out, .. } = self;
        let (channels, weights) = (filters.outputs, filters.values());
        let start = match bias.get(first..first + width) {
            Some(bias) => load::<S, PART>(simd, bias),
            None => simd.splat_f32s(0.0),
        };
        // a last tile with fewer pixels repeats its last one
        let mut from = [tile[tile.len() - 1].from; PIXELS];
        for (from, pixel) in from.iter_mut().zip(tile) {
            *from = pixel.from;
        }
        let mut sums = [start; PIXELS];
        for row in 0..filters.rows {
            let at = row * *row_stride + first;
            for column in (0..filters.run).step_by(channels) {
                let weight = &weights[row * filters.run + column + first..][..width];
                let weight = load::<S, PART>(simd, weight);
                for pixel in 0..PIXELS {
                    let value = &input[from[pixel] + at + column..][..width];
                    sums[pixel] = simd.mul_add_e_f32s(load::<S, PART>(simd, value), weight, sums[pixel]);
                }
            }
        }
        for pixel in 0..PIXELS {
            if pixel >= tile.len() {
                break;
            }
            store::<S, PART>(simd, &mut out[tile[pixel].to + first..][..width], sums[pixel]);
        }
    }
}

impl Correlate<'_> {
    /// The results of a pixel in all channels, which are whole vectors, of square filters of this side: the values under each
    /// tap are a slice of one length, so that nothing is checked between them.
    #[inline(always)]
    fn pixel<S: Simd, const SIDE: usize>(&mut self, simd: S, pixel: &Pixel) {
        let Self { filters, bias, input, row_stride, out, .. } = self;
        let (channels, weights) = (filters.outputs, filters.values());
        let vectors = channels / S::F32_LANES;
        let mut taps: [[[&[S::f32s]; 2]; SIDE]; SIDE] = [[[&[]; 2]; SIDE]; SIDE];
        for (row, taps) in taps.iter_mut().enumerate() {
            let values = &input[pixel.from + row * *row_stride..][..SIDE * channels];
            let weights = &weights[row * filters.run..][..SIDE * channels];
            for (column, tap) in taps.iter_mut().enumerate() {
                *tap = [values, weights]
                    .map(|line| &S::as_simd_f32s(&line[column * channels..][..channels]).0[..vectors]);
            }
        }
        let (out, _) = S::as_mut_simd_f32s(&mut out[pixel.to..][..channels]);
        let (bias, _) = S::as_simd_f32s(bias);
        for (vector, out) in out[..vectors].iter_mut().enumerate() {
            let mut sum = if bias.is_empty() { simd.splat_f32s(0.0) } else { bias[vector] };
            for [values, weights] in taps.as_flattened() {
                sum = simd.mul_add_e_f32s(values[vector], weights[vector], sum);
            }
            *out = sum;
        }
    }

    /// All pixels for square filters of this side, four or two at a time where so many are neighbors: these see so many columns
    /// of the input, with one or two from the first of a pixel to that of the next.
    #[inline(always)]
    fn squares<
        S: Simd,
        const SIDE: usize,
        const OF_FOUR: usize,
        const OF_FOUR_APART: usize,
        const OF_TWO: usize,
        const OF_TWO_APART: usize,
    >(
        &mut self,
        simd: S,
    ) {
        let mut rest = self.pixels;
        while !rest.is_empty() {
            let count = match [4, 2].map(|count| apart(rest, count, self.filters.outputs)) {
                [Some(1), _] => self.neighbors::<S, SIDE, 4, OF_FOUR>(simd, rest),
                [Some(2), _] => self.neighbors::<S, SIDE, 4, OF_FOUR_APART>(simd, rest),
                [_, Some(1)] => self.neighbors::<S, SIDE, 2, OF_TWO>(simd, rest),
                [_, Some(2)] => self.neighbors::<S, SIDE, 2, OF_TWO_APART>(simd, rest),
                _ => self.neighbors::<S, SIDE, 1, SIDE>(simd, rest),
            };
            let (done, after) = rest.split_at(count);
            self.finish(done);
            rest = after;
        }
    }

    /// The results of the first pixels in all channels, which are whole vectors; how many pixels. The values under each tap are a
    /// slice of one length, so that nothing is checked between them, and each row of taps adds to the sums of those before.
    #[inline(always)]
    fn neighbors<S: Simd, const SIDE: usize, const PIXELS: usize, const COLUMNS: usize>(
        &mut self,
        simd: S,
        pixels: &[Pixel],
    ) -> usize {
        let Self { filters, bias, input, row_stride, out, .. } = self;
        let (channels, weights) = (filters.outputs, filters.values());
        let vectors = channels / S::F32_LANES;
        let start = S::as_simd_f32s(bias).0;
        let stride = (COLUMNS - SIDE) / (PIXELS - 1).max(1);
        let step = if PIXELS > 1 { pixels[1].to - pixels[0].to } else { channels };
        let mut places = out[pixels[0].to..].chunks_mut(step);
        let sums: [&mut [S::f32s]; PIXELS] = std::array::from_fn(|_| {
            let place = places.next().expect("a place for each pixel");
            &mut S::as_mut_simd_f32s(&mut place[..channels]).0[..vectors]
        });
        for row in 0..SIDE {
            let line = &input[pixels[0].from + row * *row_stride..][..COLUMNS * channels];
            let values = columns::<S, COLUMNS>(line, channels, vectors);
            let line = &weights[row * filters.run..][..SIDE * channels];
            let weights = columns::<S, SIDE>(line, channels, vectors);
            for vector in 0..vectors {
                for pixel in 0..PIXELS {
                    let mut sum = match row {
                        0 => start.get(vector).copied().unwrap_or(simd.splat_f32s(0.0)),
                        _ => sums[pixel][vector],
                    };
                    for tap in 0..SIDE {
                        let value = values[pixel * stride + tap][vector];
                        sum = simd.mul_add_e_f32s(value, weights[tap][vector], sum);
                    }
                    sums[pixel][vector] = sum;
                }
            }
        }
        PIXELS
    }

    /// What follows, at pixels whose results lie one after another.
    #[inline(always)]
    fn finish(&mut self, pixels: &[Pixel]) {
        if let (Some(after), [first, .., last] | [first @ last]) = (&self.after, pixels) {
            let results = first.to..last.to + self.filters.outputs;
            after.apply(results.start, &mut self.out[results]);
        }
    }
}

impl WithSimd for Correlate<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let (channels, lanes) = (self.filters.outputs, S::F32_LANES);
        let whole = channels / lanes * lanes;
        if whole == channels && self.filters.run == self.filters.rows * channels {
            match self.filters.rows {
                3 => {
                    for pixel in self.pixels {
                        self.pixel::<S, 3>(simd, pixel);
                        self.finish(std::slice::from_ref(pixel));
                    }
                    return;
                }
                // the columns of four and of two neighbors, one or two apart
                5 => return self.squares::<S, 5, 8, 11, 6, 7>(simd),
                _ => {}
            }
        }
        for tile in self.pixels.chunks(PIXELS) {
            for first in (0..whole).step_by(lanes) {
                self.tile::<S, false>(simd, tile, first, lanes);
            }
            if whole < channels {
                self.tile::<S, true>(simd, tile, whole, channels - whole);
            }
            self.finish(tile);
        }
    }
}

/// The vectors of each column of a line.
#[inline(always)]
fn columns<S: Simd, const COUNT: usize>(
    line: &[f32],
    channels: usize,
    vectors: usize,
) -> [&[S::f32s]; COUNT] {
    std::array::from_fn(|column| &S::as_simd_f32s(&line[column * channels..][..channels]).0[..vectors])
}

/// How far the inputs of so many pixels are apart, in pixels, where they are neighbors in a row.
#[inline(always)]
fn apart(pixels: &[Pixel], count: usize, channels: usize) -> Option<usize> {
    let pixels = pixels.get(..count)?;
    let step = pixels[1].from - pixels[0].from;
    let is_even = pixels.windows(2).all(|pair| pair[1].from - pair[0].from == step);
    (is_even && step.is_multiple_of(channels)).then_some(step / channels)
}

/// The gradient of the filters, from the images of one task after another.
pub(crate) struct Gradient {
    shape: ConvShape,
    padded: Padded,
    /// Of the images of a full task.
    pixels: Vec<Pixel>,
    /// Where the value under each tap lies, counted from that under the first.
    taps: Vec<usize>,
}

impl Gradient {
    /// `padded` and `phases` are those of the forward plan, which has one phase.
    pub(crate) fn new(shape: ConvShape, padded: Padded, phases: &[Vec<Pixel>]) -> Self {
        let kernel = shape.geometry.kernel;
        let taps = (0..kernel * kernel).map(|tap| padded.at(tap / kernel, tap % kernel)).collect();
        Self { shape, padded, pixels: phases.concat(), taps }
    }

    /// Sums that it needs, `[tap][channel]`.
    pub(crate) fn values(&self) -> usize {
        self.taps.len() * self.shape.outputs
    }

    /// Adds the share of the images of one task. `buffer` is memory for them with their margins.
    pub(crate) fn add(&self, x: &[f32], dz: &[f32], sums: &mut [f32], buffer: &mut Vec<f32>) {
        let images = x.len() / self.shape.input_values();
        let (input, channels) = (self.padded.pad(x, buffer), self.shape.outputs);
        let pixels = &self.pixels[..images * self.shape.out_pixels()];
        Arch::new().dispatch(Accumulate { channels, taps: &self.taps, input, pixels, dz, sums });
    }

    /// From the sums to `[channel, 1, kernel, kernel]`.
    pub(crate) fn unpack(&self, sums: &[f32]) -> Vec<f32> {
        let (channels, taps) = (self.shape.outputs, self.taps.len());
        (0..channels * taps).map(|at| sums[at % taps * channels + at / taps]).collect()
    }
}

/// `sums[tap][c] += Σ_pixel input[pixel.from + taps[tap] + c] · dz[pixel.to + c]`.
struct Accumulate<'a> {
    channels: usize,
    taps: &'a [usize],
    input: &'a [f32],
    pixels: &'a [Pixel],
    dz: &'a [f32],
    sums: &'a mut [f32],
}

impl Accumulate<'_> {
    /// `width` channels from `first` on, at some pixels.
    #[inline(always)]
    fn channels<S: Simd, const PART: bool>(&mut self, simd: S, pixels: &[Pixel], first: usize, width: usize) {
        let Self { channels, taps, input, dz, sums: memory, .. } = self;
        let tiles = taps.chunks(TAPS).zip(memory.chunks_mut(TAPS * *channels));
        for (taps, memory) in tiles {
            // a last tile with fewer taps repeats its last one
            let mut at = [taps[taps.len() - 1] + first; TAPS];
            for (at, tap) in at.iter_mut().zip(taps) {
                *at = tap + first;
            }
            let mut sums = [simd.splat_f32s(0.0); TAPS];
            for tap in 0..TAPS {
                if tap < taps.len() {
                    sums[tap] = load::<S, PART>(simd, &memory[tap * *channels + first..][..width]);
                }
            }
            for pixel in pixels {
                let gradient = load::<S, PART>(simd, &dz[pixel.to + first..][..width]);
                for tap in 0..TAPS {
                    let value = &input[pixel.from + at[tap]..][..width];
                    sums[tap] = simd.mul_add_e_f32s(load::<S, PART>(simd, value), gradient, sums[tap]);
                }
            }
            for tap in 0..TAPS {
                if tap < taps.len() {
                    store::<S, PART>(simd, &mut memory[tap * *channels + first..][..width], sums[tap]);
                }
            }
        }
    }
}

impl WithSimd for Accumulate<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let (channels, lanes) = (self.channels, S::F32_LANES);
        let whole = channels / lanes * lanes;
        for pixels in self.pixels.chunks(PIXELS_IN_CACHE) {
            for first in (0..whole).step_by(lanes) {
                self.channels::<S, false>(simd, pixels, first, lanes);
            }
            if whole < channels {
                self.channels::<S, true>(simd, pixels, whole, channels - whole);
            }
        }
    }
}
