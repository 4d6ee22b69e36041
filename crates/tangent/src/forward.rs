//! The way forward: values, and with a direction their derivatives along it.

use burn::tensor::Tensor;
use delt_device::product;

use crate::form::Norm;
use crate::function::{Function, Weights};
use crate::layers::{Both, By, activation, convolution, normalization, pooling};

/// What a forward pass gives.
#[derive(Clone, Debug)]
pub struct Pass {
    /// `[n, classes]`.
    pub logits: Tensor<2>,
    /// What enters the linear layer, `[n, features]`.
    pub features: Tensor<2>,
}

/// Values and their derivatives along a direction.
#[derive(Clone, Debug)]
pub struct Dual {
    /// The values.
    pub value: Pass,
    /// d/dε of them at θ + εv.
    pub dot: Pass,
}

/// What a batch normalization layer normalizes by.
#[derive(Clone, Debug)]
pub struct Statistics {
    /// `[channels]`.
    pub mean: Tensor<1>,
    /// Biased where it is a batch's, `[channels]`.
    pub variance: Tensor<1>,
}

/// Which statistics count where a network has batch normalization.
#[derive(Clone, Copy, Debug)]
pub enum Norms<'a> {
    /// The batch's own. Instance normalization always takes those of each image.
    Own,
    /// Running ones, one for each layer that normalizes, in forward order.
    Running(&'a [Statistics]),
}

impl Function {
    /// Logits and features of `[n, 3, size, size]`.
    pub fn forward(&self, weights: &Weights, x: Tensor<4>, norms: Norms<'_>) -> Pass {
        self.forward_with_statistics(weights, x, norms).0
    }

    /// As [`Self::forward`], with the batch's own statistics of each batch normalization layer where they were taken.
    pub fn forward_with_statistics(
        &self,
        weights: &Weights,
        x: Tensor<4>,
        norms: Norms<'_>,
    ) -> (Pass, Vec<Statistics>) {
        let (features, statistics) = self.blocks(weights, None, x, norms);
        let features = features.value.flatten(1, 3);
        let logits = linear(features.clone(), &weights.classifier);
        (Pass { logits, features }, statistics)
    }

    /// Values, and their derivatives along `direction`.
    pub fn tangent(&self, weights: &Weights, direction: &Weights, x: Tensor<4>, norms: Norms<'_>) -> Dual {
        let (both, _) = self.blocks(weights, Some(direction), x, norms);
        let features = both.value.flatten::<2>(1, 3);
        let dot = both.dot.expect("every block moves with its weights").flatten::<2>(1, 3);
        let logits = linear(features.clone(), &weights.classifier);
        // W ḣ + Ẇ h + ḃ
        let moved = product(dot.clone(), weights.classifier.0.clone().transpose());
        let logits_dot = moved + linear(features.clone(), &direction.classifier);
        Dual { value: Pass { logits, features }, dot: Pass { logits: logits_dot, features: dot } }
    }

    fn blocks(
        &self,
        weights: &Weights,
        direction: Option<&Weights>,
        x: Tensor<4>,
        norms: Norms<'_>,
    ) -> (Both, Vec<Statistics>) {
        let mut x = Both { value: x, dot: None };
        let mut statistics = Vec::new();
        let mut running = match norms {
            Norms::Running(layers) if self.form.norm == Norm::Batch => Some(layers.iter()),
            _ => None,
        };
        let mut normalize = |x: Both, block: usize| {
            let Some(weights) = &weights.norms[block] else { return x };
            let direction = direction.and_then(|direction| direction.norms[block].as_ref());
            let by = match &mut running {
                Some(layers) => By::Running(layers.next().expect("running statistics of every layer")),
                None => By::Own(self.form.norm),
            };
            let (x, found) = normalization(x, weights, direction, &by);
            statistics.extend(found);
            x
        };
        for block in 0..self.form.widths.len() {
            if self.form.norm_before_conv {
                x = normalize(x, block);
            }
            let direction = direction.map(|direction| &direction.convolutions[block]);
            x = convolution(x, &weights.convolutions[block], direction);
            if !self.form.norm_before_conv {
                x = normalize(x, block);
            }
            x = pooling(activation(x, self.form.activation));
        }
        (x, statistics)
    }
}

fn linear(x: Tensor<2>, (weight, bias): &(Tensor<2>, Tensor<1>)) -> Tensor<2> {
    product(x, weight.clone().transpose()) + bias.clone().unsqueeze()
}
