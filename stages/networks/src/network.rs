//! One type over all architectures.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, Tensor};
use delt_conv_norm::is_supported;
use delt_formats::Architecture;

use crate::convnet::ConvNet;
use crate::error::NetworkError;
use crate::layers::{Builder, Fill};
use crate::mobilenet_v2::MobileNetV2;
use crate::named;
use crate::pass::{Pass, Training};
use crate::resnet::{RESNET18, RESNET34, ResNet};

/// A network of one of the known architectures. It can be trained; [`FrozenNetwork`](crate::FrozenNetwork) evaluates it.
#[derive(Module, Debug)]
pub enum Network {
    /// ConvNet-d.
    ConvNet(ConvNet),
    /// ResNet-18 or ResNet-34.
    ResNet(ResNet),
    /// MobileNetV2.
    MobileNetV2(MobileNetV2),
}

/// What a batch normalisation layer has learnt about its inputs.
#[derive(Clone, Debug)]
pub struct BnLayer {
    /// PyTorch name of the layer.
    pub name: String,
    /// Running mean, `[channels]`.
    pub running_mean: Tensor<1>,
    /// Running variance, `[channels]`.
    pub running_var: Tensor<1>,
}

/// Statistics of one batch at the input of one batch normalisation layer, outside any graph.
#[derive(Clone, Debug)]
pub struct BatchStatistics {
    /// Mean over pictures and positions, `[channels]`.
    pub mean: Tensor<1>,
    /// Variance over pictures and positions with n − 1 in the denominator, `[channels]`: what PyTorch's running variance
    /// averages.
    pub variance_unbiased: Tensor<1>,
}

impl Network {
    /// Builds a network for `size` px pictures; `fill` gives the values of every tensor by PyTorch name and shape.
    ///
    /// On a plain device the network is a constant in any graph; on `device.autodiff()` it can be trained.
    ///
    /// # Errors
    ///
    /// Where the pictures are too small, or `fill` fails or gives a wrong number of values.
    pub fn build(
        architecture: &Architecture,
        classes: usize,
        size: usize,
        device: &Device,
        fill: &mut Fill<'_>,
    ) -> Result<Self, NetworkError> {
        let builder = &mut Builder { device, fill };
        Ok(match architecture {
            Architecture::ConvNet { depth, width } => {
                Self::ConvNet(ConvNet::build(builder, *depth as usize, *width as usize, classes, size)?)
            }
            Architecture::Resnet18 { stem } => Self::ResNet(ResNet::build(builder, RESNET18, stem, classes)?),
            Architecture::Resnet34 { stem } => Self::ResNet(ResNet::build(builder, RESNET34, stem, classes)?),
            Architecture::MobilenetV2 => Self::MobileNetV2(MobileNetV2::build(builder, classes)?),
        })
    }

    /// Logits in training mode: every batch normalisation layer uses the statistics of the batch, which are returned in
    /// forward order for [`Self::update_running`].
    pub fn forward_train(&self, x: Tensor<4>) -> (Tensor<2>, Vec<BatchStatistics>) {
        let is_fused = self.is_fusible() && is_supported(&x.device());
        let mut pass = Training { is_fused, statistics: Vec::new() };
        let features = self.features_with(x, &mut pass);
        (self.classify(features), pass.statistics)
    }

    /// Logits as [`Self::forward_train`], layer by layer on every backend.
    pub fn forward_train_plain(&self, x: Tensor<4>) -> (Tensor<2>, Vec<BatchStatistics>) {
        let mut pass = Training::default();
        let features = self.features_with(x, &mut pass);
        (self.classify(features), pass.statistics)
    }

    /// Moves the running statistics: running ← (1 − momentum) · running + momentum · batch.
    #[must_use]
    pub fn update_running(self, statistics: &[BatchStatistics], momentum: f64) -> Self {
        self.map(&mut RunningUpdate {
            means: statistics.iter(),
            variances: statistics.iter(),
            momentum,
            leaf: "",
        })
    }

    /// Moves all tensors towards those of a network of the same architecture, running statistics too: own ← decay · own +
    /// (1 − decay) · other.
    #[must_use]
    pub fn averaged_with(self, other: &Self, decay: f64) -> Self {
        self.map(&mut Averaging { others: named::rows(other).into_iter(), decay })
    }

    /// The batch normalisation layers in forward order.
    pub fn bn_layers(&self) -> Vec<BnLayer> {
        named::bn_layers(self)
    }

    /// Whether the blocks can be taken as one operation: convolutions without groups, plain ReLU.
    pub(crate) fn is_fusible(&self) -> bool {
        matches!(self, Self::ConvNet(_) | Self::ResNet(_))
    }

    pub(crate) fn features_with(&self, x: Tensor<4>, pass: &mut dyn Pass) -> Tensor<2> {
        match self {
            Self::ConvNet(network) => network.features(x, pass),
            Self::ResNet(network) => network.features(x, pass),
            Self::MobileNetV2(network) => network.features(x, pass),
        }
    }

    pub(crate) fn classify(&self, features: Tensor<2>) -> Tensor<2> {
        match self {
            Self::ConvNet(network) => network.classifier.forward(features),
            Self::ResNet(network) => network.fc.forward(features),
            Self::MobileNetV2(network) => network.classifier.1.forward(features),
        }
    }
}

/// Visits the layers in the order of their declaration, which is the forward order.
struct RunningUpdate<'a> {
    means: std::slice::Iter<'a, BatchStatistics>,
    variances: std::slice::Iter<'a, BatchStatistics>,
    momentum: f64,
    leaf: &'static str,
}

impl ModuleMapper for RunningUpdate<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.leaf = match name {
            "running_mean" => "running_mean",
            "running_var" => "running_var",
            _ => "",
        };
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let batch = match self.leaf {
            "running_mean" => self.means.next().map(|layer| layer.mean.clone()),
            "running_var" => self.variances.next().map(|layer| layer.variance_unbiased.clone()),
            _ => None,
        };
        let Some(batch) = batch else { return param };
        let momentum = self.momentum;
        param.map(|running| {
            let is_autodiff = running.is_autodiff();
            let running = running.inner();
            let shape = running.dims();
            let moved = running * (1.0 - momentum) + batch.reshape(shape) * momentum;
            if is_autodiff { moved.autodiff() } else { moved }
        })
    }
}

/// Visits the tensors in the order in which they are declared, that of [`named::rows`].
struct Averaging {
    others: std::vec::IntoIter<Tensor<1>>,
    decay: f64,
}

impl ModuleMapper for Averaging {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(other) = self.others.next() else { return param };
        let decay = self.decay;
        param.map(|own| {
            let is_autodiff = own.is_autodiff();
            let own = own.inner();
            let shape = own.dims();
            let moved = own * decay + other.reshape(shape) * (1.0 - decay);
            if is_autodiff { moved.autodiff() } else { moved }
        })
    }
}
