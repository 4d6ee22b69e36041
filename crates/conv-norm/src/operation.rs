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
use crate::chain::FrozenChain;
use crate::frozen::{self, FrozenConvNorm};
use crate::shape::Geometry;
use crate::statistics::Moments;
use crate::train::{self, Weights};

/// A tensor of the CPU backend.
pub(crate) type Values = FloatTensor<Flex>;

/// A tensor of the CPU backend in a graph.
pub(crate) type Tracked = FloatTensor<Autodiff<Flex>>;

/// Whether tensors of a device can go through these operations: those of the CPU backend.
pub fn is_supported(device: &Device) -> bool {
    Tensor::<1>::zeros([1], &device.clone().without_autodiff()).try_into_primitive::<Flex>().is_ok()
}

/// Runs many operations one after another on a thread that shares their work out. From any other thread, each operation would wake
/// the threads up and wait for them by itself. On other devices than the CPU backend's it runs where it is.
pub fn on_worker<T: Send>(device: &Device, run: impl FnOnce() -> T + Send) -> T {
    if is_supported(device) { rayon::scope(|_| run()) } else { run() }
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

/// The values themselves, copied only where something else holds them too.
fn owned(tensor: Values) -> Vec<f32> {
    tensor.into_data().try_into_vec().expect("values of 32 bits")
}

/// A frozen block: `y = activation(BN(conv(x)) + residual)` with running statistics, channels last. Only activations that open
/// and shut by the sign of what comes out can follow a residual.
///
/// With `measure`, also the distance of the batch's statistics of `conv(x)` from the running ones,
/// ‖mean − μ‖₂ + ‖variance − σ²‖₂ (variance biased), through which gradients flow as through `y`. The backward step of a
/// loss that takes in the distance must also take in `y`.
///
/// # Shapes
/// `x`: `[n, h, w, inputs]`; `y` and the residual: `[n, h', w', outputs]`; the distance: `[1]`.
pub fn conv_norm_frozen(
    x: Tensor<4>,
    residual: Option<Tensor<4>>,
    block: &Arc<FrozenConvNorm>,
    measure: bool,
) -> (Tensor<4>, Option<Tensor<1>>) {
    match Input::of(x) {
        Input::Plain(x) => {
            let residual = residual.map(|residual| contiguous(lifted(residual).into_primitive()));
            let (y, saved) = run(block, &contiguous(x), residual.as_ref(), [false, measure]);
            let distance = saved.moments.map(|moments| from_values(vec![block.distance(&moments)], [1]));
            (Tensor::from_primitive::<Flex>(y), distance.map(Tensor::from_primitive::<Flex>))
        }
        Input::Tracked(x) => {
            let (y, distance) = match residual.map(lifted) {
                None => frozen_tracked([x], block, measure),
                Some(residual) => frozen_tracked([x, residual], block, measure),
            };
            let wrap = |distance| Tensor::from_primitive::<Autodiff<Flex>>(distance);
            (Tensor::from_primitive::<Autodiff<Flex>>(y), distance.map(wrap))
        }
    }
}

/// In a graph, as a constant unless it is in one.
pub(crate) fn lifted<const D: usize>(tensor: Tensor<D>) -> Tracked {
    match Input::of(tensor) {
        Input::Plain(values) => Autodiff::<Flex>::from_inner(values),
        Input::Tracked(tensor) => tensor,
    }
}

fn run(
    block: &FrozenConvNorm,
    x: &Values,
    residual: Option<&Values>,
    ways: [bool; 2],
) -> (Values, frozen::Saved) {
    let (y, saved) = block.run(shape4(x), [slice(x), residual.map_or(&[], slice)], ways);
    (from_values(y, block.out_shape(&saved)), saved)
}

/// Frozen blocks one after another.
///
/// # Shapes
/// `[n, h, w, inputs]`, outside any graph → `[n, h', w', outputs]`.
///
/// # Panics
/// Where `x` is on a device with autodiff.
pub fn chain_frozen(x: Tensor<4>, chain: &FrozenChain) -> Tensor<4> {
    let Input::Plain(x) = Input::of(x) else { panic!("a chain of blocks has no backward pass") };
    let x = contiguous(x);
    let (y, shape) = chain.run(shape4(&x), slice(&x));
    Tensor::from_primitive::<Flex>(from_values(y, shape))
}

/// As [`conv_norm_frozen`] outside any graph, with the batch's statistics of `conv(x)` themselves: mean and biased variance
/// by channel, `[outputs]` each.
///
/// # Panics
/// Where `x` is on a device with autodiff.
pub fn conv_norm_frozen_statistics(
    x: Tensor<4>,
    residual: Option<Tensor<4>>,
    block: &Arc<FrozenConvNorm>,
) -> (Tensor<4>, Vec<f32>, Vec<f32>) {
    let Input::Plain(x) = Input::of(x) else { panic!("statistics are read outside any graph") };
    let residual = residual.map(|residual| contiguous(lifted(residual).into_primitive()));
    let (y, saved) = run(block, &contiguous(x), residual.as_ref(), [false, true]);
    let moments = saved.moments.expect("measured");
    (Tensor::from_primitive::<Flex>(y), moments.mean, moments.variance)
}

/// The gradient of the distance, on its way from the distance's backward step to that of `y`, which runs later.
type DistanceGradient = Arc<Mutex<f32>>;

#[derive(Debug)]
struct FrozenBackward;

/// With a second parent, the residual; its result is then kept.
impl<const N: usize> Backward<Flex, N> for FrozenBackward {
    type State = (Arc<FrozenConvNorm>, Arc<frozen::Saved>, DistanceGradient, Option<Values>);

    fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (block, saved, distance, y) = ops.state;
        let mut dy = contiguous(grads.consume::<Flex>(&ops.node));
        let is_before = y.is_some();
        if let Some(y) = y {
            dy = before(y, dy, |y, dy| block.activation().pull(y, dy));
        }
        let d_distance = *distance.lock().unwrap_or_else(PoisonError::into_inner);
        let mut parents = ops.parents.into_iter();
        if let Some(parent) = parents.next().flatten() {
            let dx = block.input_gradient(&saved, slice(&dy), is_before, d_distance);
            let shape = saved.shape;
            let dx = from_values(dx, [shape.images, shape.height, shape.width, shape.inputs]);
            grads.register::<Flex>(parent.id, dx);
        }
        if let Some(parent) = parents.next().flatten() {
            grads.register::<Flex>(parent.id, dy);
        }
    }
}

