//! The way forward: values, and with a direction their derivatives along it.

use burn::tensor::Tensor;
use delt_conv_norm::{channels_first, channels_last};
use delt_device::product;

use crate::form::{Form, Norm};
use crate::function::{Function, Weights};
use crate::layers::{Both, By, Channels, normalization, pooling};
use crate::{fused, layers};

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
        self.pass(weights, x, norms, None)
    }

    /// As [`Self::forward`], with the batch's own statistics of each batch normalization layer where they were taken.
    pub fn forward_with_statistics(
        &self,
        weights: &Weights,
        x: Tensor<4>,
        norms: Norms<'_>,
    ) -> (Pass, Vec<Statistics>) {
        let mut statistics = Vec::new();
        let pass = self.pass(weights, x, norms, Some(&mut statistics));
        (pass, statistics)
    }

    fn pass(
        &self,
        weights: &Weights,
        x: Tensor<4>,
        norms: Norms<'_>,
        statistics: Option<&mut Vec<Statistics>>,
    ) -> Pass {
        let features = self.blocks((weights, None), x, norms, statistics).value.flatten(1, 3);
        Pass { logits: linear(features.clone(), &weights.classifier), features }
    }

    /// Values, and their derivatives along `direction`.
    pub fn tangent(&self, weights: &Weights, direction: &Weights, x: Tensor<4>, norms: Norms<'_>) -> Dual {
        let both = self.blocks((weights, Some(direction)), x, norms, None);
        let features = both.value.flatten::<2>(1, 3);
        let dot = both.dot.expect("every block moves with its weights").flatten::<2>(1, 3);
        let logits = linear(features.clone(), &weights.classifier);
        // W ḣ + Ẇ h + ḃ
        let moved = product(dot.clone(), weights.classifier.0.clone().transpose());
        let logits_dot = moved + linear(features.clone(), &direction.classifier);
        Dual { value: Pass { logits, features }, dot: Pass { logits: logits_dot, features: dot } }
    }

    /// All blocks, `[n, c, h, w]` in and out. Statistics are noted where they are asked for.
    fn blocks(
        &self,
        (weights, direction): (&Weights, Option<&Weights>),
        x: Tensor<4>,
        norms: Norms<'_>,
        mut noted: Option<&mut Vec<Statistics>>,
    ) -> Both {
        let Form { norm, norm_before_conv, activation, .. } = self.form;
        // a fused block keeps its statistics to itself
        let is_fused = self.is_fused && (noted.is_none() || norm != Norm::Batch || norm_before_conv);
        let channels = if is_fused { Channels::Last } else { Channels::First };
        let mut x = Both { value: if is_fused { channels_last(x) } else { x }, dot: None };
        let mut running = match norms {
            Norms::Running(layers) if norm == Norm::Batch => Some(layers.iter()),
            _ => None,
        };
        for block in 0..self.form.widths.len() {
            let convolution = &weights.convolutions[block];
            let convolution_dot = direction.map(|direction| &direction.convolutions[block]);
            let gamma_beta = weights.norms[block].as_ref();
            let gamma_beta_dot = direction.and_then(|direction| direction.norms[block].as_ref());
            let by = match (&mut running, gamma_beta) {
                (Some(layers), Some(_)) => {
                    By::Running(layers.next().expect("running statistics of every layer that normalizes"))
                }
                _ => By::Own(norm),
            };
            let mut normalize = |x: Both| {
                let Some(gamma_beta) = gamma_beta else { return x };
                let (x, found) = normalization(x, gamma_beta, gamma_beta_dot, &by, channels);
                if let Some(noted) = &mut noted {
                    noted.extend(found);
                }
                x
            };
            if norm_before_conv {
                x = normalize(x);
            }
            x = match (is_fused, norm_before_conv) {
                (true, true) => {
                    let direction = convolution_dot.map(|direction| (direction, None));
                    fused::block(x, (convolution, None), direction, &By::Own(Norm::None), activation)
                }
                (true, false) => {
                    let direction = convolution_dot.map(|direction| (direction, gamma_beta_dot));
                    fused::block(x, (convolution, gamma_beta), direction, &by, activation)
                }
                (false, before) => {
                    let x = layers::convolution(x, convolution, convolution_dot);
                    let x = if before { x } else { normalize(x) };
                    pooling(layers::activation(x, activation))
                }
            };
        }
        let leave = |x| if is_fused { channels_first(x) } else { x };
        Both { value: leave(x.value), dot: x.dot.map(leave) }
    }
}

fn linear(x: Tensor<2>, (weight, bias): &(Tensor<2>, Tensor<1>)) -> Tensor<2> {
    product(x, weight.clone().transpose()) + bias.clone().unsqueeze()
}
