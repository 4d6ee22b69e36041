//! MobileNetV2 with torchvision's names. Training mode leaves out torchvision's dropout of 0.2 before the classifier: a
//! draw on the device would tie results to the backend.

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::activation::relu6;
use delt_architectures::Window;
use delt_conv_norm::Activation;

use crate::builder::Builder;
use crate::error::NetworkError;
use crate::layers::{BatchNorm, Conv, ConvNorm, Linear, conv_norm};
use crate::network::ForwardPass;
use crate::pass::Pass;
use crate::resnet::spatial_mean;

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
    pub(crate) fn build(builder: &mut Builder<'_>) -> Result<Self, NetworkError> {
        let features =
            builder.list("features", |builder, name| match builder.has(&format!("{name}.conv")) {
                true => InvertedResidual::build(builder, &format!("{name}.conv")).map(Feature::Residual),
                false => conv_norm(builder, name).map(Feature::Plain),
            })?;
        Ok(Self { features, classifier: (Position {}, Linear::build(builder, "classifier.1")?) })
    }
}

impl ForwardPass for MobileNetV2 {
    fn features(&self, mut x: Tensor<4>, pass: &mut dyn Pass) -> Tensor<2> {
        for feature in &self.features {
            x = match feature {
                Feature::Plain((conv, norm)) => relu6(pass.block(conv, norm, x, Activation::Identity)),
                Feature::Residual(block) => block.forward(x, pass),
            };
        }
        spatial_mean(x)
    }

    fn classify(&self, features: Tensor<2>) -> Tensor<2> {
        self.classifier.1.forward(features)
    }

    fn is_fusible(&self) -> bool {
        false
    }
}

impl InvertedResidual {
    fn build(builder: &mut Builder<'_>, name: &str) -> Result<Self, NetworkError> {
        let at = |position: usize| format!("{name}.{position}");
        let is_expanded = builder.has(&at(3));
        let depthwise = usize::from(is_expanded);
        let Window { stride, .. } = builder.convolution(&format!("{}.0", at(depthwise))).window;
        let entering = builder.layer(&format!("{}.0", at(0))).input;
        let has_shortcut = stride == 1 && entering == builder.layer(&at(depthwise + 2)).output;
        let expansion = is_expanded.then(|| conv_norm(builder, &at(0))).transpose()?;
        let depthwise_norm = conv_norm(builder, &at(depthwise))?;
        let projection = Conv::build(builder, &at(depthwise + 1))?;
        let norm = BatchNorm::build(builder, &at(depthwise + 2))?;
        let conv = match expansion {
            None => InvertedResidualLayers::Direct((depthwise_norm, projection, norm)),
            Some(expansion) => {
                InvertedResidualLayers::Expanded((expansion, depthwise_norm, projection, norm))
            }
        };
        Ok(Self { conv, has_shortcut })
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
