//! Affine transforms of 8-bit images with Pillow's bilinear and bicubic filters.

use delt_formats::{Interpolation, RgbImage};
use pulp::{Arch, Simd, WithSimd};

use crate::CHANNELS;

/// Color of pixels that come from outside the image: ImageNet's mean in 8 bits, as the published evaluation passes it.
pub(crate) const FILL: [u8; CHANNELS] = [124, 116, 104];

/// Maps a pixel center of the result to the source: `x' = m[0] x + m[1] y + m[2]`, `y' = m[3] x + m[4] y + m[5]`.
pub(crate) type Matrix = [f64; 6];

/// Returns the matrix that turns an image counter-clockwise about its center.
pub(crate) fn rotation(width: u32, height: u32, degrees: f64) -> Matrix {
    // Pillow rounds to 15 decimals, so that a right angle is exact.
    let round = |value: f64| (value * 1e15).round() / 1e15;
    let angle = -degrees.rem_euclid(360.0).to_radians();
    let (sine, cosine) = (round(angle.sin()), round(angle.cos()));
    let (x, y) = (f64::from(width) / 2.0, f64::from(height) / 2.0);
    [cosine, sine, x - cosine * x - sine * y, -sine, cosine, y + sine * x - cosine * y]
}

/// Transforms an image; its size stays, and what lies outside the source becomes [`FILL`].
pub(crate) fn transform(image: &RgbImage, matrix: &Matrix, interpolation: Interpolation) -> RgbImage {
    Arch::new().dispatch(Transformation { image, matrix, interpolation })
}

/// A transformation, for [`Arch::dispatch`] to run with the widest vectors of the machine.
struct Transformation<'a> {
    image: &'a RgbImage,
    matrix: &'a Matrix,
    interpolation: Interpolation,
}

impl WithSimd for Transformation<'_> {
    type Output = RgbImage;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> RgbImage {
        let Self { image, matrix, interpolation } = self;
        let source = Source::new(image);
        let (right, bottom) = (f64::from(image.width), f64::from(image.height));
        let mut rgb = vec![0; image.rgb.len()];
        for (y, row) in (0..image.height).zip(rgb.chunks_exact_mut(image.width as usize * CHANNELS)) {
            let from_y = f64::from(y) + 0.5;
            let (along_x, along_y) = (matrix[1] * from_y, matrix[4] * from_y);
            for (x, pixel) in (0..image.width).zip(row.chunks_exact_mut(CHANNELS)) {
                let from_x = f64::from(x) + 0.5;
                let source_x = matrix[0] * from_x + along_x + matrix[2];
                let source_y = matrix[3] * from_x + along_y + matrix[5];
                let is_inside = (0.0..right).contains(&source_x) && (0.0..bottom).contains(&source_y);
                if is_inside {
                    let ((column, dx), (line, dy)) = (split(source_x - 0.5), split(source_y - 0.5));
                    let at = source.at(column, line);
                    let value = match interpolation {
                        Interpolation::Bilinear => bilinear(&source, at, dx, dy),
                        Interpolation::Bicubic => bicubic(&source, at, dx, dy),
                    };
                    // saturates, then truncates, as Pillow does
                    let bytes = value.map(|value| value.clamp(0.0, 255.0) as i32 as u8);
                    pixel.copy_from_slice(&bytes[..CHANNELS]);
                } else {
                    pixel.copy_from_slice(&FILL);
                }
            }
        }
        RgbImage { width: image.width, height: image.height, rgb }
    }
}

/// Whole part (rounded down) and rest of a coordinate; `floor` is a function call on processors of the lowest common kind.
#[inline(always)]
fn split(coordinate: f64) -> (i32, f64) {
    let towards_zero = coordinate as i32;
    let whole = towards_zero - i32::from(coordinate < f64::from(towards_zero));
    (whole, coordinate - f64::from(whole))
}

/// Red, green and blue in the precision that Pillow computes with; the fourth value fills the vector.
type Pixel = [f64; LANES];

