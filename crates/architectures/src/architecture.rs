//! The table of networks.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::description::{Description, FeatureMap};
use crate::family::{Bound, Family};
use crate::layer_list::LayerList;
use crate::layout::Layout;
use crate::resnet::Stem;
use crate::{convnet, mobilenet_v2, resnet};

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
    /// `depth` blocks of 3x3 convolution, BatchNorm, ReLU and average pooling, then a linear layer.
    "convnet": ConvNet {
        /// Blocks.
        depth: u32,
        /// Channels.
        width: u32
    } => convnet::ConvNet { depth, width };

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
}

impl Architecture {
    /// The layers for RGB images of `size` px and so many classes.
    pub fn description(&self, size: usize, classes: usize) -> Description {
        let family = self.family();
        let mut layers = LayerList::new(family.rules());
        family.pass(&mut layers, FeatureMap { channels: 3, side: size }, classes);
        Description { layers: layers.layers }
    }

    /// Floating-point operations of one image going through the network: two for each multiplication of a convolution
    /// or a linear layer.
    pub fn forward_flops(&self, size: usize, classes: usize) -> f64 {
        2.0 * self.description(size, classes).multiplications()
    }

    /// PyTorch's name of the last linear layer.
    pub fn classifier(&self) -> String {
        self.description(self.least_size(), 1).layers.pop().map_or(String::new(), |layer| layer.name)
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

    #[test]
    fn architectures_are_named_and_shown_as_the_field_does() {
        let cases = [
            (
                Architecture::ConvNet { depth: 3, width: 128 },
                json!({"name": "convnet", "depth": 3, "width": 128}),
                "convnet3-w128",
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
            json!({"name": "convnet", "depth": 3, "width": 1, "norm": "batch"}),
        ] {
            assert!(from_value::<Architecture>(value).is_err());
        }
    }
}
