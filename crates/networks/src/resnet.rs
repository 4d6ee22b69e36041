//! ResNet-18 and ResNet-34 with torchvision's names; a 3x3 stem without max-pool for small images, or the standard one.

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use burn::tensor::module::max_pool2d;
use burn::tensor::ops::MaxPoolOptions;
use delt_conv_norm::Activation;

use crate::builder::Builder;
use crate::error::NetworkError;
use crate::layers::{BatchNorm, Conv, ConvNorm, Linear, conv_norm};
use crate::network::ForwardPass;
use crate::pass::Pass;

/// A residual network of basic blocks.
#[derive(Module, Debug)]
pub struct ResNet {
    /// First convolution.
    pub conv1: Conv,
    /// Its normalization.
    pub bn1: BatchNorm,
    /// 64 channels.
    pub layer1: Vec<BasicBlock>,
    /// 128 channels, half the side.
    pub layer2: Vec<BasicBlock>,
    /// 256 channels, a quarter of the side.
    pub layer3: Vec<BasicBlock>,
    /// 512 channels, an eighth of the side.
    pub layer4: Vec<BasicBlock>,
    /// The linear layer.
    pub fc: Linear,
    #[module(skip)]
    has_max_pool: bool,
}

/// Two 3x3 convolutions beside a shortcut.
#[derive(Module, Debug)]
pub struct BasicBlock {
    /// First convolution, with the stride.
    pub conv1: Conv,
    /// Its normalization.
    pub bn1: BatchNorm,
    /// Second convolution.
    pub conv2: Conv,
    /// Its normalization.
    pub bn2: BatchNorm,
    /// The shortcut, where shapes differ: 1x1 convolution and normalization.
    pub downsample: Option<ConvNorm>,
}

impl ResNet {
    pub(crate) fn build(builder: &mut Builder<'_>) -> Result<Self, NetworkError> {
        Ok(Self {
            conv1: Conv::build(builder, "conv1")?,
            bn1: BatchNorm::build(builder, "bn1")?,
            layer1: builder.list("layer1", BasicBlock::build)?,
            layer2: builder.list("layer2", BasicBlock::build)?,
            layer3: builder.list("layer3", BasicBlock::build)?,
            layer4: builder.list("layer4", BasicBlock::build)?,
            fc: Linear::build(builder, "fc")?,
            has_max_pool: builder.has("maxpool"),
        })
    }
}

impl ForwardPass for ResNet {
    fn features(&self, x: Tensor<4>, pass: &mut dyn Pass) -> Tensor<2> {
        let mut x = pass.block(&self.conv1, &self.bn1, x, Activation::Relu);
        if self.has_max_pool {
            let options = MaxPoolOptions::new([3, 3]).with_stride([2, 2]).with_padding([1, 1]);
            x = pass.enter(max_pool2d(pass.leave(x), options));
        }
        for block in [&self.layer1, &self.layer2, &self.layer3, &self.layer4].into_iter().flatten() {
            x = block.forward(x, pass);
        }
        spatial_mean(pass.leave(x))
    }

    fn classify(&self, features: Tensor<2>) -> Tensor<2> {
        self.fc.forward(features)
    }
}

impl BasicBlock {
    fn build(builder: &mut Builder<'_>, name: &str) -> Result<Self, NetworkError> {
        let shortcut = format!("{name}.downsample");
        Ok(Self {
            conv1: Conv::build(builder, &format!("{name}.conv1"))?,
            bn1: BatchNorm::build(builder, &format!("{name}.bn1"))?,
            conv2: Conv::build(builder, &format!("{name}.conv2"))?,
            bn2: BatchNorm::build(builder, &format!("{name}.bn2"))?,
            downsample: builder.has(&shortcut).then(|| conv_norm(builder, &shortcut)).transpose()?,
        })
    }

    fn forward(&self, x: Tensor<4>, pass: &mut dyn Pass) -> Tensor<4> {
        let y = pass.block(&self.conv1, &self.bn1, x.clone(), Activation::Relu);
        let y = pass.block(&self.conv2, &self.bn2, y, Activation::Identity);
        let shortcut = match &self.downsample {
            Some((conv, norm)) => pass.block(conv, norm, x, Activation::Identity),
            None => x,
        };
        relu(y + shortcut)
    }
}

/// Mean over the image: `[n, c, h, w]` → `[n, c]`.
pub(crate) fn spatial_mean(x: Tensor<4>) -> Tensor<2> {
    x.flatten::<3>(2, 3).mean_dim(2).squeeze_dim(2)
}
