//! The augmentation A of recovery: one crop, one flip and one roll for the whole active batch of an iteration.

use burn::tensor::{Tensor, TensorData};
use delt_augment::crop::{easy_to_hard, random_resized_crop};
use delt_augment::draws::Draws;
use delt_augment::resample::bilinear_matrix;
use delt_device::product;
use delt_formats::CropBox;
use delt_pipeline::config::synthesize::Synthesize;
use rand::RngExt;

/// What happens to the active images in one iteration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Augmentation {
    /// The box that is resized to the whole image.
    pub crop: CropBox,
    /// Mirrored left to right after the crop.
    pub flip: bool,
    /// Rolled by so many pixels down and right after that.
    pub roll: (i32, i32),
}

impl Augmentation {
    /// Draws the augmentation of one iteration of one batch.
    ///
    /// # Paper
    /// easy2hard: the lower bound of the crop's area falls along a cosine from 1 to `min_crop_scale` (CDA, section 3).
    pub fn draw(
        config: &Synthesize,
        draws: &Draws,
        batch: u32,
        iteration: u32,
        iterations: u32,
        size: u32,
    ) -> Self {
        let mut rng = draws.stream("recovery-augmentation", u64::from(batch), u64::from(iteration));
        let least = easy_to_hard(iteration, iterations, config.min_crop_scale, config.milestone);
        let crop = random_resized_crop(&mut rng, size, size, (least, 1.0));
        let flip = rng.random::<f64>() < 0.5;
        let limit = config.jitter.min(i32::MAX as u32) as i32;
        let roll =
            if limit == 0 { (0, 0) } else { (rng.random_range(0..=limit), rng.random_range(0..=limit)) };
        Self { crop, flip: flip && config.flip, roll }
    }

    /// Leaves the images as they are.
    pub fn identity(size: u32) -> Self {
        Self { crop: CropBox { top: 0, left: 0, height: size, width: size }, flip: false, roll: (0, 0) }
    }

    /// Applies it: Y = R_h · X · R_wᵀ, where the flip reverses the rows of R_w. Two matrix products, differentiable
    /// on every backend (bilinear `interpolate` has no backward on some).
    ///
    /// # Shapes
    /// `images` and the result: `[n, channels, size, size]`.
    pub fn apply(&self, mut images: Tensor<4>) -> Tensor<4> {
        let [n, c, h, w] = images.dims();
        let CropBox { top, left, height, width } = self.crop;
        let is_whole = (height as usize, width as usize) == (h, w);
        if !is_whole || self.flip {
            let mut across = bilinear_matrix(w, w, left as usize, width as usize);
            if self.flip {
                across = across.chunks(w).rev().flatten().copied().collect();
            }
            let across = on_device(across, w, &images);
            images = product(images.reshape([n * c * h, w]), across).reshape([n, c, h, w]);
        }
        if !is_whole {
            images = resampled_rows(images, bilinear_matrix(h, h, top as usize, height as usize));
        }
        if self.roll != (0, 0) {
            images = images.roll(&[self.roll.0 as i64, self.roll.1 as i64], &[2_i64, 3_i64]);
        }
        images
    }
}

/// Each column of images multiplied by a `matrix` of `[side, h]`: `[n, c, h, w]` → `[n, c, side, w]`.
pub(crate) fn resampled_rows(images: Tensor<4>, matrix: Vec<f32>) -> Tensor<4> {
    let [n, c, h, w] = images.dims();
    let matrix = on_device(matrix, h, &images);
    let [_, side] = matrix.dims();
    let turned = images.swap_dims(2, 3).reshape([n * c * w, h]);
    product(turned, matrix).reshape([n, c, w, side]).swap_dims(2, 3)
}

/// A matrix of rows of `inner` values where `images` are, a constant of any graph, transposed.
fn on_device(matrix: Vec<f32>, inner: usize, images: &Tensor<4>) -> Tensor<2> {
    let shape = [matrix.len() / inner, inner];
    let device = images.device().without_autodiff();
    Tensor::<2>::from_data(TensorData::new(matrix, shape), &device).transpose()
}
