//! One type over all architectures.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, Tensor};
use delt_conv_norm::is_supported;
use delt_formats::Architecture;

use crate::builder::{Builder, Fill};
use crate::convnet::ConvNet;
use crate::error::NetworkError;
use crate::mobilenet_v2::MobileNetV2;
use crate::named;
use crate::pass::{Pass, Training};
use crate::resnet::ResNet;

/// What a family of networks computes.
pub(crate) trait ForwardPass {
    /// All but the last linear layer: `[n, 3, size, size]` → `[n, features]`. `x` lies as the pass has it.
    fn features(&self, x: Tensor<4>, pass: &mut dyn Pass) -> Tensor<2>;

    /// The last linear layer: `[n, features]` → `[n, classes]`.
    fn classify(&self, features: Tensor<2>) -> Tensor<2>;

    /// Whether the blocks can be taken as one operation: convolutions without groups, plain ReLU.
    fn is_fusible(&self) -> bool {
        true
    }
}

/// Makes [`Network`] of rows: architectures, and the family that builds them.
macro_rules! families {
    ($($(#[$about:meta])* $architectures:pat => $family:ident,)*) => {
        /// A network of one of the known architectures. It can be trained; [`FrozenNetwork`](crate::FrozenNetwork) evaluates it.
        #[derive(Module, Debug)]
        pub enum Network {
            $($(#[$about])* $family($family),)*
        }

        impl Network {
            fn build_family(
                architecture: &Architecture,
                builder: &mut Builder<'_>,
            ) -> Result<Self, NetworkError> {
                Ok(match architecture { $($architectures => Self::$family($family::build(builder)?),)* })
            }

            fn family(&self) -> &dyn ForwardPass {
                match self { $(Self::$family(network) => network,)* }
            }
        }
    };
}

families! {
    /// ConvNet-d.
    Architecture::ConvNet { .. } => ConvNet,
    /// ResNet of basic blocks.
    Architecture::Resnet18 { .. } | Architecture::Resnet34 { .. } => ResNet,
    /// MobileNetV2.
    Architecture::MobilenetV2 {} => MobileNetV2,
}

/// What a batch normalization layer has learned about its inputs.
#[derive(Clone, Debug)]
pub struct BnLayer {
    /// PyTorch name of the layer.
    pub name: String,
    /// Running mean, `[channels]`.
    pub running_mean: Tensor<1>,
    /// Running variance, `[channels]`.
    pub running_var: Tensor<1>,
}

/// Statistics of one batch at the input of one batch normalization layer, outside any graph.
#[derive(Clone, Debug)]
pub struct BatchStatistics {
    /// Mean over images and positions, `[channels]`.
    pub mean: Tensor<1>,
    /// Variance over images and positions with n − 1 in the denominator, `[channels]`: what PyTorch's running variance
    /// averages.
    pub variance_unbiased: Tensor<1>,
}

impl Network {
    /// Builds a network for `size` px images; `fill` gives the values of every tensor.
    ///
    /// On a plain device the network is a constant in any graph; on `device.autodiff()` it can be trained.
    ///
    /// # Errors
    ///
    /// Where the images are too small or the fields make no sense, or `fill` fails or gives a wrong number of values.
    pub fn build(
        architecture: &Architecture,
        classes: usize,
        size: usize,
        device: &Device,
        fill: &mut Fill<'_>,
    ) -> Result<Self, NetworkError> {
        let least = architecture.least_size();
        if size < least {
            return Err(NetworkError::TooSmall { architecture: architecture.to_string(), size, least });
        }
        if let Some(problem) = architecture.misfit(size) {
            return Err(NetworkError::Misfit { architecture: architecture.to_string(), problem });
        }
        let description = architecture.description(size, classes);
        Self::build_family(architecture, &mut Builder { description, device, fill })
    }

    /// Logits in training mode: every batch normalization layer uses the statistics of the batch, which are returned in
    /// forward order for [`Self::update_running`].
    pub fn forward_train(&self, x: Tensor<4>) -> (Tensor<2>, Vec<BatchStatistics>) {
        let is_fused = self.is_fusible() && is_supported(&x.device());
        self.forward_training(x, is_fused)
    }

    /// Logits as [`Self::forward_train`], layer by layer on every backend.
    pub fn forward_train_plain(&self, x: Tensor<4>) -> (Tensor<2>, Vec<BatchStatistics>) {
        self.forward_training(x, false)
    }

    fn forward_training(&self, x: Tensor<4>, is_fused: bool) -> (Tensor<2>, Vec<BatchStatistics>) {
        let mut pass = Training { is_fused, statistics: Vec::new() };
        let features = self.features_with(x, &mut pass);
        (self.classify(features), pass.statistics)
    }

    /// Moves the running statistics: running ← (1 − momentum) · running + momentum · batch.
    #[must_use]
    pub fn update_running(self, statistics: &[BatchStatistics], momentum: f64) -> Self {
        let mut batch = statistics.iter().flat_map(|layer| [&layer.mean, &layer.variance_unbiased]);
        let mut other = |leaf: &str| match leaf {
            "running_mean" | "running_var" => batch.next().cloned(),
            _ => None,
        };
        self.map(&mut Move { other: &mut other, kept: 1.0 - momentum, taken: momentum, leaf: String::new() })
    }

    /// Moves all tensors towards those of a network of the same architecture, running statistics too: own ← decay · own +
    /// (1 − decay) · other.
    #[must_use]
    pub fn averaged_with(self, other: &Self, decay: f64) -> Self {
        let mut others = named::rows(other).into_iter();
        let mut other = |_: &str| others.next().map(|row| row.values);
        self.map(&mut Move { other: &mut other, kept: decay, taken: 1.0 - decay, leaf: String::new() })
    }

    pub(crate) fn is_fusible(&self) -> bool {
        self.family().is_fusible()
    }

    pub(crate) fn features_with(&self, x: Tensor<4>, pass: &mut dyn Pass) -> Tensor<2> {
        self.family().features(pass.enter(x), pass)
    }

    pub(crate) fn classify(&self, features: Tensor<2>) -> Tensor<2> {
        self.family().classify(features)
    }
}

/// Moves tensors: own ← kept · own + taken · other. Visits them in the order of their declaration, which is the forward
/// order and that of [`named::rows`].
struct Move<'a> {
    /// What the next tensor, whose name ends with this leaf, moves to, as one row; none where it stays.
    other: &'a mut dyn FnMut(&str) -> Option<Tensor<1>>,
    kept: f64,
    taken: f64,
    leaf: String,
}

impl ModuleMapper for Move<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        name.clone_into(&mut self.leaf);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(other) = (self.other)(&self.leaf) else { return param };
        param.map(|own| {
            let is_autodiff = own.is_autodiff();
            let own = own.inner();
            let shape = own.dims();
            let moved = own * self.kept + other.reshape(shape) * self.taken;
            if is_autodiff { moved.autodiff() } else { moved }
        })
    }
}
