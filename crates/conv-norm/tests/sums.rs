//! Sums behind blocks, chains of blocks and normalized rows against the same by single operations.

use std::sync::Arc;

use burn::tensor::activation::{relu, sigmoid, silu, softmax};
use burn::tensor::{Device, Tensor, TensorData};
use delt_conv_norm::{
    Activation, FrozenChain, FrozenConvNorm, FrozenSqueeze, FrozenWeights, Geometry, Link, Part,
    TrainWeights, chain_frozen, conv_norm_frozen, conv_norm_train, normalize_rows, scale_channels,
    softmax_rows,
};

const EPSILON: f64 = 1e-5;

fn values(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|at| (((at + seed) * 7919) % 1013) as f32 / 506.5 - 1.0).collect()
}

fn tensor<const D: usize>(shape: [usize; D], seed: usize, device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values(shape.iter().product(), seed), shape), device)
}

fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.without_autodiff().try_into_vec_as().expect("values")
}

/// An image-sized filter of some kernel, stride and groups.
fn block(
    [inputs, outputs]: [usize; 2],
    [kernel, stride, groups]: [usize; 3],
    activation: Activation,
) -> Arc<FrozenConvNorm> {
    let weights = FrozenWeights {
        channels: [outputs, inputs],
        weight: values(outputs * inputs / groups * kernel * kernel, kernel),
        bias: Vec::new(),
        gamma: values(outputs, 3),
        beta: values(outputs, 4),
        running_mean: values(outputs, 5),
        running_var: vec![2.0; outputs],
    };
    let geometry = Geometry { kernel, stride, padding: kernel / 2, groups };
    Arc::new(FrozenConvNorm::new(weights, geometry, activation, EPSILON))
}

fn assert_close(what: &str, found: &[f32], expected: &[f32]) {
    let largest = expected.iter().fold(1.0_f32, |largest, value| largest.max(value.abs()));
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() <= 2e-5 * largest, "{what}: {found}, expected {expected}");
    }
}

#[test]
fn a_sum_behind_a_frozen_block_and_its_gradients_are_those_of_single_operations() {
    let device = Device::flex().autodiff();
    for channels in [8, 32] {
        let (shape, sizes) = ([3, 6, 5, channels], [3, 1, 1]);
        let [plain, gated] =
            [Activation::Identity, Activation::Relu].map(|after| block([channels; 2], sizes, after));
        let run = |is_fused: bool| {
            let [x, added] = [1, 2].map(|seed| tensor(shape, seed, &device).require_grad());
            let (y, distance) = if is_fused {
                conv_norm_frozen(x.clone(), Some(added.clone()), &gated, true)
            } else {
                let (y, distance) = conv_norm_frozen(x.clone(), None, &plain, true);
                (relu(y + added.clone()), distance)
            };
            let distance = distance.expect("measured");
            let loss = (y.clone() * tensor(shape, 9, &device)).sum() + distance;
            let gradients = loss.backward();
            let of = |leaf: &Tensor<4>| host(leaf.grad(&gradients).expect("a gradient"));
            [host(y), of(&x), of(&added)]
        };
        assert_eq!(run(true), run(false), "{channels} channels");
    }
}

#[test]
fn a_sum_behind_a_block_in_training_and_its_gradients_are_those_of_single_operations() {
    let device = Device::flex().autodiff();
    let shape = [3, 6, 5, 16];
    let run = |is_fused: bool| {
        let [x, added] = [1, 2].map(|seed| tensor(shape, seed, &device).require_grad());
        let weight = tensor([16, 16, 3, 3], 3, &device).require_grad();
        let [gamma, beta] = [4, 5].map(|seed| tensor([16], seed, &device).require_grad());
        let weights = TrainWeights { weight: weight.clone(), bias: None, gamma: gamma.clone(), beta };
        let geometry = Geometry { kernel: 3, stride: 1, padding: 1, groups: 1 };
        let after = if is_fused { Activation::Relu } else { Activation::Identity };
        let residual = is_fused.then(|| added.clone());
        let (y, ..) = conv_norm_train(x.clone(), residual, weights, geometry, after, EPSILON);
        let y = if is_fused { y } else { relu(y + added.clone()) };
        let gradients = (y.clone() * tensor(shape, 9, &device)).sum().backward();
        let of = |leaf: &Tensor<4>| host(leaf.grad(&gradients).expect("a gradient"));
        let of_gamma = host(gamma.grad(&gradients).expect("a gradient"));
        [host(y), of(&x), of(&added), of(&weight), of_gamma]
    };
    assert_eq!(run(true), run(false));
}

