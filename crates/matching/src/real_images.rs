//! The real images that batches are drawn of, in the space of the synthetic ones.

use burn::tensor::{Device, Tensor, TensorData};
use delt_formats::Normalization;
use delt_training::{Floats, ImageSet};
use rand::Rng;
use rand::seq::{SliceRandom, index};

use crate::error::MatchingError;

/// Real images by class. Each takes 8 bytes here, and 4 more while a batch of a pass is drawn.
#[derive(Debug)]
pub struct RealImages {
    values: Values,
    labels: Vec<u32>,
    by_class: Vec<Vec<u32>>,
    side: usize,
    device: Device,
}

#[derive(Debug)]
enum Values {
    /// Normalized when they are asked for: 3 bytes a pixel.
    EightBit(ImageSet, Normalization),
    /// Whitened: 12 bytes a pixel.
    Floats(Floats),
}

impl RealImages {
    /// Images that are normalized only.
    pub fn normalized(
        mut set: ImageSet,
        normalization: Normalization,
        classes: usize,
        device: &Device,
    ) -> Self {
        let (labels, side) = (std::mem::take(&mut set.labels), set.size as usize);
        Self::of(Values::EightBit(set, normalization), labels, classes, side, device)
    }

    /// Images as rows of `3 * side * side` values.
    ///
    /// # Panics
    /// Where there are not as many as the labels say.
    pub fn floats(values: Floats, labels: Vec<u32>, classes: usize, side: usize, device: &Device) -> Self {
        assert_eq!(values.len(), labels.len(), "one label for each image");
        Self::of(Values::Floats(values), labels, classes, side, device)
    }

    fn of(values: Values, labels: Vec<u32>, classes: usize, side: usize, device: &Device) -> Self {
        let mut counts = vec![0; classes];
        labels.iter().for_each(|label| counts[*label as usize] += 1);
        let mut by_class: Vec<Vec<u32>> = counts.into_iter().map(Vec::with_capacity).collect();
        for (row, label) in (0..).zip(&labels) {
            by_class[*label as usize].push(row);
        }
        Self { values, labels, by_class, side, device: device.clone().without_autodiff() }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The images of these rows, `[n, 3, side, side]`.
    ///
    /// # Errors
    /// A disk that does not give them back.
    pub fn images(&self, rows: &[usize]) -> Result<Tensor<4>, MatchingError> {
        let values = match &self.values {
            Values::EightBit(set, normalization) => set.normalized(rows, normalization)?,
            Values::Floats(all) => all.rows(rows)?,
        };
        let shape = [rows.len(), 3, self.side, self.side];
        Ok(Tensor::from_data(TensorData::new(values, shape), &self.device))
    }

    /// The classes of these rows.
    pub fn labels(&self, rows: &[usize]) -> Vec<u32> {
        rows.iter().map(|row| self.labels[*row]).collect()
    }

    /// At most `count` different images of a class; all of them where it has no more.
    pub fn of_class(&self, class: u32, count: usize, rng: &mut impl Rng) -> Vec<usize> {
        let rows = &self.by_class[class as usize];
        index::sample(rng, rows.len(), count.min(rows.len())).iter().map(|at| rows[at] as usize).collect()
    }

    /// The batch at a place of a pass over all images in a new order; what is left over makes no batch unless there is no other.
    pub fn of_pass(&self, count: usize, at: usize, rng: &mut impl Rng) -> Vec<usize> {
        let mut rows: Vec<u32> = (0..self.len() as u32).collect();
        rows.shuffle(rng);
        let count = count.clamp(1, self.len().max(1));
        rows[at * count..][..count].iter().map(|row| *row as usize).collect()
    }

    /// Batches of a pass, of which [`Self::of_pass`] gives one.
    pub fn batches(&self, count: usize) -> usize {
        (self.len() / count.clamp(1, self.len().max(1))).max(1)
    }
}
