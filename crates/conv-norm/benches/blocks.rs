//! Seconds of fused blocks at the shapes of ConvNet-3, ResNet-18 and MobileNetV2: `cargo bench --workspace --bench blocks`.

use std::sync::Arc;

use burn::tensor::activation::relu6;
use burn::tensor::module::{batch_norm_train, conv2d};
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Tensor, TensorData};
use delt_conv_norm::{
    Activation, FrozenConvNorm, FrozenWeights, Geometry, TrainWeights, conv_norm_frozen, conv_norm_train,
};
use divan::Bencher;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const EPSILON: f64 = 1e-5;

/// Images, side, channels, kernel, stride of blocks with a filter for each channel.
const DEPTHWISE: [(usize, usize, usize, usize, usize); 4] =
    [(32, 32, 96, 3, 1), (32, 32, 96, 3, 2), (32, 14, 384, 3, 1), (32, 14, 480, 5, 1)];

/// Images, side, inputs, outputs, stride.
type Case = (usize, usize, usize, usize, usize);

const CASES: [Case; 9] = [
    (100, 32, 3, 128, 1),
    (100, 16, 128, 128, 1),
    (100, 8, 128, 128, 1),
    (50, 32, 64, 64, 1),
    (50, 32, 64, 128, 2),
    (50, 16, 128, 128, 1),
    (50, 8, 256, 256, 1),
    (50, 4, 512, 512, 1),
    (25, 64, 64, 64, 1),
];

fn main() {
    divan::main();
}

fn tensor<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    let count = shape.iter().product::<usize>();
    let values: Vec<f32> = (0..count).map(|i| ((i * 7919) % 1013) as f32 / 506.5 - 1.0).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn geometry(stride: usize) -> Geometry {
    Geometry { kernel: 3, stride, padding: 1, groups: 1 }
}

fn frozen((_, _, inputs, outputs, stride): Case) -> Arc<FrozenConvNorm> {
    let values = |count: usize| (0..count).map(|i| ((i * 7919) % 1013) as f32 / 10130.0).collect::<Vec<_>>();
    let weights = FrozenWeights {
        channels: [outputs, inputs],
        weight: values(outputs * inputs * 9),
        bias: Vec::new(),
        gamma: values(outputs),
        beta: values(outputs),
        running_mean: values(outputs),
        running_var: vec![1.0; outputs],
    };
    Arc::new(FrozenConvNorm::new(weights, geometry(stride), Activation::Relu, EPSILON))
}

fn input((images, side, inputs, ..): Case, device: &Device) -> Tensor<4> {
    tensor([images, side, side, inputs], device)
}

#[divan::bench(args = CASES, sample_count = 5, sample_size = 1)]
fn frozen_forward(bencher: Bencher<'_, '_>, case: Case) {
    let (block, x) = (frozen(case), input(case, &Device::flex()));
    bencher.bench_local(|| conv_norm_frozen(x.clone(), None, &block, false));
}

#[divan::bench(args = CASES, sample_count = 5, sample_size = 1)]
fn frozen_forward_and_backward(bencher: Bencher<'_, '_>, case: Case) {
    let (block, x) = (frozen(case), input(case, &Device::flex()));
    bencher.bench_local(|| {
        let leaf = x.clone().autodiff().require_grad();
        let (y, distance) = conv_norm_frozen(leaf.clone(), None, &block, true);
        let gradients = (y.slice([0..1, 0..1, 0..1, 0..1]).sum() + distance.expect("measured")).backward();
        leaf.grad(&gradients)
    });
}

#[divan::bench(args = CASES, sample_count = 5, sample_size = 1)]
fn training_forward_and_backward(bencher: Bencher<'_, '_>, case: Case) {
    let device = Device::flex().autodiff();
    let (_, _, inputs, outputs, stride) = case;
    let x = input(case, &device).require_grad();
    let weight = tensor([outputs, inputs, 3, 3], &device).require_grad();
    bencher.bench_local(|| {
        let weights = TrainWeights {
            weight: weight.clone(),
            bias: None,
            gamma: tensor([outputs], &device),
            beta: tensor([outputs], &device),
        };
        let (y, ..) = conv_norm_train(x.clone(), None, weights, geometry(stride), Activation::Relu, EPSILON);
        let gradients = y.slice([0..1, 0..1, 0..1, 0..1]).sum().backward();
        weight.grad(&gradients)
    });
}

/// All gradients of a block in training mode, fused or by Burn's own operations.
#[divan::bench(args = DEPTHWISE, consts = [true, false], sample_count = 5, sample_size = 1)]
fn depthwise_training_fused<const FUSED: bool>(
    bencher: Bencher<'_, '_>,
    (images, side, channels, kernel, stride): (usize, usize, usize, usize, usize),
) {
    let device = Device::flex().autodiff();
    let shape = if FUSED { [images, side, side, channels] } else { [images, channels, side, side] };
    let x = tensor(shape, &device).require_grad();
    let weight = tensor([channels, 1, kernel, kernel], &device).require_grad();
    let [gamma, beta] = [(); 2].map(|()| tensor([channels], &device).require_grad());
    let padding = kernel / 2;
    bencher.bench_local(|| {
        let (weight, gamma, beta) = (weight.clone(), gamma.clone(), beta.clone());
        let y = if FUSED {
            let geometry = Geometry { kernel, stride, padding, groups: channels };
            let weights = TrainWeights { weight, bias: None, gamma, beta };
            conv_norm_train(x.clone(), None, weights, geometry, Activation::Relu6, EPSILON).0
        } else {
            let options = ConvOptions::new([stride; 2], [padding; 2], [1; 2], channels);
            relu6(batch_norm_train(conv2d(x.clone(), weight, None, options), gamma, beta, EPSILON).output)
        };
        x.grad(&y.sum().backward())
    });
}
