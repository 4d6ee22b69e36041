//! Pillow's 8-bit bilinear resize with antialias, and the transform of scoring, initial images and testing.

use delt_formats::{CropBox, RgbImage};

use crate::CHANNELS;
use crate::resample::{Taps, triangle_taps};

/// Fraction bits of a fixed-point weight (Pillow's `PRECISION_BITS`: 32 bits less 8 of the pixel and 2 to spare).
const PRECISION_BITS: u32 = 32 - 8 - 2;

/// Resizes an image as Pillow does: width first, then height, each rounded to 8 bits.
pub fn resize_pillow(image: &RgbImage, width: u32, height: u32) -> RgbImage {
    let narrowed = if width == image.width { image.clone() } else { resize_width(image, width) };
    if height == image.height { narrowed } else { resize_height(&narrowed, height) }
}

/// Brings an image to `size` x `size`: short side to `size / 7 * 8` (integer division), then the center.
///
/// Differs from the reference where `size / 7 * 8` is below `size` (20, for instance): it pads with black, we keep the short
/// side at `size`. All published sizes are unaffected.
pub fn fit(image: &RgbImage, size: u32) -> RgbImage {
    center_crop(&with_shorter_side(image, side_before_crop(size)), size)
}

/// The shorter side that [`fit`] brings an image to before it cuts out the center.
pub fn side_before_crop(size: u32) -> u32 {
    (size / 7 * 8).max(size)
}

/// Brings the shorter side of an image to `short` pixels, the longer one in proportion (rounded down).
pub fn with_shorter_side(image: &RgbImage, short: u32) -> RgbImage {
    let longer = |long: u32, of: u32| (u64::from(short) * u64::from(long) / u64::from(of.max(1))) as u32;
    let (width, height) = if image.width <= image.height {
        (short, longer(image.height, image.width))
    } else {
        (longer(image.width, image.height), short)
    };
    resize_pillow(image, width, height)
}

/// Cuts the central `size` x `size` out of an image that is at least as large; torchvision rounds half to even.
fn center_crop(image: &RgbImage, size: u32) -> RgbImage {
    let margin = |side: u32| (f64::from(side - size) / 2.0).round_ties_even() as u32;
    let (top, left) = (margin(image.height), margin(image.width));
    cut(image, CropBox { top, left, height: size, width: size })
}

/// Cuts out a box that lies within the image.
pub fn cut(image: &RgbImage, crop: CropBox) -> RgbImage {
    let (line, left) = (image.width as usize * CHANNELS, crop.left as usize * CHANNELS);
    let rows = image.rgb.chunks_exact(line).skip(crop.top as usize).take(crop.height as usize);
    let rgb = rows.flat_map(|row| &row[left..left + crop.width as usize * CHANNELS]).copied().collect();
    RgbImage { width: crop.width, height: crop.height, rgb }
}

fn resize_width(image: &RgbImage, width: u32) -> RgbImage {
    let taps = fixed_point(triangle_taps(image.width as usize, width as usize));
    let mut rgb = Vec::with_capacity(width as usize * image.height as usize * CHANNELS);
    for row in image.rgb.chunks_exact(image.width as usize * CHANNELS) {
        for (first, weights) in taps.iter() {
            let mut sums = [0; CHANNELS];
            for (pixel, weight) in row[first * CHANNELS..].chunks_exact(CHANNELS).zip(weights) {
                for (sum, value) in sums.iter_mut().zip(pixel) {
                    *sum += i32::from(*value) * weight;
                }
            }
            rgb.extend(sums.map(round_to_byte));
        }
    }
    RgbImage { width, height: image.height, rgb }
}

fn resize_height(image: &RgbImage, height: u32) -> RgbImage {
    let taps = fixed_point(triangle_taps(image.height as usize, height as usize));
    let line = image.width as usize * CHANNELS;
    let mut rgb = Vec::with_capacity(line * height as usize);
    let mut sums = vec![0; line];
    for (first, weights) in taps.iter() {
        sums.fill(0);
        for (row, weight) in image.rgb[first * line..].chunks_exact(line).zip(weights) {
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += i32::from(*value) * weight;
            }
        }
        rgb.extend(sums.iter().map(|sum| round_to_byte(*sum)));
    }
    RgbImage { width: image.width, height, rgb }
}

/// Weights sum to one but for rounding, so that sums of 8-bit values times weights stay below 2^31.
fn fixed_point(taps: Taps<f64>) -> Taps<i32> {
    let one = f64::from(1 << PRECISION_BITS);
    taps.map(|weight| (weight * one).round() as i32)
}

fn round_to_byte(sum: i32) -> u8 {
    ((sum + (1 << (PRECISION_BITS - 1))) >> PRECISION_BITS).clamp(0, 255) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(width: u32, height: u32) -> RgbImage {
        RgbImage { width, height, rgb: (0..width * height * 3).map(|i| (i * 31 % 251) as u8).collect() }
    }

    #[test]
    fn a_picture_of_the_right_size_is_not_touched() {
        assert_eq!(fit(&image(32, 32), 32).rgb, image(32, 32).rgb);
    }

    #[test]
    fn any_picture_becomes_a_square_of_the_size_asked_for() {
        for (width, height) in [(75, 101), (101, 75), (8, 9), (1, 300), (300, 1)] {
            for size in [4, 20, 32, 64] {
                let fitted = fit(&image(width, height), size);
                assert_eq!((fitted.width, fitted.height), (size, size));
                assert_eq!(fitted.rgb.len(), (size * size * 3) as usize);
            }
        }
    }

    #[test]
    fn a_picture_stored_with_the_shorter_side_that_fit_resizes_to_is_fitted_to_the_same() {
        for (width, height) in [(75, 101), (101, 75), (64, 64), (40, 130)] {
            let stored = with_shorter_side(&image(width, height), 32);
            assert_eq!(stored.width.min(stored.height), 32);
            assert_eq!(fit(&stored, 28).rgb, fit(&image(width, height), 28).rgb);
        }
    }

    #[test]
    fn an_even_picture_stays_even() {
        let gray = RgbImage { width: 50, height: 40, rgb: vec![201; 50 * 40 * 3] };
        assert!(resize_pillow(&gray, 13, 77).rgb.iter().all(|value| *value == 201));
    }
}
