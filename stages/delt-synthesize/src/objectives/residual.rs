//! Images blended again and again with what they started from (FADRM, NeurIPS 2025, section 3: adjustable residual connections).

use burn::tensor::{Tensor, TensorData};
use delt_pipeline::config::residual::Residual;

/// The blending of one batch.
#[derive(Debug)]
pub struct Blending {
    /// How much is blended when.
    pub config: Residual,
    /// What all images start from, in joining order, CHW each.
    pub initial: Vec<f32>,
}

impl Blending {
    /// Adam's steps of the batch before an iteration, where each block counts anew.
    pub fn steps_before(&self, iteration: u32) -> u32 {
        if self.config.restart_adam { self.config.within_block(iteration) } else { iteration }
    }

    /// The active images blended with what they started from.
    ///
    /// # Shapes
    /// `active` and the result: `[active, 3, size, size]`.
    pub fn blend(&self, active: &Tensor<4>) -> Tensor<4> {
        let (shape, share) = (active.dims(), self.config.share);
        let initial = self.initial[..shape.iter().product()].to_vec();
        let initial = Tensor::<4>::from_data(TensorData::new(initial, shape), &active.device());
        active.clone().mul_scalar(share) + initial.mul_scalar(1.0 - share)
    }
}
