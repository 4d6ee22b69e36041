//! The transforms, for tiles of two and of four.
//!
//! Loops stand where `array::from_fn` would be shorter: a closure that is not inlined runs without the vector instructions
//! that the function around it was compiled for.

#![expect(clippy::needless_range_loop, reason = "indices are those of the matrices")]

use std::marker::PhantomData;

use pulp::{Simd, WithSimd};

use super::Tiling;
use crate::filters::{LANES, Lanes};
use crate::shape::Padded;

/// One direction of a transform to frequencies: `Bᵀ d` of the `PATCH` inputs under a tile, `A y` of the gradients of its
/// `TILE` outputs; matrices as Lavin and Gray name them.
pub(crate) trait ToFrequencies<const IN: usize, const PATCH: usize> {
    fn frequencies<S: Simd>(simd: S, values: &[S::f32s; IN]) -> [S::f32s; PATCH];
}

/// One of the algorithms F(TILE x TILE, 3x3) along one direction.
pub(crate) trait Algorithm<const TILE: usize, const PATCH: usize>:
    ToFrequencies<PATCH, PATCH> + ToFrequencies<TILE, PATCH> + Sync
{
    /// `Aᵀ m`, frequencies to outputs.
    fn outputs<S: Simd>(simd: S, m: &[S::f32s; PATCH]) -> [S::f32s; TILE];

    /// `G g`, filters to frequencies.
    fn filter(g: [f32; 3]) -> [f32; PATCH];

    /// `Gᵀ u`, frequencies to gradients of filters.
    fn filter_gradient(u: [f32; PATCH]) -> [f32; 3];
}

/// `factor · a + b`.
#[inline(always)]
fn times<S: Simd>(simd: S, factor: f32, a: S::f32s, b: S::f32s) -> S::f32s {
    simd.mul_add_e_f32s(simd.splat_f32s(factor), a, b)
}

/// F(2x2, 3x3).
pub(crate) struct F2;

impl ToFrequencies<4, 4> for F2 {
    #[inline(always)]
    fn frequencies<S: Simd>(simd: S, d: &[S::f32s; 4]) -> [S::f32s; 4] {
        [
            simd.sub_f32s(d[0], d[2]),
            simd.add_f32s(d[1], d[2]),
            simd.sub_f32s(d[2], d[1]),
            simd.sub_f32s(d[1], d[3]),
        ]
    }
}

impl ToFrequencies<2, 4> for F2 {
    #[inline(always)]
    fn frequencies<S: Simd>(simd: S, y: &[S::f32s; 2]) -> [S::f32s; 4] {
        [y[0], simd.add_f32s(y[0], y[1]), simd.sub_f32s(y[0], y[1]), simd.neg_f32s(y[1])]
    }
}

impl Algorithm<2, 4> for F2 {
    #[inline(always)]
    fn outputs<S: Simd>(simd: S, m: &[S::f32s; 4]) -> [S::f32s; 2] {
        [simd.add_f32s(m[0], simd.add_f32s(m[1], m[2])), simd.sub_f32s(simd.sub_f32s(m[1], m[2]), m[3])]
    }

    #[inline(always)]
    fn filter([a, b, c]: [f32; 3]) -> [f32; 4] {
        let (outer, inner) = (0.5 * (a + c), 0.5 * b);
        [a, outer + inner, outer - inner, c]
    }

    #[inline(always)]
    fn filter_gradient(u: [f32; 4]) -> [f32; 3] {
        let (sum, difference) = (0.5 * (u[1] + u[2]), 0.5 * (u[1] - u[2]));
        [u[0] + sum, difference, sum + u[3]]
    }
}

/// F(4x4, 3x3).
pub(crate) struct F4;

impl ToFrequencies<6, 6> for F4 {
    #[inline(always)]
    fn frequencies<S: Simd>(simd: S, d: &[S::f32s; 6]) -> [S::f32s; 6] {
        let even = times(simd, -4.0, d[2], d[4]);
        let odd = times(simd, -4.0, d[1], d[3]);
        let even_far = simd.sub_f32s(d[4], d[2]);
        let odd_far = simd.sub_f32s(d[3], d[1]);
        let odd_far = simd.add_f32s(odd_far, odd_far);
        [
            times(simd, 4.0, d[0], times(simd, -5.0, d[2], d[4])),
            simd.add_f32s(even, odd),
            simd.sub_f32s(even, odd),
            simd.add_f32s(even_far, odd_far),
            simd.sub_f32s(even_far, odd_far),
            times(simd, 4.0, d[1], times(simd, -5.0, d[3], d[5])),
        ]
    }
}

