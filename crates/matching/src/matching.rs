//! What the methods have in common: a step gives gradients on images and targets, and what else moves follows.

use std::sync::Arc;

use burn::tensor::{Tensor, TensorData};
use delt_augment::draws::Draws;
use delt_augment::dsa::{Images, Operation, Strategy, draw};
use delt_formats::NamedTensor;
use delt_tangent::Function;
use delt_tangent::unrolled_sgd::{InnerBatch, Set, View};
use delt_training::dsa::apply;
use rand::seq::SliceRandom;

use crate::MatchingError;
use crate::real_images::RealImages;

/// A method: the loss of images, and what is trained beside them.
pub trait Matching: Send {
    /// Losses and gradients at an iteration, counted from 0.
    ///
    /// # Errors
    /// A value that is NaN or infinite, with its name; what the device reports.
    fn gradients(&mut self, set: &Set, iteration: u32) -> Result<Found, MatchingError>;

    /// What moves once the images have moved: networks that are trained on them, learned numbers.
    ///
    /// # Errors
    /// As [`Self::gradients`].
    fn after(&mut self, _set: &Set, _iteration: u32) -> Result<(), MatchingError> {
        Ok(())
    }

    /// Targets as they may be, of targets that an optimizer has moved.
    fn allowed(&self, targets: Tensor<2>) -> Tensor<2> {
        targets
    }

    /// The set that the method hands over, of the one that it moves.
    fn result(&self, set: &Set) -> Set {
        set.clone()
    }

    /// Numbers that were learned.
    fn learned(&self) -> Learned {
        Learned::default()
    }

    /// All state beside the set, for a checkpoint.
    ///
    /// # Errors
    /// What the device reports.
    fn save(&self) -> Result<Vec<NamedTensor>, MatchingError> {
        Ok(Vec::new())
    }

    /// Puts back what [`Self::save`] gave.
    ///
    /// # Errors
    /// A tensor that is absent or has another shape.
    fn restore(&mut self, _tensors: &[NamedTensor]) -> Result<(), MatchingError> {
        Ok(())
    }
}

/// What an iteration found.
#[derive(Debug)]
pub struct Found {
    /// The two columns of the trace.
    pub losses: [f64; 2],
    /// Gradient on the images.
    pub images: Tensor<4>,
    /// Gradient on the targets, where the method has one.
    pub targets: Option<Tensor<2>>,
}

/// Numbers that were learned with the images.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Learned {
    /// Learning rate of the students (MTT).
    pub lr: Option<f64>,
    /// Logarithm of the factor of predictions (RCIG).
    pub log_temperature: Option<f64>,
}

/// What a method works with.
#[derive(Clone, Debug)]
pub struct Scene {
    /// The network that images are matched under.
    pub function: Function,
    /// The real images.
    pub real: Arc<RealImages>,
    /// Class of each synthetic image.
    pub labels: Vec<u32>,
    /// DSA's strategies.
    pub strategies: Vec<Strategy>,
    /// Every draw.
    pub draws: Draws,
}

impl Scene {
    /// Classes that have synthetic images, with their rows.
    pub fn classes(&self) -> Vec<(u32, Vec<usize>)> {
        let mut classes: Vec<(u32, Vec<usize>)> = Vec::new();
        for (row, &label) in self.labels.iter().enumerate() {
            match classes.last_mut().filter(|(last, _)| *last == label) {
                Some((_, rows)) => rows.push(row),
                None => classes.push((label, vec![row])),
            }
        }
        classes
    }

    /// The augmentation that all images of a class share in an iteration (siamese).
    pub fn siamese(&self, iteration: u32, class: u32) -> View {
        let mut rng = self.draws.stream("siamese", u64::from(iteration), u64::from(class));
        let operation = draw(&self.strategies, &mut rng, Images::One, self.side());
        view_of(operation)
    }

    /// An augmentation of a batch of `images` with draws of its own for each.
    pub fn view(&self, purpose: &str, a: u64, b: u64, images: usize) -> View {
        let mut rng = self.draws.stream(purpose, a, b);
        view_of(draw(&self.strategies, &mut rng, Images::Each(images), self.side()))
    }

    /// The rows of the set in a new order, in batches of `size`, each augmented by itself.
    pub fn epoch(&self, purpose: &str, a: u64, b: u64, size: usize) -> Vec<InnerBatch> {
        let mut rows: Vec<usize> = (0..self.labels.len()).collect();
        rows.shuffle(&mut self.draws.stream(purpose, a, b));
        let batch = |(at, rows): (usize, &[usize])| {
            let view = self.view(&format!("{purpose}-view"), a, b * 10_000 + at as u64, rows.len());
            InnerBatch { rows: rows.to_vec(), view }
        };
        rows.chunks(size.max(1)).enumerate().map(batch).collect()
    }

    /// The real images of an iteration, by passes over all of them.
    pub fn real_batch(&self, count: u32, iteration: u32) -> Vec<usize> {
        let batches = self.real.batches(count as usize);
        let pass = u64::from(iteration) / batches as u64;
        let mut rng = self.draws.stream("real-pass", pass, 0);
        self.real.of_pass(count as usize, iteration as usize % batches, &mut rng)
    }

    /// One-hot rows of these classes.
    pub fn one_hot(&self, labels: &[u32]) -> Tensor<2> {
        let classes = self.function.form.classes;
        let mut values = vec![0.0_f32; labels.len() * classes];
        for (row, label) in values.chunks_mut(classes).zip(labels) {
            row[*label as usize] = 1.0;
        }
        Tensor::from_data(TensorData::new(values, [labels.len(), classes]), self.function.device())
    }

    /// Side of the images, px.
    pub fn side(&self) -> usize {
        self.function.form.size
    }
}

fn view_of(operation: Option<Operation>) -> View {
    match operation {
        Some(operation) => Box::new(move |x| apply(&operation, x)),
        None => Box::new(|x| x),
    }
}

/// A number on the host.
///
/// # Errors
/// What the device reports; a value that is NaN or infinite.
pub fn finite(what: &str, value: Tensor<1>) -> Result<f64, MatchingError> {
    let read = |source| MatchingError::Read { what: what.to_owned(), source };
    number(what, f64::from(value.try_into_scalar::<f32>().map_err(read)?))
}

/// A number that is not NaN or infinite.
///
/// # Errors
/// One that is.
pub(crate) fn number(what: &str, value: f64) -> Result<f64, MatchingError> {
    if value.is_finite() { Ok(value) } else { Err(MatchingError::NotFinite { what: what.to_owned(), value }) }
}
