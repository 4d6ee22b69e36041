//! Networks whose blocks go as one operation against the same networks layer by layer.

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor, TensorData};
use delt_formats::{Architecture, Norm, Stem, VitStart};
use delt_formula::{by_formula, formula_uniform};
use delt_networks::{BatchStatistics, FrozenNetwork, JoinedStatistics, Network};

const CLASSES: usize = 7;
const IMAGES: usize = 6;
const TOLERANCE: f64 = 2e-4;

/// In training mode at this few values a channel, a value that rounding moves over the edge of a ReLU changes gradients by a
/// few percent; wrong wiring changes them by as much as they are.
const TRAINING_GRADIENT_TOLERANCE: f64 = 0.1;

/// Networks of each kind of block, with the side of their images.
fn networks() -> Vec<(Architecture, usize)> {
    vec![
        (Architecture::convnet(2, 12), 8),
        (Architecture::convnet(3, 20), 18),
        (convnet(Norm::Instance, false), 18),
        (convnet(Norm::None, true), 18),
        (Architecture::resnet18(Stem::Small), 16),
        (Architecture::resnet18(Stem::Standard), 40),
        (Architecture::resnet34(Stem::Small), 8),
        (Architecture::Resnet20Cifar {}, 16),
        (Architecture::Wrn16x2 {}, 12),
        (Architecture::DcAlexnet { norm: Norm::None }, 32),
        (Architecture::MobilenetV2Modified {}, 16),
        (Architecture::ShufflenetV2X05Small {}, 16),
        (Architecture::EfficientnetB0 {}, 64),
        (Architecture::DeitTiny { start: VitStart::Timm }, 32),
        (Architecture::SwinV2T {}, 36),
    ]
}

fn convnet(norm: Norm, doubling: bool) -> Architecture {
    Architecture::ConvNet { depth: 3, width: 12, norm, norm_before_conv: false, doubling }
}

fn device() -> Device {
    delt_device::open("flex").expect("the CPU").device
}

fn images(size: usize, device: &Device) -> Tensor<4> {
    let shape = [IMAGES, 3, size, size];
    let values = formula_uniform("fused/", "x", shape.iter().product());
    Tensor::from_data(TensorData::new(values.into_iter().map(|u| 2.0 * u as f32).collect(), shape), device)
}

fn build(architecture: &Architecture, size: usize, device: &Device) -> Network {
    Network::build(architecture, CLASSES, size, device, &mut by_formula("fused/")).expect("a network")
}

fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.try_into_vec_as().expect("values")
}

fn assert_close(what: &str, ours: &[f32], expected: &[f32]) {
    assert_within(TOLERANCE, what, ours, expected);
}

fn assert_within(tolerance: f64, what: &str, ours: &[f32], expected: &[f32]) {
    assert_eq!(ours.len(), expected.len(), "{what}");
    let square = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let apart = square(&mut ours.iter().zip(expected).map(|(a, b)| f64::from(*a) - f64::from(*b)));
    let error = apart / square(&mut expected.iter().map(|v| f64::from(*v))).max(1e-30);
    assert!(error < tolerance, "{what}: relative error {error:e}");
}

/// Different slopes at every logit.
fn loss_of(logits: Tensor<2>) -> Tensor<1> {
    let shape = logits.dims();
    let weights = formula_uniform("fused/", "slopes", shape.iter().product());
    let weights = TensorData::new(weights.into_iter().map(|u| u as f32).collect::<Vec<_>>(), shape);
    (logits.clone() * Tensor::from_data(weights, &logits.device())).sum()
}

#[test]
fn frozen_networks_agree_with_their_layers() {
    let device = device();
    for (architecture, size) in networks() {
        let run = |network: &FrozenNetwork| {
            let leaf = images(size, &device).autodiff().require_grad();
            let (logits, terms) = network.forward_with_bn_terms(leaf.clone());
            let found: Vec<f32> = terms.iter().flat_map(|term| host(term.clone().inner())).collect();
            let loss =
                terms.into_iter().fold(loss_of(logits.clone()), |sum, term| sum + term.mul_scalar(0.3));
            let gradient = leaf.grad(&loss.backward()).expect("a gradient");
            (host(logits.inner()), found, host(gradient), host(network.features(images(size, &device))))
        };
        let fused = FrozenNetwork::new(build(&architecture, size, &device), &device);
        let ours = run(&fused);
        let plain = run(&fused.without_fusion());
        assert_close(&format!("{architecture:?} logits"), &ours.0, &plain.0);
        assert_close(&format!("{architecture:?} BN terms"), &ours.1, &plain.1);
        assert_close(&format!("{architecture:?} gradient"), &ours.2, &plain.2);
        assert_close(&format!("{architecture:?} features"), &ours.3, &plain.3);
    }
}

