//! One training step.

use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::Tensor;
use delt_networks::Network;

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

/// Moves `network` by one step and its running statistics by `bn_momentum`; returns it with the loss before the step.
///
/// The network must have been built on an autodiff device; `images` and what `loss` uses must be on that device.
pub fn training_step(
    network: Network,
    optimizer: &mut ModuleOptimizer,
    lr: f64,
    bn_momentum: f64,
    images: Tensor<4>,
    loss: impl FnOnce(Tensor<2>) -> Tensor<1>,
) -> (Network, StepLoss) {
    let (logits, statistics) = network.forward_train(images);
    let loss = loss(logits);
    let value = StepLoss(loss.clone().inner());
    let gradients = GradientsParams::from_grads(loss.backward(), &network);
    let network = optimizer.step(lr, network, gradients).update_running(&statistics, bn_momentum);
    (network, value)
}
