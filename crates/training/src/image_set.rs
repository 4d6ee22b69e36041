//! The images of a split: decoded, fitted to the network's size, 8 bits per value, in memory or in a file ([`crate::records`]).

use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use delt_augment::{fit, to_normalized};
use delt_formats::{DatasetReader, ImageRow, Normalization, RgbImage};
use delt_pipeline::watch::Watch;
use rayon::prelude::*;

use crate::error::TrainingError;
use crate::records::{Floats, Records};

/// Rows decoded at once: bounds the encoded and decoded bytes in memory, and gives every thread enough to do.
const DECODE_ROWS: usize = 256;

/// Images whitened at once: every thread takes blocks of 256, see `delt_ridge::Whitening`. Their matrix keeps such images small.
const ENTER_ROWS: usize = 2048;

/// Square images of one size with their labels, in the order of the file.
#[derive(Debug)]
pub struct ImageSet {
    /// Side in pixels.
    pub size: u32,
    /// Class of each.
    pub labels: Vec<u32>,
    /// The images: height, then width, then red, green, blue.
    pixels: Records,
}

impl ImageSet {
    /// None so far, of at most so many.
    fn new(size: u32, at_most: usize) -> Result<Self, TrainingError> {
        let pixels = Records::new(3 * size as usize * size as usize, at_most)?;
        Ok(Self { size, labels: Vec::with_capacity(at_most), pixels })
    }

    /// Of images that are `size` px square.
    ///
    /// # Errors
    ///
    /// More than fit in memory or on disk.
    pub fn of(size: u32, images: &[RgbImage], labels: Vec<u32>) -> Result<Self, TrainingError> {
        let mut set = Self { labels, ..Self::new(size, images.len())? };
        images.iter().try_for_each(|image| set.pixels.push(&image.rgb))?;
        Ok(set)
    }

    /// Reads a split of a dataset artifact; every image is resized and cropped as selection does it. `watch` advances by images,
    /// and is told where they lie if that is not in memory.
    ///
    /// # Errors
    ///
    /// Where the file cannot be read, has other classes, or holds an image that cannot be decoded; more images than fit in memory
    /// or on disk; an interrupt.
    pub fn load(
        path: &Path,
        size: u32,
        classes: &[String],
        watch: &dyn Watch,
    ) -> Result<Self, TrainingError> {
        Self::load_chosen(path, size, classes, usize::MAX, |_| true, watch)
    }

    /// As [`Self::load`], but those images alone that are chosen, of which there are `at_most` so many.
    ///
    /// # Errors
    ///
    /// As [`Self::load`].
    pub fn load_chosen(
        path: &Path,
        size: u32,
        classes: &[String],
        at_most: usize,
        mut is_chosen: impl FnMut(&ImageRow) -> bool,
        watch: &dyn Watch,
    ) -> Result<Self, TrainingError> {
        let reader = DatasetReader::open(path)?;
        reader.expect_classes(classes)?;
        let mut set = Self::new(size, at_most.min(reader.len() as usize))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        set.pixels.note(&format!("the images of {name}")).into_iter().for_each(|note| watch.say(&note));
        let mut rows = reader.rows().filter(|row| row.as_ref().map_or(true, &mut is_chosen));
        loop {
            let chunk = rows.by_ref().take(DECODE_ROWS).collect::<Result<Vec<ImageRow>, _>>()?;
            if chunk.is_empty() {
                return Ok(set);
            }
            let decode = |row: &ImageRow| RgbImage::decode(&row.bytes).map(|image| fit(&image, size));
            let decoded: Vec<_> = chunk.par_iter().map(decode).collect();
            for (ImageRow { image_id, label, .. }, image) in chunk.iter().zip(decoded) {
                let refused =
                    |source| TrainingError::RgbImage { path: path.to_owned(), image_id: *image_id, source };
                set.pixels.push(&image.map_err(refused)?.rgb)?;
                set.labels.push(*label);
            }
            watch.advance(chunk.len() as u64)?;
        }
    }

    /// How many images there are.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The images at `indices`, normalized, as `[n, 3, size, size]` row by row.
    ///
    /// # Errors
    ///
    /// A disk that does not give them back.
    pub fn normalized(
        &self,
        indices: &[usize],
        normalization: &Normalization,
    ) -> Result<Vec<f32>, TrainingError> {
        let values = 3 * self.size as usize * self.size as usize;
        let mut pixels = vec![0.0; indices.len() * values];
        let images = pixels.par_chunks_mut(values).zip(indices);
        images.try_for_each_init(Vec::new, |room, (out, index)| {
            to_normalized(self.pixels.read(*index, room)?, normalization, out);
            Ok::<_, TrainingError>(())
        })?;
        Ok(pixels)
    }

    /// What `enter` makes of all images, some at a time: normalized, `[n, 3, size, size]`, they are changed in place. `watch` is told
    /// where they lie if that is not in memory.
    ///
    /// # Errors
    ///
    /// More than fit in memory or on disk.
    pub fn entered(
        &self,
        normalization: &Normalization,
        enter: impl Fn(&mut [f32]),
        watch: &dyn Watch,
    ) -> Result<Floats, TrainingError> {
        let mut floats = Floats::new(3 * self.size as usize * self.size as usize, self.len())?;
        floats.note("the whitened images").into_iter().for_each(|note| watch.say(&note));
        for start in (0..self.len()).step_by(ENTER_ROWS) {
            let indices: Vec<usize> = (start..self.len().min(start + ENTER_ROWS)).collect();
            let mut values = self.normalized(&indices, normalization)?;
            enter(&mut values);
            floats.push(&values)?;
        }
        Ok(floats)
    }

    /// Values of such images on a device: `[n, 3, size, size]`.
    pub fn on_device(&self, pixels: Vec<f32>, device: &Device) -> Tensor<4> {
        let size = self.size as usize;
        let n = pixels.len() / (3 * size * size);
        Tensor::from_data(TensorData::new(pixels, [n, 3, size, size]), device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NORMALIZATION: Normalization = Normalization { mean: [0.5, 0.4, 0.3], std: [0.2, 0.25, 0.3] };

    #[test]
    fn batches_of_a_file_are_those_of_memory() {
        let image =
            |at: u32| RgbImage { width: 4, height: 4, rgb: (0..48).map(|i| (i * 5 + at) as u8).collect() };
        let images: Vec<RgbImage> = (0..300).map(image).collect();
        let memory = ImageSet::of(4, &images, vec![0; 300]).expect("in memory");
        let mut file = Records::within(300 * 48 - 1, 48, 300).expect("a file");
        images.iter().try_for_each(|image| file.push(&image.rgb)).expect("written");
        assert!(file.note("").is_some());
        let file = ImageSet { size: 4, labels: vec![0; 300], pixels: file };
        for batch in [vec![0, 1, 2], vec![299, 17, 17, 256], (0..300).rev().collect()] {
            let of = |set: &ImageSet| set.normalized(&batch, &NORMALIZATION).expect("read");
            assert_eq!(of(&memory), of(&file));
        }
    }
}
