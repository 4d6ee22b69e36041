//! A network made linear in its weights about θ, for one batch: o(v) = J v, with its transpose (RCIG).
//!
//! What the values at θ are does not depend on v, so that they are computed once, and a product with J is two convolutions a
//! block in place of three.

use burn::tensor::{Device, Tensor};
use delt_device::product;

use crate::forward::{Norms, Statistics};
use crate::function::{Function, Weights};
use crate::layers::{Both, By, Channels, activation, convolved, normalization, pooling, slope};
use crate::products::total;

/// The derivative of a network's logits of a batch, for any direction in weight space.
#[derive(Debug)]
pub struct Linearized<'a> {
    function: &'a Function,
    norms: Norms<'a>,
    weights: Weights,
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
        let (form, mut x) = (&function.form, x);
        let mut blocks = Vec::new();
        for block in 0..form.widths.len() {
            let mut normalized = None;
            let mut normalize = |x: Tensor<4>| {
                let Some(weights) = &weights.norms[block] else { return x };
                normalized = Some(x.clone());
                normalization(
                    Both { value: x, dot: None },
                    weights,
                    None,
                    &by(function, norms, block),
                    Channels::First,
                )
                .0
                .value
            };
            if form.norm_before_conv {
                x = normalize(x);
            }
            let entering = x.clone();
            let (weight, bias) = weights.convolutions[block].clone();
            x = convolved(x, weight, Some(bias));
            if !form.norm_before_conv {
                x = normalize(x);
            }
            blocks.push(Block { normalized, convolved: entering, slope: slope(&x, form.activation) });
            x = pooling(activation(Both { value: x, dot: None }, form.activation)).value;
        }
        Self { function, norms, weights, blocks, features: x.flatten(1, 3) }
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
        let form = &self.function.form;
        let mut dot: Option<Tensor<4>> = None;
        for (at, block) in self.blocks.iter().enumerate() {
            let normalize = |dot: Option<Tensor<4>>| {
                let (Some(x), Some(weights)) = (&block.normalized, &self.weights.norms[at]) else {
                    return dot;
                };
                let x = Both { value: x.clone(), dot };
                let by = by(self.function, self.norms, at);
                normalization(x, weights, direction.norms[at].as_ref(), &by, Channels::First).0.dot
            };
            if form.norm_before_conv {
                dot = normalize(dot);
            }
            let (weight, bias) = direction.convolutions[at].clone();
            let own = convolved(block.convolved.clone(), weight, Some(bias));
            let mut moved = match dot {
                Some(dot) => convolved(dot, self.weights.convolutions[at].0.clone(), None) + own,
                None => own,
            };
            if !form.norm_before_conv {
                moved = normalize(Some(moved)).expect("what is moved stays so");
            }
            let moved = Both { value: moved * block.slope.clone(), dot: None };
            dot = Some(pooling(moved).value);
        }
        let dot = dot.expect("there are blocks").flatten::<2>(1, 3);
        let (weight, bias) = &direction.classifier;
        product(dot, self.weights.classifier.0.clone().transpose())
            + product(self.features.clone(), weight.clone().transpose())
            + bias.clone().unsqueeze()
    }
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
