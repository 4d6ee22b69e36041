//! A data set in memory: decoded, fitted to the network's size, 8 bits per value.

use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use delt_augment::{fit, to_normalized};
use delt_formats::{DatasetReader, ImageRow, Normalization, RgbImage};
use rayon::prelude::*;

use crate::error::TrainingError;

/// Rows decoded at once: bounds the encoded bytes in memory, and gives every thread enough to do.
const DECODE_ROWS: usize = 2048;

/// Square images of one size with their labels, in the order of the file.
#[derive(Clone, Debug)]
pub struct ImageSet {
    /// Side in pixels.
    pub size: u32,
    /// The images, `size` px square.
    pub images: Vec<RgbImage>,
    /// Class of each.
    pub labels: Vec<u32>,
    /// `image_id` of each.
    pub ids: Vec<u64>,
}

impl ImageSet {
    /// Reads a split of a dataset artifact; every image is resized and cropped as selection does it.
    ///
    /// # Errors
    ///
    /// Where the file cannot be read, has other classes, or holds an image that cannot be decoded.
    pub fn load(path: &Path, size: u32, classes: &[String]) -> Result<Self, TrainingError> {
        Self::load_chosen(path, size, classes, |_| true)
    }

    /// As [`Self::load`], but those images alone that are chosen.
    ///
    /// # Errors
    ///
    /// As [`Self::load`].
    pub fn load_chosen(
        path: &Path,
        size: u32,
        classes: &[String],
        mut is_chosen: impl FnMut(&ImageRow) -> bool,
    ) -> Result<Self, TrainingError> {
        let reader = DatasetReader::open(path)?;
        reader.expect_classes(classes)?;
        let mut set = Self { size, images: Vec::new(), labels: Vec::new(), ids: Vec::new() };
        let mut rows = reader.rows().filter(|row| row.as_ref().map_or(true, &mut is_chosen));
        loop {
            let chunk = rows.by_ref().take(DECODE_ROWS).collect::<Result<Vec<ImageRow>, _>>()?;
            if chunk.is_empty() {
                return Ok(set);
            }
            let decode = |row: &ImageRow| RgbImage::decode(&row.bytes).map(|image| fit(&image, size));
            let decoded: Vec<_> = chunk.par_iter().map(decode).collect();
            for (ImageRow { image_id, label, .. }, image) in chunk.into_iter().zip(decoded) {
                let refused = |source| TrainingError::RgbImage { path: path.to_owned(), image_id, source };
                set.images.push(image.map_err(refused)?);
                set.labels.push(label);
                set.ids.push(image_id);
            }
        }
    }

    /// How many images there are.
    pub fn len(&self) -> usize {
        self.images.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.images.is_empty()
    }

    /// The images at `indices`, normalized, as `[n, 3, size, size]` row by row.
    pub fn normalized(&self, indices: &[usize], normalization: &Normalization) -> Vec<f32> {
        let values = 3 * self.size as usize * self.size as usize;
        let mut pixels = vec![0.0; indices.len() * values];
        pixels.par_chunks_mut(values).zip(indices).for_each(|(out, index)| {
            to_normalized(&self.images[*index], normalization, out);
        });
        pixels
    }

    /// Values of such images on a device: `[n, 3, size, size]`.
    pub fn on_device(&self, pixels: Vec<f32>, device: &Device) -> Tensor<4> {
        let size = self.size as usize;
        let n = pixels.len() / (3 * size * size);
        Tensor::from_data(TensorData::new(pixels, [n, 3, size, size]), device)
    }
}
