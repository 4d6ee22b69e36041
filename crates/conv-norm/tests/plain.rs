//! The fused blocks against the same formulas written with Burn's own operations, on random shapes, and their gradients
//! against finite differences.

use std::sync::Arc;

use burn::tensor::activation::{gelu, relu, relu6, silu, softplus};
use burn::tensor::module::{avg_pool2d, batch_norm_train, conv2d};
use burn::tensor::ops::{AvgPoolOptions, ConvOptions};
use burn::tensor::{Device, Tensor, TensorData};
use delt_conv_norm::{
    Activation, FrozenConvNorm, FrozenWeights, Geometry, TrainWeights, channels_first, channels_last,
    conv_norm_frozen, conv_norm_train, is_supported,
};

const EPSILON: f64 = 1e-5;

/// Values in −1..1 from a small linear congruential generator.
fn values(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f32 / (1_u32 << 23) as f32) - 1.0
    };
    (0..count).map(|_| next()).collect()
}

fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.try_into_data().expect("data").try_into_vec().expect("f32")
}

/// ‖a − b‖ / ‖b‖.
fn relative(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let square = |x: f64| x * x;
    let difference: f64 = a.iter().zip(b).map(|(a, b)| square(f64::from(*a) - f64::from(*b))).sum();
    let size: f64 = b.iter().map(|b| square(f64::from(*b))).sum();
    if size == 0.0 { difference.sqrt() } else { (difference / size).sqrt() }
}

fn assert_close(what: &str, case: &Case, a: &[f32], b: &[f32]) {
    let error = relative(a, b);
    assert!(error < 2e-5, "{what} of {case:?}: relative error {error:e}");
}

#[derive(Clone, Copy, Debug)]
struct Case {
    images: usize,
    size: [usize; 2],
    inputs: usize,
    outputs: usize,
    geometry: Geometry,
    has_bias: bool,
    activation: Activation,
}

/// Odd sizes, one image, strides 1 and 2, kernels 1, 3, 5 and 7, with and without bias, channels that fill no block or
/// vector, channels by groups and each by itself.
fn cases() -> Vec<Case> {
    let grouped = |kernel, stride, padding, groups| Geometry { kernel, stride, padding, groups };
    let geometry = |kernel, stride, padding| grouped(kernel, stride, padding, 1);
    let case = |images, size, channels: [usize; 2], geometry, has_bias, activation| Case {
        images,
        size,
        inputs: channels[0],
        outputs: channels[1],
        geometry,
        has_bias,
        activation,
    };
    use Activation::{Identity, Relu, Relu6, ReluAveragePool, Silu, SoftplusAveragePool};
    vec![
        case(5, [8, 8], [3, 16], geometry(3, 1, 1), true, ReluAveragePool),
        case(3, [7, 9], [16, 20], geometry(3, 1, 1), true, ReluAveragePool),
        case(1, [5, 6], [4, 33], geometry(3, 1, 1), false, Relu),
        case(2, [9, 7], [5, 8], geometry(3, 2, 1), false, Relu),
        case(4, [8, 8], [8, 17], geometry(3, 2, 1), true, Identity),
        case(7, [4, 4], [24, 32], geometry(1, 2, 0), false, Identity),
        case(3, [7, 6], [16, 20], geometry(3, 1, 1), true, SoftplusAveragePool(10.0)),
        case(70, [1, 1], [6, 5], geometry(1, 1, 0), true, Relu),
        case(2, [15, 13], [3, 10], geometry(7, 2, 3), false, Relu),
        case(3, [6, 6], [2, 3], geometry(3, 1, 0), true, Identity),
        case(2, [11, 11], [3, 4], geometry(5, 3, 2), true, Relu),
        case(9, [4, 2], [18, 16], geometry(3, 1, 1), true, ReluAveragePool),
        // by tiles: filled, cut at the edges, several images a task
        case(3, [8, 12], [16, 32], geometry(3, 1, 1), true, ReluAveragePool),
        case(2, [7, 10], [32, 48], geometry(3, 1, 1), false, Relu),
        case(53, [4, 3], [16, 16], geometry(3, 1, 1), true, Identity),
        case(70, [8, 8], [32, 16], geometry(3, 1, 1), false, ReluAveragePool),
        // between so many channels that these are divided among the threads
        case(5, [4, 4], [256, 272], geometry(3, 1, 1), true, Relu),
        case(3, [5, 6], [272, 512], geometry(3, 1, 1), true, ReluAveragePool),
        case(3, [6, 5], [7, 9], geometry(1, 1, 0), false, Silu),
        // as many values behind as before
        case(3, [4, 4], [8, 32], geometry(1, 2, 0), false, Identity),
        case(3, [4, 4], [8, 32], geometry(3, 1, 0), false, Relu),
        // each channel by itself
        case(3, [8, 8], [32, 32], grouped(3, 1, 1, 32), false, Relu6),
        case(2, [9, 7], [58, 58], grouped(3, 2, 1, 58), true, Identity),
        case(18, [3, 4], [20, 20], grouped(5, 1, 2, 20), false, Silu),
        case(4, [11, 8], [5, 5], grouped(5, 2, 2, 5), true, Silu),
        case(3, [5, 7], [32, 32], grouped(5, 1, 2, 32), true, Silu),
        case(2, [9, 13], [48, 48], grouped(5, 2, 2, 48), false, Silu),
        case(2, [9, 9], [17, 17], grouped(7, 3, 2, 17), false, Relu),
        case(2, [9, 11], [16, 16], grouped(3, 2, 0, 16), false, ReluAveragePool),
        // by groups: narrow, direct, in tiles, with more outputs than inputs
        case(3, [7, 5], [6, 9], grouped(3, 1, 1, 3), true, Relu),
        case(2, [9, 8], [40, 40], grouped(3, 2, 1, 2), false, Silu),
        case(20, [8, 6], [32, 32], grouped(3, 1, 1, 2), true, Relu6),
        case(3, [6, 6], [4, 8], grouped(3, 1, 1, 4), true, ReluAveragePool),
        case(70, [6, 7], [12, 8], grouped(1, 2, 0, 4), false, Identity),
    ]
}

