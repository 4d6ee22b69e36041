//! Products and unrolled steps against what is written out by hand.

#![expect(clippy::unwrap_used, reason = "a failed step fails its test")]

use burn::tensor::activation::log_softmax;
use burn::tensor::module::{avg_pool2d, conv2d};
use burn::tensor::ops::{AvgPoolOptions, ConvOptions};
use burn::tensor::{Bool, Device, Tensor, TensorData};
use delt_augment::draws::{Draws, standard_normal};
use delt_tangent::unrolled_sgd::{InnerBatch, Set, backward, train};
use delt_tangent::{Activation, Form, Function, Norm, Norms, Start, Wanted};

const SIDE: usize = 4;
const CLASSES: usize = 3;

fn function(widths: Vec<usize>) -> Function {
    let form = Form {
        widths,
        norm: Norm::Instance,
        norm_before_conv: false,
        activation: Activation::Relu,
        size: SIDE,
        classes: CLASSES,
    };
    Function::new(form, &Device::flex())
}

fn noise<const D: usize>(name: &str, shape: [usize; D]) -> Tensor<D> {
    let values: Vec<f32> =
        standard_normal(Draws::new(11).stream(name, 0, 0)).take(shape.iter().product()).collect();
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}

fn set(images: usize) -> Set {
    Set {
        images: noise("images", [images, 3, SIDE, SIDE]),
        targets: noise("targets", [images, CLASSES]).abs(),
    }
}

fn first(function: &Function) -> Tensor<1> {
    function.initialize(Start::Torch, &Draws::new(2), "test", 0, 0)
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.try_into_vec_as().unwrap()
}

#[track_caller]
fn close<const D: usize>(ours: Tensor<D>, expected: Tensor<D>, tolerance: f32) {
    let norm = |x: Tensor<D>| values(x.square().sum())[0].sqrt();
    let error = norm(ours - expected.clone()) / norm(expected);
    assert!(error < tolerance, "relative error {error}");
}

fn batch(rows: &[usize]) -> InnerBatch {
    InnerBatch { rows: rows.to_vec(), view: Box::new(|x| x) }
}

fn product(function: &Function, theta: &Tensor<1>, v: &Tensor<1>, set: &Set) -> delt_tangent::Product {
    let wanted = Wanted { weights: true, targets: true };
    let images = (set.images.clone(), &(|x| x) as &dyn Fn(_) -> _);
    function.product((theta, v), images, set.targets.clone(), Norms::Own, wanted)
}

#[test]
fn one_step_back_is_one_product() {
    let (function, set, lr) = (function(vec![2]), set(2), 0.1);
    let lambda = noise("lambda", [function.parameters()]);
    let batches = [batch(&[0, 1])];
    let path = train(&function, first(&function), &set, &batches, lr);
    let found = backward(&function, &path, &set, &batches, (lr, true, true), lambda.clone());
    let by_hand = product(&function, &first(&function), &lambda, &set);
    close(found.set.images, by_hand.images * -lr, 1e-6);
    close(found.set.targets, by_hand.targets.unwrap() * -lr, 1e-6);
    close(found.lr, -(lambda * path.gradients[0].clone()).sum(), 1e-5);
}

/// The Hessian column by column.
fn hessian(function: &Function, theta: &Tensor<1>, set: &Set) -> Tensor<2> {
    let count = function.parameters();
    let columns = (0..count).map(|at| {
        let unit: Vec<f32> = (0..count).map(|other| f32::from(u8::from(other == at))).collect();
        product(function, theta, &function.vector(unit), set).weights.unwrap().reshape([count, 1])
    });
    Tensor::cat(columns.collect(), 1)
}

