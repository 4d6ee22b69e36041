//! Images blended again and again with what they started from (FADRM, NeurIPS 2025, section 3: adjustable residual connections).

use burn::tensor::{Tensor, TensorData};
use delt_pipeline::config::residual::Residual;

/// The blending of one batch.
#[derive(Debug)]
pub struct Blending {
    config: Residual,
    /// What all images start from, in joining order, CHW each.
    initial: Vec<f32>,
}

impl Blending {
    /// Keeps what the images start from, in joining order.
    pub fn new(config: Residual, initial: Vec<f32>) -> Self {
        Self { config, initial }
    }

    /// Adam's steps of the batch before an iteration, where each block counts anew.
    pub fn steps_before(&self, iteration: u32) -> u32 {
        if self.config.restart_adam { self.config.within_block(iteration) } else { iteration }
    }

    /// At the end of a block, the active images blended with what they started from, and whether Adam forgets; none elsewhere.
    ///
    /// # Shapes
    /// `active` and the result: `[active, 3, size, size]`.
    pub fn blend(&self, active: &Tensor<4>, done: u32, iterations: u32) -> Option<(Tensor<4>, bool)> {
        if !self.config.is_due(done, iterations) {
            return None;
        }
        let (shape, share) = (active.dims(), self.config.share);
        let initial = self.initial[..shape.iter().product()].to_vec();
        let initial = Tensor::<4>::from_data(TensorData::new(initial, shape), &active.device());
        let blended = active.clone().mul_scalar(share) + initial.mul_scalar(1.0 - share);
        Some((blended, self.config.restart_adam))
    }
}
