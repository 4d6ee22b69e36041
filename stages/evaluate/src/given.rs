//! What a set gives its students: images in network space, and a target for each.

use anyhow::{Context, Result, bail, ensure};
use burn::tensor::{Device, Tensor, TensorData};
use delt_formats::synthetic::SYNTHETIC_FILE;
use delt_formats::{RgbImage, SyntheticFacts, SyntheticReader, TeacherFacts};
use delt_harness::space::OpenSpace;
use delt_pipeline::config::Invalid;
use delt_pipeline::config::given::{Given, GivenLoss, GivenLr};
use delt_pipeline::config::matching::Targets;
use delt_pipeline::watch::Watch;
use delt_store::Entry;
use delt_training::{Floats, ImageSet, TrainingError};

/// Images with their targets.
#[derive(Debug)]
pub struct GivenSet {
    /// `[n, 3, size, size]`, in [`Self::space`].
    pub pixels: Vec<f32>,
    /// `[n, classes]`.
    pub targets: Vec<f32>,
    /// Class of each image.
    pub labels: Vec<u32>,
    /// What networks take in place of pixels, test images too.
    pub space: OpenSpace,
    /// The test images in that space, where it is costly to go there.
    whitened_test: Option<Floats>,
    /// Peak learning rate of students.
    pub lr: f64,
    /// Side of the images, px.
    pub size: usize,
    /// Number of classes.
    pub classes: usize,
}

impl GivenSet {
    /// Reads images and targets: pixels in network space where the set has them, else its 8-bit images, normalized as the teacher's
    /// or whitened by `whitening`, that of the branch.
    ///
    /// # Errors
    /// What a recipe asks for and the set has not; images of another size than the teacher's; a whitening that is not that of the set.
    pub fn read(
        reader: &SyntheticReader,
        facts: &SyntheticFacts,
        teacher: &TeacherFacts,
        given: &Given,
        whitening: Option<&Entry>,
    ) -> Result<Self> {
        let (classes, size) = (reader.provenance().classes.len(), teacher.size as usize);
        let space = match &facts.space {
            Some(stated) => OpenSpace::of_set(stated, size, whitening),
            None => OpenSpace::open(teacher.normalization, size, whitening),
        };
        let mut set = Self {
            pixels: Vec::new(),
            targets: Vec::new(),
            labels: Vec::new(),
            space: space?,
            whitened_test: None,
            lr: peak(given, facts)?,
            size,
            classes,
        };
        for row in reader.rows() {
            let row = row?;
            let place = || format!("{SYNTHETIC_FILE}, row {}", set.labels.len());
            let check = |values: usize| {
                ensure!(
                    values == 3 * size * size,
                    "{}: has {values} values, expected three for each of {size} x {size} px (teacher.size); make the images at this \
                     size",
                    place()
                );
                Ok(())
            };
            let values = if let Some(pixels) = row.pixels {
                check(pixels.len())?;
                pixels
            } else {
                let image = RgbImage::decode(&row.png).with_context(place)?;
                check(image.rgb.len())?;
                set.space.values(&[image])
            };
            let target = match (given.targets, row.target) {
                (Targets::Hard, _) => hard(row.label as usize, classes, given.loss),
                (Targets::Learned, Some(target)) => target,
                (Targets::Learned, None) => bail!(Invalid::new(
                    "evaluate.given.targets",
                    format!(
                        "found learned, but {} has no target; set hard, or learn labels with the images",
                        place()
                    )
                )),
            };
            set.pixels.extend(values);
            set.targets.extend(target);
            set.labels.push(row.label);
        }
        Ok(set)
    }

    /// How many images there are.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Images `[n, 3, size, size]` and targets `[n, classes]` on a device, with `mirror` the mirror images behind the images.
    pub fn on_device(&self, mirror: bool, device: &Device) -> (Tensor<4>, Tensor<2>) {
        let (n, size, classes) = (self.len(), self.size, self.classes);
        let images = Tensor::from_data(TensorData::new(self.pixels.clone(), [n, 3, size, size]), device);
        let targets = Tensor::from_data(TensorData::new(self.targets.clone(), [n, classes]), device);
        if !mirror {
            return (images, targets);
        }
        (
            Tensor::cat(vec![images.clone(), images.flip([3])], 0),
            Tensor::cat(vec![targets.clone(), targets], 0),
        )
    }

    /// Takes all test images to the space at once, where a test would cost more than it.
    ///
    /// # Errors
    /// More than fit in memory or on disk.
    pub fn enter(&mut self, test: &ImageSet, watch: &dyn Watch) -> Result<(), TrainingError> {
        let enter = |values: &mut [f32]| self.space.enter(values);
        let entered = || test.entered(&self.space.stated.normalization, enter, watch);
        self.whitened_test = self.space.stated.whitening.is_some().then(entered).transpose()?;
        Ok(())
    }

    /// The test images at some indices as networks take them: `[n, 3, size, size]` row by row.
    ///
    /// # Errors
    /// A disk that does not give them back.
    pub fn test_values(&self, test: &ImageSet, indices: &[usize]) -> Result<Vec<f32>, TrainingError> {
        match &self.whitened_test {
            Some(values) => values.rows(indices),
            None => test.normalized(indices, &self.space.stated.normalization),
        }
    }
}

/// The learning rate of a recipe for this set.
fn peak(given: &Given, facts: &SyntheticFacts) -> Result<f64> {
    let problem = "found learned, but no learning rate was learned with these images; write a number";
    match (given.optimizer.lr(), facts.learned_lr) {
        (GivenLr::Number(lr), _) => Ok(lr),
        (GivenLr::Learned(_), Some(lr)) => Ok(lr),
        (GivenLr::Learned(_), None) => Err(Invalid::new("evaluate.given.optimizer.lr", problem).into()),
    }
}

/// The target of a class: 1 for it and 0 for the others, under a squared error less their mean.
fn hard(label: usize, classes: usize, loss: GivenLoss) -> Vec<f32> {
    let mean = match loss {
        GivenLoss::CrossEntropy {} => 0.0,
        GivenLoss::HalfSquaredError { .. } => 1.0 / classes as f32,
    };
    (0..classes).map(|class| if class == label { 1.0 - mean } else { -mean }).collect()
}

#[cfg(test)]
mod tests {
    use delt_pipeline::config::given::Per;

    use super::*;

    #[test]
    fn hard_targets_are_centered_under_a_squared_error() {
        assert_eq!(hard(1, 4, GivenLoss::CrossEntropy {}), [0.0, 1.0, 0.0, 0.0]);
        let squared = GivenLoss::HalfSquaredError { per: Per::Image };
        assert_eq!(hard(0, 4, squared), [0.75, -0.25, -0.25, -0.25]);
    }
}
