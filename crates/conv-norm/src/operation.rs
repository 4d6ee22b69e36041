//! The blocks as operations on Burn's tensors, with their backward steps.

use std::sync::{Arc, Mutex, PoisonError};

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, AutodiffBackend, Flex, TensorMetadata};
use burn::tensor::{Device, Tensor, TensorData};

use crate::activation::Activation;
use crate::frozen::{self, FrozenConvNorm};
use crate::shape::Geometry;
use crate::train::{self, Weights};

/// A tensor of the CPU backend.
pub(crate) type Values = FloatTensor<Flex>;

/// A tensor of the CPU backend in a graph.
pub(crate) type Tracked = FloatTensor<Autodiff<Flex>>;

/// Whether tensors of a device can go through these operations: those of the CPU backend.
pub fn is_supported(device: &Device) -> bool {
    Tensor::<1>::zeros([1], &device.clone().without_autodiff()).try_into_primitive::<Flex>().is_ok()
}

/// What goes into an operation.
pub(crate) enum Input {
    Plain(Values),
    Tracked(Tracked),
}

impl Input {
    pub(crate) fn of<const D: usize>(tensor: Tensor<D>) -> Self {
        const MESSAGE: &str = "a tensor of the CPU backend; ask is_supported first";
        if tensor.device().is_autodiff() {
            Self::Tracked(tensor.try_into_primitive::<Autodiff<Flex>>().expect(MESSAGE))
        } else {
            Self::Plain(tensor.try_into_primitive::<Flex>().expect(MESSAGE))
        }
    }
}

/// Values one after another, with a copy where they do not lie so.
pub(crate) fn contiguous(tensor: Values) -> Values {
    if tensor.as_slice::<f32>().is_some() { tensor } else { tensor.to_contiguous() }
}

pub(crate) fn slice(tensor: &Values) -> &[f32] {
    tensor.as_slice().expect("contiguous values of 32 bits")
}

pub(crate) fn shape4(tensor: &Values) -> [usize; 4] {
    let shape = tensor.shape();
    [shape[0], shape[1], shape[2], shape[3]]
}

pub(crate) fn from_values<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> Values {
    Values::from_data(TensorData::new(values, shape))
}

/// A frozen block: `y = activation(BN(conv(x)))` with running statistics, channels last.
///
/// With `measure`, also the distance of the batch's statistics of `conv(x)` from the running ones,
/// ‖mean − μ‖₂ + ‖variance − σ²‖₂ (variance biased), through which gradients flow as through `y`. The backward step of a
/// loss that takes in the distance must also take in `y`.
///
/// # Shapes
/// `x`: `[n, h, w, inputs]`; `y`: `[n, h', w', outputs]`; the distance: `[1]`.
pub fn conv_norm_frozen(
    x: Tensor<4>,
    block: &Arc<FrozenConvNorm>,
    measure: bool,
) -> (Tensor<4>, Option<Tensor<1>>) {
    match Input::of(x) {
        Input::Plain(x) => {
            let (y, saved) = run(block, &contiguous(x), false, measure);
            let distance = saved.moments.map(|moments| from_values(vec![block.distance(&moments)], [1]));
            (Tensor::from_primitive::<Flex>(y), distance.map(Tensor::from_primitive::<Flex>))
        }
        Input::Tracked(x) => {
            let (y, distance) = frozen_tracked(x, block, measure);
            let wrap = |distance| Tensor::from_primitive::<Autodiff<Flex>>(distance);
            (Tensor::from_primitive::<Autodiff<Flex>>(y), distance.map(wrap))
        }
    }
}

fn run(block: &FrozenConvNorm, x: &Values, keep: bool, measure: bool) -> (Values, frozen::Saved) {
    let (y, saved) = block.run(shape4(x), slice(x), keep, measure);
    (from_values(y, block.out_shape(&saved)), saved)
}

/// As [`conv_norm_frozen`] outside any graph, with the batch's statistics of `conv(x)` themselves: mean and biased variance
/// by channel, `[outputs]` each.
///
/// # Panics
/// Where `x` is on a device with autodiff.
pub fn conv_norm_frozen_statistics(
    x: Tensor<4>,
    block: &Arc<FrozenConvNorm>,
) -> (Tensor<4>, Vec<f32>, Vec<f32>) {
    let Input::Plain(x) = Input::of(x) else { panic!("statistics are read outside any graph") };
    let (y, saved) = run(block, &contiguous(x), false, true);
    let moments = saved.moments.expect("measured");
    (Tensor::from_primitive::<Flex>(y), moments.mean, moments.variance)
}

/// The gradient of the distance, on its way from the distance's backward step to that of `y`, which runs later.
type DistanceGradient = Arc<Mutex<f32>>;

#[derive(Debug)]
struct FrozenBackward;

impl Backward<Flex, 1> for FrozenBackward {
    type State = (Arc<FrozenConvNorm>, Arc<frozen::Saved>, DistanceGradient);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (block, saved, distance) = ops.state;
        let dy = contiguous(grads.consume::<Flex>(&ops.node));
        let [Some(parent)] = ops.parents else { return };
        let d_distance = *distance.lock().unwrap_or_else(PoisonError::into_inner);
        let dx = block.input_gradient(&saved, slice(&dy), d_distance);
        let shape = saved.shape;
        let dx = from_values(dx, [shape.images, shape.height, shape.width, shape.inputs]);
        grads.register::<Flex>(parent.id, dx);
    }
}

