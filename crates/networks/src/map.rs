//! What goes from layer to layer: values of images, in whichever of two layouts the layer before left them.

use burn::tensor::Tensor;
use delt_conv_norm::{channels_first, channels_last};

/// Values by image, channel and position.
#[derive(Clone, Debug)]
pub(crate) enum Map {
    /// `[n, c, h, w]`: convolutions and poolings of Burn.
    First(Tensor<4>),
    /// `[n, h, w, c]`: blocks that are one operation, and what treats each position by itself.
    Last(Tensor<4>),
}

impl Map {
    /// One row for each image: `[n, c]`.
    pub(crate) fn row(x: Tensor<2>) -> Self {
        let [n, channels] = x.dims();
        Self::First(x.reshape([n, channels, 1, 1]))
    }

    /// `[n, c, h, w]`.
    pub(crate) fn first(self) -> Tensor<4> {
        match self {
            Self::First(x) => x,
            Self::Last(x) => channels_first(x),
        }
    }

    /// `[n, h, w, c]`.
    pub(crate) fn last(self) -> Tensor<4> {
        match self {
            Self::First(x) => channels_last(x),
            Self::Last(x) => x,
        }
    }

    /// The layout stays.
    pub(crate) fn apply(self, function: impl FnOnce(Tensor<4>) -> Tensor<4>) -> Self {
        match self {
            Self::First(x) => Self::First(function(x)),
            Self::Last(x) => Self::Last(function(x)),
        }
    }

    /// With another one, in the layout of the first.
    pub(crate) fn with(self, other: Self, function: impl FnOnce(Tensor<4>, Tensor<4>) -> Tensor<4>) -> Self {
        match self {
            Self::First(x) => Self::First(function(x, other.first())),
            Self::Last(x) => Self::Last(function(x, other.last())),
        }
    }

    /// A factor and a value added for each channel, `[c]` each.
    pub(crate) fn affine(self, scale: Tensor<1>, shift: Tensor<1>) -> Self {
        let [channels] = scale.dims();
        let shape = match self {
            Self::First(_) => [1, channels, 1, 1],
            Self::Last(_) => [1, 1, 1, channels],
        };
        self.apply(|x| x * scale.reshape(shape) + shift.reshape(shape))
    }

    /// The dimension of channels.
    pub(crate) fn channel_dimension(&self) -> usize {
        match self {
            Self::First(_) => 1,
            Self::Last(_) => 3,
        }
    }
}
