//! ConvNet-d of the distillation literature: d blocks of 3x3 convolution, normalization, ReLU and 2x2 average pooling, then
//! one linear layer. Names as in the published code of RDED and DELT.

use serde::{Deserialize, Serialize};

use crate::builder::{Builder, Value};
use crate::family::{Bound, Family};
use crate::graph::{Convolution, Window};
use crate::layout::{FEATURES, FEATURES_WITHOUT_NORM, Layout};

/// The most channels that can be meant.
const MOST_WIDTH: u32 = 8192;

/// Groups of channels of [`Norm::Group`].
const GROUPS: u32 = 4;

/// What a ConvNet is normalized by: means and biased variances, of what. All but `none` scale and shift afterwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Norm {
    /// Of each channel over the batch, and in evaluation mode the running ones.
    #[default]
    Batch,
    /// Of each channel of each image: PyTorch's `GroupNorm` with a group for each channel (DC, DM, MTT).
    Instance,
    /// Of four groups of channels of each image.
    Group,
    /// Of each image; scale and shift have its shape, so that the network fits one size of images.
    Layer,
    /// Nothing.
    None,
}

impl Norm {
    /// Adds its layer.
    pub(crate) fn add(self, network: &mut Builder, name: &str, x: Value) -> Value {
        match self {
            Self::Batch => network.batch_norm(name, x),
            Self::Instance => network.group_norm(name, x, x.channels()),
            Self::Group => network.group_norm(name, x, GROUPS as usize),
            Self::Layer => network.layer_norm(name, x),
            Self::None => x,
        }
    }

    /// What follows the name of a network in messages.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Self::Batch => "",
            Self::Instance => "-instance",
            Self::Group => "-group",
            Self::Layer => "-layer",
            Self::None => "-none",
        }
    }
}

pub(crate) struct ConvNet {
    pub(crate) depth: u32,
    pub(crate) width: u32,
    pub(crate) norm: Norm,
    pub(crate) norm_before_conv: bool,
    pub(crate) doubling: bool,
}

impl ConvNet {
    /// Channels of a block.
    fn width_of(&self, block: u32) -> usize {
        let doublings = if self.doubling { block } else { 0 };
        (self.width as usize) << doublings
    }

    /// Why fields make no sense together, if they make none.
    fn contradiction(&self) -> Option<String> {
        let Self { depth, width, norm, norm_before_conv, doubling } = *self;
        let found = [
            (
                norm == Norm::Group && !width.is_multiple_of(GROUPS),
                format!(
                    "norm: group makes {GROUPS} groups of channels, which a width of {width} does not fill; set a multiple of \
                     {GROUPS}"
                ),
            ),
            (
                norm_before_conv && norm == Norm::None,
                "norm_before_conv: true has nothing to move with norm: none; leave it out".to_owned(),
            ),
            (
                norm_before_conv && depth == 1,
                "norm_before_conv: true leaves a network of depth 1 without norm; leave it out, or say norm: none"
                    .to_owned(),
            ),
            (
                doubling && depth == 1,
                "doubling: true changes nothing at depth 1; leave it out".to_owned(),
            ),
        ];
        found.into_iter().find_map(|(is_found, problem)| is_found.then_some(problem))
    }
}

impl Family for ConvNet {
    fn pass(&self, network: &mut Builder, image: Value, classes: usize) {
        let mut x = image;
        for block in 0..self.depth {
            let (convolution, norm) = (format!("layers.conv.{block}"), format!("layers.norm.{block}"));
            if self.norm_before_conv && block > 0 {
                x = self.norm.add(network, &norm, x);
            }
            let window = Convolution { has_bias: true, ..Convolution::same(3, 1) };
            x = network.convolution(&convolution, x, self.width_of(block), window);
            if !self.norm_before_conv {
                x = self.norm.add(network, &norm, x);
            }
            x = network.relu(x);
            x = network.average_pool(x, Window::HALVES);
        }
        let features = network.flatten(x);
        network.linear("classifier", features, classes);
    }

    fn published_lr(&self) -> Option<f64> {
        Some(1e-3)
    }

    fn least_size(&self) -> usize {
        1_usize.checked_shl(self.depth).unwrap_or(usize::MAX)
    }

    fn other_layouts(&self) -> &'static [Layout] {
        match (self.norm_before_conv, self.norm) {
            (true, _) => &[],
            (false, Norm::None) => &[FEATURES_WITHOUT_NORM],
            (false, _) => &[FEATURES],
        }
    }

    fn bounds(&self) -> Vec<Bound> {
        let doublings = if self.doubling { self.depth.saturating_sub(1).min(MOST_WIDTH.ilog2()) } else { 0 };
        vec![Bound { field: "width", value: self.width, most: MOST_WIDTH >> doublings }]
    }

    fn misfit(&self, size: usize) -> Option<String> {
        let Self { depth, width, .. } = self;
        let does_not_fit = (*width == 0 || *depth == 0 || size < self.least_size()).then(|| {
            format!(
                "a ConvNet of depth {depth} and width {width} does not fit {size} px; expected a width of 1 or more, and \
                 {size} px to be left with a pixel when halved {depth} times; lower the depth or raise teacher.size"
            )
        });
        does_not_fit.or_else(|| self.contradiction())
    }

    fn suffix(&self) -> String {
        let norm = self.norm.suffix();
        let before = if self.norm_before_conv { "-pre" } else { "" };
        let doubling = if self.doubling { "-doubling" } else { "" };
        format!("{}-w{}{norm}{before}{doubling}", self.depth, self.width)
    }
}
