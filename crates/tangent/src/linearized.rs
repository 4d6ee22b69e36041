//! A network made linear in its weights about θ, for one batch: o(v) = J v, with its transpose (RCIG).
//!
//! What the values at θ are does not depend on v, so that they are computed once, and a product with J is two convolutions a
//! block in place of three.

use burn::tensor::{Device, Tensor};
use delt_conv_norm::{channels_first, channels_last};
use delt_device::product;

use crate::forward::{Norms, Statistics};
use crate::function::{Function, Weights};
use crate::layers::{Both, By, Channels, normalization};
use crate::products::total;

/// The derivative of a network's logits of a batch, for any direction in weight space.
#[derive(Debug)]
pub struct Linearized<'a> {
    function: &'a Function,
    norms: Norms<'a>,
    weights: Weights,
    channels: Channels,
    blocks: Vec<Block>,
    /// What enters the linear layer at θ, `[n, features]`.
    pub features: Tensor<2>,
}

/// Values of a block at θ.
#[derive(Debug)]
struct Block {
    /// What enters a normalization.
    normalized: Option<Tensor<4>>,
    /// What enters the convolution.
    convolved: Tensor<4>,
    /// The derivative of the activation.
    slope: Tensor<4>,
}

impl<'a> Linearized<'a> {
    /// The network at `theta` for images `[n, 3, size, size]`.
    pub fn new(function: &'a Function, theta: &Tensor<1>, x: Tensor<4>, norms: Norms<'a>) -> Self {
        let weights = function.weights(theta);
        let form = &function.form;
        let channels = if function.is_fused { Channels::Last } else { Channels::First };
        let mut x = if function.is_fused { channels_last(x) } else { x };
        let mut blocks = Vec::new();
        for block in 0..form.widths.len() {
            let mut normalized = None;
            let mut normalize = |x: Tensor<4>| {
                let Some(weights) = &weights.norms[block] else { return x };
                normalized = Some(x.clone());
                let (x, by) = (Both { value: x, dot: None }, by(function, norms, block));
                normalization(x, weights, None, &by, channels).0.value
            };
            if form.norm_before_conv {
                x = normalize(x);
            }
            let entering = x.clone();
            let (weight, bias) = weights.convolutions[block].clone();
            x = channels.convolved(x, weight, Some(bias));
            if !form.norm_before_conv {
                x = normalize(x);
            }
            let [value, slope] = channels.with_slope(x, form.activation);
            blocks.push(Block { normalized, convolved: entering, slope });
            x = channels.pooled(value);
        }
        Self { function, norms, weights, channels, blocks, features: flat(x, channels) }
    }

    /// Where it computes.
    pub fn device(&self) -> &Device {
        self.function.device()
    }

    /// J v, `[n, classes]`, outside of any graph.
    pub fn along(&self, direction: &Tensor<1>) -> Tensor<2> {
        self.moved(&self.function.weights(direction))
    }

    /// J v, and Jᵀ u for the `u` that is made of it.
    ///
    /// # Shapes
    /// `direction` and Jᵀ u: `[parameters]`; J v and `u`: `[n, classes]`.
    ///
    /// # Errors
    /// Those of `cotangent`.
    pub fn there_and_back<E>(
        &self,
        direction: &Tensor<1>,
        cotangent: impl FnOnce(&Tensor<2>) -> Result<Tensor<2>, E>,
    ) -> Result<(Tensor<2>, Tensor<1>), E> {
        let direction = self.function.tracked(direction, matches!(self.norms, Norms::Own));
        let moved = self.moved(&direction);
        let value = moved.clone().inner();
        let gradients = total(moved * cotangent(&value)?).backward();
        Ok((value, direction.gradient(&gradients, self.function)))
    }

    fn moved(&self, direction: &Weights) -> Tensor<2> {
        let (form, channels) = (&self.function.form, self.channels);
        let mut dot: Option<Tensor<4>> = None;
        for (at, block) in self.blocks.iter().enumerate() {
            let normalize = |dot: Option<Tensor<4>>| {
                let (Some(x), Some(weights)) = (&block.normalized, &self.weights.norms[at]) else {
                    return dot;
                };
                let x = Both { value: x.clone(), dot };
                let by = by(self.function, self.norms, at);
                normalization(x, weights, direction.norms[at].as_ref(), &by, channels).0.dot
            };
            if form.norm_before_conv {
                dot = normalize(dot);
            }
            let (weight, bias) = direction.convolutions[at].clone();
            let own = channels.moved(block.convolved.clone(), weight, Some(bias));
            let mut moved = match dot {
                Some(dot) => channels.moved(dot, self.weights.convolutions[at].0.clone(), None) + own,
                None => own,
            };
            if !form.norm_before_conv {
                moved = normalize(Some(moved)).expect("what is moved stays so");
            }
            dot = Some(channels.pooled(moved * block.slope.clone()));
        }
        let dot = flat(dot.expect("there are blocks"), channels);
        let (weight, bias) = &direction.classifier;
        product(dot, self.weights.classifier.0.clone().transpose())
            + product(self.features.clone(), weight.clone().transpose())
            + bias.clone().unsqueeze()
    }
}

