//! Mean and standard deviation of the training images per channel, exact whatever the order of the images.

use delt_formats::rgb_image::RgbImage;
use delt_formats::teacher::Normalization;

use crate::error::ImagesError;

const CHANNELS: [&str; 3] = ["red", "green", "blue"];

/// Largest value of an 8-bit channel: pixels are normalized as value / 255.
const PIXEL_MAX: f64 = 255.0;

/// Sums over pixels, as integers: no rounding, so neither threads nor chunks can change the result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ChannelSums {
    pixels: u64,
    sum: [u64; 3],
    sum_of_squares: [u64; 3],
}

impl ChannelSums {
    /// The sums of one image.
    pub fn of(image: &RgbImage) -> Self {
        let mut sums = Self::default();
        for pixel in image.rgb.chunks_exact(3) {
            sums.pixels += 1;
            for (channel, value) in pixel.iter().enumerate() {
                let value = u64::from(*value);
                sums.sum[channel] += value;
                sums.sum_of_squares[channel] += value * value;
            }
        }
        sums
    }

    /// Adds the sums of other images.
    pub fn add(&mut self, other: &Self) {
        self.pixels += other.pixels;
        for channel in 0..3 {
            self.sum[channel] += other.sum[channel];
            self.sum_of_squares[channel] += other.sum_of_squares[channel];
        }
    }

    /// Mean and population standard deviation over all pixels of all images, in 0..=1. Larger images count more.
    ///
    /// # Errors
    /// [`ImagesError::FlatChannel`] where a channel does not vary.
    pub fn normalization(&self) -> Result<Normalization, ImagesError> {
        let mut normalization = Normalization { mean: [0.0; 3], std: [1.0; 3] };
        let n = u128::from(self.pixels);
        for (channel, name) in CHANNELS.into_iter().enumerate() {
            let (sum, squares) = (u128::from(self.sum[channel]), u128::from(self.sum_of_squares[channel]));
            let scaled_variance = n * squares - sum * sum; // n^2 times the variance, never below 0
            if scaled_variance == 0 {
                return Err(ImagesError::FlatChannel { channel: name });
            }
            let count = self.pixels as f64;
            normalization.mean[channel] = (sum as f64 / count / PIXEL_MAX) as f32;
            normalization.std[channel] = ((scaled_variance as f64).sqrt() / count / PIXEL_MAX) as f32;
        }
        Ok(normalization)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_and_population_standard_deviation_per_channel() {
        // numpy: x = [0, 51, 102, 255] / 255 per channel scaled; mean 0.4, std(ddof=0) = sqrt(0.14) for red
        let rgb = vec![0, 10, 255, 51, 20, 0, 102, 10, 255, 255, 20, 0];
        let mut sums = ChannelSums::of(&RgbImage { width: 2, height: 1, rgb: rgb[..6].to_vec() });
        sums.add(&ChannelSums::of(&RgbImage { width: 1, height: 2, rgb: rgb[6..].to_vec() }));
        let normalization = sums.normalization().expect("varies");
        assert!((normalization.mean[0] - 0.4).abs() < 1e-7);
        assert!((normalization.std[0] - 0.14_f32.sqrt()).abs() < 1e-7);
        assert!((normalization.mean[1] - 15.0 / 255.0).abs() < 1e-7);
        assert!((normalization.std[1] - 5.0 / 255.0).abs() < 1e-7);
        assert_eq!((normalization.mean[2], normalization.std[2]), (0.5, 0.5));
    }

    #[test]
    fn a_channel_that_does_not_vary_is_refused() {
        let sums = ChannelSums::of(&RgbImage { width: 2, height: 1, rgb: vec![0, 9, 1, 1, 9, 2] });
        assert_eq!(
            sums.normalization().expect_err("green is flat").to_string(),
            "channel green has the same value in every training pixel, so its standard deviation is 0; \
             give `ingest.normalization`"
        );
    }
}