#[test]
fn two_steps_with_a_shared_image_equal_a_dense_hessian() {
    let (function, set, lr) = (function(vec![2]), set(3), 0.1);
    let lambda = noise("lambda", [function.parameters()]);
    let batches = [batch(&[0, 1]), batch(&[1, 2])];
    let path = train(&function, first(&function), &set, &batches, lr);
    let found = backward(&function, &path, &set, &batches, (lr, true, true), lambda.clone());
    let part = |rows: [usize; 2]| {
        let (images, targets) = set.batch(&rows);
        Set { images, targets }
    };
    let second = product(&function, &path.weights[1], &lambda, &part([1, 2]));
    let dense = hessian(&function, &path.weights[1], &part([1, 2]));
    let count = function.parameters();
    let curved = dense.matmul(lambda.clone().reshape([count, 1])).reshape([count]);
    let first = product(&function, &path.weights[0], &(lambda - curved * lr), &part([0, 1]));
    let padded = |tensor: Tensor<4>, before: bool| {
        let none = Tensor::zeros([1, 3, SIDE, SIDE], &Device::flex());
        Tensor::cat(if before { vec![none, tensor] } else { vec![tensor, none] }, 0)
    };
    let by_hand = (padded(first.images, false) + padded(second.images, true)) * -lr;
    close(found.set.images, by_hand, 1e-5);
}

/// Two blocks with instance normalization whose gates are given, or found: their places, and the mean cross-entropy.
fn gated(
    theta: &Tensor<1>,
    set: &Set,
    gates: Option<&[Tensor<4, Bool>]>,
) -> (Vec<Tensor<4, Bool>>, Tensor<1>) {
    let widths = [3, 2, 4];
    let (mut at, mut x, mut found) = (0, set.images.clone().autodiff(), Vec::new());
    let mut take = |count: usize| {
        at += count;
        theta.clone().narrow(0, at - count, count)
    };
    for (block, pair) in widths.windows(2).enumerate() {
        let [inputs, outputs] = [pair[0], pair[1]];
        let weight = take(outputs * inputs * 9).reshape([outputs, inputs, 3, 3]);
        let bias = take(outputs);
        let [gamma, beta] = [(); 2].map(|()| take(outputs).reshape([1, outputs, 1, 1]));
        let z = conv2d(x, weight, Some(bias), ConvOptions::new([1, 1], [1, 1], [1, 1], 1));
        let c = z.clone() - z.mean_dim(2).mean_dim(3);
        let variance = c.clone().square().mean_dim(2).mean_dim(3);
        let a = c / (variance + 1e-5).sqrt() * gamma + beta;
        let closed =
            gates.map_or_else(|| a.clone().inner().lower_equal_scalar(0.0), |gates| gates[block].clone());
        found.push(closed.clone());
        let open = a.mask_fill(closed.autodiff(), 0.0);
        x = avg_pool2d(open, AvgPoolOptions::new([2, 2]).with_stride([2, 2]));
    }
    let features = x.flatten::<2>(1, 3);
    let weight = take(CLASSES * 4).reshape([CLASSES, 4]);
    let logits = features.matmul(weight.transpose()) + take(CLASSES).reshape([1, CLASSES]);
    let [n, _] = logits.dims();
    (found, -(set.targets.clone().autodiff() * log_softmax(logits, 1)).sum() / n as f64)
}

#[test]
fn a_product_equals_a_difference_of_gradients_with_the_gates_held() {
    let (function, set) = (function(vec![2, 4]), set(5));
    let theta = first(&function);
    let direction = noise("direction", [function.parameters()]);
    let (gates, _) = gated(&theta.clone().autodiff(), &set, None);
    let norm = |x: &Tensor<1>| values(x.clone().square().sum())[0].sqrt();
    let step = 2e-3 * norm(&theta) / norm(&direction);
    let gradient = |at: f32| {
        let leaf = (theta.clone() + direction.clone() * at).autodiff().require_grad();
        let (_, loss) = gated(&leaf, &set, Some(&gates));
        leaf.grad(&loss.backward()).unwrap()
    };
    let pair = (gradient(step) - gradient(-step)) / (2.0 * step);
    let found = product(&function, &theta, &direction, &set);
    close(found.weights.unwrap(), pair, 5e-4);
}
