//! Each network against its description: tensors by name and shape, what enters every convolution, order of the layers.

use std::collections::BTreeSet;

use burn::tensor::{Device, Tensor};
use delt_architectures::{
    Architecture, BnMomentum, Conv1Start, Description, FeatureMap, Norm, Operation, StateTensor, Stem,
    VitStart,
};
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
        (Architecture::Resnet50 { stem: Stem::Small, conv1_start: Conv1Start::Default }, 11),
        (Architecture::Resnet101 { stem: Stem::Standard, conv1_start: Conv1Start::Kaiming }, 37),
        (Architecture::Resnet20Cifar {}, 11),
        (Architecture::Resnet32Cifar {}, 10),
        (Architecture::Resnet44Cifar {}, 9),
        (Architecture::Resnet56Cifar {}, 7),
        (Architecture::Wrn16x2 {}, 11),
        (Architecture::Densenet121 {}, 39),
        (Architecture::Densenet121Cvdd {}, 11),
        (Architecture::Vgg11 {}, 35),
        (Architecture::Vgg11Bn {}, 39),
        (Architecture::Vgg16Bn {}, 35),
        (Architecture::Alexnet {}, 67),
        (Architecture::DcResnet18 { norm: Norm::Instance }, 32),
        (Architecture::DcResnet18Ap { norm: Norm::Batch }, 32),
        (Architecture::DcAlexnet { norm: Norm::None }, 32),
        (Architecture::DcVgg11 { norm: Norm::Group }, 32),
        (Architecture::MobilenetV2 {}, 39),
        (Architecture::MobilenetV2Modified {}, 15),
        (Architecture::MobilenetV2Cvdd {}, 11),
        (Architecture::MobilenetV2Gvbsm {}, 15),
        (Architecture::ShufflenetV2X05 {}, 39),
        (Architecture::ShufflenetV2X10 {}, 35),
        (Architecture::ShufflenetV2X05Small {}, 11),
        (Architecture::ShufflenetV2X05Pointwise {}, 13),
        (Architecture::Mnasnet13 { bn_momentum: BnMomentum::Own }, 39),
        (Architecture::EfficientnetB0 {}, 35),
        (Architecture::RegnetY8gf {}, 39),
        (Architecture::VitB16 {}, 32),
        (Architecture::DeitTiny { start: VitStart::Timm }, 48),
        (Architecture::SwinT {}, 68),
        (Architecture::SwinV2T {}, 68),
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
        let constants = ["num_batches_tracked", "relative_position_index", "relative_coords_table"];
        tensors.retain(|tensor| !constants.iter().any(|constant| tensor.name.ends_with(constant)));
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
        let mut before_classifier = description.clone();
        let classifier = before_classifier.layers.pop().expect("a classifier");
        let convolutions =
            layers(&before_classifier, |operation| matches!(operation, Operation::Convolution(_)));
        let described: Vec<_> =
            convolutions.iter().map(|(_, input)| [2, input.channels, input.height, input.width]).collect();
        assert_eq!(entered, described, "{architecture}");

        let has_statistics = !network.bn_layers().is_empty();
        assert_eq!(has_statistics, architecture.has_batch_norm(), "{architecture}");
        let norms: Vec<_> = network.bn_layers().iter().map(|layer| layer.name.as_str()).collect();
        let described = layers(&description, |operation| *operation == Operation::BatchNorm);
        assert_eq!(norms, described.iter().map(|(name, _)| *name).collect::<Vec<_>>(), "{architecture}");

        assert_eq!(recorded.features.dims(), [2, classifier.input.channels], "{architecture}");
    }
}
