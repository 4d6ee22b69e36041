//! `recover_*`, `conv3_w16.weights.*`: one recovery step of each network, by formula and by file: logits,
//! batch-normalization terms, cross-entropy, loss and the gradient on the pixels.

use burn::tensor::Device;
use delt_formats::{Architecture, Normalization, Stem};
use delt_formula::{by_formula, formula_uniform};
use delt_guard::read_weights;
use delt_networks::{FrozenNetwork, Network, checkpoint};
use delt_pipeline::config::synthesize::Synthesize;
use delt_synthesize::recover::RecoveryTeacher;
use delt_tests::{assert_close, device, file, integers, json, number, prefix, tensors, values};

const FORWARD_TOLERANCE: f64 = 1e-4;
const GRADIENT_TOLERANCE: f64 = 1e-3;

/// One recovery step against `recover_<name>`, as the stages take it and layer by layer; `make` builds the network for so
/// many classes, pixels and this device.
fn check_recovery(name: &str, images: &str, make: impl Fn(usize, usize, &Device) -> Network) {
    let frozen = |classes, size, device: &Device| FrozenNetwork::new(make(classes, size, device), device);
    check_pass(name, images, frozen);
    check_pass(name, images, |classes, size, device| frozen(classes, size, device).without_fusion());
}

fn check_pass(name: &str, images: &str, make: impl Fn(usize, usize, &Device) -> FrozenNetwork) {
    let name = format!("recover_{name}");
    let (Some(scalars), Some(golden)) = (json(&name), tensors(&name)) else { return };
    let ([_, _, size, _], [_, classes]) = (golden.shape("inputs"), golden.shape("logits"));
    let close = |what: &str, ours: &[f32], expected: &[f32], tolerance| {
        assert_close(&format!("{name}, {what}"), ours, expected, tolerance);
    };

    let pixels = golden.values("inputs");
    let drawn: Vec<f32> =
        formula_uniform(&prefix(), images, pixels.len()).into_iter().map(|u| (2.0 * u) as f32).collect();
    close("images by formula", &drawn, &pixels, 1e-6);

    let device = device();
    let network = make(classes, size, &device);
    let x = golden.tensor::<4>("inputs", &device);
    let (logits, terms) = network.forward_with_bn_terms(x.clone());
    close("logits", &values(logits), &golden.values("logits"), FORWARD_TOLERANCE);
    close("logits alone", &values(network.forward(x.clone())), &golden.values("logits"), FORWARD_TOLERANCE);
    let names: Vec<String> = network.bn_layers().iter().map(|layer| layer.name.clone()).collect();
    let expected: Vec<&str> =
        scalars["bn_layers"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert_eq!(names, expected);
    let terms: Vec<f32> = terms.into_iter().flat_map(values).collect();
    let expected = golden.values("bn_terms");
    close("BN terms", &terms, &expected, FORWARD_TOLERANCE);
    for (layer, (ours, expected)) in names.iter().zip(terms.iter().zip(&expected)) {
        let error = f64::from((ours - expected).abs() / expected);
        assert!(error < FORWARD_TOLERANCE, "{name}, BN term of {layer}: {ours}, expected {expected}");
    }

    // the loss of the stage
    let constants = Normalization { mean: [0.0; 3], std: [1.0; 3] }; // only for the clip, which no loss sees
    let teacher = RecoveryTeacher::new(network, &constants, &device);
    let config = Synthesize {
        bn_matching_weight: number(&scalars["r_bn"]),
        first_bn_multiplier: number(&scalars["first_bn_multiplier"]),
        ..Synthesize::published()
    };
    let leaf = x.autodiff().require_grad();
    let loss = teacher.loss(leaf.clone(), &integers(&scalars["targets"]), &config);
    let parts = [
        ("cross-entropy", "ce", loss.target),
        ("weighted BN sum", "bn_total", loss.statistics),
        ("loss", "loss", loss.total.clone()),
    ];
    for (what, key, ours) in parts {
        close(what, &values(ours.inner()), &[number(&scalars[key]) as f32], FORWARD_TOLERANCE);
    }
    let gradient = leaf.grad(&loss.total.backward()).unwrap();
    close("gradient", &values(gradient), &golden.values("grad"), GRADIENT_TOLERANCE);
}

fn conv3_w16() -> Architecture {
    Architecture::convnet(3, 16)
}

fn check_formula(name: &str, architecture: &Architecture, images: &str) {
    check_recovery(name, images, |classes, size, device| {
        Network::build(architecture, classes, size, device, &mut by_formula(&prefix())).unwrap()
    });
}

fn convnet3_agrees_with_pytorch() {
    check_formula("conv3_w16", &conv3_w16(), "conv3.x");
}

fn resnet18_with_the_small_stem_agrees_with_pytorch() {
    check_formula("resnet18_cifar", &Architecture::resnet18(Stem::Small), "r18.x");
}

fn resnet18_with_the_standard_stem_agrees_with_pytorch() {
    check_formula("resnet18_64px", &Architecture::resnet18(Stem::Standard), "r18i.x");
}

fn mobilenet_v2_agrees_with_pytorch() {
    check_formula("mobilenet_v2_64px", &Architecture::MobilenetV2 {}, "mb.x");
}

fn check_import(weights: &str, top_level_key: Option<&str>) {
    let Some(path) = file(weights) else { return };
    let all = read_weights(&path).unwrap();
    let read = checkpoint::find(&conv3_w16(), &all, top_level_key).unwrap().tensors;
    check_recovery("conv3_w16", "conv3.x", |classes, size, device| {
        Network::from_named(&conv3_w16(), classes, size, read.clone(), device).unwrap()
    });
}

fn safetensors_weights_agree_with_pytorch() {
    check_import("conv3_w16.weights.safetensors", None);
}

fn pth_weights_agree_with_pytorch_with_the_key_given_or_found() {
    check_import("conv3_w16.weights.pth", Some("model"));
    check_import("conv3_w16.weights.pth", None);
}

fn names_read_back_are_those_of_the_file() {
    let Some(path) = file("conv3_w16.weights.safetensors") else { return };
    let read = read_weights(&path).unwrap();
    let network = Network::from_named(&conv3_w16(), 10, 32, read.clone(), &device()).unwrap();
    let mut back = network.named_tensors().unwrap();
    back.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(back, read);
}

tests! {
    convnet3_agrees_with_pytorch,
    resnet18_with_the_small_stem_agrees_with_pytorch,
    resnet18_with_the_standard_stem_agrees_with_pytorch,
    mobilenet_v2_agrees_with_pytorch,
    safetensors_weights_agree_with_pytorch,
    pth_weights_agree_with_pytorch_with_the_key_given_or_found,
    names_read_back_are_those_of_the_file,
}
