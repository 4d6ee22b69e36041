//! The batches of training: order and augmentation of every epoch as a pure function of the seed.

use delt_augment::draws::Draws;
use delt_augment::pad_crop_flip::pad_crop_flip;
use delt_formats::teacher::Normalization;
use delt_pipeline::config::teacher::TrainRecipe;
use delt_training::{ImageSet, TrainingError};
use rand::RngExt;
use rayon::prelude::*;

/// Training images as a recipe wants to see them.
#[derive(Debug)]
pub struct Batches<'a> {
    /// The images.
    pub images: &'a ImageSet,
    /// Batch size and augmentation.
    pub recipe: &'a TrainRecipe,
    /// How images are normalized.
    pub normalization: &'a Normalization,
    /// Seed of order and augmentation.
    pub draws: Draws,
}

impl Batches<'_> {
    /// Steps of an epoch. A last batch of one image is left out: BatchNorm has no variance of one value.
    pub fn steps(&self) -> usize {
        let (images, batch) = (self.images.len(), self.recipe.batch as usize);
        images / batch + usize::from(images % batch > 1)
    }

    /// Images of an epoch, over all its steps.
    pub fn images_shown(&self) -> usize {
        self.images.len().min(self.steps() * self.recipe.batch as usize)
    }

    /// The images of each step of an epoch, by index.
    pub fn order(&self, epoch: u32) -> Vec<Vec<usize>> {
        let mut rng = self.draws.stream("train-order", u64::from(epoch), 0);
        let mut order: Vec<usize> = (0..self.images.len()).collect();
        for last in (1..order.len()).rev() {
            order.swap(last, rng.random_range(0..=last as u64) as usize);
        }
        order.chunks(self.recipe.batch as usize).take(self.steps()).map(<[usize]>::to_vec).collect()
    }

    /// The images of a step, normalized; each is padded, cropped and flipped by draws of its own.
    ///
    /// # Errors
    /// A disk that does not give them back.
    pub fn augmented(&self, epoch: u32, indices: &[usize]) -> Result<Vec<f32>, TrainingError> {
        let mut pixels = self.images.normalized(indices, self.normalization)?;
        let TrainRecipe { pad, flip, .. } = *self.recipe;
        if pad == 0 && !flip {
            return Ok(pixels);
        }
        let size = self.images.size as usize;
        pixels.par_chunks_mut(3 * size * size).zip(indices).for_each(|(image, index)| {
            let mut rng = self.draws.stream("train-augmentation", u64::from(epoch), *index as u64);
            let moved = pad_crop_flip(&mut rng, image, size, pad as usize, flip, self.normalization);
            image.copy_from_slice(&moved);
        });
        Ok(pixels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use delt_formats::rgb_image::RgbImage;
    use delt_pipeline::config::teacher::{Optimizer, Replicas, TrainSchedule};

    const NORMALIZATION: Normalization = Normalization { mean: [0.5; 3], std: [0.25; 3] };

    fn recipe(batch: u32, pad: u32, flip: bool) -> TrainRecipe {
        TrainRecipe {
            epochs: 1,
            batch,
            optimizer: Optimizer::Sgd { lr: 0.1, momentum: 0.9, nesterov: true, weight_decay: 0.0 },
            schedule: TrainSchedule::Cosine {},
            label_smoothing: 0.0,
            pad,
            flip,
            bn_momentum: 0.1,
            dropout: false,
            replicas: Replicas::default(),
            allow_chance: false,
        }
    }

    fn images(count: usize) -> ImageSet {
        let picture =
            |at: usize| RgbImage { width: 4, height: 4, rgb: (0..48).map(|i| (i * 5 + at) as u8).collect() };
        let pictures: Vec<RgbImage> = (0..count).map(picture).collect();
        ImageSet::of(4, &pictures, vec![0; count]).expect("in memory")
    }

    fn order(count: usize, batch: u32, epoch: u32) -> Vec<Vec<usize>> {
        let (images, recipe) = (images(count), recipe(batch, 0, false));
        let batches =
            Batches { images: &images, recipe: &recipe, normalization: &NORMALIZATION, draws: Draws::new(1) };
        let order = batches.order(epoch);
        assert_eq!(order.len(), batches.steps());
        assert_eq!(order.concat().len(), batches.images_shown());
        order
    }

    #[test]
    fn an_epoch_shows_every_image_once_except_a_last_one_alone() {
        let mut all: Vec<usize> = order(10, 4, 0).concat();
        assert_ne!(all, order(10, 4, 1).concat());
        all.sort_unstable();
        assert_eq!(all, (0..10).collect::<Vec<_>>());
        assert_eq!(order(9, 4, 0).iter().map(Vec::len).collect::<Vec<_>>(), [4, 4]);
        assert_eq!(order(3, 4, 0).iter().map(Vec::len).collect::<Vec<_>>(), [3]);
        assert!(order(1, 4, 0).is_empty());
    }

    #[test]
    fn augmentation_depends_on_epoch_and_image_not_on_the_batch() {
        let (images, recipe) = (images(6), recipe(3, 2, true));
        let batches =
            Batches { images: &images, recipe: &recipe, normalization: &NORMALIZATION, draws: Draws::new(1) };
        let augmented = |epoch, indices: &[usize]| batches.augmented(epoch, indices).expect("read");
        let together = augmented(2, &[4, 5]);
        assert_eq!(together[48..], augmented(2, &[5])[..]);
        assert_ne!(together, augmented(3, &[4, 5]));
    }
}
