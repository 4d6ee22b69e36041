//! Weights that do not fit: the whole message of each refusal.

use burn::tensor::Device;
use delt_formats::{Architecture, NamedTensor, Norm, TensorValues};
use delt_networks::Network;

const ARCHITECTURE: Architecture = Architecture::convnet(1, 2);

/// All tensors of a small network for two classes of 4 px images.
fn tensors() -> Vec<NamedTensor> {
    let network = Network::initialize(&ARCHITECTURE, 2, 4, 0, &Device::flex()).expect("the network is built");
    network.named_tensors().expect("readable")
}

fn build(tensors: Vec<NamedTensor>) -> String {
    let built = Network::from_named(&ARCHITECTURE, 2, 4, tensors, &Device::flex());
    built.expect_err("refused").to_string()
}

#[test]
fn tensors_that_do_not_fit_are_all_listed() {
    let advice = "check the architecture, the number of classes and the image size";
    let mut renamed = tensors();
    for tensor in &mut renamed {
        if let Some(leaf) = tensor.name.strip_prefix("classifier.") {
            tensor.name = format!("head.{leaf}");
        }
    }
    assert_eq!(
        build(renamed),
        format!(
            "the weights do not fit convnet1-w2: missing classifier.weight, classifier.bias; unused head.bias, head.weight; \
             {advice}"
        )
    );
    let mut missing = tensors();
    missing.retain(|tensor| tensor.name != "layers.norm.0.running_var");
    assert_eq!(
        build(missing),
        format!("the weights do not fit convnet1-w2: missing layers.norm.0.running_var; {advice}")
    );
    let mut other_classes = tensors();
    for tensor in &mut other_classes {
        if tensor.name == "classifier.bias" {
            (tensor.shape, tensor.values) = (vec![3], TensorValues::F32(vec![0.0; 3]));
        }
    }
    assert_eq!(
        build(other_classes),
        format!(
            "the weights do not fit convnet1-w2: wrong shape classifier.bias: [3], expected [2]; {advice}"
        )
    );
}

#[test]
fn pictures_that_vanish_in_the_poolings_are_refused_with_the_least_size() {
    let deep = Architecture::convnet(4, 8);
    let error = Network::initialize(&deep, 10, 8, 0, &Device::flex()).expect_err("refused");
    assert_eq!(
        error.to_string(),
        "convnet4-w8 cannot take 8 px images: nothing is left after its last pooling; use at least 16 px"
    );
}

#[test]
fn fields_that_make_no_sense_together_are_refused() {
    let uneven = Architecture::ConvNet {
        depth: 2,
        width: 6,
        norm: Norm::Group,
        norm_before_conv: false,
        doubling: false,
    };
    let error = Network::initialize(&uneven, 10, 8, 0, &Device::flex()).expect_err("refused");
    assert_eq!(
        error.to_string(),
        "convnet2-w6-group: norm: group makes 4 groups of channels, which a width of 6 does not fill; set a multiple of 4"
    );
}

#[test]
fn a_source_of_weights_of_another_length_is_named() {
    let built = Network::build(&ARCHITECTURE, 2, 4, &Device::flex(), &mut |_| Ok(vec![0.0; 5]));
    assert_eq!(
        built.expect_err("refused").to_string(),
        "tensor `layers.conv.0.weight` has 5 values, expected 54 for shape [2, 3, 3, 3]"
    );
}
