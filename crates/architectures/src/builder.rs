//! Makes the graph of a network: each method adds a layer and returns what leaves it.

use crate::graph::{
    Activation, Convolution, Description, FeatureMap, Layer, Operation, StateTensor, Window, WindowAttention,
};
use crate::start::{Rule, Rules, Start};

/// What a layer leaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Value {
    /// The layer's place.
    at: usize,
    /// The shape.
    pub(crate) map: FeatureMap,
}

impl Value {
    /// Channels.
    pub(crate) fn channels(self) -> usize {
        self.map.channels
    }
}

/// The layers so far.
pub(crate) struct Builder {
    layers: Vec<Layer>,
    /// How weights start from here on.
    pub(crate) rules: Rules,
}

impl Builder {
    /// An image of these channels and side.
    pub(crate) fn new(rules: Rules, image: FeatureMap) -> (Self, Value) {
        let mut builder = Self { layers: Vec::new(), rules };
        let image = builder.add("", Operation::Image, &[], image, Vec::new());
        (builder, image)
    }

    /// The graph, which ends with the last layer added.
    pub(crate) fn finish(self) -> Description {
        Description { layers: self.layers }
    }

    pub(crate) fn convolution(
        &mut self,
        name: &str,
        x: Value,
        channels: usize,
        convolution: Convolution,
    ) -> Value {
        let Convolution { window, groups, has_bias } = convolution;
        let weight = [channels, x.channels() / groups, window.kernel, window.kernel];
        let tensors =
            weight_and_bias(name, &weight, [self.rules.convolution, self.rules.convolution_bias], has_bias);
        let output = FeatureMap { channels, ..window.out(x.map) };
        self.add(name, Operation::Convolution(convolution), &[x], output, tensors)
    }

    pub(crate) fn batch_norm(&mut self, name: &str, x: Value) -> Value {
        let channels = &[x.channels()];
        let running = |leaf, value| StateTensor {
            is_trained: false,
            ..trained(name, leaf, channels, Start::Constant(value))
        };
        let mut tensors = scale_and_shift(name, channels);
        tensors.extend([running("running_mean", 0.0), running("running_var", 1.0)]);
        self.add(name, Operation::BatchNorm, &[x], x.map, tensors)
    }

    /// `groups` divide the channels.
    pub(crate) fn group_norm(&mut self, name: &str, x: Value, groups: usize) -> Value {
        self.add(name, Operation::GroupNorm { groups }, &[x], x.map, scale_and_shift(name, &[x.channels()]))
    }

    /// Of all values of an image; scale and shift have its shape.
    pub(crate) fn layer_norm(&mut self, name: &str, x: Value) -> Value {
        let shape = [x.channels(), x.map.height, x.map.width];
        self.add(name, Operation::LayerNorm, &[x], x.map, scale_and_shift(name, &shape))
    }

    /// Of the channels of each position.
    pub(crate) fn position_norm(&mut self, name: &str, x: Value, epsilon: f64) -> Value {
        let tensors = scale_and_shift(name, &[x.channels()]);
        self.add(name, Operation::PositionNorm { epsilon }, &[x], x.map, tensors)
    }

    /// torchvision's `Conv2dNormActivation`.
    pub(crate) fn conv_norm_activation(
        &mut self,
        name: &str,
        x: Value,
        channels: usize,
        convolution: Convolution,
        activation: Activation,
    ) -> Value {
        let normalized = self.conv_norm(name, x, channels, convolution);
        self.activation(normalized, activation)
    }

    /// The same without the activation: a convolution `name.0` and its normalization `name.1`.
    pub(crate) fn conv_norm(
        &mut self,
        name: &str,
        x: Value,
        channels: usize,
        convolution: Convolution,
    ) -> Value {
        let convolved = self.convolution(&format!("{name}.0"), x, channels, convolution);
        self.batch_norm(&format!("{name}.1"), convolved)
    }

    pub(crate) fn max_pool(&mut self, x: Value, window: Window) -> Value {
        self.add("", Operation::MaxPool(window), &[x], window.out(x.map), Vec::new())
    }

    pub(crate) fn average_pool(&mut self, x: Value, window: Window) -> Value {
        self.add("", Operation::AveragePool(window), &[x], window.out(x.map), Vec::new())
    }

