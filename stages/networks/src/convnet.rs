//! ConvNet-d of the distillation literature: d blocks of 3x3 convolution, batch normalisation, ReLU and 2x2 average
//! pooling, then one linear layer.

use burn::module::Module;
use burn::tensor::Tensor;
use delt_conv_norm::Activation;

use crate::error::NetworkError;
use crate::layers::{BatchNorm, Builder, Conv, Geometry, Linear};
use crate::pass::Pass;

/// The blocks and the classifier.
#[derive(Module, Debug)]
pub struct ConvNet {
    /// The d blocks.
    pub layers: ConvNetLayers,
    /// The linear layer.
    pub classifier: Linear,
}

/// The layers of the d blocks by kind, as in the published code.
#[derive(Module, Debug)]
pub struct ConvNetLayers {
    /// One 3x3 convolution per block.
    pub conv: Vec<Conv>,
    /// One batch normalisation per block.
    pub norm: Vec<BatchNorm>,
}

impl ConvNet {
    pub(crate) fn build(
        builder: &mut Builder<'_>,
        depth: usize,
        width: usize,
        classes: usize,
        size: usize,
    ) -> Result<Self, NetworkError> {
        let left = size.checked_shr(u32::try_from(depth).unwrap_or(u32::MAX)).unwrap_or(0);
        if left == 0 {
            return Err(NetworkError::TooSmall {
                architecture: format!("convnet{depth}-w{width}"),
                size,
                least: 1_usize.checked_shl(u32::try_from(depth).unwrap_or(u32::MAX)).unwrap_or(usize::MAX),
            });
        }
        let mut conv = Vec::with_capacity(depth);
        let mut norm = Vec::with_capacity(depth);
        for block in 0..depth {
            let channels_in = if block == 0 { 3 } else { width };
            let name = format!("layers.conv.{block}");
            conv.push(Conv::build(builder, &name, [channels_in, width], Geometry::same(3, 1), true)?);
            norm.push(BatchNorm::build(builder, &format!("layers.norm.{block}"), width)?);
        }
        let classifier = Linear::build(builder, "classifier", width * left * left, classes)?;
        Ok(Self { layers: ConvNetLayers { conv, norm }, classifier })
    }

    pub(crate) fn features(&self, x: Tensor<4>, pass: &mut dyn Pass) -> Tensor<2> {
        let mut x = pass.enter(x);
        for (conv, norm) in self.layers.conv.iter().zip(&self.layers.norm) {
            x = pass.block(conv, norm, x, Activation::ReluAveragePool);
        }
        pass.leave(x).flatten(1, 3)
    }
}
