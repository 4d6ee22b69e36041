//! ConvNet-d of the distillation literature: d blocks of 3x3 convolution, normalization, ReLU and 2x2 average pooling, then
//! one linear layer.

use burn::module::Module;
use burn::tensor::Tensor;
use delt_conv_norm::Activation;

use crate::block_norm::BlockNorm;
use crate::builder::Builder;
use crate::error::NetworkError;
use crate::layers::{Conv, Linear};
use crate::network::ForwardPass;
use crate::pass::Pass;

/// The blocks and the classifier.
#[derive(Module, Debug)]
pub struct ConvNet {
    /// The d blocks.
    pub layers: ConvNetLayers,
    /// The linear layer.
    pub classifier: Linear,
    #[module(skip)]
    norm_before_conv: bool,
}

/// The layers of the d blocks by kind, as in the published code.
#[derive(Module, Debug)]
pub struct ConvNetLayers {
    /// One 3x3 convolution per block.
    pub conv: Vec<Conv>,
    /// One normalization per block.
    pub norm: Vec<BlockNorm>,
}

impl ConvNet {
    pub(crate) fn build(builder: &mut Builder<'_>) -> Result<Self, NetworkError> {
        let blocks = builder.list("layers.conv", |builder, name| {
            let norm = name.replace("conv", "norm");
            Ok((Conv::build(builder, name)?, BlockNorm::build(builder, &norm)?))
        })?;
        let (conv, norm) = blocks.into_iter().unzip();
        Ok(Self {
            layers: ConvNetLayers { conv, norm },
            classifier: Linear::build(builder, "classifier")?,
            // images themselves are not normalized
            norm_before_conv: builder.has("layers.norm") && !builder.has("layers.norm.0"),
        })
    }
}

impl ForwardPass for ConvNet {
    fn features(&self, mut x: Tensor<4>, pass: &mut dyn Pass) -> Tensor<2> {
        for (conv, norm) in self.layers.conv.iter().zip(&self.layers.norm) {
            let block = if self.norm_before_conv { BlockNorm::before } else { BlockNorm::after };
            x = block(norm, conv, x, Activation::ReluAveragePool, pass);
        }
        pass.leave(x).flatten(1, 3)
    }

    fn classify(&self, features: Tensor<2>) -> Tensor<2> {
        self.classifier.forward(features)
    }

    fn is_fusible(&self) -> bool {
        !self.norm_before_conv && self.layers.norm.iter().all(BlockNorm::is_fusible)
    }
}
