//! A network as a list of layers.

use crate::start::Start;

/// The layers of a network in forward order, for one size of image and number of classes. The last is the classifier.
#[derive(Clone, Debug)]
pub struct Description {
    /// The layers.
    pub layers: Vec<Layer>,
}

/// A layer, and what enters and leaves it. What has neither tensors nor a window (activations, sums, the mean over the
/// image) is not listed.
#[derive(Clone, Debug)]
pub struct Layer {
    /// PyTorch's name, with which those of its tensors begin.
    pub name: String,
    /// What it computes.
    pub operation: Operation,
    /// What enters.
    pub input: FeatureMap,
    /// What leaves.
    pub output: FeatureMap,
    /// Its tensors, in the order of PyTorch's `state_dict`, but for BatchNorm's count of batches.
    pub tensors: Vec<StateTensor>,
}

/// What a layer computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A 2-d convolution.
    Convolution(Convolution),
    /// Batch normalization.
    BatchNorm,
    /// Normalization of each image by groups of its channels; as many as channels make instance normalization.
    GroupNorm {
        /// Groups of channels.
        groups: usize,
    },
    /// Normalization of each image by all its values.
    LayerNorm,
    /// Maximum of each window.
    MaxPool(Window),
    /// Mean of each window.
    AveragePool(Window),
    /// A linear layer.
    Linear,
}

/// A square window that moves over an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Its side.
    pub kernel: usize,
    /// Step in both directions.
    pub stride: usize,
    /// Pixels added on every side.
    pub padding: usize,
}

impl Window {
    /// A window of odd side whose padding keeps the image's size at stride 1.
    pub(crate) fn same(kernel: usize, stride: usize) -> Self {
        Self { kernel, stride, padding: kernel / 2 }
    }

    /// How often it fits a side, which is that of what leaves.
    pub fn out_side(&self, side: usize) -> usize {
        (side + 2 * self.padding + self.stride).saturating_sub(self.kernel) / self.stride
    }
}

/// How a convolution sees its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Convolution {
    /// What an output pixel sees.
    pub window: Window,
    /// Groups of channels that do not see each other.
    pub groups: usize,
    /// Whether a value is added for each output channel.
    pub has_bias: bool,
}

impl Convolution {
    /// All channels, no bias; see [`Window::same`].
    pub(crate) fn same(kernel: usize, stride: usize) -> Self {
        Self { window: Window::same(kernel, stride), groups: 1, has_bias: false }
    }
}

/// Shape of one image on its way through a network: `[channels, side, side]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeatureMap {
    /// Channels, or features after flattening.
    pub channels: usize,
    /// Pixels in each direction, 1 after flattening.
    pub side: usize,
}

impl FeatureMap {
    /// As one row of features.
    pub(crate) fn flat(self) -> Self {
        Self { channels: self.channels * self.side * self.side, side: 1 }
    }

    /// Mean over the image.
    pub(crate) fn mean(self) -> Self {
        Self { side: 1, ..self }
    }
}

/// A tensor of PyTorch's `state_dict`.
#[derive(Clone, Debug, PartialEq)]
pub struct StateTensor {
    /// PyTorch's name.
    pub name: String,
    /// PyTorch's shape.
    pub shape: Vec<usize>,
    /// How it starts in a network that is to be trained.
    pub start: Start,
    /// Whether the optimizer moves it: all but running statistics.
    pub is_trained: bool,
}

impl StateTensor {
    /// Number of values.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }
}

impl Description {
    /// All tensors in forward order.
    pub fn tensors(&self) -> impl Iterator<Item = &StateTensor> {
        self.layers.iter().flat_map(|layer| &layer.tensors)
    }

    /// Values that training moves.
    pub fn parameters(&self) -> usize {
        self.tensors().filter(|tensor| tensor.is_trained).map(StateTensor::count).sum()
    }

    /// Multiplications of one image in convolutions and linear layers.
    pub fn multiplications(&self) -> f64 {
        let is_product =
            |layer: &&Layer| matches!(layer.operation, Operation::Convolution(_) | Operation::Linear);
        let of = |layer: &Layer| layer.tensors[0].count() as f64 * (layer.output.side as f64).powi(2);
        self.layers.iter().filter(is_product).map(of).sum()
    }
}

#[cfg(test)]
mod tests {
    use crate::{Architecture, Norm, Stem};

    #[test]
    fn networks_are_as_large_as_is_published_of_them() {
        // parameters at 10 and 1000 classes
        let published = [
            (Architecture::Resnet18 { stem: Stem::Small }, 11_173_962, 11_681_832),
            (Architecture::Resnet18 { stem: Stem::Standard }, 11_181_642, 11_689_512),
            (Architecture::Resnet34 { stem: Stem::Standard }, 21_289_802, 21_797_672),
            (Architecture::MobilenetV2 {}, 2_236_682, 3_504_872),
        ];
        for (network, ten, thousand) in published {
            assert_eq!(network.description(64, 10).parameters(), ten, "{network}");
            assert_eq!(network.description(64, 1000).parameters(), thousand, "{network}");
        }
    }

    #[test]
    fn convnets_have_the_parameters_of_the_published_code() {
        // at 32 px and ten classes; the doubling ones are FRePo's and RCIG's
        let published = [
            (128, Norm::Instance, false, false, 320_010),
            (32, Norm::Batch, false, false, 24_714),
            (32, Norm::Layer, false, false, 110_538),
            (128, Norm::None, false, true, 1_560_842),
            (32, Norm::None, false, true, 113_738),
            (128, Norm::Batch, true, true, 1_560_842 + 2 * (128 + 256)),
        ];
        for (width, norm, norm_before_conv, doubling, parameters) in published {
            let network = Architecture::ConvNet { depth: 3, width, norm, norm_before_conv, doubling };
            assert_eq!(network.description(32, 10).parameters(), parameters, "{network}");
        }
    }

    #[test]
    fn networks_cost_what_is_published_of_them() {
        // multiplications at 224 px, 1000 classes, as torchvision's documentation lists them ("GFLOPS"): 1.81, 3.66, 0.30
        let published = [
            (Architecture::Resnet18 { stem: Stem::Standard }, 1.81e9),
            (Architecture::Resnet34 { stem: Stem::Standard }, 3.66e9),
            (Architecture::MobilenetV2 {}, 0.30e9),
        ];
        for (network, multiplications) in published {
            let ours = network.forward_flops(224, 1000) / 2.0;
            assert!((ours / multiplications - 1.0).abs() < 0.01, "{network}: {ours}");
        }
        // 27·128·32² + 9·128²·16² + 9·128²·8² + 100·128·4²
        let conv3 = Architecture::convnet(3, 128).forward_flops(32, 100) / 2.0;
        assert_eq!(conv3, 3_538_944.0 + 37_748_736.0 + 9_437_184.0 + 204_800.0);
    }

    #[test]
    fn the_classifier_is_the_last_linear_layer() {
        let names = [
            (Architecture::convnet(3, 128), "classifier"),
            (Architecture::Resnet34 { stem: Stem::Standard }, "fc"),
            (Architecture::MobilenetV2 {}, "classifier.1"),
        ];
        for (network, name) in names {
            assert_eq!(network.classifier(), name);
        }
    }
}
