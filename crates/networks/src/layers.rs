//! Convolution, batch normalization and linear layer: thin modules over Burn's tensor functions, with the field names and
//! layouts of PyTorch.

use burn::module::{Module, Param};
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{FloatDType, Tensor};
use delt_architectures::{Convolution, Window};
use delt_conv_norm::Geometry;
use delt_device::product;

use crate::builder::Builder;
use crate::error::NetworkError;

/// Added to the variance before the square root; PyTorch's default.
pub const BN_EPSILON: f64 = 1e-5;

/// A 2-d convolution. `weight` is `[out, in / groups, kernel, kernel]`.
#[derive(Module, Debug)]
pub struct Conv {
    /// The kernels.
    pub weight: Param<Tensor<4>>,
    /// One value per output channel; the ResNets and MobileNetV2 have none.
    pub bias: Option<Param<Tensor<1>>>,
    #[module(skip)]
    window: Window,
    #[module(skip)]
    groups: usize,
}

impl Conv {
    pub(crate) fn build(builder: &mut Builder<'_>, name: &str) -> Result<Self, NetworkError> {
        let Convolution { window, groups, has_bias } = builder.convolution(name);
        let weight = builder.tensor(&format!("{name}.weight"))?;
        let bias = has_bias.then(|| builder.tensor(&format!("{name}.bias"))).transpose()?;
        Ok(Self { weight, bias, window, groups })
    }

    /// `[n, in, h, w]` → `[n, out, h', w']`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        conv2d(x, self.weight.val(), self.bias.as_ref().map(Param::val), self.options())
    }

    /// As [`Self::forward`] with the products taken in bf16, from f32 and to f32: what PyTorch's autocast does.
    pub fn forward_bf16(&self, x: Tensor<4>) -> Tensor<4> {
        let weight = self.weight.val().cast(FloatDType::BF16);
        let bias = self.bias.as_ref().map(|bias| bias.val().cast(FloatDType::BF16));
        conv2d(x.cast(FloatDType::BF16), weight, bias, self.options()).cast(FloatDType::F32)
    }

    /// How the filter moves.
    pub(crate) fn geometry(&self) -> Geometry {
        let Window { kernel, stride, padding } = self.window;
        Geometry { kernel, stride, padding, groups: self.groups }
    }

    fn options(&self) -> ConvOptions<2> {
        let Window { stride, padding, .. } = self.window;
        ConvOptions::new([stride; 2], [padding; 2], [1; 2], self.groups)
    }
}

/// Batch normalization over `[n, c, h, w]`.
#[derive(Module, Debug)]
pub struct BatchNorm {
    /// Scale per channel (γ).
    pub weight: Param<Tensor<1>>,
    /// Shift per channel (β).
    pub bias: Param<Tensor<1>>,
    /// Running mean per channel, not trained.
    pub running_mean: Param<Tensor<1>>,
    /// Running variance per channel, not trained.
    pub running_var: Param<Tensor<1>>,
}

impl BatchNorm {
    pub(crate) fn build(builder: &mut Builder<'_>, name: &str) -> Result<Self, NetworkError> {
        Ok(Self {
            weight: builder.tensor(&format!("{name}.weight"))?,
            bias: builder.tensor(&format!("{name}.bias"))?,
            running_mean: builder.tensor(&format!("{name}.running_mean"))?,
            running_var: builder.tensor(&format!("{name}.running_var"))?,
        })
    }

    /// Evaluation mode: normalizes by the running statistics, as y = scale · x + shift.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let scale = self.weight.val() / (self.running_var.val() + BN_EPSILON).sqrt();
        let shift = self.bias.val() - self.running_mean.val() * scale.clone();
        // [c] -> [1, c, 1, 1], to be broadcast over images
        let [channels] = scale.dims();
        let per_channel = |values: Tensor<1>| values.reshape([1, channels, 1, 1]);
        x * per_channel(scale) + per_channel(shift)
    }
}

/// A convolution and the normalization after it: torchvision's `Conv2dNormActivation`, and the shortcut of a ResNet.
pub type ConvNorm = (Conv, BatchNorm);

/// `name.0` and `name.1`.
pub(crate) fn conv_norm(builder: &mut Builder<'_>, name: &str) -> Result<ConvNorm, NetworkError> {
    Ok((Conv::build(builder, &format!("{name}.0"))?, BatchNorm::build(builder, &format!("{name}.1"))?))
}

/// A linear layer. `weight` is `[out, in]`, PyTorch's layout.
#[derive(Module, Debug)]
pub struct Linear {
    /// The matrix.
    pub weight: Param<Tensor<2>>,
    /// One value per output.
    pub bias: Param<Tensor<1>>,
}

impl Linear {
    pub(crate) fn build(builder: &mut Builder<'_>, name: &str) -> Result<Self, NetworkError> {
        Ok(Self {
            weight: builder.tensor(&format!("{name}.weight"))?,
            bias: builder.tensor(&format!("{name}.bias"))?,
        })
    }

    /// `[n, in]` → `[n, out]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        product(x, self.weight.val().transpose()) + self.bias.val().unsqueeze()
    }
}