impl ToFrequencies<4, 6> for F4 {
    #[inline(always)]
    fn frequencies<S: Simd>(simd: S, y: &[S::f32s; 4]) -> [S::f32s; 6] {
        let even = simd.add_f32s(y[0], y[2]);
        let odd = simd.add_f32s(y[1], y[3]);
        let even_far = times(simd, 4.0, y[2], y[0]);
        let odd_far = times(simd, 4.0, y[3], y[1]);
        let odd_far = simd.add_f32s(odd_far, odd_far);
        [
            y[0],
            simd.add_f32s(even, odd),
            simd.sub_f32s(even, odd),
            simd.add_f32s(even_far, odd_far),
            simd.sub_f32s(even_far, odd_far),
            y[3],
        ]
    }
}

impl Algorithm<4, 6> for F4 {
    #[inline(always)]
    fn outputs<S: Simd>(simd: S, m: &[S::f32s; 6]) -> [S::f32s; 4] {
        let even = simd.add_f32s(m[1], m[2]);
        let odd = simd.sub_f32s(m[1], m[2]);
        let even_far = simd.add_f32s(m[3], m[4]);
        let odd_far = simd.sub_f32s(m[3], m[4]);
        [
            simd.add_f32s(simd.add_f32s(m[0], even), even_far),
            times(simd, 2.0, odd_far, odd),
            times(simd, 4.0, even_far, even),
            simd.add_f32s(times(simd, 8.0, odd_far, odd), m[5]),
        ]
    }

    #[inline(always)]
    fn filter([a, b, c]: [f32; 3]) -> [f32; 6] {
        let (outer, inner) = ((a + c) * (-1.0 / 6.0), b * (1.0 / 6.0));
        let (far, middle) = (a * (1.0 / 24.0) + c * (1.0 / 6.0), b * (1.0 / 12.0));
        [a * 0.25, outer - inner, outer + inner, far + middle, far - middle, c]
    }

    #[inline(always)]
    fn filter_gradient(u: [f32; 6]) -> [f32; 3] {
        let (near, far) = (u[1] + u[2], u[3] + u[4]);
        [
            u[0] * 0.25 - near * (1.0 / 6.0) + far * (1.0 / 24.0),
            (u[2] - u[1]) * (1.0 / 6.0) + (u[3] - u[4]) * (1.0 / 12.0),
            (far - near) * (1.0 / 6.0) + u[5],
        ]
    }
}

/// Transforms each lane.
#[inline(always)]
fn by_lane<const IN: usize, const OUT: usize>(
    values: &[Lanes; IN],
    transform: impl Fn([f32; IN]) -> [f32; OUT],
) -> [Lanes; OUT] {
    let mut out = [[0.0; LANES]; OUT];
    for lane in 0..LANES {
        let mut line = [0.0; IN];
        for at in 0..IN {
            line[at] = values[at][lane];
        }
        let line = transform(line);
        for at in 0..OUT {
            out[at][lane] = line[at];
        }
    }
    out
}

/// `T v Tᵀ` of a square of values, by what `T` makes of a line: from `get(place)`, rows first, to `put(place, values)`.
#[inline(always)]
pub(crate) fn transform_lanes<const IN: usize, const OUT: usize>(
    line: impl Fn([f32; IN]) -> [f32; OUT] + Copy,
    get: impl Fn(usize) -> Lanes,
    mut put: impl FnMut(usize, &Lanes),
) {
    let mut columns = [[[0.0; LANES]; IN]; OUT];
    for y in 0..IN {
        let mut values = [[0.0; LANES]; IN];
        for (x, lanes) in values.iter_mut().enumerate() {
            *lanes = get(y * IN + x);
        }
        for (column, lanes) in columns.iter_mut().zip(by_lane(&values, line)) {
            column[y] = lanes;
        }
    }
    for (x, column) in columns.iter().enumerate() {
        for (y, lanes) in by_lane(column, line).iter().enumerate() {
            put(y * OUT + x, lanes);
        }
    }
}

/// Squares of `IN` x `IN` pixels to all frequencies, `[frequency][tile][channel]`.
pub(crate) struct Expand<'a, const IN: usize, const PATCH: usize, A> {
    pub(crate) tiling: &'a Tiling,
    /// The margins of the images.
    pub(crate) padded: &'a Padded,
    pub(crate) input: &'a [f32],
    /// Values from one frequency to the next.
    pub(crate) plane: usize,
    pub(crate) out: &'a mut [f32],
    pub(crate) algorithm: PhantomData<A>,
}

