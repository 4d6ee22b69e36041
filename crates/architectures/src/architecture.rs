//! The table of networks.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::builder::Builder;
use crate::densenet::DenseNet121;
use crate::family::{Bound, Family};
use crate::graph::{Description, FeatureMap, Operation};
use crate::layout::Layout;
use crate::resnet::{Block, Conv1Start, Stem};
use crate::{Norm, convnet, dc, mobilenet_v2, resnet, resnet_cifar, vgg, wide_resnet};

/// Makes [`Architecture`] of rows: name in the configuration, variant with its fields, and the family it belongs to.
macro_rules! architectures {
    ($(
        $(#[$about:meta])*
        $name:literal: $variant:ident { $($(#[$about_field:meta])* $field:ident: $type:ty),* } => $family:expr;
    )*) => {
        /// The networks there are. (Braces without fields: serde lets unknown keys pass beside a unit variant.)
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(tag = "name", deny_unknown_fields)]
        pub enum Architecture {
            $($(#[$about])* #[serde(rename = $name)] $variant { $($(#[$about_field])* $field: $type),* },)*
        }

        impl Architecture {
            /// Every name, in the order of the table.
            pub const NAMES: &[&str] = &[$($name),*];

            /// The name in the configuration.
            pub fn name(&self) -> &'static str {
                match self { $(Self::$variant { .. } => $name,)* }
            }

            fn family(self) -> Box<dyn Family> {
                match self { $(Self::$variant { $($field),* } => Box::new($family),)* }
            }
        }
    };
}

architectures! {
    /// `depth` blocks of 3x3 convolution, normalization, ReLU and average pooling, then a linear layer.
    "convnet": ConvNet {
        /// Blocks.
        depth: u32,
        /// Channels.
        width: u32,
        /// What its blocks are normalized by.
        #[serde(default, skip_serializing_if = "is_default")]
        norm: Norm,
        /// Normalize what enters a convolution in place of what leaves it; the first block is then not normalized (FRePo).
        #[serde(default, skip_serializing_if = "is_default")]
        norm_before_conv: bool,
        /// Each block has twice the channels of the one before it; `width` are those of the first (FRePo, RCIG).
        #[serde(default, skip_serializing_if = "is_default")]
        doubling: bool
    } => convnet::ConvNet { depth, width, norm, norm_before_conv, doubling };

    /// torchvision's ResNet-18.
    "resnet18": Resnet18 {
        /// How the network begins.
        stem: Stem,
        /// How the `conv1` of a small stem starts.
        #[serde(default, skip_serializing_if = "is_default")]
        conv1_start: Conv1Start
    } => resnet::ResNet { block: Block::Basic, blocks: [2, 2, 2, 2], stem, conv1_start };

    /// torchvision's ResNet-34.
    "resnet34": Resnet34 {
        /// How the network begins.
        stem: Stem,
        /// How the `conv1` of a small stem starts.
        #[serde(default, skip_serializing_if = "is_default")]
        conv1_start: Conv1Start
    } => resnet::ResNet { block: Block::Basic, blocks: [3, 4, 6, 3], stem, conv1_start };

    /// torchvision's ResNet-50.
    "resnet50": Resnet50 {
        /// How the network begins.
        stem: Stem,
        /// How the `conv1` of a small stem starts.
        #[serde(default, skip_serializing_if = "is_default")]
        conv1_start: Conv1Start
    } => resnet::ResNet { block: Block::Bottleneck, blocks: [3, 4, 6, 3], stem, conv1_start };

    /// torchvision's ResNet-101.
    "resnet101": Resnet101 {
        /// How the network begins.
        stem: Stem,
        /// How the `conv1` of a small stem starts.
        #[serde(default, skip_serializing_if = "is_default")]
        conv1_start: Conv1Start
    } => resnet::ResNet { block: Block::Bottleneck, blocks: [3, 4, 23, 3], stem, conv1_start };

    /// ResNet-20 of the CIFAR paper, option A.
    "resnet20_cifar": Resnet20Cifar {} => resnet_cifar::CifarResNet { blocks: 3 };

    /// ResNet-32 of the CIFAR paper, option A.
    "resnet32_cifar": Resnet32Cifar {} => resnet_cifar::CifarResNet { blocks: 5 };

    /// ResNet-44 of the CIFAR paper, option A.
    "resnet44_cifar": Resnet44Cifar {} => resnet_cifar::CifarResNet { blocks: 7 };

    /// ResNet-56 of the CIFAR paper, option A.
    "resnet56_cifar": Resnet56Cifar {} => resnet_cifar::CifarResNet { blocks: 9 };

    /// Wide ResNet of depth 16, twice as wide.
    "wrn_16_2": Wrn16x2 {} => wide_resnet::WideResNet { blocks: 2, widening: 2 };

    /// torchvision's DenseNet-121.
    "densenet121": Densenet121 {} => DenseNet121::Torchvision;

    /// kuangliu's DenseNet-121 for small images.
    "densenet121_cvdd": Densenet121Cvdd {} => DenseNet121::Cvdd;

    /// torchvision's VGG11.
    "vgg11": Vgg11 {} => vgg::Vgg { groups: vgg::VGG11, has_norm: false, published_lr: Some(5e-4) };

    /// torchvision's VGG11 with BatchNorm.
    "vgg11_bn": Vgg11Bn {} => vgg::Vgg { groups: vgg::VGG11, has_norm: true, published_lr: None };

    /// torchvision's VGG16 with BatchNorm.
    "vgg16_bn": Vgg16Bn {} => vgg::Vgg { groups: vgg::VGG16, has_norm: true, published_lr: None };

    /// torchvision's AlexNet.
    "alexnet": Alexnet {} => vgg::AlexNet;

    /// The DC benchmark's ResNet-18.
    "dc_resnet18": DcResnet18 {
        /// Instance norm in DC, DM and MTT.
        norm: Norm
    } => dc::ResNet18 { norm, pools: false };

    /// The same with poolings in place of steps of two (ResNet-18-AP).
    "dc_resnet18_ap": DcResnet18Ap {
        /// Instance norm in DC, DM and MTT.
        norm: Norm
    } => dc::ResNet18 { norm, pools: true };

    /// The DC benchmark's AlexNet.
    "dc_alexnet": DcAlexnet {
        /// None in DC, DM and MTT.
        norm: Norm
    } => dc::AlexNet { norm };

    /// The DC benchmark's VGG11.
    "dc_vgg11": DcVgg11 {
        /// Instance norm in DC, DM and MTT.
        norm: Norm
    } => dc::Vgg11 { norm };

    /// torchvision's MobileNetV2.
    "mobilenet_v2": MobilenetV2 {} => mobilenet_v2::MobileNetV2;
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Architecture {
    /// The ConvNet of RDED and DELT: BatchNorm behind each convolution, all of one width.
    pub const fn convnet(depth: u32, width: u32) -> Self {
        Self::ConvNet { depth, width, norm: Norm::Batch, norm_before_conv: false, doubling: false }
    }

    /// ResNet-18 whose convolutions all start alike.
    pub const fn resnet18(stem: Stem) -> Self {
        Self::Resnet18 { stem, conv1_start: Conv1Start::Kaiming }
    }

    /// ResNet-34 whose convolutions all start alike.
    pub const fn resnet34(stem: Stem) -> Self {
        Self::Resnet34 { stem, conv1_start: Conv1Start::Kaiming }
    }

    /// The layers for RGB images of `size` px and so many classes.
    pub fn description(&self, size: usize, classes: usize) -> Description {
        let family = self.family();
        let (mut network, image) = Builder::new(family.rules(), FeatureMap::square(3, size));
        family.pass(&mut network, image, classes);
        network.finish()
    }

    /// Floating-point operations of one image going through the network: two for each multiplication of a convolution, a
    /// linear layer or attention.
    pub fn forward_flops(&self, size: usize, classes: usize) -> f64 {
        2.0 * self.description(size, classes).multiplications()
    }

    /// PyTorch's name of the last layer, which makes logits.
    pub fn classifier(&self) -> String {
        self.description(self.least_size(), 1).layers.pop().map_or(String::new(), |layer| layer.name)
    }

    /// Whether it has BatchNorm layers, and with them running statistics of what it has seen. A network without them computes
    /// the same in training and in evaluation mode.
    pub fn has_batch_norm(&self) -> bool {
        let layers = self.description(self.least_size(), 1).layers;
        layers.iter().any(|layer| layer.operation == Operation::BatchNorm)
    }

    /// How its tensors are called: by our own names, then by those of other published code.
    pub fn layouts(&self) -> Vec<Layout> {
        [&[Layout::OWN], self.family().other_layouts()].concat()
    }

    /// Side of the smallest image of which something is left after the last pooling, px.
    pub fn least_size(&self) -> usize {
        self.family().least_size()
    }

    /// Peak learning rate of AdamW in the published post-evaluation, where this network is the student and one is published.
    pub fn published_lr(&self) -> Option<f64> {
        self.family().published_lr()
    }

    /// The fields that memory is taken by.
    pub fn bounds(&self) -> Vec<Bound> {
        self.family().bounds()
    }

    /// What is wrong with the fields or with images of `size` px, if anything is.
    pub fn misfit(&self, size: usize) -> Option<String> {
        self.family().misfit(size)
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.name(), self.family().suffix())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json, to_value};

    fn convnet(norm: Norm, norm_before_conv: bool, doubling: bool) -> Architecture {
        Architecture::ConvNet { depth: 3, width: 128, norm, norm_before_conv, doubling }
    }

    #[test]
    fn architectures_are_named_and_shown_as_the_field_does() {
        let cases = [
            (
                Architecture::convnet(3, 128),
                json!({"name": "convnet", "depth": 3, "width": 128}),
                "convnet3-w128",
            ),
            (
                convnet(Norm::Instance, false, false),
                json!({"name": "convnet", "depth": 3, "width": 128, "norm": "instance"}),
                "convnet3-w128-instance",
            ),
            (
                convnet(Norm::Batch, true, true),
                json!({"name": "convnet", "depth": 3, "width": 128, "norm_before_conv": true, "doubling": true}),
                "convnet3-w128-pre-doubling",
            ),
            (
                Architecture::resnet18(Stem::Small),
                json!({"name": "resnet18", "stem": "small"}),
                "resnet18 (small stem)",
            ),
            (
                Architecture::resnet34(Stem::Standard),
                json!({"name": "resnet34", "stem": "standard"}),
                "resnet34 (standard stem)",
            ),
            (
                Architecture::Resnet50 { stem: Stem::Small, conv1_start: Conv1Start::Default },
                json!({"name": "resnet50", "stem": "small", "conv1_start": "default"}),
                "resnet50 (small stem, conv1 from PyTorch's default)",
            ),
            (
                Architecture::DcVgg11 { norm: Norm::Instance },
                json!({"name": "dc_vgg11", "norm": "instance"}),
                "dc_vgg11-instance",
            ),
            (Architecture::MobilenetV2 {}, json!({"name": "mobilenet_v2"}), "mobilenet_v2"),
        ];
        for (architecture, value, shown) in cases {
            assert_eq!(to_value(architecture).unwrap(), value);
            assert_eq!(from_value::<Architecture>(value).unwrap(), architecture);
            assert_eq!(architecture.to_string(), shown);
        }
    }

    #[test]
    fn unknown_fields_of_an_architecture_are_refused() {
        for value in [
            json!({"name": "mobilenet_v2", "width": 2}),
            json!({"name": "convnet", "depth": 3, "width": 1, "stem": "small"}),
            json!({"name": "convnet", "depth": 3, "width": 1, "norm": "weight"}),
        ] {
            assert!(from_value::<Architecture>(value).is_err());
        }
    }

    #[test]
    fn a_convnet_that_names_the_defaults_is_the_one_that_leaves_them_out() {
        let all = json!({"name": "convnet", "depth": 3, "width": 128, "norm": "batch", "norm_before_conv": false, "doubling": false});
        assert_eq!(from_value::<Architecture>(all).unwrap(), Architecture::convnet(3, 128));
    }

    #[test]
    fn networks_with_running_statistics_say_so() {
        assert!(Architecture::convnet(3, 8).has_batch_norm());
        assert!(convnet(Norm::Batch, true, false).has_batch_norm());
        for norm in [Norm::Instance, Norm::Group, Norm::Layer, Norm::None] {
            assert!(!convnet(norm, false, false).has_batch_norm());
        }
    }

    #[test]
    fn convnets_whose_fields_make_no_sense_together_are_refused() {
        let said = |depth, width, norm, norm_before_conv, doubling| {
            Architecture::ConvNet { depth, width, norm, norm_before_conv, doubling }.misfit(32)
        };
        let refusals = [
            (
                said(3, 6, Norm::Group, false, false),
                "norm: group makes 4 groups of channels, which a width of 6 does not fill; set a multiple of 4",
            ),
            (
                said(3, 8, Norm::None, true, false),
                "norm_before_conv: true has nothing to move with norm: none; leave it out",
            ),
            (
                said(1, 8, Norm::Batch, true, false),
                "norm_before_conv: true leaves a network of depth 1 without norm; leave it out, or say norm: none",
            ),
            (said(1, 8, Norm::Batch, false, true), "doubling: true changes nothing at depth 1; leave it out"),
        ];
        for (found, expected) in refusals {
            assert_eq!(found.as_deref(), Some(expected));
        }
        assert_eq!(said(3, 8, Norm::Group, true, true), None);
    }

    #[test]
    fn a_start_that_stands_beside_no_small_stem_is_refused() {
        let resnet = |stem| Architecture::Resnet50 { stem, conv1_start: Conv1Start::Default };
        assert_eq!(resnet(Stem::Small).misfit(32), None);
        assert_eq!(
            resnet(Stem::Standard).misfit(224).as_deref(),
            Some(
                "conv1_start: default is how published code starts the conv1 of stem: small, found stem: standard; leave it out"
            )
        );
    }

    #[test]
    fn the_last_width_of_a_doubling_convnet_is_bounded() {
        let bound = convnet(Norm::Batch, false, true).bounds()[0];
        assert_eq!((bound.value, bound.most), (128, 2048));
        assert_eq!(Architecture::convnet(3, 128).bounds()[0].most, 8192);
    }
}