#[test]
fn a_chain_gives_the_bytes_of_its_blocks_for_any_number_of_images() {
    let device = Device::flex();
    let links = |from: &[(Arc<FrozenConvNorm>, usize, Option<usize>)]| {
        from.iter()
            .map(|(block, reads, adds)| Link {
                part: Part::Block(Arc::clone(block)),
                reads: *reads,
                adds: *adds,
            })
            .collect::<Vec<_>>()
    };
    let blocks = [
        (block([3, 16], [3, 2, 1], Activation::Relu6), 0, None),
        (block([16, 96], [1, 1, 1], Activation::Relu6), 1, None),
        (block([96, 96], [3, 1, 96], Activation::Silu), 2, None),
        (block([96, 16], [1, 1, 1], Activation::Identity), 3, Some(1)),
        (block([16, 32], [3, 1, 1], Activation::ReluAveragePool), 4, None),
        (block([32, 32], [3, 1, 1], Activation::Relu), 5, Some(5)),
        (block([32, 64], [3, 2, 4], Activation::Relu), 6, None),
    ];
    let chain = FrozenChain::new(links(&blocks));
    for (images, side) in [(1, 32), (7, 32), (50, 32), (5, 64)] {
        let x = tensor([images, side, side, 3], 1, &device);
        let mut made = vec![x.clone()];
        for (block, reads, adds) in &blocks {
            let added = adds.map(|value: usize| made[value].clone());
            made.push(conv_norm_frozen(made[*reads].clone(), added, block, false).0);
        }
        let expected = made.pop().expect("a result");
        let found = chain_frozen(x, &chain);
        assert_eq!(found.dims(), expected.dims());
        assert_eq!(host(found), host(expected), "{images} images of {side} px");
    }
}

#[test]
fn gates_of_a_chain_are_those_of_single_operations() {
    let device = Device::flex();
    let (channels, few) = (24, 5);
    let geometry = Geometry { kernel: 1, stride: 1, padding: 0, groups: 1 };
    let sizes = [[few, channels], [channels, few]];
    let weights = sizes.map(|[outputs, inputs]| [values(outputs * inputs, 7), values(outputs, 8)]);
    let [to_few, back] = [Activation::Silu, Activation::Identity];
    let squeeze = Arc::new(FrozenSqueeze::new(
        FrozenConvNorm::plain(sizes[0], weights[0].clone(), geometry, to_few),
        FrozenConvNorm::plain(sizes[1], weights[1].clone(), geometry, back),
    ));
    let product = |x: Tensor<2>, at: usize| {
        let [outputs, inputs] = sizes[at];
        let weight: Tensor<2> =
            Tensor::from_data(TensorData::new(weights[at][0].clone(), [outputs, inputs]), &device);
        x.matmul(weight.transpose()) + Tensor::<1>::from_floats(&weights[at][1][..], &device).unsqueeze()
    };
    let gated = |x: Tensor<4>| {
        let [n, _, _, channels] = x.dims();
        let means: Tensor<2> = x.clone().mean_dim(1).mean_dim(2).reshape([n, channels]);
        x * sigmoid(product(silu(product(means, 0)), 1)).reshape([n, 1, 1, channels])
    };
    let blocks = [
        block([3, channels], [3, 2, 1], Activation::Silu),
        block([channels, 16], [1, 1, 1], Activation::Relu),
    ];
    let link = |part: Part, reads| Link { part, reads, adds: None };
    let squeeze = |reads| link(Part::Squeeze(Arc::clone(&squeeze)), reads);
    let of_block = |at: usize, reads| link(Part::Block(Arc::clone(&blocks[at])), reads);
    let through = |x, at: usize| conv_norm_frozen(x, None, &blocks[at], false).0;
    for (images, side) in [(1, 8), (7, 10), (50, 13)] {
        let x = tensor([images, side, side, 3], 1, &device);
        let last = chain_frozen(x.clone(), &FrozenChain::new(vec![of_block(0, 0), squeeze(1)]));
        let expected = gated(through(x.clone(), 0));
        assert_close("at the end", &host(last), &host(expected.clone()));
        let between = chain_frozen(x, &FrozenChain::new(vec![of_block(0, 0), squeeze(1), of_block(1, 2)]));
        assert_close("between blocks", &host(between), &host(through(expected, 1)));
    }
}

