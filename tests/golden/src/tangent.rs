//! `batch/tangent`: derivatives of the forward pass along a direction, and the products that one backward pass over them gives.

use burn::tensor::Tensor;
use delt_tangent::{Wanted, cross_entropy};
use delt_tests::{device, json, number, relative_error, tensors, values};

use crate::batch::{Net, TIMES_REACHED, scalar_within, within};

const NETS: [&str; 5] = ["instance", "batch", "running", "none_doubling_softplus", "pre_running_doubling"];

fn tangents_and_products_equal_double_backward() {
    let (Some(facts), Some(golden)) = (json("batch/tangent"), tensors("batch/tangent")) else { return };
    let scale = number(&facts["direction_scale"]);
    // as one operation a block, and layer by layer
    for (name, is_fused) in NETS.into_iter().flat_map(|name| [(name, true), (name, false)]) {
        let (mut net, of) = (Net::of(&facts["nets"][name]), |leaf: &str| format!("{name}.{leaf}"));
        if !is_fused {
            net.function = net.function.without_fusion();
        }
        let reached = &facts["reached"][name];
        let reached = |what: &str| reached[what].as_f64().unwrap_or(5e-7);
        let direction = net.named("direction", scale);
        let images: Tensor<4> = golden.tensor(&of("images"), &device());
        let targets: Tensor<2> = golden.tensor(&of("targets"), &device());
        let function = &net.function;
        let dual = function.tangent(
            &function.weights(&net.theta),
            &function.weights(&direction),
            images.clone(),
            net.norms(),
        );
        for (leaf, ours) in [
            ("logits", dual.value.logits.clone()),
            ("features", dual.value.features.clone()),
            ("logits_dot", dual.dot.logits.clone()),
            ("features_dot", dual.dot.features.clone()),
        ] {
            within(&of(leaf), &values(ours), &golden.values(&of(leaf)), reached(leaf));
        }
        let loss = cross_entropy(dual.value.logits, targets.clone());
        scalar_within(&of("loss"), loss, &facts["nets"][name]["loss"], reached("loss"));
        let gradient = function.gradient(&net.theta, images.clone(), targets.clone(), net.norms());
        net.assert_weights(&golden, &of("grad"), gradient.weights, reached("grad"));
        let wanted = Wanted { weights: true, targets: true };
        let at = (&net.theta, &direction);
        let product = function.product(at, (images.clone(), &|x| x), targets.clone(), net.norms(), wanted);
        scalar_within(&of("loss_dot"), product.value, &facts["nets"][name]["loss_dot"], 1e-6);
        net.assert_weights(&golden, &of("hv"), product.weights.unwrap(), reached("hv"));
        let found = values(product.images.clone());
        within(&of("grad_images"), &found, &golden.values(&of("grad_images")), reached("grad_images"));
        let found = values(product.targets.unwrap());
        within(&of("grad_targets"), &found, &golden.values(&of("grad_targets")), reached("grad_targets"));
        // the network as a constant of the graph gives the same
        let alone = function.product(at, (images, &|x| x), targets, net.norms(), Wanted::default());
        let apart = relative_error(&values(alone.images), &values(product.images));
        assert!(apart < TIMES_REACHED * 1e-7, "{name}: pixels alone differ by {apart}");
    }
}

fn products_are_linear_and_the_hessian_is_symmetric() {
    let (Some(facts), Some(golden)) = (json("batch/tangent"), tensors("batch/tangent")) else { return };
    for name in NETS {
        let net = Net::of(&facts["nets"][name]);
        let images: Tensor<4> = golden.tensor(&format!("{name}.images"), &device());
        let targets: Tensor<2> = golden.tensor(&format!("{name}.targets"), &device());
        let product = |direction: &Tensor<1>| {
            let (of, images) = ((&net.theta, direction), (images.clone(), &(|x| x) as &dyn Fn(_) -> _));
            let wanted = Wanted { weights: true, targets: true };
            let found = net.function.product(of, images, targets.clone(), net.norms(), wanted);
            (values(found.images), found.weights.unwrap(), values(found.targets.unwrap()))
        };
        let (v, w) = (net.named("v", 0.1), net.named("w", 0.1));
        let (of_v, of_w) = (product(&v), product(&w));
        let dot = |a: &Tensor<1>, b: &Tensor<1>| f64::from(values((a.clone() * b.clone()).sum())[0]);
        let (left, right) = (dot(&w, &of_v.1), dot(&v, &of_w.1));
        assert!(
            (left - right).abs() < 1e-5 * left.abs().max(1e-3),
            "{name}: <w, Hv> {left}, <v, Hw> {right}"
        );
        let of_sum = product(&(v.clone() * 2.0 - w.clone()));
        let sum = |a: &[f32], b: &[f32]| -> Vec<f32> { a.iter().zip(b).map(|(a, b)| 2.0 * a - b).collect() };
        within(name, &of_sum.0, &sum(&of_v.0, &of_w.0), 1e-6);
        within(name, &of_sum.2, &sum(&of_v.2, &of_w.2), 1e-6);
        let of_zero = product(&v.zeros_like());
        assert!(of_zero.0.iter().chain(&of_zero.2).all(|value| *value == 0.0), "{name}: a zero direction");
        assert!(values(of_zero.1).iter().all(|value| *value == 0.0), "{name}: a zero direction");
    }
}

fn tangents_of_softplus_equal_central_differences() {
    let (Some(facts), Some(golden)) = (json("batch/tangent"), tensors("batch/tangent")) else { return };
    let mut described = facts["nets"]["none_doubling_softplus"].clone();
    // less sharp than the published 60, so that f32 holds the difference
    described["softplus_beta"] = 5.into();
    let net = Net::of(&described);
    let images: Tensor<4> = golden.tensor("none_doubling_softplus.images", &device());
    let direction = net.named("direction", 0.1);
    let weights = |at: f64| net.function.weights(&(net.theta.clone() + direction.clone() * at));
    let dual =
        net.function.tangent(&weights(0.0), &net.function.weights(&direction), images.clone(), net.norms());
    let norm = |x: &Tensor<1>| f64::from(values(x.clone().square().sum())[0]).sqrt();
    let step = 1e-3 * norm(&net.theta) / norm(&direction);
    let logits = |at| net.function.forward(&weights(at), images.clone(), net.norms()).logits;
    let difference = (logits(step) - logits(-step)) / (2.0 * step);
    let error = relative_error(&values(dual.dot.logits), &values(difference));
    assert!(error < 1e-3, "{error}");
}

tests! {
    tangents_and_products_equal_double_backward,
    products_are_linear_and_the_hessian_is_symmetric,
    tangents_of_softplus_equal_central_differences,
}