impl Case {
    fn weights(&self) -> FrozenWeights {
        let Self { inputs, outputs, has_bias, .. } = *self;
        let positive = |seed| values(outputs, seed).into_iter().map(|v| 1.1 + v).collect::<Vec<_>>();
        FrozenWeights {
            channels: [outputs, inputs],
            weight: values(self.weight_shape().iter().product(), 1),
            bias: if has_bias { values(outputs, 2) } else { Vec::new() },
            gamma: values(outputs, 3),
            beta: values(outputs, 4),
            running_mean: values(outputs, 5),
            running_var: positive(6),
        }
    }

    fn input(&self) -> (Vec<f32>, [usize; 4]) {
        let shape = [self.images, self.inputs, self.size[0], self.size[1]];
        (values(shape.iter().product(), 7), shape)
    }

    fn convolution(&self, x: Tensor<4>, weight: Tensor<4>, bias: Option<Tensor<1>>) -> Tensor<4> {
        let Geometry { stride, padding, groups, .. } = self.geometry;
        conv2d(x, weight, bias, ConvOptions::new([stride; 2], [padding; 2], [1; 2], groups))
    }

    fn weight_shape(&self) -> [usize; 4] {
        let Geometry { kernel, groups, .. } = self.geometry;
        [self.outputs, self.inputs / groups, kernel, kernel]
    }

    fn activate(&self, x: Tensor<4>) -> Tensor<4> {
        let pool = |x| avg_pool2d(x, AvgPoolOptions::new([2, 2]).with_stride([2, 2]));
        match self.activation {
            Activation::Identity => x,
            Activation::Relu => relu(x),
            Activation::Relu6 => relu6(x),
            Activation::Silu => silu(x),
            Activation::Gelu => gelu(x),
            Activation::ReluAveragePool => pool(relu(x)),
            Activation::SoftplusAveragePool(beta) => pool(softplus(x, beta.into())),
        }
    }

    /// Output and distance by Burn's own operations.
    fn plain_frozen(&self, x: Tensor<4>, device: &Device) -> (Tensor<4>, Tensor<1>) {
        let weights = self.weights();
        let channels = self.outputs;
        let vector = |values: Vec<f32>| tensor(values, [channels], device);
        let spread = |values: Tensor<1>| values.reshape([1, channels, 1, 1]);
        let weight = tensor(weights.weight, self.weight_shape(), device);
        let bias = self.has_bias.then(|| vector(weights.bias));
        let z = self.convolution(x, weight, bias);
        let (mean, var) = (vector(weights.running_mean), vector(weights.running_var));
        let rows: Tensor<2> = z.clone().permute([1, 0, 2, 3]).flatten(1, 3);
        let batch_mean = rows.clone().mean_dim(1);
        let batch_var = (rows - batch_mean.clone()).square().mean_dim(1);
        let norm = |x: Tensor<1>| x.square().sum().sqrt();
        let distance = norm(batch_mean.reshape([channels]) - mean.clone())
            + norm(batch_var.reshape([channels]) - var.clone());
        let scale = vector(weights.gamma) / (var + EPSILON).sqrt();
        let shift = vector(weights.beta) - mean * scale.clone();
        (self.activate(z * spread(scale) + spread(shift)), distance)
    }

