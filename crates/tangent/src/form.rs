//! What a ConvNet computes, and where its tensors lie in the flat vector of weights.

use std::ops::Range;

use delt_formats::{Architecture, Norm as Named};

/// Side of the kernels.
pub(crate) const KERNEL: usize = 3;

/// The structure of a ConvNet: blocks of 3x3 convolution, normalization, activation and 2x2 average pooling, then a linear layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Form {
    /// Channels that leave each block.
    pub widths: Vec<usize>,
    /// How blocks normalize.
    pub norm: Norm,
    /// Whether normalization i is of what enters convolution i, none for the first (FRePo), and not of what leaves it.
    pub norm_before_conv: bool,
    /// What follows.
    pub activation: Activation,
    /// Side of the images, px.
    pub size: usize,
    /// Outputs.
    pub classes: usize,
}

/// How a block normalizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Norm {
    /// Not at all.
    None,
    /// By the statistics of the batch, or running ones.
    Batch,
    /// By the statistics of each image and channel.
    Instance,
}

/// What follows convolution and normalization.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// max(a, 0), whose derivative is that of the value's sign, 0 at 0.
    Relu,
    /// log(1 + exp(βa)) / β, smooth: its curvature counts too.
    Softplus {
        /// β: the larger, the nearer to ReLU.
        beta: f64,
    },
}

/// A tensor's place in the flat vector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// PyTorch's name.
    pub name: String,
    /// PyTorch's shape.
    pub shape: Vec<usize>,
    /// Where its values lie.
    pub range: Range<usize>,
}

impl Form {
    /// The structure of a network of the registry; none of those whose derivatives are not here: other families, group and layer
    /// norm.
    pub fn of(
        architecture: &Architecture,
        activation: Activation,
        size: usize,
        classes: usize,
    ) -> Option<Self> {
        let Architecture::ConvNet { depth, width, norm, norm_before_conv, doubling } = *architecture else {
            return None;
        };
        let norm = match norm {
            Named::None => Norm::None,
            Named::Batch => Norm::Batch,
            Named::Instance => Norm::Instance,
            Named::Group | Named::Layer => return None,
        };
        let widths = (0..depth).map(|block| (width as usize) << if doubling { block } else { 0 });
        Some(Self { widths: widths.collect(), norm, norm_before_conv, activation, size, classes })
    }

    /// All trained tensors in forward order.
    pub fn slots(&self) -> Vec<Slot> {
        let mut slots = Vec::new();
        let mut end = 0;
        let mut add = |name: String, shape: &[usize]| {
            let start = end;
            end += shape.iter().product::<usize>();
            slots.push(Slot { name, shape: shape.to_vec(), range: start..end });
        };
        let mut inputs = 3;
        for (block, &outputs) in self.widths.iter().enumerate() {
            let mut norm = |channels: usize| {
                add(format!("layers.norm.{block}.weight"), &[channels]);
                add(format!("layers.norm.{block}.bias"), &[channels]);
            };
            if self.norm_before_conv && self.has_norm(block) {
                norm(inputs);
            }
            add(format!("layers.conv.{block}.weight"), &[outputs, inputs, KERNEL, KERNEL]);
            add(format!("layers.conv.{block}.bias"), &[outputs]);
            let mut norm = |channels: usize| {
                add(format!("layers.norm.{block}.weight"), &[channels]);
                add(format!("layers.norm.{block}.bias"), &[channels]);
            };
            if !self.norm_before_conv && self.has_norm(block) {
                norm(outputs);
            }
            inputs = outputs;
        }
        add("classifier.weight".to_owned(), &[self.classes, self.features()]);
        add("classifier.bias".to_owned(), &[self.classes]);
        slots
    }

    /// Values that training moves.
    pub fn parameters(&self) -> usize {
        self.slots().last().map_or(0, |slot| slot.range.end)
    }

    /// What enters the linear layer.
    pub fn features(&self) -> usize {
        let side = self.size >> self.widths.len();
        self.widths.last().map_or(3, |width| *width) * side * side
    }

    /// Whether a block normalizes.
    pub(crate) fn has_norm(&self, block: usize) -> bool {
        self.norm != Norm::None && (!self.norm_before_conv || block > 0)
    }

    /// Whether a normalization by own statistics takes the bias of a convolution out again: its gradient is then rounding alone.
    pub(crate) fn has_inert_bias(&self) -> bool {
        self.norm != Norm::None && !self.norm_before_conv
    }
}
