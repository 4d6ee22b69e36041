//! Seconds of the three blocks of a ConvNet-3 with instance norm at 32 px, fused and by Burn's own operations: gradient of
//! the weights, and second derivatives by dual blocks: `cargo bench -p delt-conv-norm --bench duals`.

use burn::tensor::activation::relu;
use burn::tensor::module::{avg_pool2d, conv2d};
use burn::tensor::ops::{AvgPoolOptions, ConvOptions};
use burn::tensor::{Device, Gradients, Tensor, TensorData};
use delt_conv_norm::{Activation, BlockWeights, Geometry, Normalize, conv_block, conv_block_dual};
use divan::Bencher;

const EPSILON: f64 = 1e-5;

/// Images and width.
const CASES: [[usize; 2]; 6] = [[1, 128], [10, 128], [100, 128], [1, 32], [10, 32], [100, 32]];

fn main() {
    divan::main();
}

fn tensor<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    let count = shape.iter().product::<usize>();
    let values: Vec<f32> = (0..count).map(|i| ((i * 7919) % 1013) as f32 / 506.5 - 1.0).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// The weights of the blocks; leaves of a graph on a device with autodiff.
fn blocks(width: usize, device: &Device) -> Vec<BlockWeights> {
    let leaf = |x: Tensor<1>| if device.is_autodiff() { x.require_grad() } else { x };
    let block = |inputs| {
        let weight: Tensor<4> = tensor([width, inputs, 3, 3], device).mul_scalar(0.05);
        let weight = if device.is_autodiff() { weight.require_grad() } else { weight };
        let norm = (leaf(tensor([width], device)), leaf(tensor([width], device)));
        BlockWeights { weight, bias: None, norm: Some(norm) }
    };
    [3, width, width].map(block).into()
}

fn fused(x: Tensor<4>, blocks: &[BlockWeights]) -> Tensor<4> {
    let geometry = Geometry { kernel: 3, stride: 1, padding: 1, groups: 1 };
    blocks.iter().fold(x, |x, weights| {
        let activation = Activation::ReluAveragePool;
        conv_block(x, weights.clone(), geometry, Normalize::Instance, activation, EPSILON)
    })
}

fn fused_dual(x: Tensor<4>, blocks: &[BlockWeights], direction: &[BlockWeights]) -> (Tensor<4>, Tensor<4>) {
    let geometry = Geometry { kernel: 3, stride: 1, padding: 1, groups: 1 };
    let (mut x, mut x_dot) = (x, None);
    for (weights, direction) in blocks.iter().zip(direction) {
        let (weights, direction, activation) =
            (weights.clone(), direction.clone(), Activation::ReluAveragePool);
        let pair =
            conv_block_dual(x, x_dot, weights, direction, geometry, Normalize::Instance, activation, EPSILON);
        (x, x_dot) = (pair.0, Some(pair.1));
    }
    (x, x_dot.expect("three blocks"))
}

fn convolve(x: Tensor<4>, weight: &Tensor<4>) -> Tensor<4> {
    conv2d(x, weight.clone(), None, ConvOptions::new([1; 2], [1; 2], [1; 2], 1))
}

fn pool(x: Tensor<4>) -> Tensor<4> {
    avg_pool2d(x, AvgPoolOptions::new([2, 2]).with_stride([2, 2]))
}

fn mean(x: Tensor<4>) -> Tensor<4> {
    x.mean_dim(3).mean_dim(2)
}

fn spread(values: &Tensor<1>) -> Tensor<4> {
    values.clone().reshape([1, -1, 1, 1])
}

/// u and r.
fn normalize(z: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
    let centered = z.clone() - mean(z);
    let inverse = mean(centered.clone().square()).add_scalar(EPSILON).sqrt().recip();
    (centered * inverse.clone(), inverse)
}

fn norm(weights: &BlockWeights) -> [Tensor<4>; 2] {
    let (gamma, beta) = weights.norm.as_ref().expect("norm");
    [spread(gamma), spread(beta)]
}

