//! Vision transformers of patches of 16 px with torchvision's names: ViT-B/16 and, in other widths, DeiT-Tiny.

use serde::{Deserialize, Serialize};

use crate::builder::{Builder, Value};
use crate::family::Family;
use crate::graph::{Activation, Convolution, Window};
use crate::layout::{Layout, TIMM};
use crate::start::{Rule, Rules, Start};

/// Side of a patch, px.
const PATCH: usize = 16;
const LAYERS: usize = 12;

/// Of all normalizations.
const EPSILON: f64 = 1e-6;

/// How new weights are drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VitStart {
    /// As torchvision does: the classifier is zero, so that all logits are equal at first.
    #[default]
    Torchvision,
    /// As timm does, whose networks G-VBSM and EDC train.
    Timm,
}

pub(crate) struct Vit {
    pub(crate) width: usize,
    pub(crate) heads: usize,
    pub(crate) published_lr: Option<f64>,
    pub(crate) start: VitStart,
}

impl Family for Vit {
    fn pass(&self, network: &mut Builder, image: Value, classes: usize) {
        let window = Window { kernel: PATCH, stride: PATCH, padding: 0 };
        let patches = Convolution { window, groups: 1, has_bias: true };
        let mut x = network.convolution("conv_proj", image, self.width, patches);
        x = network.positions(x);
        x = network.class_token("class_token", x);
        x = network.position_embedding("encoder.pos_embedding", x);
        for layer in 0..LAYERS {
            x = self.layer(network, &format!("encoder.layers.encoder_layer_{layer}"), x);
        }
        x = network.position_norm("encoder.ln", x, EPSILON);
        x = network.first_position(x);
        if self.start == VitStart::Torchvision {
            network.rules = Rules { linear: Rule::Zero, linear_bias: Rule::Zero, ..network.rules };
        }
        network.linear("heads.head", x, classes);
    }

    fn published_lr(&self) -> Option<f64> {
        self.published_lr
    }

    fn rules(&self) -> Rules {
        // the truncated normal ones are cut at ±2, where nothing is
        match self.start {
            VitStart::Torchvision => Rules {
                convolution: Rule::Normal(1.0 / ((3 * PATCH * PATCH) as f64).sqrt()),
                convolution_bias: Rule::Zero,
                linear: Rule::XavierUniform,
                linear_bias: Rule::Normal(1e-6),
                attention_in: Rule::XavierUniform,
                embedding: Start::Normal(0.02),
                ..Rules::default()
            },
            VitStart::Timm => Rules {
                linear: Rule::Normal(0.02),
                linear_bias: Rule::Zero,
                attention_in: Rule::Normal(0.02),
                attention_out: Rule::Normal(0.02),
                class_token: Start::Normal(1e-6),
                embedding: Start::Normal(0.02),
                ..Rules::default()
            },
        }
    }

    fn least_size(&self) -> usize {
        PATCH
    }

    fn other_layouts(&self) -> &'static [Layout] {
        &[TIMM]
    }

    fn suffix(&self) -> String {
        match self.start {
            VitStart::Torchvision => String::new(),
            VitStart::Timm => " (timm's start)".to_owned(),
        }
    }

    fn misfit(&self, size: usize) -> Option<String> {
        (size == 0 || !size.is_multiple_of(PATCH)).then(|| {
            format!(
                "{size} px is not a whole number of this network's patches of {PATCH} px; expected a multiple of {PATCH}; \
                 change teacher.size"
            )
        })
    }
}

impl Vit {
    fn layer(&self, network: &mut Builder, name: &str, x: Value) -> Value {
        let mut y = network.position_norm(&format!("{name}.ln_1"), x, EPSILON);
        y = network.attention(&format!("{name}.self_attention"), y, self.heads);
        let x = network.sum(y, x);
        y = network.position_norm(&format!("{name}.ln_2"), x, EPSILON);
        y = network.linear(&format!("{name}.mlp.0"), y, 4 * self.width);
        y = network.activation(y, Activation::Gelu);
        y = network.linear(&format!("{name}.mlp.3"), y, self.width);
        network.sum(x, y)
    }
}
