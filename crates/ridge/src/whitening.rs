//! Whitening of a data set (ZCA): images with all their correlations taken out, as far as a regularizer lets them, and back.
//!
//! Moments are collected in 64 bits in one pass, a chunk of images at a time, so that memory does not grow with the data set. An
//! image is its values in the order channels, rows, columns; another order permutes rows and columns of the matrices alike.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par, Side};
use rayon::prelude::*;

use crate::RidgeError;
use crate::matrix::add_square;

/// Images whose products are added at a time.
const CHUNK: usize = 1024;
/// Images that a task whitens.
const BLOCK: usize = 256;
/// The regularizer δ, or its share of the mean eigenvalue.
const DELTA: f64 = 0.1;

/// How a data set is whitened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Of normalized pixels: minus the mean image; covariance over N; δ a tenth of its mean eigenvalue (FRePo, RCIG).
    Trace,
    /// Of pixels from 0 to 1: minus the mean image; covariance over N − 1; δ 0.1 (MTT, TESLA).
    Absolute,
    /// Of pixels of any scale: each image minus its own mean, at unit length; second moments over N; δ as with [`Self::Trace`]
    /// (RaT-BPTT).
    UnitLength,
}

/// The sums over images that a whitening is made of.
#[derive(Clone, Debug)]
pub struct Moments {
    kind: Kind,
    dimensions: usize,
    images: u64,
    sum: Vec<f64>,
    /// Sums of products on and below the diagonal, `[dimensions, dimensions]`.
    products: Vec<f64>,
    /// Images that are not in the sums yet.
    waiting: Vec<f64>,
}

impl Moments {
    /// No images yet, of so many values each.
    pub fn new(kind: Kind, dimensions: usize) -> Self {
        let products = vec![0.0; dimensions * dimensions];
        Self { kind, dimensions, images: 0, sum: vec![0.0; dimensions], products, waiting: Vec::new() }
    }

    /// Adds images, in the space that [`Kind`] names.
    ///
    /// # Shapes
    /// `images`: `[n, dimensions]`, any n.
    pub fn add(&mut self, images: &[f32]) {
        for image in images.chunks_exact(self.dimensions) {
            let start = self.waiting.len();
            self.waiting.extend(image.iter().map(|value| f64::from(*value)));
            if self.kind == Kind::UnitLength {
                to_unit_length(&mut self.waiting[start..]);
            }
            self.images += 1;
            if self.waiting.len() == CHUNK * self.dimensions {
                self.take_up();
            }
        }
    }

    fn take_up(&mut self) {
        for image in self.waiting.chunks_exact(self.dimensions) {
            self.sum.iter_mut().zip(image).for_each(|(sum, value)| *sum += value);
        }
        let rows = self.waiting.len() / self.dimensions;
        let images = MatRef::from_row_major_slice(&self.waiting, rows, self.dimensions);
        add_square(&mut self.products, images.transpose());
        self.waiting.clear();
    }

    /// The whitening of the images that were added. Eigenvectors of 3072 dimensions take half a minute.
    ///
    /// # Errors
    /// Fewer than two images; values that are NaN or infinite.
    pub fn finish(mut self) -> Result<Whitening, RidgeError> {
        self.take_up();
        let Self { kind, dimensions, images, mut products, .. } = self;
        if images < 2 {
            return Err(RidgeError::TooFew { images });
        }
        let count = images as f64;
        let mean: Vec<f64> = match kind {
            Kind::UnitLength => vec![0.0; dimensions],
            Kind::Trace | Kind::Absolute => self.sum.iter().map(|sum| sum / count).collect(),
        };
        let divisor = if kind == Kind::Absolute { count - 1.0 } else { count };
        for (row, own) in products.chunks_exact_mut(dimensions).zip(&mean) {
            row.iter_mut()
                .zip(&mean)
                .for_each(|(value, mean)| *value = (*value - count * own * mean) / divisor);
        }
        let trace: f64 = products.iter().step_by(dimensions + 1).sum();
        let delta = if kind == Kind::Absolute { DELTA } else { DELTA * trace / dimensions as f64 };
        let covariance = MatRef::from_row_major_slice(&products, dimensions, dimensions);
        let unsolved = RidgeError::NoEigenvectors { images };
        let is_finite = products.iter().all(|value| value.is_finite());
        let eigen =
            is_finite.then(|| covariance.self_adjoint_eigen(Side::Lower).ok()).flatten().ok_or(unsolved)?;
        // the power of each eigenvalue is halved: the square of these vectors is the matrix
        let matrix = |power: f64| {
            let mut vectors = eigen.U().to_owned();
            for (column, value) in eigen.S().column_vector().iter().enumerate() {
                let factor = (value.max(0.0) + delta).powf(power / 2.0);
                vectors.col_mut(column).iter_mut().for_each(|entry| *entry *= factor);
            }
            square(&vectors)
        };
        let mean = mean.iter().map(|value| *value as f32).collect();
        Ok(Whitening { kind, mean, matrix: matrix(-0.5), inverse: matrix(0.5) })
    }
}