#[test]
fn normalized_rows_and_their_gradients_are_those_of_single_operations() {
    let device = Device::flex().autodiff();
    for channels in [5, 48] {
        let shape = [2, 21, 3, channels];
        let run = |is_fused: bool| {
            let x = tensor(shape, 1, &device).require_grad();
            let [gamma, beta] = [4, 5].map(|seed| tensor([channels], seed, &device).require_grad());
            let y = if is_fused {
                normalize_rows(x.clone(), gamma.clone(), beta.clone(), EPSILON)
            } else {
                let centered = x.clone() - x.clone().mean_dim(3);
                let unit = centered.clone() / (centered.square().mean_dim(3) + EPSILON).sqrt();
                unit * gamma.clone().unsqueeze() + beta.clone().unsqueeze()
            };
            let gradients = (y.clone() * tensor(shape, 9, &device)).sum().backward();
            let of = |leaf: &Tensor<1>| host(leaf.grad(&gradients).expect("a gradient"));
            [host(y), host(x.grad(&gradients).expect("a gradient")), of(&gamma), of(&beta)]
        };
        for (what, (found, expected)) in
            ["y", "x", "γ", "β"].into_iter().zip(run(true).into_iter().zip(run(false)))
        {
            assert_close(what, &found, &expected);
        }
    }
}

#[test]
fn scaled_channels_and_their_gradients_are_those_of_single_operations() {
    let device = Device::flex().autodiff();
    let run = |is_fused: bool| {
        let x = tensor([3, 4, 5, 9], 1, &device).require_grad();
        let factors = tensor([3, 1, 1, 9], 2, &device).require_grad();
        let y = match is_fused {
            true => scale_channels(x.clone(), factors.clone()),
            false => x.clone() * factors.clone(),
        };
        let gradients = (y.clone() * tensor([3, 4, 5, 9], 9, &device)).sum().backward();
        let of = |leaf: &Tensor<4>| host(leaf.grad(&gradients).expect("a gradient"));
        [host(y), of(&x), of(&factors)]
    };
    for (found, expected) in run(true).into_iter().zip(run(false)) {
        assert_close("scaled", &found, &expected);
    }
}

#[test]
fn softmax_and_its_gradient_are_those_of_single_operations() {
    let device = Device::flex().autodiff();
    let shape = [2, 3, 20, 37];
    let run = |is_fused: bool| {
        let x = tensor(shape, 1, &device).mul_scalar(20.0).detach().require_grad();
        let y = if is_fused { softmax_rows(x.clone()) } else { softmax(x.clone(), 3) };
        let gradients = (y.clone() * tensor(shape, 9, &device)).sum().backward();
        [host(y), host(x.grad(&gradients).expect("a gradient"))]
    };
    for (found, expected) in run(true).into_iter().zip(run(false)) {
        assert_close("softmax", &found, &expected);
    }
    assert!(host(softmax_rows(Tensor::full([1, 1, 1, 4], f32::NAN, &device))).iter().all(|y| y.is_nan()));
}
