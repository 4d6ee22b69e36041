//! Dropout and stochastic depth in training.

use std::cell::RefCell;

use burn::tensor::{Device, Tensor, TensorData};
use delt_formats::Architecture;
use delt_formula::{by_formula, formula_uniform};
use delt_networks::Network;

const SIZE: usize = 32;
const CLASSES: usize = 3;
const IMAGES: usize = 2;

fn network(architecture: &Architecture) -> (Network, Tensor<4>) {
    let device = Device::flex();
    let network =
        Network::build(architecture, CLASSES, SIZE, &device, &mut by_formula("drops/")).expect("a network");
    let values: Vec<f32> =
        formula_uniform("drops/", "x", IMAGES * 3 * SIZE * SIZE).into_iter().map(|u| u as f32).collect();
    (network, Tensor::from_data(TensorData::new(values, [IMAGES, 3, SIZE, SIZE]), &device))
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.try_into_vec_as().expect("values")
}

#[test]
fn dropout_zeroes_features_or_scales_them_up() {
    let (network, x) = network(&Architecture::MobilenetV2 {});
    let logits =
        |number: f32| values(network.forward_train_dropping(x.clone(), &|_, count| vec![number; count]).0);
    let (plain, none, all) = (values(network.forward_train(x.clone()).0), logits(0.5), logits(0.1));
    // dropped with all features, logits are the bias
    assert_eq!(all[..CLASSES], all[CLASSES..]);
    for ((plain, none), bias) in plain.iter().zip(none).zip(all) {
        let expected = bias + (plain - bias) * 1.25;
        assert!((none - expected).abs() < 1e-4 * expected.abs().max(1.0), "{none} {expected}");
    }
}

#[test]
fn stochastic_depth_draws_a_number_for_each_image_and_dropout_one_for_each_value() {
    let (network, x) = network(&Architecture::EfficientnetB0 {});
    let counts = RefCell::new(Vec::new());
    let drawn = |layer: usize, count: usize| {
        counts.borrow_mut().push((layer, count));
        vec![0.9; count]
    };
    network.forward_train_dropping(x, &drawn);
    let counts = counts.into_inner();
    assert!(counts.is_sorted(), "in forward order");
    let counts: Vec<usize> = counts.into_iter().map(|(_, count)| count).collect();
    // nine blocks have a shortcut; 1280 features enter the classifier
    assert_eq!(counts, [vec![IMAGES; 9], vec![IMAGES * 1280]].concat());
}

#[test]
fn an_image_whose_branches_are_left_out_does_not_change_the_others() {
    let (network, x) = network(&Architecture::SwinT {});
    let logits = |first: f32| {
        let drawn = |_, _| vec![first, 0.9];
        values(network.forward_train_dropping(x.clone(), &drawn).0)
    };
    let (kept, left_out) = (logits(0.9), logits(0.0));
    assert_ne!(kept[..CLASSES], left_out[..CLASSES]);
    assert_eq!(kept[CLASSES..], left_out[CLASSES..]);
}
