//! The space in which images are matched, opened: from pixels to it and back.

use anyhow::Result;
use delt_augment::normalize::{to_normalized, to_rgb_image};
use delt_formats::{Normalization, RgbImage, Space};

/// A space with what it takes to go there.
#[derive(Debug, Clone)]
pub struct OpenSpace {
    /// What an artifact says of it.
    pub stated: Space,
    side: usize,
}

impl OpenSpace {
    /// Normalized images of `side` px.
    ///
    /// # Errors
    /// A whitening that cannot be read.
    pub fn of(normalization: Normalization, side: usize) -> Result<Self> {
        Ok(Self { stated: Space { normalization, whitening: None }, side })
    }

    /// Images of the side as rows of values, red, then green, then blue.
    pub fn values(&self, images: &[RgbImage]) -> Vec<f32> {
        let count = 3 * self.side * self.side;
        let mut values = vec![0.0; images.len() * count];
        for (image, out) in images.iter().zip(values.chunks_mut(count)) {
            to_normalized(image, &self.stated.normalization, out);
        }
        values
    }

    /// What an image of the space looks like, as far as 8 bits a value can show it.
    pub fn preview(&self, values: &[f32]) -> RgbImage {
        to_rgb_image(values, self.side as u32, &self.stated.normalization)
    }
}