/// A child of `y` in the graph, so that it runs before the backward step of `y` and can leave its gradient there.
#[derive(Debug)]
struct DistanceBackward;

impl Backward<Flex, 1> for DistanceBackward {
    type State = DistanceGradient;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = contiguous(grads.consume::<Flex>(&ops.node));
        *ops.state.lock().unwrap_or_else(PoisonError::into_inner) += slice(&gradient)[0];
    }
}

fn frozen_tracked(x: Tracked, block: &Arc<FrozenConvNorm>, measure: bool) -> (Tracked, Option<Tracked>) {
    let (x, node) = x.into_parts();
    let x = contiguous(x);
    let gradient = DistanceGradient::default();
    let (y, moments) = match FrozenBackward.prepare::<NoCheckpointing>([node]).compute_bound().stateful() {
        OpsKind::Tracked(prep) => {
            let (y, saved) = run(block, &x, true, measure);
            let moments = saved.moments.clone();
            (prep.finish((Arc::clone(block), Arc::new(saved), Arc::clone(&gradient)), y), moments)
        }
        OpsKind::UnTracked(prep) => {
            let (y, saved) = run(block, &x, false, measure);
            (prep.finish(y), saved.moments)
        }
    };
    let distance = moments.map(|moments| {
        let value = from_values(vec![block.distance(&moments)], [1]);
        match DistanceBackward.prepare::<NoCheckpointing>([y.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(gradient, value),
            OpsKind::UnTracked(prep) => prep.finish(value),
        }
    });
    (y, distance)
}

/// The weights of a block in training mode.
#[derive(Debug)]
pub struct TrainWeights {
    /// `[outputs, inputs / groups, kernel, kernel]`.
    pub weight: Tensor<4>,
    /// `[outputs]`, or none. Its gradient is 0: the batch's mean takes it out again.
    pub bias: Option<Tensor<1>>,
    /// Scale of the normalized values (γ), `[outputs]`.
    pub gamma: Tensor<1>,
    /// Shift of the normalized values (β), `[outputs]`.
    pub beta: Tensor<1>,
}

/// A block in training mode: `y = activation(BN(conv(x)))` with the batch's statistics, channels last; also these, mean and
/// biased variance per channel, outside any graph.
///
/// # Shapes
/// `x`: `[n, h, w, inputs]`; `y`: `[n, h', w', outputs]`; statistics `[outputs]`.
pub fn conv_norm_train(
    x: Tensor<4>,
    weights: TrainWeights,
    geometry: Geometry,
    activation: Activation,
    epsilon: f64,
) -> (Tensor<4>, Tensor<1>, Tensor<1>) {
    let lift = |tensor: Input| match tensor {
        Input::Plain(values) => Autodiff::<Flex>::from_inner(values),
        Input::Tracked(tensor) => tensor,
    };
    let x = lift(Input::of(x));
    let TrainWeights { weight, bias, gamma, beta } = weights;
    let bias = bias.map(|bias| contiguous(lift(Input::of(bias)).into_primitive()));
    let nodes = [lift(Input::of(weight)), lift(Input::of(gamma)), lift(Input::of(beta))];
    let guards = [x.node(), nodes[0].node(), nodes[1].node(), nodes[2].node()];
    let x = contiguous(x.into_primitive());
    let [weight, gamma, beta] = nodes.map(|tensor| contiguous(tensor.into_primitive()));
    let values = Weights {
        weight: slice(&weight),
        bias: bias.as_ref().map_or(&[], slice),
        gamma: slice(&gamma),
        beta: slice(&beta),
    };
    let (y, saved) = train::forward(shape4(&x), slice(&x), values, geometry, activation, epsilon);
    let y = from_values(y, saved.out_shape());
    let (outputs, moments) = (saved.shape.outputs, saved.moments.clone());
    let y = match TrainBackward.prepare::<NoCheckpointing>(guards).compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish((x, weight, Arc::new(Mutex::new(Some(saved)))), y),
        OpsKind::UnTracked(prep) => prep.finish(y),
    };
    let vector = |values| Tensor::from_primitive::<Flex>(from_values(values, [outputs]));
    (Tensor::from_primitive::<Autodiff<Flex>>(y), vector(moments.mean), vector(moments.variance))
}

#[derive(Debug)]
struct TrainBackward;

impl Backward<Flex, 4> for TrainBackward {
    /// The input, the filters, and what the forward pass left, to be taken once.
    type State = (Values, Values, Arc<Mutex<Option<train::Saved>>>);

    fn backward(self, ops: Ops<Self::State, 4>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (x, weight, saved) = ops.state;
        let dy = contiguous(grads.consume::<Flex>(&ops.node));
        let Some(saved) = saved.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        let shape = saved.shape;
        let wants_dx = ops.parents[0].is_some();
        let gradients = saved.gradients(slice(&weight), slice(&x), slice(&dy), wants_dx);
        let gradients = [
            gradients.dx.map(|dx| from_values(dx, [shape.images, shape.height, shape.width, shape.inputs])),
            Some(from_values(gradients.weight, shape.weight_shape())),
            Some(from_values(gradients.gamma, [shape.outputs])),
            Some(from_values(gradients.beta, [shape.outputs])),
        ];
        for (parent, gradient) in ops.parents.into_iter().zip(gradients) {
            if let Some((parent, gradient)) = parent.zip(gradient) {
                grads.register::<Flex>(parent.id, gradient);
            }
        }
    }
}