const LANES: usize = 4;

/// Pixels that repeat beyond the border of the image, as far as bicubic interpolation reaches.
const BORDER: usize = 2;

/// An image with its [`BORDER`].
struct Source {
    line: usize,
    pixels: Vec<[u8; LANES]>,
}

impl Source {
    fn new(image: &RgbImage) -> Self {
        let (width, height) = (image.width as usize, image.height as usize);
        let line = width + 2 * BORDER;
        let mut pixels = Vec::with_capacity(line * (height + 2 * BORDER));
        for y in 0..height + 2 * BORDER {
            let row = y.saturating_sub(BORDER).min(height - 1) * width * CHANNELS;
            let row = &image.rgb[row..row + width * CHANNELS];
            let wide = |rgb: &[u8]| [rgb[0], rgb[1], rgb[2], 0];
            let (first, last) = (wide(&row[..CHANNELS]), wide(&row[row.len() - CHANNELS..]));
            pixels.extend([first; BORDER]);
            pixels.extend(row.chunks_exact(CHANNELS).map(wide));
            pixels.extend([last; BORDER]);
        }
        Self { line, pixels }
    }

    /// Index of a pixel; column and row count from -[`BORDER`].
    #[inline(always)]
    fn at(&self, column: i32, row: i32) -> usize {
        let shifted = |place: i32| (place + BORDER as i32) as usize;
        shifted(row) * self.line + shifted(column)
    }

    /// Pixels side by side.
    #[inline(always)]
    fn pixels<const N: usize>(&self, at: usize) -> [Pixel; N] {
        let pixels = &self.pixels[at..at + N];
        std::array::from_fn(|place| pixels[place].map(f64::from))
    }
}

#[inline(always)]
fn bilinear(source: &Source, at: usize, dx: f64, dy: f64) -> Pixel {
    let [a, b] = source.pixels(at);
    let [c, d] = source.pixels(at + source.line);
    between(between(a, b, dx), between(c, d, dx), dy)
}

#[inline(always)]
fn between(a: Pixel, b: Pixel, share: f64) -> Pixel {
    std::array::from_fn(|lane| a[lane] + (b[lane] - a[lane]) * share)
}

#[inline(always)]
fn bicubic(source: &Source, at: usize, dx: f64, dy: f64) -> Pixel {
    let same = cubic(source.pixels(at - 1), dx);
    // shears and translations along x leave the lines
    if dy == 0.0 {
        return same;
    }
    let above = cubic(source.pixels(at - 1 - source.line), dx);
    let below = cubic(source.pixels(at - 1 + source.line), dx);
    let last = cubic(source.pixels(at - 1 + 2 * source.line), dx);
    cubic([above, same, below, last], dy)
}

/// Cubic convolution with a = -1 between the second and the third value.
#[inline(always)]
fn cubic([a, b, c, d]: [Pixel; 4], share: f64) -> Pixel {
    std::array::from_fn(|lane| {
        let (a, b, c, d) = (a[lane], b[lane], c[lane], d[lane]);
        let slope = c - a;
        let square = 2.0 * (a - b) + c - d;
        let cube = -a + b - c + d;
        b + share * (slope + share * (square + share * cube))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_movement_changes_nothing() {
        let image = RgbImage { width: 5, height: 3, rgb: (0..45).map(|i| i * 5).collect() };
        for interpolation in [Interpolation::Bilinear, Interpolation::Bicubic] {
            let same = transform(&image, &rotation(5, 3, 0.0), interpolation);
            assert_eq!(same.rgb, image.rgb);
        }
    }

    #[test]
    fn a_positive_angle_turns_counter_clockwise() {
        let mut rgb = vec![0; 27];
        rgb[3 * 5..3 * 6].fill(200); // middle of the right side
        let image = RgbImage { width: 3, height: 3, rgb };
        let turned = transform(&image, &rotation(3, 3, 90.0), Interpolation::Bilinear);
        assert_eq!(turned.rgb[3], 200, "middle of the upper side");
    }
}
