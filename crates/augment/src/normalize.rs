//! From 8-bit pixels to normalized values and back.

use delt_formats::{Normalization, RgbImage};

use crate::CHANNELS;

/// Writes an image as normalized values: `(pixel / 255 - mean) / std`.
///
/// # Shapes
/// `out` is `[3, height, width]`.
///
/// # Panics
/// If `out` has another number of values than the image.
pub fn to_normalized(rgb: &[u8], normalization: &Normalization, out: &mut [f32]) {
    assert_eq!(out.len(), rgb.len(), "normalized values of an image");
    let area = out.len() / CHANNELS;
    for (channel, plane) in out.chunks_exact_mut(area.max(1)).enumerate() {
        let (mean, std) = (normalization.mean[channel], normalization.std[channel]);
        for (value, pixel) in plane.iter_mut().zip(rgb.chunks_exact(CHANNELS)) {
            *value = (f32::from(pixel[channel]) / 255.0 - mean) / std;
        }
    }
}

/// Returns for each channel the normalized values of black and of full intensity: the range of a valid pixel.
pub fn pixel_range(normalization: &Normalization) -> [(f32, f32); 3] {
    std::array::from_fn(|channel| {
        let (mean, std) = (normalization.mean[channel], normalization.std[channel]);
        ((0.0 - mean) / std, (1.0 - mean) / std)
    })
}

/// Turns normalized values into an 8-bit image: clamped, rounded to nearest.
///
/// Differs from the reference, which truncates.
///
/// # Shapes
/// `chw` is `[3, size, size]`.
///
/// # Panics
/// If `chw` has another number of values.
pub fn to_rgb_image(chw: &[f32], size: u32, normalization: &Normalization) -> RgbImage {
    let area = size as usize * size as usize;
    assert_eq!(chw.len(), CHANNELS * area, "values of a [3, {size}, {size}] image");
    let mut rgb = vec![0; CHANNELS * area];
    for (at, pixel) in rgb.chunks_exact_mut(CHANNELS).enumerate() {
        for (channel, byte) in pixel.iter_mut().enumerate() {
            let intensity =
                chw[channel * area + at] * normalization.std[channel] + normalization.mean[channel];
            *byte = (intensity.clamp(0.0, 1.0) * 255.0).round() as u8;
        }
    }
    RgbImage { width: size, height: size, rgb }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CIFAR100: Normalization =
        Normalization { mean: [0.5071, 0.4865, 0.4409], std: [0.2673, 0.2564, 0.2762] };

    #[test]
    fn every_byte_survives_the_way_there_and_back() {
        let picture = RgbImage { width: 16, height: 16, rgb: (0..768).map(|i| (i / 3) as u8).collect() };
        let mut values = vec![0.0; 768];
        to_normalized(&picture.rgb, &CIFAR100, &mut values);
        assert_eq!(to_rgb_image(&values, 16, &CIFAR100).rgb, picture.rgb);
        let range = pixel_range(&CIFAR100);
        for channel in 0..3 {
            assert_eq!((values[channel * 256], values[channel * 256 + 255]), range[channel]);
        }
    }

    #[test]
    fn values_out_of_range_are_clamped_and_others_rounded_to_nearest() {
        let plain = Normalization { mean: [0.0; 3], std: [1.0; 3] };
        let values = [-0.5, 1.7, 99.6 / 255.0];
        assert_eq!(to_rgb_image(&values, 1, &plain).rgb, [0, 255, 100]);
    }
}
