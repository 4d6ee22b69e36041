//! A pool of networks at different ages of a training on the synthetic images (FRePo, RCIG): one is drawn for each iteration, is
//! trained on, and makes room for a new one when it is old.

use burn::tensor::{Tensor, TensorData};
use delt_augment::draws::Draws;
use delt_formats::NamedTensor;
use delt_tangent::unrolled_adam::{Adam, State};
use delt_tangent::unrolled_sgd::Set;
use delt_tangent::{Function, Norm, Norms, Start, Statistics, total};
use rand::RngExt;

use crate::MatchingError;
use crate::stored::{floats, kept_numbers, numbers, values, vector};

/// Networks, drawn by number.
#[derive(Debug)]
pub struct Pool {
    function: Function,
    draws: Draws,
    networks: Vec<Network>,
    /// How many networks there have been.
    drawn: u64,
}

/// One of them. First weights follow from the number: they are drawn when they are asked for, and not kept until trained.
#[derive(Debug)]
struct Network {
    number: u64,
    age: u32,
    trained: Option<Trained>,
}

/// Weights with Adam's moments, and running statistics.
#[derive(Clone, Debug)]
pub struct Trained {
    /// The weights.
    pub state: State,
    /// Of each batch normalization layer.
    pub statistics: Vec<Statistics>,
}

/// How the networks are trained: half the squared error, in training mode.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Learning rate of Adam.
    pub lr: f64,
    /// What the error of an image is divided by.
    pub divisor: f64,
    /// Share of a batch in running statistics.
    pub batch_share: f64,
}

/// Adam as Optax has it.
pub(crate) fn adam(lr: f64) -> Adam {
    Adam { lr, beta_1: 0.9, beta_2: 0.999, epsilon: 1e-8 }
}

impl Trained {
    /// Which statistics count in evaluation mode.
    pub fn norms(&self, function: &Function) -> Norms<'_> {
        if function.form.norm == Norm::Batch { Norms::Running(&self.statistics) } else { Norms::Own }
    }
}

impl Pool {
    /// New networks whose ages are `spacing` apart.
    pub fn new(function: Function, draws: Draws, count: u32, spacing: u32) -> Self {
        let network = |number: u32| Network {
            number: number.into(),
            age: number.saturating_mul(spacing),
            trained: None,
        };
        Self { function, draws, networks: (0..count).map(network).collect(), drawn: count.into() }
    }

    /// The network of an iteration.
    pub fn place(&self, iteration: u32) -> usize {
        self.draws.stream("pool", iteration.into(), 0).random_range(0..self.networks.len())
    }

    /// Steps that a network has behind it.
    pub fn age(&self, place: usize) -> u32 {
        self.networks[place].age
    }

    /// A network as it is.
    pub fn network(&mut self, place: usize) -> Trained {
        let (function, draws) = (&self.function, &self.draws);
        let Network { number, trained, .. } = &mut self.networks[place];
        trained.get_or_insert_with(|| first(function, draws, *number)).clone()
    }

    /// Puts a new network in a place.
    pub fn replace(&mut self, place: usize) {
        self.networks[place] = Network { number: self.drawn, age: 0, trained: None };
        self.drawn += 1;
    }

    /// A step of a network on images and targets.
    pub fn train(&mut self, place: usize, set: Set, rule: Rule) {
        let Trained { state, statistics } = self.network(place);
        let [n, _] = set.targets.dims();
        let of =
            |logits: Tensor<2>| total((logits - set.targets).square()) * (0.5 / (n as f64 * rule.divisor));
        let (found, of_batch) = self.function.gradient_in_training(&state.weights, set.images, of);
        let moved = |old: Tensor<1>, new: Tensor<1>| old * (1.0 - rule.batch_share) + new * rule.batch_share;
        let statistics = statistics.into_iter().zip(of_batch).map(|(old, new)| Statistics {
            mean: moved(old.mean, new.mean),
            variance: moved(old.variance, new.variance),
        });
        let statistics = statistics.collect();
        let network = &mut self.networks[place];
        network.age += 1;
        network.trained = Some(Trained { state: state.step(&adam(rule.lr), found.weights), statistics });
    }

