//! A network as a graph of layers: the one definition of what it computes, how its tensors are called and how they start.

use crate::start::Start;

/// The layers of a network in forward order, for one size of image and number of classes. The first is the image, the last the
/// classifier.
#[derive(Clone, Debug)]
pub struct Description {
    /// The layers.
    pub layers: Vec<Layer>,
}

/// A layer, and what enters and leaves it.
#[derive(Clone, Debug)]
pub struct Layer {
    /// PyTorch's name, with which those of its tensors begin; empty where it has none.
    pub name: String,
    /// What it computes.
    pub operation: Operation,
    /// Places among the layers of what it reads, all before its own.
    pub reads: Vec<usize>,
    /// What the first of these is.
    pub input: FeatureMap,
    /// What leaves.
    pub output: FeatureMap,
    /// Its tensors, in the order of PyTorch's `state_dict`, but for BatchNorm's count of batches.
    pub tensors: Vec<StateTensor>,
}

/// What a layer computes. Shapes are those of one image, `[channels, height, width]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Operation {
    /// The image itself.
    Image,
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
    /// Normalization of each position by its channels: PyTorch's `LayerNorm` of transformers.
    PositionNorm {
        /// Added to the variance.
        epsilon: f64,
    },
    /// A linear layer, the same at every position.
    Linear {
        /// Whether a value is added for each output.
        has_bias: bool,
    },
    /// Maximum of each window.
    MaxPool(Window),
    /// Mean of each window.
    AveragePool(Window),
    /// Means of bins, which may overlap: bin i of s covers ⌊i·side/s⌋ to ⌈(i + 1)·side/s⌉.
    AdaptiveAveragePool {
        /// Bins in each direction.
        side: usize,
    },
    /// Mean over all positions.
    Mean,
    /// One row of all values, channel by channel.
    Flatten,
    /// A function of each value.
    Activation(Activation),
    /// Sum of two.
    Add,
    /// The first times a factor for each channel, which is the second.
    Gate,
    /// Channels of several one after the other.
    Concatenate,
    /// So many channels from the first of these on.
    Channels {
        /// The first.
        from: usize,
        /// How many.
        count: usize,
    },
    /// Channel i · (channels / groups) + j moves to j · groups + i.
    Shuffle {
        /// Groups that are dealt out.
        groups: usize,
    },
    /// Every n-th row and column, from the first on.
    Subsample {
        /// n.
        stride: usize,
    },
    /// Channels of zeros on both sides.
    PadChannels {
        /// How many on each side.
        count: usize,
    },
    /// Positions in a column, row by row: `[c, h, w]` → `[c, h·w, 1]`.
    Positions,
    /// A trained position before all others (`class_token`).
    ClassToken,
    /// A trained value added at each position and channel.
    PositionEmbedding,
    /// The first position alone.
    FirstPosition,
    /// Attention of all positions among each other (PyTorch's `MultiheadAttention`).
    Attention {
        /// Heads, which divide the channels.
        heads: usize,
    },
    /// Attention within windows (Swin).
    WindowAttention(WindowAttention),
    /// Channels of each 2x2 square side by side, in the order (0, 0), (1, 0), (0, 1), (1, 1) of row and column; zeros below and to
    /// the right of odd sides (Swin).
    MergeSquares,
    /// Zeros at random in training.
    Dropout {
        /// Share of the values.
        share: f64,
    },
    /// All of an image's values zero at random in training.
    StochasticDepth {
        /// Share of the images.
        share: f64,
    },
}

/// A function of each value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// max(x, 0).
    Relu,
    /// min(max(x, 0), 6).
    Relu6,
    /// x / (1 + e^−x).
    Silu,
    /// x Φ(x) with the exact distribution function Φ.
    Gelu,
    /// 1 / (1 + e^−x).
    Sigmoid,
}

