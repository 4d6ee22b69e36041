//! A convolution and batch normalization whose weights do not change, prepared once.

use std::fmt;
use std::sync::Arc;

use crate::activation::Activation;
use crate::backward::StatisticsGradient;
use crate::forward::{Affine, Convolution};
use crate::plan::{Packed, PackedOnce};
use crate::shape::{ConvShape, Geometry};
use crate::statistics::Moments;
use crate::{FrozenWeights, backward};

/// A frozen block. Its filters are packed at first use.
pub struct FrozenConvNorm {
    geometry: Geometry,
    activation: Activation,
    channels: [usize; 2],
    filters: Arc<SharedFilters>,
    bias: Vec<f32>,
    scale: Vec<f32>,
    shift: Vec<f32>,
    /// What the statistics of a batch are measured against; the running ones unless they were replaced.
    target_mean: Vec<f32>,
    target_var: Vec<f32>,
}

/// What blocks of the same weights share.
struct SharedFilters {
    weight: Vec<f32>,
    forward: PackedOnce,
    input_gradient: PackedOnce,
}

impl fmt::Debug for FrozenConvNorm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { geometry, activation, channels, .. } = self;
        write!(f, "FrozenConvNorm({channels:?}, {geometry:?}, {activation:?})")
    }
}

/// What a forward pass leaves for the backward pass.
#[derive(Clone, Debug)]
pub(crate) struct Saved {
    pub(crate) shape: ConvShape,
    pub(crate) z: Vec<f32>,
    /// Statistics of `z`, where they were measured.
    pub(crate) moments: Option<Moments>,
}

impl FrozenConvNorm {
    /// Takes the weights.
    pub fn new(weights: FrozenWeights, geometry: Geometry, activation: Activation, epsilon: f64) -> Self {
        let FrozenWeights { channels, weight, bias, gamma, beta, running_mean, running_var } = weights;
        let scale: Vec<f32> = gamma
            .iter()
            .zip(&running_var)
            .map(|(gamma, var)| gamma / (var + epsilon as f32).sqrt())
            .collect();
        let shift =
            beta.iter().zip(&running_mean).zip(&scale).map(|((beta, mean), scale)| beta - mean * scale);
        Self {
            geometry,
            activation,
            channels,
            filters: Arc::new(SharedFilters {
                weight,
                forward: PackedOnce::default(),
                input_gradient: PackedOnce::default(),
            }),
            bias,
            shift: shift.collect(),
            scale,
            target_mean: running_mean,
            target_var: running_var,
        }
    }

    /// The same block, which normalizes by the same running statistics and shares the filters, but measures the statistics
    /// of a batch against these.
    ///
    /// # Shapes
    /// Mean and biased variance, `[outputs]` each.
    ///
    /// # Panics
    /// Where their number is not that of the outputs.
    #[must_use]
    pub fn with_targets(&self, mean: Vec<f32>, variance: Vec<f32>) -> Self {
        let outputs = self.channels[0];
        assert_eq!([mean.len(), variance.len()], [outputs; 2], "targets of a frozen convolution");
        Self {
            geometry: self.geometry,
            activation: self.activation,
            channels: self.channels,
            filters: Arc::clone(&self.filters),
            bias: self.bias.clone(),
            scale: self.scale.clone(),
            shift: self.shift.clone(),
            target_mean: mean,
            target_var: variance,
        }
    }

    fn shape(&self, input: [usize; 4]) -> ConvShape {
        let shape = ConvShape::new(input, self.channels[0], self.geometry);
        assert_eq!(input[3], self.channels[1], "input channels of a frozen convolution");
        shape
    }

    fn affine(&self) -> Affine<'_> {
        Affine { scale: &self.scale, shift: &self.shift, activation: self.activation }
    }

    /// Shape of what [`Self::run`] returns, `[n, h, w, c]`.
    pub(crate) fn out_shape(&self, input: [usize; 4]) -> [usize; 4] {
        let shape = self.shape(input);
        let [height, width] = self.activation.out_size([shape.out_height, shape.out_width]);
        [shape.images, height, width, shape.outputs]
    }

    /// Forward; keeps what the backward pass needs where `keep` asks for it, and measures statistics where `measure` does.
    ///
    /// On a way with gradients or statistics it rounds about as direct sums do: a value that rounding moves over the edge
    /// of a ReLU changes the gradient by as much as a wrong term would.
    pub(crate) fn run(&self, input: [usize; 4], x: &[f32], keep: bool, measure: bool) -> (Vec<f32>, Saved) {
        let shape = self.shape(input);
        let shape = if keep || measure { shape.precise() } else { shape };
        let filters = self.filters.forward.get(&shape, || Packed::forward(&shape, &self.filters.weight));
        let convolution = Convolution { shape: &shape, filters, bias: &self.bias };
        let (y, z, parts) = convolution.with_affine(x, self.affine(), keep, measure);
        let moments = measure.then(|| Moments::join(&parts, shape.outputs));
        (y, Saved { shape, z, moments })
    }

    /// ‖mean − μ‖₂ + ‖variance − σ²‖₂ of the statistics measured.
    pub(crate) fn distance(&self, moments: &Moments) -> f32 {
        let (mean, variance) = self.distances(moments);
        (mean + variance) as f32
    }

    fn distances(&self, moments: &Moments) -> (f64, f64) {
        (norm(&moments.mean, &self.target_mean), norm(&moments.variance, &self.target_var))
    }

    /// Gradient of the input, from that of the output and that of [`Self::distance`].
    pub(crate) fn input_gradient(&self, saved: &Saved, dy: &[f32], d_distance: f32) -> Vec<f32> {
        let statistics = saved.moments.as_ref().filter(|_| d_distance != 0.0).map(|moments| {
            let (to_mean, to_variance) = self.distances(moments);
            let count = (saved.shape.images * saved.shape.out_pixels()) as f64;
            // the norm has no slope at 0; the least there is serves
            let share =
                |distance: f64| if distance > 0.0 { f64::from(d_distance) / distance / count } else { 0.0 };
            let (of_mean, of_variance) = (share(to_mean), 2.0 * share(to_variance));
            let mut gradient = StatisticsGradient { constant: Vec::new(), slope: Vec::new() };
            for channel in 0..saved.shape.outputs {
                let mean = f64::from(moments.mean[channel]);
                let slope = of_variance * f64::from(moments.variance[channel] - self.target_var[channel]);
                let constant = of_mean * f64::from(moments.mean[channel] - self.target_mean[channel]);
                gradient.slope.push(slope as f32);
                gradient.constant.push((constant - slope * mean) as f32);
            }
            gradient
        });
        let shape = &saved.shape;
        let filters = &self.filters;
        let filters = filters.input_gradient.get(shape, || Packed::input_gradient(shape, &filters.weight));
        backward::frozen(shape, filters, self.affine(), statistics.as_ref(), &saved.z, dy)
    }
}

fn norm(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum::<f64>().sqrt()
}