/// A matrix times its own transpose, in 32 bits.
fn square(vectors: &faer::Mat<f64>) -> Vec<f32> {
    let side = vectors.nrows();
    let mut product = vec![0.0; side * side];
    add_square(&mut product, vectors.as_ref());
    let at = |row: usize, column: usize| product[row.max(column) * side + row.min(column)] as f32;
    (0..side * side).into_par_iter().map(|place| at(place / side, place % side)).collect()
}

/// Takes the mean of an image out and scales it to unit length; an image of one value becomes 0.
fn to_unit_length(image: &mut [f64]) {
    let mean = image.iter().sum::<f64>() / image.len() as f64;
    image.iter_mut().for_each(|value| *value -= mean);
    let length = image.iter().map(|value| value * value).sum::<f64>().sqrt();
    if length > 0.0 {
        image.iter_mut().for_each(|value| *value /= length);
    }
}

/// How images are whitened, and back.
#[derive(Clone, Debug, PartialEq)]
pub struct Whitening {
    /// What is done before the matrix.
    pub kind: Kind,
    /// The mean image, `[dimensions]`; 0 with [`Kind::UnitLength`].
    pub mean: Vec<f32>,
    /// (covariance + δ)^−½, `[dimensions, dimensions]`, symmetric.
    pub matrix: Vec<f32>,
    /// (covariance + δ)^½.
    pub inverse: Vec<f32>,
}

impl Whitening {
    /// Whitens images, in the space that [`Kind`] names.
    ///
    /// # Shapes
    /// `images`: `[n, dimensions]`.
    pub fn apply(&self, images: &mut [f32]) {
        self.multiply(
            images,
            &self.matrix,
            |image| {
                let mut values: Vec<f64> = image.iter().map(|value| f64::from(*value)).collect();
                match self.kind {
                    Kind::UnitLength => to_unit_length(&mut values),
                    Kind::Trace | Kind::Absolute => {
                        values
                            .iter_mut()
                            .zip(&self.mean)
                            .for_each(|(value, mean)| *value -= f64::from(*mean));
                    }
                }
                image.iter_mut().zip(values).for_each(|(to, value)| *to = value as f32);
            },
            |_| (),
        );
    }

    /// Undoes [`Self::apply`]: what it made of pixels becomes pixels again. With [`Kind::UnitLength`] an image's own mean and
    /// length are lost, and it stays without the one and at unit length.
    ///
    /// # Shapes
    /// `images`: `[n, dimensions]`.
    pub fn invert(&self, images: &mut [f32]) {
        self.multiply(
            images,
            &self.inverse,
            |_| (),
            |image| {
                image.iter_mut().zip(&self.mean).for_each(|(value, mean)| *value += mean);
            },
        );
    }