/// The gradient of what comes before an activation, from its result and the gradient of that.
fn before(y: Values, dy: Values, pull: impl FnOnce(&[f32], &mut [f32])) -> Values {
    let shape = shape4(&dy);
    let mut gradient = owned(dy);
    pull(slice(&y), &mut gradient);
    from_values(gradient, shape)
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

/// Of the input, and a residual where there are two.
fn frozen_tracked<const N: usize>(
    parents: [Tracked; N],
    block: &Arc<FrozenConvNorm>,
    measure: bool,
) -> (Tracked, Option<Tracked>) {
    let nodes = parents.each_ref().map(Tracked::node);
    let values = parents.map(|parent| contiguous(parent.into_primitive()));
    let (x, residual) = (&values[0], values.get(1));
    let gradient = DistanceGradient::default();
    let (y, moments) = match FrozenBackward.prepare::<NoCheckpointing>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prep) => {
            let (y, saved) = run(block, x, residual, [true, measure]);
            let moments = saved.moments.clone();
            let kept = residual.is_some().then(|| y.clone());
            let state = (Arc::clone(block), Arc::new(saved), Arc::clone(&gradient), kept);
            (prep.finish(state, y), moments)
        }
        OpsKind::UnTracked(prep) => {
            let (y, saved) = run(block, x, residual, [false, measure]);
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

/// A block in training mode: `y = activation(BN(conv(x)) + residual)` with the batch's statistics, channels last; also these,
/// mean and biased variance per channel, outside any graph. Only activations that open and shut by the sign of what comes out
/// can follow a residual.
///
/// # Shapes
/// `x`: `[n, h, w, inputs]`; `y` and the residual: `[n, h', w', outputs]`; statistics `[outputs]`.
pub fn conv_norm_train(
    x: Tensor<4>,
    residual: Option<Tensor<4>>,
    weights: TrainWeights,
    geometry: Geometry,
    activation: Activation,
    epsilon: f64,
) -> (Tensor<4>, Tensor<1>, Tensor<1>) {
    let TrainWeights { weight, bias, gamma, beta } = weights;
    let bias = bias.map(|bias| contiguous(lifted(bias).into_primitive()));
    let run = |x: &Values, values: [&Values; 3], residual: Option<&Values>| {
        let [weight, gamma, beta] = values.map(slice);
        let values = Weights { weight, bias: bias.as_ref().map_or(&[], slice), gamma, beta };
        let inputs = [slice(x), residual.map_or(&[], slice)];
        train::forward(shape4(x), inputs, values, geometry, activation, epsilon)
    };
    let [x, weight, gamma, beta] = [lifted(x), lifted(weight), lifted(gamma), lifted(beta)];
    let (y, moments) = match residual {
        None => train_tracked([x, weight, gamma, beta], run),
        Some(residual) => train_tracked([x, weight, gamma, beta, lifted(residual)], run),
    };
    let vector = |values: Vec<f32>| {
        let count = values.len();
        Tensor::from_primitive::<Flex>(from_values(values, [count]))
    };
    (Tensor::from_primitive::<Autodiff<Flex>>(y), vector(moments.mean), vector(moments.variance))
}

/// Of the input, the filters, γ and β, and a residual where there are five.
fn train_tracked<const N: usize>(
    parents: [Tracked; N],
    run: impl FnOnce(&Values, [&Values; 3], Option<&Values>) -> (Vec<f32>, train::Saved),
) -> (Tracked, Moments) {
    let nodes = parents.each_ref().map(Tracked::node);
    let values = parents.map(|parent| contiguous(parent.into_primitive()));
    let residual = values.get(4);
    let (y, saved) = run(&values[0], [&values[1], &values[2], &values[3]], residual);
    let (y, moments) = (from_values(y, saved.out_shape()), saved.moments.clone());
    let kept = residual.is_some().then(|| y.clone());
    let y = match TrainBackward.prepare::<NoCheckpointing>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prep) => {
            let saved = Arc::new(Mutex::new(Some(saved)));
            prep.finish((values[0].clone(), values[1].clone(), saved, kept), y)
        }
        OpsKind::UnTracked(prep) => prep.finish(y),
    };
    (y, moments)
}

