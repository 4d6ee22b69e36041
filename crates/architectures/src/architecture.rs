//! The table of networks.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::builder::Builder;
use crate::densenet::DenseNet121;
use crate::family::{Bound, Family};
use crate::graph::{Description, FeatureMap, Operation};
use crate::layout::Layout;
use crate::mnasnet::BnMomentum;
use crate::resnet::{Block, Conv1Start, Stem};
use crate::shufflenet_v2::{ShuffleNetV2, ShuffleStem};
use crate::vit::VitStart;
use crate::{
    Norm, convnet, dc, efficientnet, mnasnet, mobilenet_v2, mobilenet_v2_small, regnet, resnet, resnet_cifar,
    swin, vgg, vit, wide_resnet,
};

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

    /// MobileNetV2 of DELT's tables at 32 and 64 px.
    "mobilenet_v2_modified": MobilenetV2Modified {} => mobilenet_v2_small::Modified;

    /// MobileNetV2 of CV-DD and FADRM at 32 and 64 px.
    "mobilenet_v2_cvdd": MobilenetV2Cvdd {} => mobilenet_v2_small::Cvdd;

    /// MobileNetV2 of G-VBSM and EDC at 32 and 64 px, half as wide.
    "mobilenet_v2_gvbsm": MobilenetV2Gvbsm {} => mobilenet_v2_small::Gvbsm;

    /// torchvision's ShuffleNetV2, half as wide.
    "shufflenet_v2_x0_5": ShufflenetV2X05 {} => ShuffleNetV2 { channels: [48, 96, 192], stem: ShuffleStem::Standard };

    /// torchvision's ShuffleNetV2.
    "shufflenet_v2_x1_0": ShufflenetV2X10 {} => ShuffleNetV2 { channels: [116, 232, 464], stem: ShuffleStem::Standard };

    /// ShuffleNetV2, half as wide, of CV-DD and FADRM at 32 and 64 px: a 3x3 stem without max-pool.
    "shufflenet_v2_x0_5_small": ShufflenetV2X05Small {} =>
        ShuffleNetV2 { channels: [48, 96, 192], stem: ShuffleStem::Small };

    /// ShuffleNetV2, half as wide, of G-VBSM and EDC at 32 and 64 px: a 1x1 stem without max-pool.
    "shufflenet_v2_x0_5_pointwise": ShufflenetV2X05Pointwise {} =>
        ShuffleNetV2 { channels: [48, 96, 192], stem: ShuffleStem::Pointwise };

    /// torchvision's MnasNet, 1.3 times as wide.
    "mnasnet1_3": Mnasnet13 {
        /// How fast the running statistics move.
        #[serde(default, skip_serializing_if = "is_default")]
        bn_momentum: BnMomentum
    } => mnasnet::MnasNet { bn_momentum };

    /// torchvision's EfficientNet-B0.
    "efficientnet_b0": EfficientnetB0 {} => efficientnet::EfficientNet;

    /// torchvision's RegNetY-8GF.
    "regnet_y_8gf": RegnetY8gf {} => regnet::RegNet;

    /// torchvision's ViT-B/16.
    "vit_b_16": VitB16 {} =>
        vit::Vit { width: 768, heads: 12, published_lr: Some(1e-4), start: VitStart::Torchvision };

    /// DeiT-Tiny: torchvision's vision transformer in timm's smallest width.
    "deit_tiny": DeitTiny {
        /// How new weights are drawn.
        #[serde(default, skip_serializing_if = "is_default")]
        start: VitStart
    } => vit::Vit { width: 192, heads: 3, published_lr: None, start };

    /// torchvision's Swin-T.
    "swin_t": SwinT {} => swin::Swin { is_v2: false };

    /// torchvision's Swin V2-T.
    "swin_v2_t": SwinV2T {} => swin::Swin { is_v2: true };
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

    /// Whether training may leave values or whole blocks out at random.
    pub fn has_dropout(&self) -> bool {
        let is_random =
            |operation| matches!(operation, Operation::Dropout { .. } | Operation::StochasticDepth { .. });
        self.description(self.least_size(), 1).layers.iter().any(|layer| is_random(layer.operation))
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

    /// Share of a batch in the running statistics of its BatchNorm layers: the recipe's, unless the network has its own.
    pub fn bn_momentum(&self, of_recipe: f64) -> f64 {
        self.family().bn_momentum().unwrap_or(of_recipe)
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
mod tests;
