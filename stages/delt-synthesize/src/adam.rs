//! Adam on pixels of a batch that grows: an image that joins late starts with zero moments.
//!
//! Burn's Adam keeps one state and one step counter for a whole tensor of fixed shape; here rows are added between
//! rounds and may count their own steps, so the few lines of the rule stand here, in PyTorch's order of operations.

use burn::tensor::{Device, Tensor, TensorData};
use delt_pipeline::config::synthesize::{OptimizerState, Synthesize};

/// Moments and step counters of the active images.
#[derive(Debug, Clone)]
pub struct PixelAdam {
    /// First moments, `[active, 3, size, size]`.
    pub first: Tensor<4>,
    /// Second moments, same shape.
    pub second: Tensor<4>,
    /// Steps that each active image has taken part in.
    pub steps: Vec<u32>,
    config: Synthesize,
}

impl PixelAdam {
    /// The images of the first round, without history.
    pub fn new(config: &Synthesize, images: usize, size: usize, device: &Device) -> Self {
        let zeros = Tensor::zeros([images, 3, size, size], device);
        Self { first: zeros.clone(), second: zeros, steps: vec![0; images], config: config.clone() }
    }

    /// Adds images that have no history.
    pub fn join(&mut self, images: usize) {
        let [_, c, h, w] = self.first.dims();
        let zeros = Tensor::zeros([images, c, h, w], &self.first.device());
        self.first = Tensor::cat(vec![self.first.clone(), zeros.clone()], 0);
        self.second = Tensor::cat(vec![self.second.clone(), zeros], 0);
        self.steps.extend(std::iter::repeat_n(0, images));
    }

    /// Forgets the history of all images.
    pub fn restart(&mut self) {
        self.first = self.first.zeros_like();
        self.second = self.second.zeros_like();
        self.steps.fill(0);
    }

    /// The change that this step makes to the pixels: subtract it. `batch_step` counts the batch's steps from 1.
    ///
    /// # Shapes
    /// `gradient` and the result: `[active, 3, size, size]`.
    pub fn step(&mut self, gradient: Tensor<4>, lr: f64, batch_step: u32) -> Tensor<4> {
        for steps in &mut self.steps {
            *steps += 1;
        }
        let Synthesize { beta_1: b1, beta_2: b2, epsilon, optimizer_state, .. } = self.config;
        self.first = self.first.clone().mul_scalar(b1) + gradient.clone().mul_scalar(1.0 - b1);
        self.second = self.second.clone().mul_scalar(b2) + (gradient.clone() * gradient).mul_scalar(1.0 - b2);
        let root = self.second.clone().sqrt();
        match optimizer_state {
            OptimizerState::PerBatch => {
                let (scale_1, root_2) = corrections(b1, b2, batch_step);
                self.first.clone() / root.div_scalar(root_2).add_scalar(epsilon) * (lr / scale_1)
            }
            OptimizerState::PerImage => {
                let device = self.first.device();
                let per_image = |f: &dyn Fn(u32) -> f64| {
                    let values: Vec<f32> = self.steps.iter().map(|t| f(*t) as f32).collect();
                    let shape = [values.len(), 1, 1, 1];
                    Tensor::<4>::from_data(TensorData::new(values, shape), &device)
                };
                let factor = per_image(&|t| lr / corrections(b1, b2, t).0);
                let root_2 = per_image(&|t| corrections(b1, b2, t).1);
                self.first.clone() / (root / root_2).add_scalar(epsilon) * factor
            }
        }
    }
}

/// Bias corrections after `t` steps: 1 − β₁ᵗ and √(1 − β₂ᵗ).
fn corrections(beta_1: f64, beta_2: f64, t: u32) -> (f64, f64) {
    let t = t.min(i32::MAX as u32) as i32;
    (1.0 - beta_1.powi(t), (1.0 - beta_2.powi(t)).sqrt())
}