    pub(crate) fn adaptive_average_pool(&mut self, x: Value, side: usize) -> Value {
        let output = FeatureMap::square(x.channels(), side);
        self.add("", Operation::AdaptiveAveragePool { side }, &[x], output, Vec::new())
    }

    pub(crate) fn mean(&mut self, x: Value) -> Value {
        self.add("", Operation::Mean, &[x], FeatureMap::row(x.channels()), Vec::new())
    }

    pub(crate) fn flatten(&mut self, x: Value) -> Value {
        self.add("", Operation::Flatten, &[x], FeatureMap::row(x.map.count()), Vec::new())
    }

    /// At each position.
    pub(crate) fn linear(&mut self, name: &str, x: Value, outputs: usize) -> Value {
        self.linear_with(name, x, outputs, true)
    }

    pub(crate) fn linear_with(&mut self, name: &str, x: Value, outputs: usize, has_bias: bool) -> Value {
        let weight = [outputs, x.channels()];
        let tensors = weight_and_bias(name, &weight, [self.rules.linear, self.rules.linear_bias], has_bias);
        let output = FeatureMap { channels: outputs, ..x.map };
        self.add(name, Operation::Linear { has_bias }, &[x], output, tensors)
    }

    pub(crate) fn activation(&mut self, x: Value, activation: Activation) -> Value {
        self.add("", Operation::Activation(activation), &[x], x.map, Vec::new())
    }

    pub(crate) fn relu(&mut self, x: Value) -> Value {
        self.activation(x, Activation::Relu)
    }

    pub(crate) fn sum(&mut self, a: Value, b: Value) -> Value {
        self.add("", Operation::Add, &[a, b], a.map, Vec::new())
    }

    /// `factors` have one position.
    pub(crate) fn gate(&mut self, x: Value, factors: Value) -> Value {
        self.add("", Operation::Gate, &[x, factors], x.map, Vec::new())
    }

    /// A factor for each channel from the means of all: 1x1 convolutions `name.fc1` to `squeeze` channels and `name.fc2` back.
    pub(crate) fn squeeze_excitation(
        &mut self,
        name: &str,
        x: Value,
        squeeze: usize,
        activation: Activation,
    ) -> Value {
        let pointwise = Convolution { has_bias: true, ..Convolution::same(1, 1) };
        let mut factors = self.mean(x);
        factors = self.convolution(&format!("{name}.fc1"), factors, squeeze, pointwise);
        factors = self.activation(factors, activation);
        factors = self.convolution(&format!("{name}.fc2"), factors, x.channels(), pointwise);
        factors = self.activation(factors, Activation::Sigmoid);
        self.gate(x, factors)
    }

    pub(crate) fn concatenate(&mut self, parts: &[Value]) -> Value {
        let channels = parts.iter().map(|part| part.channels()).sum();
        let output = FeatureMap { channels, ..parts[0].map };
        self.add("", Operation::Concatenate, parts, output, Vec::new())
    }

    pub(crate) fn channels(&mut self, x: Value, from: usize, count: usize) -> Value {
        let output = FeatureMap { channels: count, ..x.map };
        self.add("", Operation::Channels { from, count }, &[x], output, Vec::new())
    }

    pub(crate) fn shuffle(&mut self, x: Value, groups: usize) -> Value {
        self.add("", Operation::Shuffle { groups }, &[x], x.map, Vec::new())
    }

    pub(crate) fn subsample(&mut self, x: Value, stride: usize) -> Value {
        let [height, width] = [x.map.height, x.map.width].map(|side| side.div_ceil(stride));
        self.add("", Operation::Subsample { stride }, &[x], FeatureMap { height, width, ..x.map }, Vec::new())
    }

    /// So many on both sides.
    pub(crate) fn pad_channels(&mut self, x: Value, count: usize) -> Value {
        let output = FeatureMap { channels: x.channels() + 2 * count, ..x.map };
        self.add("", Operation::PadChannels { count }, &[x], output, Vec::new())
    }

    pub(crate) fn positions(&mut self, x: Value) -> Value {
        let output = FeatureMap { channels: x.channels(), height: x.map.positions(), width: 1 };
        self.add("", Operation::Positions, &[x], output, Vec::new())
    }

