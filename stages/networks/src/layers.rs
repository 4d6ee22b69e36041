//! Convolution, batch normalisation and linear layer: thin modules over Burn's tensor functions, with the field names and
//! layouts of PyTorch.

use burn::module::{Module, Param, ParamId};
use burn::tensor::module::{batch_norm_train, conv2d};
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, FloatDType, Tensor, TensorData};
use delt_device::product;

use crate::error::NetworkError;
use crate::formula::fnv1a64;

/// Added to the variance before the square root; PyTorch's default.
pub const BN_EPSILON: f64 = 1e-5;

/// Gives the values of a tensor by its PyTorch name and shape.
pub type Fill<'a> = dyn FnMut(&str, &[usize]) -> Result<Vec<f32>, NetworkError> + 'a;

/// Makes layers on one device, asking `fill` for every tensor.
pub(crate) struct Builder<'a> {
    /// Where the tensors are made.
    pub(crate) device: &'a Device,
    /// Where their values come from.
    pub(crate) fill: &'a mut Fill<'a>,
}

impl Builder<'_> {
    /// A parameter whose id follows from its name, so that optimizer records written by one process fit the next.
    fn parameter<const D: usize>(
        &mut self,
        name: &str,
        shape: [usize; D],
        is_trained: bool,
    ) -> Result<Param<Tensor<D>>, NetworkError> {
        let values = (self.fill)(name, &shape)?;
        let expected = shape.iter().product();
        if values.len() != expected {
            return Err(NetworkError::WrongLength {
                name: name.to_owned(),
                shape: shape.to_vec(),
                found: values.len(),
                expected,
            });
        }
        let tensor = Tensor::from_data(TensorData::new(values, shape), self.device);
        Ok(Param::initialized(ParamId::from(fnv1a64(name.as_bytes())), tensor).set_require_grad(is_trained))
    }
}

/// How a convolution moves over its input.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Geometry {
    /// Side of the square kernel.
    pub(crate) kernel: usize,
    /// Step in both directions.
    pub(crate) stride: usize,
    /// Zeros added on every side.
    pub(crate) padding: usize,
    /// Groups of channels that do not see each other.
    pub(crate) groups: usize,
}

impl Geometry {
    /// A kernel of odd side whose padding keeps the picture size at stride 1.
    pub(crate) fn same(kernel: usize, stride: usize) -> Self {
        Self { kernel, stride, padding: kernel / 2, groups: 1 }
    }
}

/// A 2-d convolution. `weight` is `[out, in / groups, kernel, kernel]`.
#[derive(Module, Debug)]
pub struct Conv {
    /// The kernels.
    pub weight: Param<Tensor<4>>,
    /// One value per output channel; the ResNets and MobileNetV2 have none.
    pub bias: Option<Param<Tensor<1>>>,
    #[module(skip)]
    stride: usize,
    #[module(skip)]
    padding: usize,
    #[module(skip)]
    groups: usize,
}

impl Conv {
    pub(crate) fn build(
        builder: &mut Builder<'_>,
        name: &str,
        [channels_in, channels_out]: [usize; 2],
        geometry: Geometry,
        has_bias: bool,
    ) -> Result<Self, NetworkError> {
        let Geometry { kernel, stride, padding, groups } = geometry;
        let weight = builder.parameter(
            &format!("{name}.weight"),
            [channels_out, channels_in / groups, kernel, kernel],
            true,
        )?;
        let bias = if has_bias {
            Some(builder.parameter(&format!("{name}.bias"), [channels_out], true)?)
        } else {
            None
        };
        Ok(Self { weight, bias, stride, padding, groups })
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

    /// How the filter moves, where all channels see each other.
    pub(crate) fn geometry(&self) -> delt_conv_norm::Geometry {
        let [.., kernel] = self.weight.dims();
        delt_conv_norm::Geometry { kernel, stride: self.stride, padding: self.padding }
    }

    pub(crate) fn options(&self) -> ConvOptions<2> {
        ConvOptions::new([self.stride; 2], [self.padding; 2], [1; 2], self.groups)
    }
}

/// Batch normalisation over `[n, c, h, w]`.
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
    pub(crate) fn build(
        builder: &mut Builder<'_>,
        name: &str,
        channels: usize,
    ) -> Result<Self, NetworkError> {
        Ok(Self {
            weight: builder.parameter(&format!("{name}.weight"), [channels], true)?,
            bias: builder.parameter(&format!("{name}.bias"), [channels], true)?,
            running_mean: builder.parameter(&format!("{name}.running_mean"), [channels], false)?,
            running_var: builder.parameter(&format!("{name}.running_var"), [channels], false)?,
        })
    }

    /// Scale and shift per channel that evaluation applies: y = scale · x + shift.
    pub fn scale_and_shift(&self) -> (Tensor<1>, Tensor<1>) {
        let scale = self.weight.val() / (self.running_var.val() + BN_EPSILON).sqrt();
        let shift = self.bias.val() - self.running_mean.val() * scale.clone();
        (scale, shift)
    }

    /// Evaluation mode: normalises by the running statistics.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let (scale, shift) = self.scale_and_shift();
        x * per_channel(scale) + per_channel(shift)
    }

    /// Training mode: normalises by the statistics of the batch; returns them too, mean and biased variance, detached.
    pub fn forward_train(&self, x: Tensor<4>) -> (Tensor<4>, Tensor<1>, Tensor<1>) {
        let result = batch_norm_train(x, self.weight.val(), self.bias.val(), BN_EPSILON);
        (result.output, result.mean, result.variance)
    }
}

/// `[c]` → `[1, c, 1, 1]`, to be broadcast over pictures.
pub(crate) fn per_channel(values: Tensor<1>) -> Tensor<4> {
    let [channels] = values.dims();
    values.reshape([1, channels, 1, 1])
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
    pub(crate) fn build(
        builder: &mut Builder<'_>,
        name: &str,
        features: usize,
        outputs: usize,
    ) -> Result<Self, NetworkError> {
        Ok(Self {
            weight: builder.parameter(&format!("{name}.weight"), [outputs, features], true)?,
            bias: builder.parameter(&format!("{name}.bias"), [outputs], true)?,
        })
    }

    /// `[n, in]` → `[n, out]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        product(x, self.weight.val().transpose()) + self.bias.val().unsqueeze()
    }
}