    fn block(&self) -> Arc<FrozenConvNorm> {
        Arc::new(FrozenConvNorm::new(self.weights(), self.geometry, self.activation, EPSILON))
    }
}

fn device() -> Device {
    let device = Device::flex();
    assert!(is_supported(&device) && is_supported(&device.clone().autodiff()));
    device
}

/// A loss with a different slope at every output.
fn weighted_sum(y: Tensor<4>) -> Tensor<1> {
    let shape = y.dims();
    let weights = values(shape.iter().product(), 11);
    let device = y.device().without_autodiff();
    (y * tensor(weights, shape, &device)).sum()
}

#[test]
fn frozen_blocks_agree_with_plain_operations() {
    let device = device();
    for case in cases() {
        let block = case.block();
        let (x, shape) = case.input();
        let x = tensor(x, shape, &device);
        let (expected, expected_distance) = case.plain_frozen(x.clone(), &device);
        let (y, distance) = conv_norm_frozen(channels_last(x.clone()), None, &block, true);
        assert_close("output", &case, &host(channels_first(y.clone())), &host(expected));
        let distance = distance.expect("measured");
        assert_close("distance", &case, &host(distance), &host(expected_distance));
        let (unmeasured, none) = conv_norm_frozen(channels_last(x), None, &block, false);
        assert!(none.is_none());
        assert_close("output without statistics", &case, &host(unmeasured), &host(y));
    }
}

#[test]
fn gradients_of_frozen_blocks_agree_with_plain_operations() {
    let device = device();
    for case in cases() {
        let block = case.block();
        let (x, shape) = case.input();
        let leaf = || tensor(x.clone(), shape, &device).autodiff().require_grad();

        let plain = leaf();
        let (y, distance) = case.plain_frozen(plain.clone(), &device);
        let gradients = (weighted_sum(y) + distance.mul_scalar(0.7)).backward();
        let expected = host(plain.grad(&gradients).expect("gradient"));

        let fused = leaf();
        let (y, distance) = conv_norm_frozen(channels_last(fused.clone()), None, &block, true);
        let loss = weighted_sum(channels_first(y)) + distance.expect("measured").mul_scalar(0.7);
        let found = host(fused.grad(&loss.backward()).expect("gradient"));
        assert_close("gradient", &case, &found, &expected);
    }
}

#[test]
fn training_blocks_agree_with_plain_operations() {
    let device = device();
    for case in cases() {
        let weights = case.weights();
        let (x, shape) = case.input();
        let leaves = || {
            let vector = |values: &Vec<f32>| tensor(values.clone(), [case.outputs], &device);
            (
                tensor(x.clone(), shape, &device).autodiff().require_grad(),
                tensor(weights.weight.clone(), case.weight_shape(), &device).autodiff().require_grad(),
                vector(&weights.gamma).autodiff().require_grad(),
                vector(&weights.beta).autodiff().require_grad(),
                case.has_bias.then(|| vector(&weights.bias)),
            )
        };

        let (input, weight, gamma, beta, bias) = leaves();
        let z = case.convolution(input.clone(), weight.clone(), bias);
        let plain = batch_norm_train(z, gamma.clone(), beta.clone(), EPSILON);
        let y = case.activate(plain.output);
        let expected_y = host(y.clone());
        let gradients = weighted_sum(y).backward();
        let expected = (
            host(input.grad(&gradients).expect("gradient")),
            host(weight.grad(&gradients).expect("gradient")),
            host(gamma.grad(&gradients).expect("gradient")),
            host(beta.grad(&gradients).expect("gradient")),
        );

        let (input, weight, gamma, beta, bias) = leaves();
        let block = TrainWeights { weight: weight.clone(), bias, gamma: gamma.clone(), beta: beta.clone() };
        let (y, mean, variance) = conv_norm_train(
            channels_last(input.clone()),
            None,
            block,
            case.geometry,
            case.activation,
            EPSILON,
        );
        let y = channels_first(y);
        assert_close("output", &case, &host(y.clone()), &expected_y);
        assert_close("mean", &case, &host(mean), &host(plain.mean));
        assert_close("variance", &case, &host(variance), &host(plain.variance));
        let gradients = weighted_sum(y).backward();
        let found = |grad: Option<Vec<f32>>| grad.expect("gradient");
        assert_close("input gradient", &case, &found(input.grad(&gradients).map(host)), &expected.0);
        assert_close("filter gradient", &case, &found(weight.grad(&gradients).map(host)), &expected.1);
        assert_close("γ gradient", &case, &found(gamma.grad(&gradients).map(host)), &expected.2);
        assert_close("β gradient", &case, &found(beta.grad(&gradients).map(host)), &expected.3);
    }
}

