//! MobileNetV2 with torchvision's names. Training mode leaves out torchvision's dropout of 0.2 before the classifier: a
//! draw on the device would tie results to the backend.

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::activation::relu6;

use delt_conv_norm::Activation;

use crate::error::NetworkError;
use crate::layers::{BatchNorm, Builder, Conv, Geometry, Linear};
use crate::pass::Pass;
use crate::resnet::spatial_mean;

/// Groups of blocks as in table 2 of the MobileNetV2 paper: expansion, channels, blocks, stride of the first.
const GROUPS: [(usize, usize, usize, usize); 7] = [
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
];
const STEM_CHANNELS: usize = 32;
const LAST_CHANNELS: usize = 1280;

/// A convolution and its normalisation, followed by ReLU6: torchvision's `Conv2dNormActivation`.
pub type ConvNorm = (Conv, BatchNorm);

/// The network. `classifier` holds torchvision's dropout position, so that the linear layer is `classifier.1`.
#[derive(Module, Debug)]
pub struct MobileNetV2 {
    /// Stem, inverted residual blocks, last 1x1 convolution.
    pub features: Vec<Feature>,
    /// Nothing, then the linear layer.
    pub classifier: (Position, Linear),
}

/// A place in a list of layers that holds no tensors.
#[derive(Module, Debug)]
pub struct Position {}

/// One entry of `features`.
#[derive(Module, Debug)]
pub enum Feature {
    /// Stem and last convolution.
    Plain(ConvNorm),
    /// An inverted residual block.
    Residual(InvertedResidual),
}

/// Expansion, depthwise convolution and projection, beside a shortcut where shapes allow.
#[derive(Module, Debug)]
pub struct InvertedResidual {
    /// The layers in order.
    pub conv: InvertedResidualLayers,
    #[module(skip)]
    has_shortcut: bool,
}

/// The layers of an inverted residual block.
#[derive(Module, Debug)]
pub enum InvertedResidualLayers {
    /// Without expansion: depthwise, projection.
    Direct((ConvNorm, Conv, BatchNorm)),
    /// With expansion: 1x1, depthwise, projection.
    Expanded((ConvNorm, ConvNorm, Conv, BatchNorm)),
}

impl MobileNetV2 {
    pub(crate) fn build(builder: &mut Builder<'_>, classes: usize) -> Result<Self, NetworkError> {
        let mut features =
            vec![Feature::Plain(conv_norm(builder, "features.0", [3, STEM_CHANNELS], same(3, 2, 1))?)];
        let mut channels_in = STEM_CHANNELS;
        for (expansion, channels, blocks, stride) in GROUPS {
            for block in 0..blocks {
                let name = format!("features.{}", features.len());
                let stride = if block == 0 { stride } else { 1 };
                features.push(Feature::Residual(InvertedResidual::build(
                    builder,
                    &name,
                    [channels_in, channels],
                    expansion,
                    stride,
                )?));
                channels_in = channels;
            }
        }
        let name = format!("features.{}", features.len());
        features.push(Feature::Plain(conv_norm(
            builder,
            &name,
            [channels_in, LAST_CHANNELS],
            same(1, 1, 1),
        )?));
        let classifier = (Position {}, Linear::build(builder, "classifier.1", LAST_CHANNELS, classes)?);
        Ok(Self { features, classifier })
    }

    pub(crate) fn features(&self, mut x: Tensor<4>, pass: &mut dyn Pass) -> Tensor<2> {
        for feature in &self.features {
            x = match feature {
                Feature::Plain((conv, norm)) => relu6(pass.block(conv, norm, x, Activation::Identity)),
                Feature::Residual(block) => block.forward(x, pass),
            };
        }
        spatial_mean(x)
    }
}

impl InvertedResidual {
    fn build(
        builder: &mut Builder<'_>,
        name: &str,
        [channels_in, channels]: [usize; 2],
        expansion: usize,
        stride: usize,
    ) -> Result<Self, NetworkError> {
        let hidden = channels_in * expansion;
        let depthwise = same(3, stride, hidden);
        let conv = if expansion == 1 {
            let depthwise = conv_norm(builder, &format!("{name}.conv.0"), [hidden; 2], depthwise)?;
            let (conv, norm) = projection(builder, name, 1, [hidden, channels])?;
            InvertedResidualLayers::Direct((depthwise, conv, norm))
        } else {
            let expand = conv_norm(builder, &format!("{name}.conv.0"), [channels_in, hidden], same(1, 1, 1))?;
            let depthwise = conv_norm(builder, &format!("{name}.conv.1"), [hidden; 2], depthwise)?;
            let (conv, norm) = projection(builder, name, 2, [hidden, channels])?;
            InvertedResidualLayers::Expanded((expand, depthwise, conv, norm))
        };
        Ok(Self { conv, has_shortcut: stride == 1 && channels_in == channels })
    }

    fn forward(&self, x: Tensor<4>, pass: &mut dyn Pass) -> Tensor<4> {
        let shortcut = self.has_shortcut.then(|| x.clone());
        let y = match &self.conv {
            InvertedResidualLayers::Direct((depthwise, conv, norm)) => {
                let y = relu6(pass.block(&depthwise.0, &depthwise.1, x, Activation::Identity));
                pass.block(conv, norm, y, Activation::Identity)
            }
            InvertedResidualLayers::Expanded((expand, depthwise, conv, norm)) => {
                let y = relu6(pass.block(&expand.0, &expand.1, x, Activation::Identity));
                let y = relu6(pass.block(&depthwise.0, &depthwise.1, y, Activation::Identity));
                pass.block(conv, norm, y, Activation::Identity)
            }
        };
        match shortcut {
            Some(shortcut) => shortcut + y,
            None => y,
        }
    }
}

fn same(kernel: usize, stride: usize, groups: usize) -> Geometry {
    Geometry { groups, ..Geometry::same(kernel, stride) }
}

/// `name.0` and `name.1`.
fn conv_norm(
    builder: &mut Builder<'_>,
    name: &str,
    channels: [usize; 2],
    geometry: Geometry,
) -> Result<ConvNorm, NetworkError> {
    Ok((
        Conv::build(builder, &format!("{name}.0"), channels, geometry, false)?,
        BatchNorm::build(builder, &format!("{name}.1"), channels[1])?,
    ))
}

/// The linear 1x1 convolution at `name.conv.{position}` and the normalisation after it.
fn projection(
    builder: &mut Builder<'_>,
    name: &str,
    position: usize,
    channels: [usize; 2],
) -> Result<ConvNorm, NetworkError> {
    Ok((
        Conv::build(builder, &format!("{name}.conv.{position}"), channels, Geometry::same(1, 1), false)?,
        BatchNorm::build(builder, &format!("{name}.conv.{}", position + 1), channels[1])?,
    ))
}
