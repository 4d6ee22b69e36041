//! Swin-T and Swin V2-T with torchvision's names.

use crate::builder::{Builder, Value};
use crate::family::Family;
use crate::graph::{Activation, Convolution, Window, WindowAttention};
use crate::start::{Rule, Rules, Start};

/// Side of a patch, px.
const PATCH: usize = 4;
const WIDTH: usize = 96;

/// Blocks and heads of each stage.
const STAGES: [(usize, usize); 4] = [(2, 3), (2, 6), (6, 12), (2, 24)];

/// Of all normalizations.
const EPSILON: f64 = 1e-5;

/// Hidden features of the network that makes position biases in V2.
const BIAS_FEATURES: usize = 512;

/// Share of images whose last block is left out in training; it grows from 0 block by block.
const STOCHASTIC_DEPTH: f64 = 0.2;

/// How new weights of linear layers and tables are drawn; the truncation at ±2 takes nothing away.
const DEVIATION: f64 = 0.02;

pub(crate) struct Swin {
    pub(crate) is_v2: bool,
}

impl Family for Swin {
    fn pass(&self, network: &mut Builder, image: Value, classes: usize) {
        let window = Window { kernel: PATCH, stride: PATCH, padding: 0 };
        let patches = Convolution { window, groups: 1, has_bias: true };
        let mut x = network.convolution("features.0.0", image, WIDTH, patches);
        x = network.position_norm("features.0.2", x, EPSILON);
        let all_blocks: usize = STAGES.iter().map(|stage| stage.0).sum();
        let mut before = 0;
        for (stage, (blocks, heads)) in STAGES.into_iter().enumerate() {
            if stage > 0 {
                x = self.merge(network, &format!("features.{}", 2 * stage), x);
            }
            for block in 0..blocks {
                let share = STOCHASTIC_DEPTH * before as f64 / (all_blocks - 1) as f64;
                let attention = self.attention(x, heads, block % 2 == 1);
                let name = format!("features.{}.{block}", 2 * stage + 1);
                x = self.block(network, &name, x, attention, share);
                before += 1;
            }
        }
        x = network.position_norm("norm", x, EPSILON);
        let features = network.mean(x);
        network.linear("head", features, classes);
    }

    fn published_lr(&self) -> Option<f64> {
        self.is_v2.then_some(1e-4)
    }

    fn rules(&self) -> Rules {
        Rules { linear: Rule::Normal(DEVIATION), linear_bias: Rule::Zero, ..Rules::default() }
    }

    fn least_size(&self) -> usize {
        PATCH
    }
}

impl Swin {
    /// Windows are moved in every second block, but not where one covers the map.
    fn attention(&self, x: Value, heads: usize, is_moved: bool) -> WindowAttention {
        let window = if self.is_v2 { 8 } else { 7 };
        let shift = if is_moved && x.map.height > window { window / 2 } else { 0 };
        WindowAttention { heads, window, shift, is_v2: self.is_v2 }
    }

    /// Attention, then two linear layers, each beside a shortcut and normalized before it, in V2 after it.
    fn block(
        &self,
        network: &mut Builder,
        name: &str,
        x: Value,
        attention: WindowAttention,
        share: f64,
    ) -> Value {
        let tensors = tensors(x.channels(), attention);
        let attend = |network: &mut Builder, x| {
            network.window_attention(&format!("{name}.attn"), x, attention, &tensors)
        };
        let x = self.beside(network, &format!("{name}.norm1"), x, share, attend);
        let mix = |network: &mut Builder, x: Value| {
            let mut y = network.linear(&format!("{name}.mlp.0"), x, 4 * x.channels());
            y = network.activation(y, Activation::Gelu);
            network.linear(&format!("{name}.mlp.3"), y, x.channels())
        };
        self.beside(network, &format!("{name}.norm2"), x, share, mix)
    }

    fn beside(
        &self,
        network: &mut Builder,
        norm: &str,
        x: Value,
        share: f64,
        change: impl FnOnce(&mut Builder, Value) -> Value,
    ) -> Value {
        let mut y = if self.is_v2 { x } else { network.position_norm(norm, x, EPSILON) };
        y = change(network, y);
        if self.is_v2 {
            y = network.position_norm(norm, y, EPSILON);
        }
        if share > 0.0 {
            y = network.stochastic_depth(y, share);
        }
        network.sum(x, y)
    }

    /// Half the side, twice the channels.
    fn merge(&self, network: &mut Builder, name: &str, x: Value) -> Value {
        let channels = 2 * x.channels();
        let (norm, reduction) = (format!("{name}.norm"), format!("{name}.reduction"));
        let mut y = network.merge_squares(x);
        if !self.is_v2 {
            y = network.position_norm(&norm, y, EPSILON);
        }
        y = network.linear_with(&reduction, y, channels, false);
        if self.is_v2 { network.position_norm(&norm, y, EPSILON) } else { y }
    }
}

/// Those of torchvision's `ShiftedWindowAttention`, in the order of its `state_dict`.
fn tensors(width: usize, attention: WindowAttention) -> Vec<(&'static str, Vec<usize>, Start)> {
    let WindowAttention { heads, window, is_v2, .. } = attention;
    let (normal, zero) = (Start::Normal(DEVIATION), Start::Constant(0.0));
    let first = match is_v2 {
        true => ("logit_scale", vec![heads, 1, 1], Start::Constant(10.0_f32.ln())),
        false => ("relative_position_bias_table", vec![(2 * window - 1).pow(2), heads], normal),
    };
    let mut tensors = vec![
        first,
        ("qkv.weight", vec![3 * width, width], normal),
        ("qkv.bias", vec![3 * width], zero),
        ("proj.weight", vec![width, width], normal),
        ("proj.bias", vec![width], zero),
    ];
    if is_v2 {
        tensors.extend([
            ("cpb_mlp.0.weight", vec![BIAS_FEATURES, 2], normal),
            ("cpb_mlp.0.bias", vec![BIAS_FEATURES], zero),
            ("cpb_mlp.2.weight", vec![heads, BIAS_FEATURES], normal),
        ]);
    }
    tensors
}