/// Features in PyTorch's order.
fn flat(x: Tensor<4>, channels: Channels) -> Tensor<2> {
    if channels == Channels::Last { channels_first(x) } else { x }.flatten(1, 3)
}

/// The statistics that a block's normalization counts by.
fn by<'a>(function: &Function, norms: Norms<'a>, block: usize) -> By<'a> {
    let running = |layers: &'a [Statistics]| {
        let before = (0..block).filter(|block| function.form.has_norm(*block)).count();
        By::Running(&layers[before])
    };
    match norms {
        Norms::Running(layers) if function.form.norm == crate::Norm::Batch => running(layers),
        _ => By::Own(function.form.norm),
    }
}

#[cfg(test)]
mod tests {
    use delt_augment::draws::Draws;

    use super::*;
    use crate::{Activation, Form, Norm, Start, dot};

    fn function(norm: Norm, norm_before_conv: bool, activation: Activation) -> Function {
        // 10 px: the second pooling leaves a row out
        let form = Form { widths: vec![4, 8], norm, norm_before_conv, activation, size: 10, classes: 3 };
        Function::new(form, &Device::flex())
    }

    fn error(a: &Tensor<1>, b: &Tensor<1>) -> f32 {
        let length = |x: &Tensor<1>| dot(x, x).sqrt().into_scalar::<f32>();
        length(&(a.clone() - b.clone())) / length(b)
    }

    #[test]
    fn products_with_j_and_its_transpose_are_those_of_the_tangent() {
        let device = Device::flex();
        let values = |channels: usize, from: f64| {
            let ramp = Tensor::<1, burn::tensor::Int>::arange(0..channels as i64, &device).float();
            ramp * 0.01 + from
        };
        let running = [4, 8]
            .map(|channels| Statistics { mean: values(channels, 0.1), variance: values(channels, 0.5) });
        let before = [Statistics { mean: values(4, 0.1), variance: values(4, 0.5) }];
        let smooth = Activation::Softplus { beta: 60.0 };
        let cases: [(_, _, _, Norms<'_>); 5] = [
            (Norm::None, false, smooth, Norms::Own),
            (Norm::None, false, Activation::Relu, Norms::Own),
            (Norm::Instance, false, Activation::Relu, Norms::Own),
            (Norm::Batch, false, Activation::Relu, Norms::Running(&running)),
            (Norm::Batch, true, smooth, Norms::Running(&before)),
        ];
        for (norm, is_before, activation, norms) in cases {
            for function in [
                function(norm, is_before, activation),
                function(norm, is_before, activation).without_fusion(),
            ] {
                let draw = |what: &str| function.initialize(Start::Torch, &Draws::new(1), what, 0, 0);
                let (theta, v) = (draw("theta"), draw("v"));
                let x = Tensor::<1>::cat(vec![draw("x"), draw("more")], 0).narrow(0, 0, 2 * 300) * 3.0;
                let x = x.reshape([2, 3, 10, 10]);
                let u = Tensor::<2>::from_data([[0.3, -0.2, 0.1], [0.4, 0.1, -0.6]], &device);
                let linear = Linearized::new(&function, &theta, x.clone(), norms);
                let direction = function.weights(&v);
                let dual = function.tangent(&function.weights(&theta), &direction, x.clone(), norms);
                let (moved, pulled) =
                    linear.there_and_back(&v, |_| Ok::<_, ()>(u.clone())).expect("no error");
                let flat = |x: Tensor<2>| x.flatten::<1>(0, 1);
                let case = format!("{norm:?} {activation:?} {}", function.is_fused);
                assert!(error(&flat(moved.clone()), &flat(dual.dot.logits)) < 1e-5, "{case}: J v");
                assert!(error(&flat(linear.along(&v)), &flat(moved)) < 1e-6, "{case}: without a graph");
                let expected = function.pulled_back(&theta, x, u.clone(), norms);
                assert!(error(&pulled, &expected) < 1e-5, "{case}: transposed");
            }
        }
    }
}
