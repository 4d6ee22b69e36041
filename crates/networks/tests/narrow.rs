//! A network that loses channels which count for nothing computes what it computed.

use burn::tensor::{Device, Tensor, TensorData};
use delt_architectures::{Architecture, Norm, Stem};
use delt_formats::TensorValues;
use delt_networks::narrow::Importance;
use delt_networks::{FrozenNetwork, Network};

/// A network half of whose channels that can go have neither scale nor shift.
fn half_idle(architecture: Architecture, size: usize, device: &Device) -> Network {
    let network = Network::initialize(&architecture, 5, size, 3, device).expect("built");
    let description = network.description();
    let idle: Vec<String> =
        description.prunable().iter().map(|at| description.layers[*at].name.clone()).collect();
    let mut tensors = network.named_tensors().expect("named");
    for tensor in &mut tensors {
        let Some((layer, leaf)) = tensor.name.rsplit_once('.') else { continue };
        let TensorValues::F32(values) = &mut tensor.values else { continue };
        for (channel, value) in values.iter_mut().enumerate() {
            let is_idle = channel % 2 == 0 && idle.iter().any(|name| name == layer);
            match leaf {
                "weight" | "bias" if is_idle => *value = 0.0,
                "running_mean" => *value = 0.01 * (channel % 5) as f32,
                "running_var" => *value = 1.0 + 0.1 * (channel % 3) as f32,
                _ => {}
            }
        }
    }
    network.with_named(tensors, device).expect("built")
}

fn logits(network: &Network, size: usize, device: &Device) -> Vec<f32> {
    let values: Vec<f32> = (0..2 * 3 * size * size).map(|at| (at % 29) as f32 / 14.0 - 1.0).collect();
    let images = Tensor::<4>::from_data(TensorData::new(values, [2, 3, size, size]), device);
    FrozenNetwork::new(network.clone(), device).forward(images).try_into_vec_as().expect("read")
}

#[test]
fn channels_without_scale_and_shift_can_go() {
    let device = Device::flex();
    let networks = [
        (Architecture::DcVgg11 { norm: Norm::Batch }, 32),
        (Architecture::convnet(3, 16), 16),
        (Architecture::resnet18(Stem::Small), 8),
    ];
    for (architecture, size) in networks {
        let whole = half_idle(architecture, size, &device);
        let narrow = whole.narrowed(0.5, Importance::Scale, &device).expect("narrower");
        assert!(
            narrow.description().parameters() < whole.description().parameters() * 3 / 4,
            "{architecture}"
        );
        let (found, expected) = (logits(&narrow, size, &device), logits(&whole, size, &device));
        for (found, expected) in found.iter().zip(&expected) {
            assert!(
                (found - expected).abs() < 1e-4 * (1.0 + expected.abs()),
                "{architecture}: {found}, {expected}"
            );
        }
    }
}

#[test]
fn by_magnitude_each_layer_loses_the_filters_of_the_smallest_weights() {
    let device = Device::flex();
    let whole = Network::initialize(&Architecture::convnet(2, 4), 5, 8, 3, &device).expect("built");
    let mut tensors = whole.named_tensors().expect("named");
    for tensor in &mut tensors {
        let TensorValues::F32(values) = &mut tensor.values else { continue };
        if tensor.name.starts_with("layers.conv") && tensor.name.ends_with("weight") {
            // the second layer has larger weights than the first, which loses as many all the same
            let factor = if tensor.name.contains(".1.") { 9.0 } else { 1.0 };
            let filter = values.len() / 4;
            values
                .iter_mut()
                .enumerate()
                .for_each(|(at, value)| *value = factor * [3.0, -1.0, 2.0, -4.0][at / filter]);
        }
    }
    let whole = whole.with_named(tensors, &device).expect("built");
    let narrow = whole.narrowed(0.5, Importance::Magnitude, &device).expect("narrower");
    for tensor in narrow.named_tensors().expect("named") {
        let TensorValues::F32(values) = &tensor.values else { continue };
        let factor = if tensor.name.contains(".1.") { 9.0 } else { 1.0 };
        if tensor.name.starts_with("layers.conv") && tensor.name.ends_with("weight") {
            let half = values.len() / 2;
            assert!(values[..half].iter().all(|value| *value == 3.0 * factor), "{}: {values:?}", tensor.name);
            assert!(
                values[half..].iter().all(|value| *value == -4.0 * factor),
                "{}: {values:?}",
                tensor.name
            );
        }
    }
}

#[test]
fn a_narrow_network_is_read_back_and_trains() {
    let device = Device::flex().autodiff();
    let narrow = half_idle(Architecture::convnet(2, 8), 8, &device)
        .narrowed(0.5, Importance::Scale, &device)
        .expect("narrower");
    let again = narrow.with_named(narrow.named_tensors().expect("named"), &device).expect("built");
    assert_eq!(again.named_tensors().expect("named"), narrow.named_tensors().expect("named"));
    let l1: f32 = again.scales_l1().expect("scales").into_scalar();
    assert_eq!(l1, 8.0, "four channels of two layers have a scale of 1");
    let (logits, _) = again.forward_train(Tensor::<4>::ones([2, 3, 8, 8], &device));
    assert_eq!(logits.dims(), [2, 5]);
}