#[test]
fn statistics_of_a_whole_are_those_of_its_joined_batches_and_make_the_distance_nothing() {
    let device = device();
    for (architecture, size) in networks() {
        let fused = FrozenNetwork::new(build(&architecture, size, &device), &device);
        let all = images(size, &device);
        let (features, whole) = fused.features_with_statistics(all.clone()).expect("measured");
        assert_close(
            &format!("{architecture:?} features"),
            &host(features),
            &host(fused.features(all.clone())),
        );
        let mut joined = JoinedStatistics::default();
        for (from, to) in [(0, 2), (2, 5), (5, IMAGES)] {
            let part = all.clone().narrow(0, from, to - from);
            joined.add(to - from, &fused.features_with_statistics(part).expect("measured").1);
        }
        let plain = FrozenNetwork::new(build(&architecture, size, &device), &device).without_fusion();
        let of_plain = plain.features_with_statistics(all.clone()).expect("measured").1;
        for ((whole, joined), plain) in whole.iter().zip(joined.layers()).zip(of_plain) {
            for other in [joined, plain] {
                assert_close(&format!("{architecture:?} means"), &other.mean, &whole.mean);
                assert_close(&format!("{architecture:?} variances"), &other.variance, &whole.variance);
            }
        }
        for network in [fused, plain] {
            let (logits, running) = network.forward_with_bn_terms(all.clone());
            let (same, own) = network.with_bn_targets(&whole).forward_with_bn_terms(all.clone());
            assert_close(&format!("{architecture:?} logits"), &host(same), &host(logits));
            for (own, running) in own.into_iter().zip(running) {
                let (own, running) = (host(own)[0], host(running)[0]);
                assert!(own < 1e-3 * running, "{architecture:?}: {own} of {running}");
            }
        }
    }
}

/// The gradients of all matrices and filters, one after another. Those of biases before a batch normalization are rounding
/// noise around 0, and left out.
struct Collect<'a> {
    gradients: &'a burn::tensor::Gradients,
    values: Vec<Vec<f32>>,
}

impl ModuleVisitor for Collect<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if D >= 2 {
            self.values.push(host(param.val().grad(self.gradients).expect("a gradient")));
        }
    }
}

#[test]
fn training_steps_agree_with_their_layers() {
    let device = device().autodiff();
    for (architecture, size) in networks() {
        let run = |forward: fn(&Network, Tensor<4>) -> (Tensor<2>, Vec<BatchStatistics>)| {
            let network = build(&architecture, size, &device);
            let (logits, statistics) = forward(&network, images(size, &device));
            let gradients = loss_of(logits.clone()).backward();
            let mut collect = Collect { gradients: &gradients, values: Vec::new() };
            network.visit(&mut collect);
            (host(logits.inner()), statistics, collect.values)
        };
        let ours = run(Network::forward_train);
        let plain = run(Network::forward_train_plain);
        assert_close(&format!("{architecture:?} logits"), &ours.0, &plain.0);
        assert_eq!(ours.1.len(), plain.1.len());
        for (ours, plain) in ours.1.into_iter().zip(plain.1) {
            assert_close(&format!("{architecture:?} mean"), &host(ours.mean), &host(plain.mean));
            let variances = [ours.variance_unbiased, plain.variance_unbiased].map(host);
            assert_close(&format!("{architecture:?} variance"), &variances[0], &variances[1]);
        }
        for (at, (ours, plain)) in ours.2.iter().zip(&plain.2).enumerate() {
            let what = format!("{architecture:?} gradient {at}");
            assert_within(TRAINING_GRADIENT_TOLERANCE, &what, ours, plain);
        }
    }
}

#[test]
fn training_in_bf16_differs_by_its_rounding_and_gives_weights_a_gradient() {
    let device = device().autodiff();
    let network = build(&Architecture::convnet(2, 12), 8, &device);
    let full = network.forward_train_plain(images(8, &device)).0;
    let half = network.forward_train_bf16(images(8, &device)).0;
    let (ours, expected) = (host(half.clone().inner()), host(full.inner()));
    assert_within(2e-2, "logits in bf16", &ours, &expected);
    assert_ne!(ours, expected);
    let gradients = loss_of(half).backward();
    let mut collect = Collect { gradients: &gradients, values: Vec::new() };
    network.visit(&mut collect);
    assert!(collect.values.iter().all(|gradient| gradient.iter().all(|value| value.is_finite())));
}

#[test]
fn logits_by_batch_statistics_depend_on_the_batch_and_change_nothing() {
    let device = device();
    for (architecture, size) in networks().into_iter().filter(|(network, _)| network.has_batch_norm()) {
        let network = FrozenNetwork::new(build(&architecture, size, &device), &device);
        let all = images(size, &device);
        let before = host(network.forward(all.clone()));
        let whole = host(network.forward_by_batch_statistics(all.clone()));
        let (plain, _) = build(&architecture, size, &device).forward_train_plain(all.clone().autodiff());
        assert_close(&format!("{architecture:?} logits"), &whole, &host(plain.inner()));
        let half = host(network.forward_by_batch_statistics(all.clone().narrow(0, 0, IMAGES / 2)));
        assert_ne!(whole[..half.len()], half);
        assert_eq!(host(network.forward(all)), before);
    }
}
