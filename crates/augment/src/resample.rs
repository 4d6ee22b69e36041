//! Antialiased bilinear resampling of floats, as torchvision's `resized_crop` does it.

use std::ops::Range;

use delt_formats::CropBox;

/// For each output value the inputs that it is a weighted mean of.
pub(crate) struct Taps<T> {
    /// First input of an output, and the place of its weights.
    spans: Vec<(usize, Range<usize>)>,
    weights: Vec<T>,
}

impl<T> Taps<T> {
    /// First input and weights of each output.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &[T])> {
        self.spans.iter().map(|(first, place)| (*first, &self.weights[place.clone()]))
    }

    /// The same with weights of another type.
    pub(crate) fn map<U>(self, change: impl FnMut(T) -> U) -> Taps<U> {
        Taps { spans: self.spans, weights: self.weights.into_iter().map(change).collect() }
    }
}

/// Computes for each of `output` values the triangle-filter taps over `input` values.
///
/// The rule is Pillow's; PyTorch's antialiased interpolation follows it. The filter is as wide as one output step when the
/// image shrinks, and one input step when it grows.
pub(crate) fn triangle_taps(input: usize, output: usize) -> Taps<f64> {
    let scale = input as f64 / output as f64;
    let support = scale.max(1.0);
    let mut taps = Taps { spans: Vec::with_capacity(output), weights: Vec::new() };
    for index in 0..output {
        let center = (index as f64 + 0.5) * scale;
        let first = (center - support + 0.5).max(0.0) as usize;
        let end = ((center + support + 0.5) as usize).min(input);
        let start = taps.weights.len();
        taps.weights
            .extend((first..end).map(|at| (1.0 - ((at as f64 + 0.5 - center) / support).abs()).max(0.0)));
        let weights = &mut taps.weights[start..];
        let sum: f64 = weights.iter().sum();
        if sum > 0.0 {
            weights.iter_mut().for_each(|weight| *weight /= sum);
        }
        taps.spans.push((first, start..taps.weights.len()));
    }
    taps
}

/// Returns the matrix that crops `start..start + len` out of `input` values and resizes the crop to `output` values.
///
/// With one matrix per axis, a crop and resize of a batch is `rows · X · columnsᵀ`: differentiable on every backend. A
/// horizontal flip reverses the order of the column matrix's rows.
///
/// # Shapes
/// `[output, input]`, row-major; every row sums to 1.
///
/// # Panics
/// If `start + len` exceeds `input`.
pub fn bilinear_matrix(input: usize, output: usize, start: usize, len: usize) -> Vec<f32> {
    assert!(start + len <= input, "crop {start}..{} leaves {input} values", start + len);
    let mut matrix = vec![0.0; output * input];
    for (row, (first, weights)) in
        matrix.chunks_exact_mut(input.max(1)).zip(triangle_taps(len, output).iter())
    {
        for (cell, weight) in row[start + first..].iter_mut().zip(weights) {
            *cell = *weight as f32;
        }
    }
    matrix
}

/// Red, green and blue; the fourth value fills the vector.
pub type Pixel = [f32; 4];

/// Crops an image, resizes the crop to `out` x `out` with antialiased bilinear filtering and mirrors it when `flip`.
///
/// # Shapes
/// `pixels` is `[height, width]`; the result is `[out, out]`.
///
/// # Panics
/// If the box leaves the image.
pub fn resized_crop(pixels: &[Pixel], width: usize, crop: CropBox, out: usize, flip: bool) -> Vec<Pixel> {
    let (top, left) = (crop.top as usize, crop.left as usize);
    let (crop_height, crop_width) = (crop.height as usize, crop.width as usize);
    let mut columns = triangle_taps(crop_width, out).map(|weight| weight as f32);
    if flip {
        columns.spans.reverse();
    }
    let rows = triangle_taps(crop_height, out).map(|weight| weight as f32);
    let mut narrowed = Vec::with_capacity(crop_height * out); // [crop_height, out]: width resized, height not yet
    for source in pixels[top * width..(top + crop_height) * width].chunks_exact(width) {
        let source = &source[left..left + crop_width];
        narrowed.extend(columns.iter().map(|(first, weights)| weighted_sum(&source[first..], weights)));
    }
    let mut resized = vec![Pixel::default(); out * out];
    for (line, (first, weights)) in resized.chunks_exact_mut(out).zip(rows.iter()) {
        for (source, weight) in narrowed[first * out..].chunks_exact(out).zip(weights) {
            for (value, v) in line.as_flattened_mut().iter_mut().zip(source.as_flattened()) {
                *value += weight * v;
            }
        }
    }
    resized
}

fn weighted_sum(pixels: &[Pixel], weights: &[f32]) -> Pixel {
    let mut sum = Pixel::default();
    for (pixel, weight) in pixels.iter().zip(weights) {
        for (sum, value) in sum.iter_mut().zip(pixel) {
            *sum += value * weight;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(height: usize, width: usize) -> Vec<Pixel> {
        let value = |i: usize| (i * 37 % 101) as f32 / 50.0 - 1.0;
        (0..height * width).map(|i| std::array::from_fn(|channel| value(4 * i + channel))).collect()
    }

    #[test]
    fn every_row_is_a_weighted_mean_of_its_crop_only() {
        for (input, output, start, len) in [(32, 32, 4, 20), (32, 8, 0, 32), (7, 32, 3, 1)] {
            for row in bilinear_matrix(input, output, start, len).chunks(input) {
                assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-6);
                assert!(row.iter().enumerate().all(|(i, v)| *v == 0.0 || (start..start + len).contains(&i)));
            }
        }
    }

    #[test]
    fn the_whole_picture_is_left_as_it_is() {
        let image = picture(9, 9);
        let whole = CropBox { top: 0, left: 0, height: 9, width: 9 };
        assert_eq!(resized_crop(&image, 9, whole, 9, false), image);
        let mirrored = resized_crop(&image, 9, whole, 9, true);
        assert_ne!(mirrored, image);
        assert_eq!(resized_crop(&mirrored, 9, whole, 9, true), image);
    }

    #[test]
    fn two_matrices_make_the_same_crop() {
        let (height, width, out) = (11, 17, 6);
        let image = picture(height, width);
        let crop = CropBox { top: 2, left: 5, height: 9, width: 4 };
        let rows = bilinear_matrix(height, out, 2, 9);
        let columns = bilinear_matrix(width, out, 5, 4);
        let expected = resized_crop(&image, width, crop, out, true);
        for channel in 0..3 {
            for i in 0..out {
                for j in 0..out {
                    let mut sum = 0.0;
                    for y in 0..height {
                        for x in 0..width {
                            let column = columns[(out - 1 - j) * width + x];
                            sum += rows[i * height + y] * image[y * width + x][channel] * column;
                        }
                    }
                    assert!((sum - expected[i * out + j][channel]).abs() < 1e-5);
                }
            }
        }
    }
}
