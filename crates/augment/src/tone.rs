//! Operations on tones: tables per channel and Pillow's enhancements (blends with a degenerate image).

use delt_formats::RgbImage;

use crate::CHANNELS;

type Table = [u8; 256];

/// Replaces every value by its entry in one table.
pub(crate) fn map(image: &mut RgbImage, table: impl Fn(u8) -> u8) {
    let table: Table = std::array::from_fn(|value| table(value as u8));
    image.rgb.iter_mut().for_each(|value| *value = table[*value as usize]);
}

/// Stretches each channel to the full range.
pub(crate) fn autocontrast(image: &mut RgbImage) {
    map_channels(image, |histogram| {
        let low = histogram.iter().position(|count| *count > 0)?;
        let high = histogram.iter().rposition(|count| *count > 0)?;
        if high <= low {
            return None;
        }
        let scale = 255.0 / (high - low) as f64;
        let offset = -(low as f64) * scale;
        Some(std::array::from_fn(|value| (value as f64 * scale + offset) as u8))
    });
}

/// Equalizes each channel's histogram.
pub(crate) fn equalize(image: &mut RgbImage) {
    map_channels(image, |histogram| {
        let last = histogram.iter().rev().find(|count| **count > 0)?;
        let step = (histogram.iter().sum::<u64>() - last) / 255;
        if step == 0 {
            return None;
        }
        let mut below = step / 2;
        Some(std::array::from_fn(|value| {
            let tone = (below / step).min(255) as u8;
            below += histogram[value];
            tone
        }))
    });
}

/// Blends with the gray image.
pub(crate) fn color(image: &mut RgbImage, factor: f32) {
    for pixel in image.rgb.chunks_exact_mut(CHANNELS) {
        let gray = luma(pixel);
        pixel.iter_mut().for_each(|value| *value = blend(gray, *value, factor));
    }
}

/// Blends with the mean gray.
pub(crate) fn contrast(image: &mut RgbImage, factor: f32) {
    let sum: u64 = image.rgb.chunks_exact(CHANNELS).map(|pixel| u64::from(luma(pixel))).sum();
    let pixels = (image.rgb.len() / CHANNELS).max(1);
    let mean = (sum as f64 / pixels as f64 + 0.5) as u8;
    map(image, |value| blend(mean, value, factor));
}

/// Blends with black.
pub(crate) fn brightness(image: &mut RgbImage, factor: f32) {
    map(image, |value| blend(0, value, factor));
}

/// Blends with the smoothed image: a 3x3 mean whose center counts five times; border pixels are not smoothed.
pub(crate) fn sharpness(image: &mut RgbImage, factor: f32) {
    const WEIGHTS: u16 = 13;
    if image.width < 3 || image.height < 3 {
        return;
    }
    let line = image.width as usize * CHANNELS;
    let inner = line - 2 * CHANNELS;
    let source = image.rgb.clone();
    let inside = image.rgb.chunks_exact_mut(line).skip(1);
    for (row, three) in inside.zip(source.windows(3 * line).step_by(line)) {
        // the nine neighbors of a value lie a pixel and a line apart
        let neighbor = |place: usize| &three[(place / 3) * line + (place % 3) * CHANNELS..][..inner];
        let around: [&[u8]; 9] = std::array::from_fn(neighbor);
        for (at, value) in row[CHANNELS..][..inner].iter_mut().enumerate() {
            let sum = around.iter().map(|values| u16::from(values[at])).sum::<u16>() + 4 * u16::from(*value);
            let smooth = (2 * sum + WEIGHTS) / (2 * WEIGHTS); // rounded to nearest
            *value = blend(smooth as u8, *value, factor);
        }
    }
}

/// Interpolates from `degenerate` (0) to `value` (1) or beyond, saturating and truncating as Pillow does.
fn blend(degenerate: u8, value: u8, factor: f32) -> u8 {
    let (degenerate, value) = (f32::from(degenerate), f32::from(value));
    (degenerate + factor * (value - degenerate)) as u8
}

/// Gray value of a pixel by ITU-R 601-2 in 16-bit fixed point.
fn luma(pixel: &[u8]) -> u8 {
    const RED_GREEN_BLUE: [u32; CHANNELS] = [19_595, 38_470, 7_471];
    let sum: u32 = pixel.iter().zip(RED_GREEN_BLUE).map(|(value, weight)| u32::from(*value) * weight).sum();
    ((sum + (1 << 15)) >> 16) as u8
}

/// Maps each channel by the table that follows from its histogram; `None` leaves the channel.
fn map_channels(image: &mut RgbImage, table: impl Fn(&[u64; 256]) -> Option<Table>) {
    let mut histograms = [[0_u64; 256]; CHANNELS];
    for pixel in image.rgb.chunks_exact(CHANNELS) {
        for (histogram, value) in histograms.iter_mut().zip(pixel) {
            histogram[*value as usize] += 1;
        }
    }
    let tables =
        histograms.map(|histogram| table(&histogram).unwrap_or(std::array::from_fn(|value| value as u8)));
    for pixel in image.rgb.chunks_exact_mut(CHANNELS) {
        for (value, table) in pixel.iter_mut().zip(&tables) {
            *value = table[*value as usize];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uniform(value: u8) -> RgbImage {
        RgbImage { width: 4, height: 4, rgb: vec![value; 48] }
    }

    #[test]
    fn a_picture_of_one_tone_has_nothing_to_stretch_or_equalize_or_sharpen() {
        for operation in [autocontrast, equalize, |image: &mut RgbImage| sharpness(image, 1.9)] {
            let mut image = uniform(77);
            operation(&mut image);
            assert_eq!(image.rgb, uniform(77).rgb);
        }
    }

    #[test]
    fn tiny_pictures_have_no_inside_to_sharpen() {
        for (width, height) in [(1, 1), (2, 2), (1, 5), (5, 1)] {
            let rgb: Vec<u8> = (0..width * height * 3).map(|i| (i * 9) as u8).collect();
            let mut image = RgbImage { width, height, rgb: rgb.clone() };
            sharpness(&mut image, 0.1);
            assert_eq!(image.rgb, rgb);
        }
    }

    #[test]
    fn a_factor_of_one_leaves_the_picture() {
        let rgb: Vec<u8> = (0..48).map(|i| i * 5).collect();
        for enhance in [color, contrast, brightness, sharpness] {
            let mut image = RgbImage { width: 4, height: 4, rgb: rgb.clone() };
            enhance(&mut image, 1.0);
            assert_eq!(image.rgb, rgb);
        }
    }
}
