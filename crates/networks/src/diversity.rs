//! How alike the images of a class are in the teacher's eyes (DELT, diversity analysis): lower is more diverse.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor, TensorData};
use delt_augment::to_normalized;
use delt_formats::{RgbImage, TeacherFacts};

use crate::error::{NetworkError, read};
use crate::frozen::FrozenNetwork;

/// Images whose features are computed at once.
const FEATURE_BATCH: usize = 100;

/// Cosine similarities between the features of one class, or their means over classes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Diversity {
    /// Mean cosine of each image to the mean feature of its class.
    pub cosine_to_centroid: f64,
    /// Mean cosine over pairs of different images of a class; 1 for a class of one image.
    pub pairwise_cosine: f64,
}

/// Diversity of the images of one class.
///
/// # Shapes
/// `features`: one vector per image, all of one length, penultimate features of the teacher.
pub fn of_class(features: &[&[f32]]) -> Diversity {
    let n = features.len() as f64;
    let wide: Vec<Vec<f64>> = features.iter().map(|f| f.iter().map(|v| f64::from(*v)).collect()).collect();
    let length = wide.first().map_or(0, Vec::len);
    let centroid: Vec<f64> = (0..length).map(|i| wide.iter().map(|f| f[i]).sum::<f64>() / n).collect();
    let to_centroid = wide.iter().map(|f| cosine(f, &centroid)).sum::<f64>() / n;
    let mut pairs = 0.0;
    for (at, one) in wide.iter().enumerate() {
        pairs += wide[at + 1..].iter().map(|other| cosine(one, other)).sum::<f64>();
    }
    let pairwise = if features.len() < 2 { 1.0 } else { pairs / (n * (n - 1.0) / 2.0) };
    Diversity { cosine_to_centroid: to_centroid, pairwise_cosine: pairwise }
}

/// Diversity of the images of each class that has any, ascending, in the teacher's penultimate features.
///
/// # Errors
/// A device that returns no values.
pub fn of_classes(
    teacher: &FrozenNetwork,
    pictures: &[RgbImage],
    labels: &[u32],
    facts: &TeacherFacts,
    device: &Device,
) -> Result<Vec<Diversity>, NetworkError> {
    let side = facts.size as usize;
    let pixels = 3 * side * side;
    let mut features: Vec<Vec<f32>> = Vec::with_capacity(pictures.len());
    for chunk in pictures.chunks(FEATURE_BATCH) {
        let mut images = vec![0.0; chunk.len() * pixels];
        for (picture, out) in chunk.iter().zip(images.chunks_mut(pixels)) {
            to_normalized(&picture.rgb, &facts.normalization, out);
        }
        let images = Tensor::<4>::from_data(TensorData::new(images, [chunk.len(), 3, side, side]), device);
        let batch = teacher.features(images);
        let length = batch.dims()[1];
        features.extend(read(batch, "features")?.chunks(length.max(1)).map(<[f32]>::to_vec));
    }
    let mut classes: BTreeMap<u32, Vec<&[f32]>> = BTreeMap::new();
    for (label, features) in labels.iter().zip(&features) {
        classes.entry(*label).or_default().push(features);
    }
    Ok(classes.values().map(|members| of_class(members)).collect())
}

impl Diversity {
    /// Mean over classes.
    pub fn mean(classes: &[Self]) -> Self {
        let n = classes.len().max(1) as f64;
        let of = |value: fn(&Self) -> f64| classes.iter().map(value).sum::<f64>() / n;
        Self {
            cosine_to_centroid: of(|class| class.cosine_to_centroid),
            pairwise_cosine: of(|class| class.pairwise_cosine),
        }
    }
}

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(p, q)| p * q).sum::<f64>();
    dot(a, b) / (dot(a, a).sqrt() * dot(b, b).sqrt()).max(1e-12)
}