    /// For a checkpoint.
    ///
    /// # Errors
    /// What the device reports.
    pub fn save(&self) -> Result<Vec<NamedTensor>, MatchingError> {
        let mut tensors = vec![numbers("pool.drawn", &[self.drawn as f64])];
        for (at, Network { number, age, trained }) in self.networks.iter().enumerate() {
            let trained = trained.as_ref().filter(|trained| trained.state.steps > 0);
            let steps = trained.map_or(0, |trained| trained.state.steps);
            tensors
                .push(numbers(&format!("pool.{at}"), &[*number as f64, f64::from(*age), f64::from(steps)]));
            let Some(Trained { state, statistics }) = trained else { continue };
            tensors.push(floats(&format!("pool.{at}.weights"), &state.weights)?);
            tensors.push(floats(&format!("pool.{at}.first"), &state.first)?);
            tensors.push(floats(&format!("pool.{at}.second"), &state.second)?);
            for (layer, Statistics { mean, variance }) in statistics.iter().enumerate() {
                tensors.push(floats(&format!("pool.{at}.mean.{layer}"), mean)?);
                tensors.push(floats(&format!("pool.{at}.variance.{layer}"), variance)?);
            }
        }
        Ok(tensors)
    }

    /// Puts back what [`Self::save`] gave.
    ///
    /// # Errors
    /// A tensor that is absent or has another shape.
    pub fn restore(&mut self, tensors: &[NamedTensor]) -> Result<(), MatchingError> {
        let [drawn] = kept_numbers(tensors, "pool.drawn")?;
        self.drawn = drawn as u64;
        let layers = channels(&self.function);
        for (at, network) in self.networks.iter_mut().enumerate() {
            let [number, age, steps] = kept_numbers(tensors, &format!("pool.{at}"))?;
            *network = Network { number: number as u64, age: age as u32, trained: None };
            if steps == 0.0 {
                continue;
            }
            let weights = |what: &str| vector(tensors, &format!("pool.{at}.{what}"), &self.function);
            let state = State {
                weights: weights("weights")?,
                first: weights("first")?,
                second: weights("second")?,
                steps: steps as i32,
            };
            let device = self.function.device();
            let layer = |(layer, channels): (usize, &usize)| {
                let of = |what: &str| {
                    let kept = values(tensors, &format!("pool.{at}.{what}.{layer}"), *channels)?.to_vec();
                    Ok::<Tensor<1>, MatchingError>(Tensor::from_data(
                        TensorData::new(kept, [*channels]),
                        device,
                    ))
                };
                Ok(Statistics { mean: of("mean")?, variance: of("variance")? })
            };
            let statistics = layers.iter().enumerate().map(layer).collect::<Result<_, MatchingError>>()?;
            network.trained = Some(Trained { state, statistics });
        }
        Ok(())
    }
}

/// A network before its first step.
fn first(function: &Function, draws: &Draws, number: u64) -> Trained {
    let weights = function.initialize(Start::LeCun, draws, "pool-network", number, 0);
    let statistics = channels(function).into_iter().map(|channels| {
        let (mean, variance) =
            (Tensor::zeros([channels], function.device()), Tensor::ones([channels], function.device()));
        Statistics { mean, variance }
    });
    Trained { state: State::new(weights), statistics: statistics.collect() }
}

/// Channels of each batch normalization layer.
fn channels(function: &Function) -> Vec<usize> {
    let is_layer = |name: &str| name.contains(".norm.") && name.ends_with(".weight");
    let slots = function.form.slots().into_iter();
    let found = slots.filter(|slot| function.form.norm == Norm::Batch && is_layer(&slot.name));
    found.map(|slot| slot.range.len()).collect()
}
