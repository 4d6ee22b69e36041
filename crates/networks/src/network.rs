//! A network: its tensors, and the graph that they are the weights of.

use std::sync::Arc;

use burn::module::{Module, ParamId};
use burn::tensor::{Device, Tensor};
use delt_architectures::{Description, Operation, StateTensor};
use delt_conv_norm::{chain_frozen, is_supported};
use delt_formats::Architecture;

use crate::attention::{attention, window_attention};
use crate::error::NetworkError;
use crate::layers::{BatchNorm, Conv, GroupNorm, Rows, layer_norm, rows_linear};
use crate::map::Map;
use crate::pass::{Pass, Training};
use crate::program::{Kind, Program, Step};
use crate::shapes;
use crate::weights::{Fill, Weights};

/// A network of one of the known architectures. It can be trained; [`FrozenNetwork`](crate::FrozenNetwork) evaluates it.
///
/// Dropout and stochastic depth happen in [`Network::forward_train_dropping`] alone, by numbers that are drawn on the host: a
/// draw on the device would tie results to the backend.
#[derive(Module, Debug)]
pub struct Network {
    /// In the order of PyTorch's `state_dict`.
    weights: Vec<Weights>,
    #[module(skip)]
    program: Arc<Program>,
}

/// So many numbers in 0..1 for a layer, by its place in the graph: image by image, or value by value of each image.
pub type Drawn<'a> = dyn Fn(usize, usize) -> Vec<f32> + 'a;

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
        Self::described(architecture.description(size, classes), device, fill)
    }

    /// Builds the network that is described.
    pub(crate) fn described(
        description: Description,
        device: &Device,
        fill: &mut Fill<'_>,
    ) -> Result<Self, NetworkError> {
        let program = Program::new(description);
        let tensors = program.tensors().map(|tensor| Weights::build(tensor, device, fill));
        Ok(Self { weights: tensors.collect::<Result<_, _>>()?, program: Arc::new(program) })
    }

    /// Logits in training mode: every batch normalization layer uses the statistics of the batch, which are returned in
    /// forward order for [`Self::update_running`].
    pub fn forward_train(&self, x: Tensor<4>) -> (Tensor<2>, Vec<BatchStatistics>) {
        let is_fused = is_supported(&x.device());
        self.forward_training(x, Training { is_fused, ..Training::default() })
    }

    /// Logits as [`Self::forward_train`], with dropout and stochastic depth: what a number below a layer's share falls on is
    /// zero, the rest is scaled up.
    pub fn forward_train_dropping(
        &self,
        x: Tensor<4>,
        drawn: &Drawn<'_>,
    ) -> (Tensor<2>, Vec<BatchStatistics>) {
        let is_fused = is_supported(&x.device());
        self.forward_training(x, Training { is_fused, drawn: Some(drawn), ..Training::default() })
    }

    /// Logits as [`Self::forward_train`], layer by layer on every backend.
    pub fn forward_train_plain(&self, x: Tensor<4>) -> (Tensor<2>, Vec<BatchStatistics>) {
        self.forward_training(x, Training::default())
    }

    /// Logits as [`Self::forward_train_plain`], the convolutions and their gradients computed in bf16: what a GPU could train at,
    /// measured by benchmarks alone.
    pub fn forward_train_bf16(&self, x: Tensor<4>) -> (Tensor<2>, Vec<BatchStatistics>) {
        self.forward_training(x, Training { is_bf16: true, ..Training::default() })
    }

    fn forward_training(&self, x: Tensor<4>, mut pass: Training<'_>) -> (Tensor<2>, Vec<BatchStatistics>) {
        let features = self.features_with(x, &mut pass);
        (self.classify(features), pass.statistics)
    }

    /// Moves the running statistics: running ← (1 − momentum) · running + momentum · batch.
    #[must_use]
    pub fn update_running(mut self, statistics: &[BatchStatistics], momentum: f64) -> Self {
        for (layer, batch) in self.program.norms.iter().zip(statistics) {
            let [_, _, mean, variance] = self.program.places[*layer][..] else { continue };
            for (at, batch) in [(mean, &batch.mean), (variance, &batch.variance_unbiased)] {
                let running = self.weights[at].clone();
                self.weights[at] = running.moved(batch.clone(), 1.0 - momentum, momentum);
            }
        }
        self
    }

    /// Moves all tensors towards those of a network of the same architecture, running statistics too: own ← decay · own +
    /// (1 − decay) · other.
    #[must_use]
    pub fn averaged_with(self, other: &Self, decay: f64) -> Self {
        let pairs = self.weights.into_iter().zip(&other.weights);
        let weights = pairs.map(|(own, other)| own.moved(other.row(), decay, 1.0 - decay)).collect();
        Self { weights, program: self.program }
    }

    /// Id, name and shape of each tensor, in the order of PyTorch's `state_dict`.
    pub fn tensors(&self) -> impl Iterator<Item = (ParamId, &str, &[usize])> {
        let described = self.program.tensors().map(|tensor| (tensor.name.as_str(), tensor.shape.as_slice()));
        self.weights.iter().zip(described).map(|(weights, (name, shape))| (weights.id(), name, shape))
    }

    pub(crate) fn weights(&self) -> &[Weights] {
        &self.weights
    }

    pub(crate) fn program(&self) -> &Program {
        &self.program
    }

    /// All but the last layer: `[n, 3, size, size]` → `[n, features]`.
    pub(crate) fn features_with(&self, x: Tensor<4>, pass: &mut dyn Pass) -> Tensor<2> {
        let layers = &self.program.description.layers;
        let mut values: Vec<Option<Map>> = vec![None; layers.len()];
        values[0] = Some(Map::First(x));
        let steps = &self.program.steps;
        let mut at = 0;
        while let Some(step) = steps.get(at) {
            let read = |at: &usize| values[*at].clone().expect("a layer reads what is before it");
            let mut reads: Vec<Map> = step.reads.iter().map(read).collect();
            let chain = pass.chain(at);
            let end = at + chain.as_ref().map_or(1, |chain| chain.steps);
            // what is read for the last time is the step's own
            steps[at..end].iter().flat_map(|step| &step.done).for_each(|at| values[*at] = None);
            values[steps[end - 1].end] = Some(match chain {
                Some(chain) => Map::Last(chain_frozen(reads.remove(0).last(), &chain.links)),
                None => self.step(step, reads, pass),
            });
            at = end;
        }
        let entering = layers[self.program.classifier()].reads[0];
        values[entering].take().expect("the classifier reads what is before it").first().flatten(1, 3)
    }

    /// The last layer: `[n, features]` → `[n, classes]`.
    pub(crate) fn classify(&self, features: Tensor<2>) -> Tensor<2> {
        let weights = self.weights_of(self.program.classifier());
        let weight = match weights[0] {
            // a 1x1 convolution over one pixel
            Weights::Four(filters) => filters.val().flatten(1, 3),
            _ => weights[0].two(),
        };
        rows_linear(features, weight, weights.get(1).map(|bias| bias.one()))
    }

    fn step(&self, step: &Step, mut reads: Vec<Map>, pass: &mut dyn Pass) -> Map {
        match step.kind {
            Kind::Layer => self.layer(step.at, reads, pass),
            Kind::Linear(activation) => {
                let rows = Rows { is_fused: pass.is_fused() };
                rows.linear(&self.weights_of(step.at), reads.remove(0), activation)
            }
            Kind::BatchBlock(activation) => {
                let (conv, norm) = (self.convolution(step.at), self.batch_norm(step.at + 1));
                let x = reads.remove(0);
                pass.batch_block(conv, norm, x, reads.pop(), activation)
            }
            Kind::ImageBlock { is_normalized, activation } => {
                let norm = is_normalized.then(|| self.instance_norm(step.at + 1));
                pass.image_block(self.convolution(step.at), norm, reads.remove(0), activation)
            }
        }
    }

    fn layer(&self, at: usize, mut reads: Vec<Map>, pass: &mut dyn Pass) -> Map {
        let layer = &self.program.description.layers[at];
        if let Operation::Concatenate = layer.operation {
            return shapes::concatenate(reads);
        }
        let (weights, rows) = (self.weights_of(at), Rows { is_fused: pass.is_fused() });
        let (x, second) = (reads.remove(0), reads.pop());
        match layer.operation {
            Operation::Convolution(_) => pass.convolve(self.convolution(at), x),
            Operation::BatchNorm => pass.batch_norm(self.batch_norm(at), x),
            Operation::GroupNorm { groups } => GroupNorm::new(groups, &weights).forward(x),
            Operation::LayerNorm => layer_norm(&weights, x),
            Operation::PositionNorm { epsilon } => rows.position_norm(&weights, epsilon, x),
            Operation::MaxPool(window) => shapes::max_pool(x, window),
            Operation::AveragePool(window) => shapes::average_pool(x, window),
            Operation::AdaptiveAveragePool { side } => shapes::adaptive_average_pool(x, side),
            Operation::Mean => shapes::mean(x),
            Operation::Flatten => Map::row(x.first().flatten(1, 3)),
            Operation::Activation(activation) => shapes::activation(x, activation),
            Operation::Add => x.with(second.expect("two are added"), |a, b| a + b),
            Operation::Gate => rows.gate(x, second.expect("a gate has factors")),
            Operation::Channels { from, count } => shapes::channels(x, from, count),
            Operation::Shuffle { groups } => shapes::shuffle(x, groups),
            Operation::Subsample { stride } => shapes::subsample(x, stride),
            Operation::PadChannels { count } => shapes::pad_channels(x, count),
            Operation::Positions => shapes::positions(x),
            Operation::ClassToken => shapes::class_token(weights[0].three(), x),
            Operation::PositionEmbedding => shapes::position_embedding(weights[0].three(), x),
            Operation::FirstPosition => shapes::first_position(x),
            Operation::Attention { heads } => attention(rows, &weights, heads, x),
            Operation::WindowAttention(attention) => {
                window_attention(rows, |leaf| self.weights_below(at, leaf), attention, x)
            }
            Operation::MergeSquares => shapes::merge_squares(x),
            Operation::Dropout { share } => pass.drop(at, share, layer.output.count(), x),
            Operation::StochasticDepth { share } => pass.drop(at, share, 1, x),
            Operation::Image | Operation::Concatenate | Operation::Linear { .. } => x,
        }
    }

    /// The tensors of a layer.
    fn weights_of(&self, at: usize) -> Vec<&Weights> {
        self.program.places[at].iter().map(|place| &self.weights[*place]).collect()
    }

    /// The tensor of a layer that has this name below it.
    fn weights_below(&self, at: usize, leaf: &str) -> &Weights {
        let layer = &self.program.description.layers[at];
        let is_it = |tensor: &StateTensor| tensor.name[layer.name.len() + 1..] == *leaf;
        let place = layer.tensors.iter().position(is_it).expect("a tensor that is described");
        &self.weights[self.program.places[at][place]]
    }

    pub(crate) fn convolution(&self, at: usize) -> Conv {
        match self.program.description.layers[at].operation {
            Operation::Convolution(convolution) => Conv::new(convolution, &self.weights_of(at)),
            other => unreachable!("a convolution, not {other:?}"),
        }
    }

    pub(crate) fn batch_norm(&self, at: usize) -> BatchNorm {
        let place = self.program.norms.binary_search(&at).expect("a layer of batch normalization");
        BatchNorm::new(place, &self.weights_of(at))
    }

    fn instance_norm(&self, at: usize) -> GroupNorm {
        GroupNorm::new(self.program.description.layers[at].input.channels, &self.weights_of(at))
    }
}