    /// Each image, changed `before`, times a symmetric matrix, and changed `after`.
    fn multiply(
        &self,
        images: &mut [f32],
        matrix: &[f32],
        before: impl Fn(&mut [f32]) + Sync,
        after: impl Fn(&mut [f32]) + Sync,
    ) {
        let dimensions = self.mean.len();
        let matrix = MatRef::from_row_major_slice(matrix, dimensions, dimensions);
        images.par_chunks_mut((BLOCK * dimensions).max(1)).for_each(|images| {
            let rows = images.len() / dimensions;
            images.chunks_exact_mut(dimensions).for_each(&before);
            let from = images.to_vec();
            let from = MatRef::from_row_major_slice(&from, rows, dimensions);
            let to = MatMut::from_row_major_slice_mut(images, rows, dimensions);
            matmul(to, Accum::Replace, from, matrix, 1.0, Par::Seq);
            images.chunks_exact_mut(dimensions).for_each(&after);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::tests::numbers;

    const KINDS: [Kind; 3] = [Kind::Trace, Kind::Absolute, Kind::UnitLength];

    /// Correlated images.
    fn images(n: usize, dimensions: usize) -> Vec<f32> {
        let mix = numbers(3, dimensions, 9);
        let mut images = numbers(n, dimensions, 1);
        images.add_product(2.0, &numbers(n, 3, 2), &mix);
        images.to_f32()
    }

    fn whitening(kind: Kind, images: &[f32], dimensions: usize, at_a_time: usize) -> Whitening {
        let mut moments = Moments::new(kind, dimensions);
        images.chunks(at_a_time * dimensions).for_each(|images| moments.add(images));
        moments.finish().expect("whitens")
    }

    #[test]
    fn whitened_images_become_the_images_again() {
        let own = images(200, 12);
        for kind in KINDS {
            let whitening = whitening(kind, &own, 12, 200);
            let mut there = own.clone();
            whitening.apply(&mut there);
            assert!(there.iter().zip(&own).any(|(a, b)| (a - b).abs() > 0.1));
            whitening.invert(&mut there);
            let mut expected = own.clone();
            if kind == Kind::UnitLength {
                for image in expected.chunks_exact_mut(12) {
                    let mut values: Vec<f64> = image.iter().map(|value| f64::from(*value)).collect();
                    to_unit_length(&mut values);
                    image.iter_mut().zip(values).for_each(|(to, value)| *to = value as f32);
                }
            }
            for (back, own) in there.iter().zip(&expected) {
                assert!((back - own).abs() < 1e-5, "{kind:?}: {back} against {own}");
            }
        }
    }

    #[test]
    fn large_directions_lose_their_lead_and_the_mean_becomes_zero() {
        let mut there = images(400, 12);
        let spread = |images: &[f32]| {
            let mut moments = Moments::new(Kind::Trace, 12);
            moments.add(images);
            moments.take_up();
            let variances =
                (0..12).map(|at| moments.products[at * 13] / 400.0 - (moments.sum[at] / 400.0).powi(2));
            (
                moments.sum.iter().map(|sum| (sum / 400.0).abs()).fold(0.0, f64::max),
                variances.collect::<Vec<_>>(),
            )
        };
        whitening(Kind::Trace, &there, 12, 400).apply(&mut there);
        let (mean, variances) = spread(&there);
        assert!(mean < 1e-5, "{mean}");
        assert!(variances.iter().all(|variance| (0.3..1.0).contains(variance)), "{variances:?}");
    }

    #[test]
    fn the_matrix_does_not_depend_on_how_images_arrive() {
        let own = images(2500, 7);
        for kind in KINDS {
            assert_eq!(whitening(kind, &own, 7, 2500), whitening(kind, &own, 7, 333));
        }
    }

    #[test]
    fn what_cannot_be_whitened_says_why_and_an_image_of_one_value_can() {
        let few = Moments::new(Kind::Trace, 4).finish().expect_err("refused");
        assert_eq!(few.to_string(), "0 images to whiten by, expected at least 2; ingest more");
        let mut moments = Moments::new(Kind::Trace, 2);
        moments.add(&[f32::NAN, 0.0, 1.0, 2.0]);
        let message = moments.finish().expect_err("refused").to_string();
        assert!(message.starts_with("the second moments of 2 images have no eigenvectors"), "{message}");
        let mut own = images(50, 6);
        own[..6].fill(3.0);
        let whitening = whitening(Kind::UnitLength, &own, 6, 50);
        whitening.apply(&mut own);
        assert!(own.iter().all(|value| value.is_finite()) && own[..6].iter().all(|value| *value == 0.0));
    }
}
