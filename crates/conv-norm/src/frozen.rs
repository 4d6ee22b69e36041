//! A convolution and batch normalization whose weights do not change, prepared once.

use std::fmt;
use std::sync::Arc;

use crate::FrozenWeights;
use crate::activation::{Activation, Affine};
use crate::backward::{self, StatisticsGradient};
use crate::forward::with_affine;
use crate::memory::room;
use crate::plan::{Direction, PackedOnce, Plan, Scratch};
use crate::shape::{ConvShape, Geometry};
use crate::statistics::Moments;

/// A frozen block. Its filters are packed at first use.
#[derive(Clone)]
pub struct FrozenConvNorm {
    geometry: Geometry,
    channels: [usize; 2],
    /// Shared by blocks of the same weights.
    filters: Arc<PackedOnce>,
    affine: Affine,
    /// What the statistics of a batch are measured against; the running ones unless they were replaced.
    target: Moments,
}

impl fmt::Debug for FrozenConvNorm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { geometry, affine, channels, .. } = self;
        write!(f, "FrozenConvNorm({channels:?}, {geometry:?}, {:?})", affine.activation)
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
            channels,
            filters: Arc::new(PackedOnce::new(weight, bias)),
            affine: Affine { shift: shift.collect(), scale, activation },
            target: Moments { mean: running_mean, variance: running_var },
        }
    }

    /// A convolution and what follows it, without normalization.
    ///
    /// # Shapes
    /// As of [`FrozenWeights`].
    pub fn plain(
        [outputs, inputs]: [usize; 2],
        [weight, bias]: [Vec<f32>; 2],
        geometry: Geometry,
        activation: Activation,
    ) -> Self {
        let [ones, zeros] = [1.0, 0.0].map(|value| vec![value; outputs]);
        Self {
            geometry,
            channels: [outputs, inputs],
            filters: Arc::new(PackedOnce::new(weight, bias)),
            affine: Affine { scale: ones.clone(), shift: zeros.clone(), activation },
            target: Moments { mean: zeros, variance: ones },
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
        Self { target: Moments { mean, variance }, ..self.clone() }
    }

    /// Forward, with a residual added before the activation unless it is empty; keeps what the backward pass needs where `keep` asks for it, and measures statistics where `measure` does.
    ///
    /// On a way with gradients or statistics it rounds about as direct sums do: a value that rounding moves over the edge
    /// of a ReLU changes the gradient by as much as a wrong term would.
    pub(crate) fn run(
        &self,
        input: [usize; 4],
        [x, residual]: [&[f32]; 2],
        [keep, measure]: [bool; 2],
    ) -> (Vec<f32>, Saved) {
        let shape = self.shape(input);
        let shape = if keep || measure { shape.precise() } else { shape };
        let filters = self.filters.convolution(&shape, Direction::Forward);
        let (y, z, moments) = with_affine(&shape, &filters, &self.affine, [x, residual], [keep, measure]);
        (y, Saved { shape, z, moments })
    }

    /// The convolution of such images where nothing but the result is wanted.
    pub(crate) fn shape(&self, input: [usize; 4]) -> ConvShape {
        assert_eq!(input[3], self.channels[1], "input channels of a frozen convolution");
        ConvShape::new(input, self.channels[0], self.geometry)
    }

    /// Packs the filters, in parallel: within a task, its thread could meet the same filters again while it waits.
    pub(crate) fn pack(&self, shape: &ConvShape) {
        self.filters.get(shape, Direction::Forward);
    }

    /// Shape of the result, `[n, h, w, c]`.
    pub(crate) fn result(&self, shape: &ConvShape) -> [usize; 4] {
        self.affine.out_shape(shape)
    }

    /// The result alone for the images of one task, with values added before the activation where there are any; `z` is memory.
    pub(crate) fn infer(
        &self,
        (shape, plan): (&ConvShape, &Plan),
        x: &[f32],
        residual: &[f32],
        y: &mut [f32],
        (z, scratch): (&mut Vec<f32>, &mut Scratch),
    ) {
        let filters = self.filters.get(shape, Direction::Forward);
        match self.affine.after(residual) {
            Some(after) => plan.run_then(filters, x, y, Some(after), scratch),
            None => {
                let values = x.len() / shape.input_values() * shape.output_values();
                let z = room(z, values);
                plan.run(filters, x, z, scratch);
                self.affine.forward(shape, z, residual, y);
            }
        }
    }

    /// Shape of what [`Self::run`] returns, `[n, h, w, c]`.
    pub(crate) fn out_shape(&self, saved: &Saved) -> [usize; 4] {
        self.affine.out_shape(&saved.shape)
    }

    /// ‖mean − μ‖₂ + ‖variance − σ²‖₂ of the statistics measured.
    pub(crate) fn distance(&self, moments: &Moments) -> f32 {
        let (mean, variance) = self.distances(moments);
        (mean + variance) as f32
    }

    fn distances(&self, moments: &Moments) -> (f64, f64) {
        (norm(&moments.mean, &self.target.mean), norm(&moments.variance, &self.target.variance))
    }

    /// What follows the sum with a residual, or all that follows.
    pub(crate) fn activation(&self) -> Activation {
        self.affine.activation
    }

    /// Gradient of the input, from that of [`Self::distance`] and that of the output: of the sum with a residual, where
    /// `is_before` says so.
    pub(crate) fn input_gradient(
        &self,
        saved: &Saved,
        dy: &[f32],
        is_before: bool,
        d_distance: f32,
    ) -> Vec<f32> {
        let Saved { shape, z, moments } = saved;
        let zeros = || vec![0.0; shape.outputs];
        let mut statistics = StatisticsGradient { constant: zeros(), slope: zeros() };
        if let Some(moments) = moments
            && d_distance != 0.0
        {
            let (to_mean, to_variance) = self.distances(moments);
            let count = (shape.images * shape.out_pixels()) as f64;
            // the norm has no slope at 0; the least there is serves
            let share =
                |distance: f64| if distance > 0.0 { f64::from(d_distance) / distance / count } else { 0.0 };
            let (of_mean, of_variance) = (share(to_mean), 2.0 * share(to_variance));
            for channel in 0..shape.outputs {
                let (mean, variance) = (moments.mean[channel], moments.variance[channel]);
                let slope = of_variance * f64::from(variance - self.target.variance[channel]);
                let constant = of_mean * f64::from(mean - self.target.mean[channel]);
                statistics.slope[channel] = slope as f32;
                statistics.constant[channel] = (constant - slope * f64::from(mean)) as f32;
            }
        }
        let shape = &shape.of_input_gradient();
        let filters = &self.filters.convolution(shape, Direction::InputGradient);
        if is_before {
            let affine = Affine { activation: Activation::Identity, ..self.affine.clone() };
            return backward::frozen(shape, filters, &affine, &statistics, z, dy);
        }
        backward::frozen(shape, filters, &self.affine, &statistics, z, dy)
    }
}

fn norm(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum::<f64>().sqrt()
}
