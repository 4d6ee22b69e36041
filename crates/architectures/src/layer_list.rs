//! Layers, listed on the way through a network: each method adds one and returns what leaves it.

use crate::description::{Convolution, FeatureMap, Layer, Operation, StateTensor, Window};
use crate::start::{Rules, Start};

/// The layers so far.
pub(crate) struct LayerList {
    pub(crate) layers: Vec<Layer>,
    rules: Rules,
}

impl LayerList {
    pub(crate) fn new(rules: Rules) -> Self {
        Self { layers: Vec::new(), rules }
    }

    pub(crate) fn convolution(
        &mut self,
        name: &str,
        input: FeatureMap,
        channels: usize,
        convolution: Convolution,
    ) -> FeatureMap {
        let Convolution { window, groups, has_bias } = convolution;
        let weight = [channels, input.channels / groups, window.kernel, window.kernel];
        let mut tensors = vec![trained(name, "weight", &weight, self.rules.convolution.start(&weight))];
        if has_bias {
            let start = self.rules.convolution_bias.start(&weight);
            tensors.push(trained(name, "bias", &[channels], start));
        }
        let output = FeatureMap { channels, side: window.out_side(input.side) };
        self.add(name, Operation::Convolution(convolution), [input, output], tensors)
    }

    pub(crate) fn batch_norm(&mut self, name: &str, input: FeatureMap) -> FeatureMap {
        let channels = &[input.channels];
        let running = |leaf, value| StateTensor {
            is_trained: false,
            ..trained(name, leaf, channels, Start::Constant(value))
        };
        let tensors = vec![
            trained(name, "weight", channels, Start::Constant(1.0)),
            trained(name, "bias", channels, Start::Constant(0.0)),
            running("running_mean", 0.0),
            running("running_var", 1.0),
        ];
        self.add(name, Operation::BatchNorm, [input, input], tensors)
    }

    /// `groups` divide the channels.
    pub(crate) fn group_norm(&mut self, name: &str, input: FeatureMap, groups: usize) -> FeatureMap {
        self.image_norm(name, input, Operation::GroupNorm { groups }, &[input.channels])
    }

    pub(crate) fn layer_norm(&mut self, name: &str, input: FeatureMap) -> FeatureMap {
        self.image_norm(name, input, Operation::LayerNorm, &[input.channels, input.side, input.side])
    }

    /// A normalization by what each image says of itself, whose scale and shift have this shape.
    fn image_norm(
        &mut self,
        name: &str,
        input: FeatureMap,
        operation: Operation,
        shape: &[usize],
    ) -> FeatureMap {
        let tensors = vec![
            trained(name, "weight", shape, Start::Constant(1.0)),
            trained(name, "bias", shape, Start::Constant(0.0)),
        ];
        self.add(name, operation, [input, input], tensors)
    }

    /// A convolution `name.0` and its normalization `name.1`: torchvision's `Conv2dNormActivation`.
    pub(crate) fn conv_norm(
        &mut self,
        name: &str,
        input: FeatureMap,
        channels: usize,
        convolution: Convolution,
    ) -> FeatureMap {
        let convolved = self.convolution(&format!("{name}.0"), input, channels, convolution);
        self.batch_norm(&format!("{name}.1"), convolved)
    }

    /// `operation` is one of those with a window.
    pub(crate) fn pool(
        &mut self,
        name: &str,
        input: FeatureMap,
        operation: fn(Window) -> Operation,
        window: Window,
    ) -> FeatureMap {
        let output = FeatureMap { side: window.out_side(input.side), ..input };
        self.add(name, operation(window), [input, output], Vec::new())
    }

    /// `input` is flat, or the mean over the image.
    pub(crate) fn linear(&mut self, name: &str, input: FeatureMap, outputs: usize) -> FeatureMap {
        let weight = [outputs, input.channels];
        let tensors = vec![
            trained(name, "weight", &weight, self.rules.linear.start(&weight)),
            trained(name, "bias", &[outputs], self.rules.linear_bias.start(&weight)),
        ];
        let output = FeatureMap { channels: outputs, side: 1 };
        self.add(name, Operation::Linear, [input, output], tensors)
    }

    fn add(
        &mut self,
        name: &str,
        operation: Operation,
        [input, output]: [FeatureMap; 2],
        tensors: Vec<StateTensor>,
    ) -> FeatureMap {
        self.layers.push(Layer { name: name.to_owned(), operation, input, output, tensors });
        output
    }
}

fn trained(layer: &str, leaf: &str, shape: &[usize], start: Start) -> StateTensor {
    StateTensor { name: format!("{layer}.{leaf}"), shape: shape.to_vec(), start, is_trained: true }
}
