//! One training step.

use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::Tensor;
use delt_augment::draws::{Draws, uniform};
use delt_networks::{BatchStatistics, Network, on_worker};

use crate::error::TrainingError;

/// The loss of a step, on the device. Read it once the next step is under way: a GPU then never waits for the host.
#[derive(Debug)]
pub struct StepLoss(pub(crate) Tensor<1>);

impl StepLoss {
    /// The loss.
    ///
    /// # Errors
    ///
    /// Where the device does not return it.
    pub fn read(self) -> Result<f64, TrainingError> {
        read(self.0, "the loss of a step")
    }
}

/// The value of a loss `[1]`; `what` is what it is called where the device does not return it.
pub(crate) fn read(loss: Tensor<1>, what: &'static str) -> Result<f64, TrainingError> {
    loss.try_into_scalar::<f32>().map(f64::from).map_err(|source| TrainingError::Read { what, source })
}

/// Where a step's dropout and stochastic depth come from.
#[derive(Clone, Copy, Debug)]
pub struct Drops {
    /// By the seed of the network.
    pub draws: Draws,
    /// The step, from 0 over all epochs.
    pub step: u64,
    /// Images of the batch before these: replicas drop what one network would.
    pub before: usize,
}

impl Drops {
    /// A forward pass in training mode.
    pub(crate) fn forward(
        drops: Option<Self>,
        network: &Network,
        images: Tensor<4>,
    ) -> (Tensor<2>, Vec<BatchStatistics>) {
        let Some(Self { draws, step, before }) = drops else { return network.forward_train(images) };
        let count_of = images.dims()[0];
        let numbers = |layer: usize, count: usize| {
            let numbers = uniform(draws.stream("drop", step, layer as u64));
            numbers.skip(before * (count / count_of)).take(count).collect()
        };
        network.forward_train_dropping(images, &numbers)
    }
}

/// Moves `network` by one step and its running statistics by `bn_momentum`; returns it with the loss before the step.
///
/// The network must have been built on an autodiff device; `images` and what `loss` uses must be on that device.
pub fn training_step(
    network: Network,
    optimizer: &mut ModuleOptimizer,
    lr: f64,
    bn_momentum: f64,
    images: Tensor<4>,
    loss: impl FnOnce(Tensor<2>) -> Tensor<1> + Send,
) -> (Network, StepLoss) {
    dropping_step(network, optimizer, lr, bn_momentum, images, None, loss)
}

/// As [`training_step`], with the network's dropout and stochastic depth where draws are given.
pub fn dropping_step(
    network: Network,
    optimizer: &mut ModuleOptimizer,
    lr: f64,
    bn_momentum: f64,
    images: Tensor<4>,
    drops: Option<Drops>,
    loss: impl FnOnce(Tensor<2>) -> Tensor<1> + Send,
) -> (Network, StepLoss) {
    on_worker(&images.device(), || {
        let (logits, statistics) = Drops::forward(drops, &network, images);
        let loss = loss(logits);
        let value = StepLoss(loss.clone().inner());
        let gradients = GradientsParams::from_grads(loss.backward(), &network);
        let network = optimizer.step(lr, network, gradients).update_running(&statistics, bn_momentum);
        (network, value)
    })
}
