//! ResNet-18 and ResNet-34 with torchvision's names; a 3x3 stem without max-pool for small pictures, or the standard one.

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use burn::tensor::module::max_pool2d;
use burn::tensor::ops::MaxPoolOptions;
use delt_conv_norm::Activation;
use delt_formats::Stem;

use crate::error::NetworkError;
use crate::layers::{BatchNorm, Builder, Conv, Geometry, Linear};
use crate::pass::Pass;

/// Blocks per group of ResNet-18.
pub(crate) const RESNET18: [usize; 4] = [2, 2, 2, 2];
/// Blocks per group of ResNet-34.
pub(crate) const RESNET34: [usize; 4] = [3, 4, 6, 3];

/// A residual network of basic blocks.
#[derive(Module, Debug)]
pub struct ResNet {
    /// First convolution.
    pub conv1: Conv,
    /// Its normalisation.
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
    /// Its normalisation.
    pub bn1: BatchNorm,
    /// Second convolution.
    pub conv2: Conv,
    /// Its normalisation.
    pub bn2: BatchNorm,
    /// The shortcut, where shapes differ: 1x1 convolution and normalisation.
    pub downsample: Option<(Conv, BatchNorm)>,
}

impl ResNet {
    pub(crate) fn build(
        builder: &mut Builder<'_>,
        blocks: [usize; 4],
        stem: &Stem,
        classes: usize,
    ) -> Result<Self, NetworkError> {
        let (geometry, has_max_pool) = match stem {
            Stem::Small => (Geometry::same(3, 1), false),
            Stem::Standard => (Geometry::same(7, 2), true),
        };
        let conv1 = Conv::build(builder, "conv1", [3, 64], geometry, false)?;
        let bn1 = BatchNorm::build(builder, "bn1", 64)?;
        let mut group = |index: usize, channels_in: usize, channels: usize| {
            (0..blocks[index - 1])
                .map(|block| {
                    let name = format!("layer{index}.{block}");
                    match block {
                        0 => BasicBlock::build(builder, &name, channels_in, channels),
                        _ => BasicBlock::build(builder, &name, channels, channels),
                    }
                })
                .collect::<Result<Vec<_>, _>>()
        };
        Ok(Self {
            conv1,
            bn1,
            layer1: group(1, 64, 64)?,
            layer2: group(2, 64, 128)?,
            layer3: group(3, 128, 256)?,
            layer4: group(4, 256, 512)?,
            fc: Linear::build(builder, "fc", 512, classes)?,
            has_max_pool,
        })
    }

    pub(crate) fn features(&self, x: Tensor<4>, pass: &mut dyn Pass) -> Tensor<2> {
        let x = pass.enter(x);
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
}

impl BasicBlock {
    /// A block that halves the side wherever it changes the number of channels.
    fn build(
        builder: &mut Builder<'_>,
        name: &str,
        channels_in: usize,
        channels: usize,
    ) -> Result<Self, NetworkError> {
        let is_changing = channels_in != channels;
        let stride = if is_changing { 2 } else { 1 };
        let conv1 = Conv::build(
            builder,
            &format!("{name}.conv1"),
            [channels_in, channels],
            Geometry::same(3, stride),
            false,
        )?;
        let bn1 = BatchNorm::build(builder, &format!("{name}.bn1"), channels)?;
        let conv2 =
            Conv::build(builder, &format!("{name}.conv2"), [channels; 2], Geometry::same(3, 1), false)?;
        let bn2 = BatchNorm::build(builder, &format!("{name}.bn2"), channels)?;
        let downsample = if is_changing {
            let geometry = Geometry::same(1, stride);
            Some((
                Conv::build(
                    builder,
                    &format!("{name}.downsample.0"),
                    [channels_in, channels],
                    geometry,
                    false,
                )?,
                BatchNorm::build(builder, &format!("{name}.downsample.1"), channels)?,
            ))
        } else {
            None
        };
        Ok(Self { conv1, bn1, conv2, bn2, downsample })
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

/// Mean over the picture: `[n, c, h, w]` → `[n, c]`.
pub(crate) fn spatial_mean(x: Tensor<4>) -> Tensor<2> {
    x.flatten::<3>(2, 3).mean_dim(2).squeeze_dim(2)
}
