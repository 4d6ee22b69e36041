//! The table of networks.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::builder::Builder;
use crate::family::{Bound, Family};
use crate::graph::{Description, FeatureMap, Operation};
use crate::layout::Layout;
use crate::mnasnet::BnMomentum;
use crate::resnet::Stem;
use crate::shufflenet_v2::{ShuffleNetV2, ShuffleStem};
use crate::vit::VitStart;
use crate::{
    Norm, convnet, efficientnet, mnasnet, mobilenet_v2, mobilenet_v2_small, regnet, resnet, swin, vit,
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
        stem: Stem
    } => resnet::ResNet { blocks: [2, 2, 2, 2], stem };

    /// torchvision's ResNet-34.
    "resnet34": Resnet34 {
        /// How the network begins.
        stem: Stem
    } => resnet::ResNet { blocks: [3, 4, 6, 3], stem };

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
        vit::Vit { width: 768, heads: 12, published_lr: 1e-4, start: VitStart::Torchvision };

    /// DeiT-Tiny: torchvision's vision transformer in timm's smallest width. (No learning rate is published.)
    "deit_tiny": DeitTiny {
        /// How new weights are drawn.
        #[serde(default, skip_serializing_if = "is_default")]
        start: VitStart
    } => vit::Vit { width: 192, heads: 3, published_lr: 1e-3, start };

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

    /// Peak learning rate of AdamW in the published post-evaluation, where this network is the student.
    pub fn published_lr(&self) -> f64 {
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
                Architecture::Resnet18 { stem: Stem::Small },
                json!({"name": "resnet18", "stem": "small"}),
                "resnet18 (small stem)",
            ),
            (
                Architecture::Resnet34 { stem: Stem::Standard },
                json!({"name": "resnet34", "stem": "standard"}),
                "resnet34 (standard stem)",
            ),
            (Architecture::MobilenetV2 {}, json!({"name": "mobilenet_v2"}), "mobilenet_v2"),
            (
                Architecture::Mnasnet13 { bn_momentum: BnMomentum::Recipe },
                json!({"name": "mnasnet1_3", "bn_momentum": "recipe"}),
                "mnasnet1_3 (bn_momentum of the recipe)",
            ),
            (
                Architecture::DeitTiny { start: VitStart::Timm },
                json!({"name": "deit_tiny", "start": "timm"}),
                "deit_tiny (timm's start)",
            ),
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
    fn the_running_statistics_of_mnasnet_move_as_torchvisions_unless_said_otherwise() {
        let shares = [BnMomentum::Own, BnMomentum::Recipe]
            .map(|bn_momentum| Architecture::Mnasnet13 { bn_momentum }.bn_momentum(0.1));
        assert_eq!(shares, [3e-4, 0.1]);
        assert_eq!(Architecture::EfficientnetB0 {}.bn_momentum(0.19), 0.19);
    }

    #[test]
    fn images_that_are_no_whole_number_of_patches_are_refused() {
        assert_eq!(Architecture::DeitTiny { start: VitStart::Timm }.misfit(64), None);
        assert_eq!(
            Architecture::DeitTiny { start: VitStart::Timm }.misfit(72).as_deref(),
            Some(
                "72 px is not a whole number of this network's patches of 16 px; expected a multiple of 16; change teacher.size"
            )
        );
        assert_eq!(Architecture::SwinT {}.misfit(70), None);
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
    fn the_last_width_of_a_doubling_convnet_is_bounded() {
        let bound = convnet(Norm::Batch, false, true).bounds()[0];
        assert_eq!((bound.value, bound.most), (128, 2048));
        assert_eq!(Architecture::convnet(3, 128).bounds()[0].most, 8192);
    }
}
