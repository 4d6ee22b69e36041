//! The statistics-matching loss of recovery (R_BN): how far the statistics of a batch lie from the running statistics of a
//! batch normalization layer.

use burn::tensor::Tensor;

use crate::network::BnLayer;

/// Mean and biased variance per channel, over images and positions, of what enters one batch normalization layer.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerStatistics {
    /// `[channels]`.
    pub mean: Vec<f32>,
    /// `[channels]`.
    pub variance: Vec<f32>,
}

/// Statistics of images that a network sees batch after batch, joined as if it had seen them at once (Chan, Golub and
/// LeVeque's pairwise update, in 64 bits).
#[derive(Clone, Debug, Default)]
pub struct JoinedStatistics {
    images: f64,
    /// By layer and channel: mean, and sum of squared distances from it divided by the positions of an image.
    layers: Vec<Vec<(f64, f64)>>,
}

impl JoinedStatistics {
    /// Takes in a batch of so many images; all batches are of the same layers.
    pub fn add(&mut self, images: usize, batch: &[LayerStatistics]) {
        if self.layers.is_empty() {
            self.layers = batch.iter().map(|layer| vec![(0.0, 0.0); layer.mean.len()]).collect();
        }
        let added = images as f64;
        let joined = self.images + added;
        for (channels, batch) in self.layers.iter_mut().zip(batch) {
            for ((mean, squares), (new, variance)) in
                channels.iter_mut().zip(batch.mean.iter().zip(&batch.variance))
            {
                let distance = f64::from(*new) - *mean;
                *mean += distance * added / joined;
                *squares += f64::from(*variance) * added + distance * distance * self.images * added / joined;
            }
        }
        self.images = joined;
    }

    /// The statistics of all images, by layer.
    pub fn layers(&self) -> Vec<LayerStatistics> {
        let of = |channels: &Vec<(f64, f64)>| LayerStatistics {
            mean: channels.iter().map(|(mean, _)| *mean as f32).collect(),
            variance: channels.iter().map(|(_, squares)| (squares / self.images.max(1.0)) as f32).collect(),
        };
        self.layers.iter().map(of).collect()
    }
}

/// ‖mean − μ‖₂ + ‖var − σ²‖₂ of every layer, in the order given; the variance is biased, over images and positions.
///
/// # Shapes
///
/// Inputs `[n, channels, h, w]`, one per layer; each result `[1]`.
pub fn bn_statistics_terms(inputs: &[Tensor<4>], layers: &[BnLayer]) -> Vec<Tensor<1>> {
    let term = |(input, layer): (&Tensor<4>, &BnLayer)| {
        let target = (layer.running_mean.clone(), layer.running_var.clone());
        distance(batch_statistics(input.clone()), target)
    };
    inputs.iter().zip(layers).map(term).collect()
}

/// Mean and biased variance per channel, `[n, c, h, w]` → `[c]` twice.
///
/// Sums run within a row first and over images next, never over a whole large tensor: the order of addition is then the
/// same in every run.
pub fn batch_statistics(x: Tensor<4>) -> (Tensor<1>, Tensor<1>) {
    let [_, channels, ..] = x.dims();
    let rows: Tensor<3> = x.flatten(2, 3);
    let mean = rows.clone().mean_dim(2).mean_dim(0);
    // the variance does not change with the mean it is centered by (to first order), so no gradient flows through that
    let centered = rows - mean.clone().detach();
    let variance = centered.square().mean_dim(2).mean_dim(0);
    (mean.reshape([channels]), variance.reshape([channels]))
}

/// ‖mean − μ‖₂ + ‖var − σ²‖₂, `[1]`, of means and variances of one length.
pub fn distance(batch: (Tensor<1>, Tensor<1>), target: (Tensor<1>, Tensor<1>)) -> Tensor<1> {
    norm(batch.0 - target.0) + norm(batch.1 - target.1)
}

/// Euclidean norm of a short vector.
fn norm(x: Tensor<1>) -> Tensor<1> {
    x.square().sum().sqrt()
}