#[test]
fn frozen_gradients_agree_with_finite_differences() {
    let device = device();
    for case in cases() {
        let block = case.block();
        let (x, shape) = case.input();
        // in 64 bits, by the definition
        let loss = |x: &[f32]| -> f64 {
            let (y, distance) =
                conv_norm_frozen(channels_last(tensor(x.to_vec(), shape, &device)), None, &block, true);
            let y = channels_first(y);
            let weights = values(y.dims().iter().product(), 11);
            let sum: f64 = host(y).iter().zip(&weights).map(|(y, w)| f64::from(*y) * f64::from(*w)).sum();
            sum + 0.7 * f64::from(host(distance.expect("measured"))[0])
        };
        let leaf = tensor(x.clone(), shape, &device).autodiff().require_grad();
        let (y, distance) = conv_norm_frozen(channels_last(leaf.clone()), None, &block, true);
        let total = weighted_sum(channels_first(y)) + distance.expect("measured").mul_scalar(0.7);
        let gradient = host(leaf.grad(&total.backward()).expect("gradient"));
        // along the gradient itself, where the difference is largest against rounding
        let length = gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
        let step = 1e-3;
        let moved = |sign: f64| -> Vec<f32> {
            x.iter()
                .zip(&gradient)
                .map(|(x, g)| (f64::from(*x) + sign * step * f64::from(*g) / length) as f32)
                .collect()
        };
        let slope = (loss(&moved(1.0)) - loss(&moved(-1.0))) / (2.0 * step);
        assert!((slope / length - 1.0).abs() < 2e-2, "{case:?}: slope {slope}, gradient {length}");
    }
}

#[test]
fn a_value_that_is_no_number_is_not_hidden() {
    let device = device();
    for case in cases() {
        let (mut x, shape) = case.input();
        x[0] = f32::NAN;
        let leaf = tensor(x, shape, &device).autodiff().require_grad();
        let (y, distance) = conv_norm_frozen(channels_last(leaf.clone()), None, &case.block(), true);
        assert!(host(y.clone()).iter().any(|y| y.is_nan()), "{case:?}");
        let distance = distance.expect("measured");
        assert!(host(distance.clone())[0].is_nan(), "{case:?}");
        let gradients = (weighted_sum(y) + distance).backward();
        assert!(host(leaf.grad(&gradients).expect("gradient")).iter().any(|g| g.is_nan()), "{case:?}");
    }
}

#[test]
fn bytes_do_not_depend_on_the_number_of_threads() {
    for case in cases() {
        let run = || (frozen_results(&case), trained_results(&case));
        let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        let one = pool(1).install(run);
        for threads in [2, 3] {
            assert_eq!(pool(threads).install(run), one, "{case:?}");
        }
    }
}

/// Output, distance and gradient of the input.
fn frozen_results(case: &Case) -> [Vec<f32>; 3] {
    let (x, shape) = case.input();
    let leaf = tensor(x, shape, &device()).autodiff().require_grad();
    let (y, distance) = conv_norm_frozen(channels_last(leaf.clone()), None, &case.block(), true);
    let distance = distance.expect("measured");
    let gradients = (weighted_sum(y.clone()) + distance.clone()).backward();
    [host(y), host(distance), host(leaf.grad(&gradients).expect("gradient"))]
}

/// Output and gradient of the filters.
fn trained_results(case: &Case) -> [Vec<f32>; 2] {
    let (x, shape) = case.input();
    let weights = case.weights();
    let device = device();
    let weight = tensor(weights.weight, case.weight_shape(), &device).autodiff().require_grad();
    let vector = |values| tensor(values, [case.outputs], &device);
    let (gamma, beta) = (vector(weights.gamma), vector(weights.beta));
    let block = TrainWeights { weight: weight.clone(), bias: None, gamma, beta };
    let x = channels_last(tensor(x, shape, &device).autodiff());
    let (y, ..) = conv_norm_train(x, None, block, case.geometry, case.activation, EPSILON);
    let gradients = weighted_sum(y.clone()).backward();
    [host(y), host(weight.grad(&gradients).expect("gradient"))]
}
