//! Each network against its description: tensors by name and shape, what enters every convolution, order of the layers.

use std::collections::BTreeSet;

use burn::tensor::{Device, Tensor};
use delt_architectures::{Architecture, Description, FeatureMap, Norm, Operation, StateTensor, Stem};
use delt_networks::{FrozenNetwork, Network};

const CLASSES: usize = 7;

/// Every row of the table, with a side of images that windows do not divide.
fn networks() -> Vec<(Architecture, usize)> {
    vec![
        (Architecture::convnet(3, 4), 27),
        (convnet(Norm::Instance, false, false), 27),
        (convnet(Norm::Group, true, true), 27),
        (convnet(Norm::Layer, true, false), 27),
        (convnet(Norm::None, false, true), 27),
        (convnet(Norm::Batch, true, true), 27),
        (Architecture::resnet18(Stem::Small), 11),
        (Architecture::resnet18(Stem::Standard), 37),
        (Architecture::resnet34(Stem::Small), 9),
        (Architecture::resnet34(Stem::Standard), 33),
        (Architecture::MobilenetV2 {}, 39),
    ]
}

fn convnet(norm: Norm, norm_before_conv: bool, doubling: bool) -> Architecture {
    Architecture::ConvNet { depth: 3, width: 4, norm, norm_before_conv, doubling }
}

fn build(architecture: &Architecture, size: usize) -> Network {
    let zeros = &mut |tensor: &StateTensor| Ok(vec![0.0; tensor.count()]);
    Network::build(architecture, CLASSES, size, &device(), zeros).expect("a network")
}

fn device() -> Device {
    delt_device::open("flex").expect("the CPU").device
}

#[test]
fn every_row_of_the_table_is_tested() {
    let tested: BTreeSet<&str> = networks().iter().map(|(architecture, _)| architecture.name()).collect();
    assert_eq!(tested, Architecture::NAMES.iter().copied().collect());
}

/// Names of the layers of some kind, with what enters.
fn layers(description: &Description, kind: impl Fn(&Operation) -> bool) -> Vec<(&str, FeatureMap)> {
    let layers = description.layers.iter().filter(|layer| kind(&layer.operation));
    layers.map(|layer| (layer.name.as_str(), layer.input)).collect()
}

#[test]
fn networks_have_the_tensors_of_their_description() {
    for (architecture, size) in networks() {
        let description = architecture.description(size, CLASSES);
        let described: BTreeSet<_> =
            description.tensors().map(|tensor| (tensor.name.clone(), tensor.shape.clone())).collect();
        let mut tensors = build(&architecture, size).named_tensors().expect("tensors");
        tensors.retain(|tensor| !tensor.name.ends_with(".num_batches_tracked"));
        let count = tensors.len();
        let built: BTreeSet<_> = tensors.into_iter().map(|tensor| (tensor.name, tensor.shape)).collect();
        assert_eq!(built, described, "{architecture}");
        assert_eq!(built.len(), count, "{architecture} has a tensor twice");
    }
}

#[test]
fn pictures_go_through_networks_as_described() {
    for (architecture, size) in networks() {
        let description = architecture.description(size, CLASSES);
        let network = FrozenNetwork::new(build(&architecture, size), &device());
        let recorded = network.forward_recorded(Tensor::zeros([2, 3, size, size], &device()));

        let entered: Vec<_> = recorded.convolution_inputs.iter().map(Tensor::dims).collect();
        let convolutions = layers(&description, |operation| matches!(operation, Operation::Convolution(_)));
        let described: Vec<_> =
            convolutions.iter().map(|(_, input)| [2, input.channels, input.height, input.width]).collect();
        assert_eq!(entered, described, "{architecture}");

        let has_statistics = !network.bn_layers().is_empty();
        assert_eq!(has_statistics, architecture.has_batch_norm(), "{architecture}");
        let norms: Vec<_> = network.bn_layers().iter().map(|layer| layer.name.as_str()).collect();
        let described = layers(&description, |operation| *operation == Operation::BatchNorm);
        assert_eq!(norms, described.iter().map(|(name, _)| *name).collect::<Vec<_>>(), "{architecture}");

        let classifier = description.layers.last().expect("a classifier");
        assert_eq!(recorded.features.dims(), [2, classifier.input.channels], "{architecture}");
    }
}