impl<const IN: usize, const PATCH: usize, A: ToFrequencies<IN, PATCH>> WithSimd for Expand<'_, IN, PATCH, A> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { tiling, padded, input, plane, out, .. } = self;
        let (out, _) = S::as_mut_simd_f32s(out);
        let (channels, row) = (padded.inner[2], padded.row());
        let (vectors, plane) = (channels / S::F32_LANES, plane / S::F32_LANES);
        let zero = simd.splat_f32s(0.0);
        // outside the loops, which write all of it: zeros would be written for each vector
        let mut columns = [[zero; IN]; PATCH];
        let mut at = 0;
        for image in input.chunks_exact(padded.values()) {
            for [top, left] in tiling.corners() {
                let square = &image[padded.at(top, left)..];
                let mut values: [[&[S::f32s]; IN]; IN] = [[&[]; IN]; IN];
                for (y, values) in values.iter_mut().enumerate() {
                    let line = &square[y * row..][..IN * channels];
                    for (x, values) in values.iter_mut().enumerate() {
                        *values = S::as_simd_f32s(&line[x * channels..][..channels]).0;
                    }
                }
                for vector in 0..vectors {
                    for x in 0..IN {
                        let mut column = [zero; IN];
                        for y in 0..IN {
                            column[y] = values[y][x][vector];
                        }
                        let line = A::frequencies(simd, &column);
                        for y in 0..PATCH {
                            columns[y][x] = line[y];
                        }
                    }
                    let place = at + vector;
                    for (y, column) in columns.iter().enumerate() {
                        let line = A::frequencies(simd, column);
                        for (x, value) in line.iter().enumerate() {
                            out[(y * PATCH + x) * plane + place] = *value;
                        }
                    }
                }
                at += vectors;
            }
        }
    }
}

/// All frequencies, `[frequency][tile][channel]`, to images.
pub(crate) struct Collapse<'a, const TILE: usize, const PATCH: usize, A> {
    pub(crate) tiling: &'a Tiling,
    pub(crate) channels: usize,
    pub(crate) input: &'a [f32],
    /// Added to every output; one per channel, or none.
    pub(crate) bias: &'a [f32],
    pub(crate) out: &'a mut [f32],
    pub(crate) algorithm: PhantomData<A>,
}

impl<const TILE: usize, const PATCH: usize, A: Algorithm<TILE, PATCH>> WithSimd
    for Collapse<'_, TILE, PATCH, A>
{
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { tiling, channels, input, bias, out, .. } = self;
        let [height, width] = tiling.size;
        let (input, _) = S::as_simd_f32s(input);
        let (out, _) = S::as_mut_simd_f32s(out);
        let (bias, _) = S::as_simd_f32s(bias);
        let (vectors, plane) = (channels / S::F32_LANES, input.len() / (PATCH * PATCH));
        let zero = simd.splat_f32s(0.0);
        let mut lines = [[zero; PATCH]; TILE];
        let mut at = 0;
        for image in out.chunks_exact_mut(height * width * vectors) {
            for [top, left] in tiling.corners() {
                let (rows, columns) = (TILE.min(height - top), TILE.min(width - left));
                for vector in 0..vectors {
                    let bias = if bias.is_empty() { zero } else { bias[vector] };
                    for x in 0..PATCH {
                        let mut column = [zero; PATCH];
                        for y in 0..PATCH {
                            column[y] = input[(y * PATCH + x) * plane + at + vector];
                        }
                        let outputs = A::outputs(simd, &column);
                        for y in 0..TILE {
                            lines[y][x] = outputs[y];
                        }
                    }
                    for (y, line) in lines.iter().enumerate().take(rows) {
                        let outputs = A::outputs(simd, line);
                        let place = ((top + y) * width + left) * vectors + vector;
                        for (x, value) in outputs.iter().enumerate().take(columns) {
                            image[place + x * vectors] = simd.add_f32s(*value, bias);
                        }
                    }
                }
                at += vectors;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use pulp::Scalar;

    use super::*;

    /// Three outputs of a filter along one direction, by the algorithm and by its definition; and both adjoints.
    fn check<A: Algorithm<TILE, PATCH>, const TILE: usize, const PATCH: usize>() {
        let d: [f32; PATCH] = std::array::from_fn(|i| ((i * 7 + 3) % 11) as f32 - 5.0);
        let g = [0.5, -1.25, 2.0];
        let simd = Scalar;
        let (u, v) = (A::filter(g), <A as ToFrequencies<PATCH, PATCH>>::frequencies(simd, &d));
        let m: [f32; PATCH] = std::array::from_fn(|i| u[i] * v[i]);
        let y = A::outputs(simd, &m);
        for (at, y) in y.iter().enumerate() {
            let expected: f32 = (0..3).map(|tap| g[tap] * d[at + tap]).sum();
            assert!((y - expected).abs() < 1e-4, "output {at}: {y}, expected {expected}");
        }
        let dy: [f32; TILE] = std::array::from_fn(|i| i as f32 - 0.75);
        let dm = <A as ToFrequencies<TILE, PATCH>>::frequencies(simd, &dy);
        let dg = A::filter_gradient(std::array::from_fn(|i| dm[i] * v[i]));
        for (tap, dg) in dg.iter().enumerate() {
            let expected: f32 = (0..TILE).map(|at| dy[at] * d[at + tap]).sum();
            assert!((dg - expected).abs() < 1e-3, "tap {tap}: {dg}, expected {expected}");
        }
    }

    #[test]
    fn filtering_by_frequencies_is_filtering() {
        check::<F2, 2, 4>();
        check::<F4, 4, 6>();
    }
}