    /// `tensor` is the whole name.
    pub(crate) fn class_token(&mut self, tensor: &str, x: Value) -> Value {
        let token = StateTensor {
            name: tensor.to_owned(),
            shape: vec![1, 1, x.channels()],
            start: self.rules.class_token,
            is_trained: true,
        };
        let output = FeatureMap { height: x.map.height + 1, ..x.map };
        self.add(tensor, Operation::ClassToken, &[x], output, vec![token])
    }

    /// `tensor` is the whole name.
    pub(crate) fn position_embedding(&mut self, tensor: &str, x: Value) -> Value {
        let embedding = StateTensor {
            name: tensor.to_owned(),
            shape: vec![1, x.map.positions(), x.channels()],
            start: self.rules.embedding,
            is_trained: true,
        };
        self.add(tensor, Operation::PositionEmbedding, &[x], x.map, vec![embedding])
    }

    pub(crate) fn first_position(&mut self, x: Value) -> Value {
        self.add("", Operation::FirstPosition, &[x], FeatureMap::row(x.channels()), Vec::new())
    }

    /// With the tensors of PyTorch's `MultiheadAttention`.
    pub(crate) fn attention(&mut self, name: &str, x: Value, heads: usize) -> Value {
        let width = x.channels();
        let Rules { attention_in, attention_out, .. } = self.rules;
        let (stacked, square) = ([3 * width, width], [width, width]);
        let tensors = vec![
            trained(name, "in_proj_weight", &stacked, attention_in.start(&stacked)),
            trained(name, "in_proj_bias", &[3 * width], Rule::Zero.start(&stacked)),
            trained(name, "out_proj.weight", &square, attention_out.start(&square)),
            trained(name, "out_proj.bias", &[width], Rule::Zero.start(&square)),
        ];
        self.add(name, Operation::Attention { heads }, &[x], x.map, tensors)
    }

    /// With these tensors below `name`: leaf, shape, start.
    pub(crate) fn window_attention(
        &mut self,
        name: &str,
        x: Value,
        attention: WindowAttention,
        tensors: &[(&str, Vec<usize>, Start)],
    ) -> Value {
        let tensors = tensors.iter().map(|(leaf, shape, start)| trained(name, leaf, shape, *start)).collect();
        self.add(name, Operation::WindowAttention(attention), &[x], x.map, tensors)
    }

    pub(crate) fn merge_squares(&mut self, x: Value) -> Value {
        let [height, width] = [x.map.height, x.map.width].map(|side| side.div_ceil(2));
        let output = FeatureMap { channels: 4 * x.channels(), height, width };
        self.add("", Operation::MergeSquares, &[x], output, Vec::new())
    }

    pub(crate) fn dropout(&mut self, x: Value, share: f64) -> Value {
        self.add("", Operation::Dropout { share }, &[x], x.map, Vec::new())
    }

    pub(crate) fn stochastic_depth(&mut self, x: Value, share: f64) -> Value {
        self.add("", Operation::StochasticDepth { share }, &[x], x.map, Vec::new())
    }

    fn add(
        &mut self,
        name: &str,
        operation: Operation,
        reads: &[Value],
        output: FeatureMap,
        tensors: Vec<StateTensor>,
    ) -> Value {
        let input = reads.first().map_or(output, |value| value.map);
        let reads = reads.iter().map(|value| value.at).collect();
        self.layers.push(Layer { name: name.to_owned(), operation, reads, input, output, tensors });
        Value { at: self.layers.len() - 1, map: output }
    }
}

fn weight_and_bias(name: &str, weight: &[usize], rules: [Rule; 2], has_bias: bool) -> Vec<StateTensor> {
    let bias = || trained(name, "bias", &weight[..1], rules[1].start(weight));
    let weight = trained(name, "weight", weight, rules[0].start(weight));
    std::iter::once(weight).chain(has_bias.then(bias)).collect()
}

fn scale_and_shift(name: &str, shape: &[usize]) -> Vec<StateTensor> {
    [("weight", 1.0), ("bias", 0.0)]
        .map(|(leaf, value)| trained(name, leaf, shape, Start::Constant(value)))
        .to_vec()
}

fn trained(layer: &str, leaf: &str, shape: &[usize], start: Start) -> StateTensor {
    StateTensor { name: format!("{layer}.{leaf}"), shape: shape.to_vec(), start, is_trained: true }
}
