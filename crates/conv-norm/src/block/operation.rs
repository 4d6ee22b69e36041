//! The blocks of [`super`] as operations on Burn's tensors, with their backward steps.

use std::sync::{Arc, Mutex, PoisonError};

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, NodeGuard, Ops, OpsKind};
use burn::backend::{Autodiff, AutodiffBackend, Flex};
use burn::tensor::Tensor;

use super::backward::Wanted;
use super::{Block, Normalize, Saved};
use crate::activation::Activation;
use crate::operation::{Input, Tracked, Values, contiguous, from_values, shape4, slice};
use crate::shape::Geometry;
use crate::train::Weights;

/// The weights of a block, or a direction in their space.
#[derive(Clone, Debug)]
pub struct BlockWeights {
    /// `[outputs, inputs / groups, kernel, kernel]`.
    pub weight: Tensor<4>,
    /// `[outputs]`, or none. A normalization by the images' own statistics takes it out again: its gradient is 0.
    pub bias: Option<Tensor<1>>,
    /// Scale and shift of the normalized values (γ, β), `[outputs]` each.
    pub norm: Option<(Tensor<1>, Tensor<1>)>,
}

/// Weights outside any graph.
#[derive(Clone, Debug)]
struct Held {
    weight: Values,
    /// Bias, γ and β.
    affine: [Option<Values>; 3],
}

/// The places of weight, bias, γ and β in a graph, where they have one.
type WeightNodes = [Option<NodeGuard>; 4];

impl Held {
    fn of(BlockWeights { weight, bias, norm }: BlockWeights) -> (Self, WeightNodes) {
        let (gamma, beta) = norm.unzip();
        let (weight, node) = held(weight);
        let [bias, gamma, beta] = [bias, gamma, beta].map(|tensor| tensor.map(held));
        let mut nodes = [node, None, None, None];
        let mut affine = [const { None }; 3];
        for (at, (values, node)) in
            [bias, gamma, beta].into_iter().enumerate().filter_map(|(at, held)| Some((at, held?)))
        {
            (affine[at], nodes[at + 1]) = (Some(values), node);
        }
        (Self { weight, affine }, nodes)
    }

    fn weights(&self) -> Weights<'_> {
        let [bias, gamma, beta] = self.affine.each_ref().map(|values| values.as_ref().map_or(&[][..], slice));
        Weights { weight: slice(&self.weight), bias, gamma, beta }
    }

    fn outputs(&self) -> usize {
        shape4(&self.weight)[0]
    }
}

/// Contiguous values and their place in a graph.
fn held<const D: usize>(tensor: Tensor<D>) -> (Values, Option<NodeGuard>) {
    match Input::of(tensor) {
        Input::Plain(values) => (contiguous(values), None),
        Input::Tracked(tensor) => {
            let (values, node) = tensor.into_parts();
            (contiguous(values), Some(node))
        }
    }
}

/// What goes into a block.
#[derive(Clone, Debug)]
struct Operands {
    x: Values,
    x_dot: Option<Values>,
    weights: Held,
    direction: Option<Held>,
}

impl Operands {
    fn x(&self) -> [&[f32]; 2] {
        [slice(&self.x), self.x_dot.as_ref().map_or(&[], slice)]
    }

    fn direction(&self) -> Option<Weights<'_>> {
        self.direction.as_ref().map(Held::weights)
    }
}

/// A block `y = pool(activation(norm(conv(x))))`, channels last. A tensor on a device without autodiff is a constant.
///
/// # Shapes
/// `x`: `[n, h, w, inputs]`; `y`: `[n, h', w', outputs]`.
pub fn conv_block(
    x: Tensor<4>,
    weights: BlockWeights,
    geometry: Geometry,
    normalize: Normalize,
    activation: Activation,
    epsilon: f64,
) -> Tensor<4> {
    let (x, node) = held(x);
    let (weights, nodes) = Held::of(weights);
    let block = Block::new(shape4(&x), weights.outputs(), geometry, normalize, activation, epsilon);
    let operands = Operands { x, x_dot: None, weights, direction: None };
    match run(block, operands, [node, None], nodes) {
        Output::Plain(y, _) => Tensor::from_primitive::<Flex>(y),
        Output::Tracked(y, _) => Tensor::from_primitive::<Autodiff<Flex>>(y),
    }
}

