//! `networks/convnet*`, and a network of `batch/tangent`: ConvNets of every norm, norm before convolution, doubled widths.

use burn::tensor::{Tensor, TensorData};
use delt_formats::{Architecture, Norm};
use delt_formula::{by_formula, formula_uniform, weights};
use delt_networks::{FrozenNetwork, Network};
use delt_tangent::{Activation, Form, Function, Norms};
use delt_tests::{assert_close, device, json, tensors, values};

use crate::figures::check_import;

fn convnet3_w32(norm: Norm) -> Architecture {
    Architecture::ConvNet { depth: 3, width: 32, norm, norm_before_conv: false, doubling: false }
}

fn weights_by_the_names_of_dc_and_mtt_are_read() {
    for (name, norm) in [
        ("convnet3_w32_batch", Norm::Batch),
        ("convnet3_w32_instance", Norm::Instance),
        ("convnet3_w32_none", Norm::None),
    ] {
        check_import(name, convnet3_w32(norm), "features.N");
    }
}

fn norm_before_convolution_and_doubled_widths_agree_with_pytorch() {
    let (Some(meta), Some(golden)) = (json("batch/meta"), tensors("batch/tangent")) else { return };
    let device = device();
    let architecture = Architecture::ConvNet {
        depth: 3,
        width: 6,
        norm: Norm::Batch,
        norm_before_conv: true,
        doubling: true,
    };
    let fill = &mut by_formula(meta["weights_prefix"].as_str().unwrap());
    let network = FrozenNetwork::new(Network::build(&architecture, 4, 16, &device, fill).unwrap(), &device);
    let images: Tensor<4> = golden.tensor("pre_running_doubling.images", &device);
    let (logits, terms) = network.forward_with_bn_terms(images.clone());
    let close = |what: &str, ours: Vec<f32>| {
        assert_close(what, &ours, &golden.values(&format!("pre_running_doubling.{what}")), 1e-5);
    };
    close("logits", values(logits));
    close("features", values(network.features(images)));
    assert_eq!(terms.len(), 2);
}

/// The same network twice: layer by layer as modules, and as a function of its weights.
fn networks_in_training_mode_are_what_their_functions_of_weights_are() {
    let (device, size, classes) = (device(), 16, 5);
    for norm in [Norm::Batch, Norm::Instance, Norm::None] {
        for (norm_before_conv, doubling) in [(false, false), (false, true), (true, false), (true, true)] {
            let architecture = Architecture::ConvNet { depth: 3, width: 6, norm, norm_before_conv, doubling };
            if architecture.misfit(size).is_some() {
                continue;
            }
            let shape = [4, 3, size, size];
            let drawn = formula_uniform("variants/", "x", shape.iter().product());
            let images = TensorData::new(drawn.into_iter().map(|u| 2.0 * u as f32).collect(), shape);
            let autodiff = device.clone().autodiff();
            let fill = &mut by_formula("variants/");
            let network = Network::build(&architecture, classes, size, &autodiff, fill).unwrap();
            let form = Form::of(&architecture, Activation::Relu, size, classes).unwrap();
            let theta =
                form.slots().iter().flat_map(|slot| weights("variants/", &slot.name, &slot.shape)).collect();
            let function = Function::new(form, &device);
            let theta = function.vector(theta);
            let x = Tensor::<4>::from_data(images.clone(), &device);
            let expected = values(function.forward(&function.weights(&theta), x, Norms::Own).logits);
            for forward in [Network::forward_train, Network::forward_train_plain] {
                let x = Tensor::<4>::from_data(images.clone(), &autodiff);
                let (logits, statistics) = forward(&network, x);
                assert_close(&architecture.to_string(), &values(logits.inner()), &expected, 1e-5);
                assert_eq!(statistics.len(), network.bn_layers().len());
            }
        }
    }
}

tests! {
    weights_by_the_names_of_dc_and_mtt_are_read,
    norm_before_convolution_and_doubled_widths_agree_with_pytorch,
    networks_in_training_mode_are_what_their_functions_of_weights_are,
}