fn plain(x: Tensor<4>, blocks: &[BlockWeights]) -> Tensor<4> {
    blocks.iter().fold(x, |x, weights| {
        let [gamma, beta] = norm(weights);
        pool(relu(normalize(convolve(x, &weights.weight)).0 * gamma + beta))
    })
}

fn plain_dual(x: Tensor<4>, blocks: &[BlockWeights], direction: &[BlockWeights]) -> (Tensor<4>, Tensor<4>) {
    let (mut x, mut x_dot) = (x, None);
    for (weights, direction) in blocks.iter().zip(direction) {
        let mut z_dot = convolve(x.clone(), &direction.weight);
        if let Some(x_dot) = x_dot {
            z_dot = z_dot + convolve(x_dot, &weights.weight);
        }
        let (unit, inverse) = normalize(convolve(x, &weights.weight));
        let centered = z_dot.clone() - mean(z_dot);
        let unit_dot = inverse * (centered.clone() - unit.clone() * mean(unit.clone() * centered));
        let ([gamma, beta], [gamma_dot, beta_dot]) = (norm(weights), norm(direction));
        let a_dot = gamma.clone() * unit_dot + gamma_dot * unit.clone() + beta_dot;
        let a = unit * gamma + beta;
        let is_off = a.clone().lower_equal_elem(0.0);
        (x, x_dot) = (pool(relu(a)), Some(pool(a_dot.mask_fill(is_off, 0.0))));
    }
    (x, x_dot.expect("three blocks"))
}

/// The gradient of the weights.
fn gradient(
    bencher: Bencher<'_, '_>,
    [_, width]: [usize; 2],
    x: [usize; 4],
    network: fn(Tensor<4>, &[BlockWeights]) -> Tensor<4>,
) {
    let (x, blocks) = (tensor(x, &Device::flex()), blocks(width, &Device::flex().autodiff()));
    bencher.bench_local(|| network(x.clone(), &blocks).square().sum().backward());
}

type Dual = fn(Tensor<4>, &[BlockWeights], &[BlockWeights]) -> (Tensor<4>, Tensor<4>);

/// A second derivative: of the pixels, and of the weights where they lie on `device`.
fn product(bencher: Bencher<'_, '_>, [_, width]: [usize; 2], x: [usize; 4], device: &Device, network: Dual) {
    let x = tensor(x, &Device::flex());
    let (blocks, direction) = (blocks(width, device), blocks(width, &Device::flex()));
    bencher.bench_local(|| -> Gradients {
        let (y, y_dot) = network(x.clone().autodiff().require_grad(), &blocks, &direction);
        (y * y_dot).sum().backward()
    });
}

fn last([images, _]: [usize; 2]) -> [usize; 4] {
    [images, 32, 32, 3]
}

fn first([images, _]: [usize; 2]) -> [usize; 4] {
    [images, 3, 32, 32]
}

#[divan::bench(args = CASES, sample_count = 5, sample_size = 1)]
fn fused_gradient(bencher: Bencher<'_, '_>, case: [usize; 2]) {
    gradient(bencher, case, last(case), fused);
}

#[divan::bench(args = CASES, sample_count = 5, sample_size = 1)]
fn fused_product(bencher: Bencher<'_, '_>, case: [usize; 2]) {
    product(bencher, case, last(case), &Device::flex().autodiff(), fused_dual);
}

#[divan::bench(args = CASES, sample_count = 5, sample_size = 1)]
fn fused_product_of_pixels(bencher: Bencher<'_, '_>, case: [usize; 2]) {
    product(bencher, case, last(case), &Device::flex(), fused_dual);
}

#[divan::bench(args = CASES, sample_count = 2, sample_size = 1)]
fn plain_gradient(bencher: Bencher<'_, '_>, case: [usize; 2]) {
    gradient(bencher, case, first(case), plain);
}

#[divan::bench(args = CASES, sample_count = 2, sample_size = 1)]
fn plain_product(bencher: Bencher<'_, '_>, case: [usize; 2]) {
    product(bencher, case, first(case), &Device::flex().autodiff(), plain_dual);
}