#[derive(Debug)]
struct TrainBackward;

/// With a fifth parent, the residual.
impl<const N: usize> Backward<Flex, N> for TrainBackward {
    /// The input, the filters, what the forward pass left, to be taken once, and with a residual the result.
    type State = (Values, Values, Arc<Mutex<Option<train::Saved>>>, Option<Values>);

    fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (x, weight, saved, y) = ops.state;
        let mut dy = contiguous(grads.consume::<Flex>(&ops.node));
        let Some(mut saved) = saved.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        if let Some(y) = y {
            dy = before(y, dy, |y, dy| saved.pull(y, dy));
        }
        let shape = saved.shape;
        let wants_dx = ops.parents[0].is_some();
        let gradients = saved.gradients(slice(&weight), slice(&x), slice(&dy), wants_dx);
        let gradients = [
            gradients.dx.map(|dx| from_values(dx, [shape.images, shape.height, shape.width, shape.inputs])),
            Some(from_values(gradients.weight, shape.weight_shape())),
            Some(from_values(gradients.gamma, [shape.outputs])),
            Some(from_values(gradients.beta, [shape.outputs])),
            Some(dy),
        ];
        for (parent, gradient) in ops.parents.into_iter().zip(gradients) {
            if let Some((parent, gradient)) = parent.zip(gradient) {
                grads.register::<Flex>(parent.id, gradient);
            }
        }
    }
}