/// A block and its derivative along a direction in weight space, d/dε at ε = 0 of the block with weights + ε · direction of
/// an input x + ε · `x_dot`; without `x_dot` the input does not move.
///
/// Gradients flow from both to `x`, `x_dot` and the weights, never to the direction. A loss that takes in the value must
/// also take in the derivative.
///
/// # Shapes
/// `x`, `x_dot`: `[n, h, w, inputs]`; value and derivative: `[n, h', w', outputs]`.
#[expect(clippy::too_many_arguments, reason = "those of conv_block, and two")]
pub fn conv_block_dual(
    x: Tensor<4>,
    x_dot: Option<Tensor<4>>,
    weights: BlockWeights,
    direction: BlockWeights,
    geometry: Geometry,
    normalize: Normalize,
    activation: Activation,
    epsilon: f64,
) -> (Tensor<4>, Tensor<4>) {
    let (x, node) = held(x);
    let (x_dot, node_dot) = x_dot.map(held).unzip();
    let (weights, nodes) = Held::of(weights);
    let (direction, _) = Held::of(direction);
    let block = Block::new(shape4(&x), weights.outputs(), geometry, normalize, activation, epsilon);
    let operands = Operands { x, x_dot, weights, direction: Some(direction) };
    match run(block, operands, [node, node_dot.flatten()], nodes) {
        Output::Plain(y_dot, y) => [y, y_dot].map(Tensor::from_primitive::<Flex>).into(),
        Output::Tracked(y_dot, (y, gradient)) => {
            let y = match ValueBackward.prepare::<NoCheckpointing>([y_dot.node()]).compute_bound().stateful()
            {
                OpsKind::Tracked(prep) => prep.finish(gradient, y),
                OpsKind::UnTracked(prep) => prep.finish(y),
            };
            [y, y_dot].map(Tensor::from_primitive::<Autodiff<Flex>>).into()
        }
    }
}

/// The gradient of the value, on its way from the value's backward step to that of the derivative, which runs later.
type ValueGradient = Arc<Mutex<Option<Values>>>;

/// The result that the graph knows first, the derivative of a dual block, and the value beside it.
enum Output {
    Plain(Values, Values),
    Tracked(Tracked, (Values, ValueGradient)),
}

fn run(block: Block, operands: Operands, x: [Option<NodeGuard>; 2], weights: WeightNodes) -> Output {
    let ([y, y_dot], saved) = block.forward(operands.x(), operands.weights.weights(), operands.direction());
    let y = from_values(y, block.out_shape());
    let first = match operands.direction {
        Some(_) => from_values(y_dot, block.out_shape()),
        None => y.clone(),
    };
    let nodes = x.into_iter().chain(weights).collect::<Vec<_>>();
    if nodes.iter().all(Option::is_none) {
        return Output::Plain(first, y);
    }
    let constant = || Autodiff::<Flex>::from_inner(from_values(vec![0.0], [1])).node();
    let mut nodes = nodes.into_iter().map(|node| node.unwrap_or_else(constant));
    let guards = [(); 6].map(|()| nodes.next().expect("two inputs and four weights"));
    let gradient = ValueGradient::default();
    let first = match BlockBackward.prepare::<NoCheckpointing>(guards).compute_bound().stateful() {
        OpsKind::Tracked(prep) => {
            let saved = Arc::new(Mutex::new(Some(saved)));
            prep.finish((operands, saved, Arc::clone(&gradient)), first)
        }
        OpsKind::UnTracked(prep) => prep.finish(first),
    };
    Output::Tracked(first, (y, gradient))
}

/// A child of the derivative in the graph, so that it runs before the derivative's backward step and can leave its gradient
/// there.
#[derive(Debug)]
struct ValueBackward;

impl Backward<Flex, 1> for ValueBackward {
    type State = ValueGradient;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = contiguous(grads.consume::<Flex>(&ops.node));
        *ops.state.lock().unwrap_or_else(PoisonError::into_inner) = Some(gradient);
    }
}

/// Of x, its derivative, weight, bias, γ and β.
#[derive(Debug)]
struct BlockBackward;

impl Backward<Flex, 6> for BlockBackward {
    /// What the forward pass left is taken once.
    type State = (Operands, Arc<Mutex<Option<Saved>>>, ValueGradient);

    fn backward(self, ops: Ops<Self::State, 6>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (operands, saved, of_value) = ops.state;
        let first = contiguous(grads.consume::<Flex>(&ops.node));
        let Some(saved) = saved.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        let of_value = of_value.lock().unwrap_or_else(PoisonError::into_inner).take();
        let zeros;
        let dy = match (&operands.direction, &of_value) {
            (None, _) => [slice(&first), &[]],
            (Some(_), Some(value)) => [slice(value), slice(&first)],
            (Some(_), None) => {
                zeros = vec![0.0; slice(&first).len()];
                [zeros.as_slice(), slice(&first)]
            }
        };
        let [x, x_dot, weight, affine @ ..] = ops.parents.each_ref().map(Option::is_some);
        let wanted = Wanted { x, x_dot, weight, affine: affine.contains(&true) };
        let weights = operands.weights.weights();
        let gradients = saved.gradients(operands.x(), weights, operands.direction(), dy, wanted);
        let (input, filters) = (shape4(&operands.x), shape4(&operands.weights.weight));
        let [bias, gamma, beta] = gradients.affine.map(|values| Some(from_values(values, [filters[0]])));
        let shaped = |values: Option<Vec<f32>>, shape| values.map(|values| from_values(values, shape));
        let [x, x_dot] = [gradients.x, gradients.x_dot].map(|values| shaped(values, input));
        let gradients = [x, x_dot, shaped(gradients.weight, filters), bias, gamma, beta];
        for (parent, gradient) in ops.parents.into_iter().zip(gradients) {
            if let Some((parent, gradient)) = parent.zip(gradient) {
                grads.register::<Flex>(parent.id, gradient);
            }
        }
    }
}