/// Attention within square windows of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowAttention {
    /// Heads, which divide the channels.
    pub heads: usize,
    /// Side of a window.
    pub window: usize,
    /// How far windows are moved to the right and down.
    pub shift: usize,
    /// Whether it is that of Swin V2: cosines, a learned scale and position biases from a small network.
    pub is_v2: bool,
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
    /// 2x2 pixels side by side.
    pub(crate) const HALVES: Self = Self { kernel: 2, stride: 2, padding: 0 };

    /// A window of odd side whose padding keeps the image's size at stride 1.
    pub(crate) fn same(kernel: usize, stride: usize) -> Self {
        Self { kernel, stride, padding: kernel / 2 }
    }

    /// How often it fits a side, which is that of what leaves.
    pub fn out_side(&self, side: usize) -> usize {
        (side + 2 * self.padding + self.stride).saturating_sub(self.kernel) / self.stride
    }

    /// What leaves.
    pub(crate) fn out(&self, map: FeatureMap) -> FeatureMap {
        let [height, width] = [map.height, map.width].map(|side| self.out_side(side));
        FeatureMap { height, width, ..map }
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

/// Shape of one image on its way through a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeatureMap {
    /// Channels, or features after flattening.
    pub channels: usize,
    /// Rows, 1 after flattening; the positions of a transformer are a column.
    pub height: usize,
    /// Pixels in a row, 1 after flattening.
    pub width: usize,
}

impl FeatureMap {
    /// A square one.
    pub fn square(channels: usize, side: usize) -> Self {
        Self { channels, height: side, width: side }
    }

    /// One row of features.
    pub(crate) fn row(features: usize) -> Self {
        Self::square(features, 1)
    }

    /// Pixels.
    pub fn positions(&self) -> usize {
        self.height * self.width
    }

    /// Values.
    pub fn count(&self) -> usize {
        self.channels * self.positions()
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

    /// Multiplications of one image in convolutions, linear layers and attention.
    pub fn multiplications(&self) -> f64 {
        self.layers.iter().map(Layer::multiplications).sum()
    }
}

impl Layer {
    fn multiplications(&self) -> f64 {
        let [positions, width] = [self.output.positions(), self.output.channels].map(|count| count as f64);
        match self.operation {
            Operation::Convolution(_) | Operation::Linear { .. } => {
                self.tensors[0].count() as f64 * positions
            }
            // queries, keys, values and what leaves; each position with every other, twice
            Operation::Attention { .. } => positions * (4.0 * width * width + 2.0 * positions * width),
            Operation::WindowAttention(WindowAttention { window, .. }) => {
                let padded = |side: usize| side.next_multiple_of(window);
                let padded = (padded(self.output.height) * padded(self.output.width)) as f64;
                // V2: the small network runs once for each distance within a window
                let is_of_biases = |tensor: &&StateTensor| {
                    tensor.name.ends_with("weight") && tensor.name.contains(".cpb_mlp.")
                };
                let of_biases: usize = self.tensors.iter().filter(is_of_biases).map(StateTensor::count).sum();
                let biases = ((2 * window - 1).pow(2) * of_biases) as f64;
                padded * (4.0 * width * width + 2.0 * (window * window) as f64 * width) + biases
            }
            _ => 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{Architecture, Norm, Stem};

    #[test]
    fn networks_are_as_large_as_is_published_of_them() {
        // parameters at 10 and 1000 classes
        let published = [
            (Architecture::resnet18(Stem::Small), 11_173_962, 11_681_832),
            (Architecture::resnet18(Stem::Standard), 11_181_642, 11_689_512),
            (Architecture::resnet34(Stem::Standard), 21_289_802, 21_797_672),
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
            (Architecture::resnet18(Stem::Standard), 1.81e9),
            (Architecture::resnet34(Stem::Standard), 3.66e9),
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
            (Architecture::resnet34(Stem::Standard), "fc"),
            (Architecture::MobilenetV2 {}, "classifier.1"),
        ];
        for (network, name) in names {
            assert_eq!(network.classifier(), name);
        }
    }
}
