//! The frozen teacher as recovery sees it.

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use delt_formats::Normalization;
use delt_networks::FrozenNetwork;
use delt_pipeline::config::synthesize::Synthesize;
use delt_pipeline::early_late::BatchSchedule;

use crate::objectives::labels::Labels;
use crate::objectives::{Loss, Moment, Objective};

/// What judges the pixels: an objective with its network, and what a valid pixel is.
#[derive(Debug, Clone)]
pub struct RecoveryTeacher {
    pub(crate) objective: Arc<dyn Objective>,
    /// Range of a valid pixel in normalized space, by channel.
    pixel_range: [(f32, f32); 3],
    device: Device,
    pub(crate) losses_read_every: usize,
}

impl RecoveryTeacher {
    /// A network that pulls images to their labels and to its own statistics, as DELT has it. It is on a device without
    /// autodiff: its weights are constants of the graph.
    pub fn new(network: FrozenNetwork, normalization: &Normalization, device: &Device) -> Self {
        Self::of(Arc::new(Labels { network }), normalization, device)
    }

    /// Any objective.
    pub fn of(objective: Arc<dyn Objective>, normalization: &Normalization, device: &Device) -> Self {
        let pixel_range = delt_augment::normalize::pixel_range(normalization);
        Self { objective, pixel_range, device: device.clone(), losses_read_every: 1 }
    }

    /// The losses go to the host once in so many iterations: a GPU need not wait for each. A loss that is NaN or infinite is
    /// noticed then. The results are the same.
    #[must_use]
    pub fn reading_losses_every(self, iterations: usize) -> Self {
        Self { losses_read_every: iterations.max(1), ..self }
    }

    /// The same for one batch, where the objective depends on the batch.
    ///
    /// # Errors
    /// What [`Objective::of_batch`] reports.
    pub fn of_batch(&self, batch: &BatchSchedule, start: &[f32]) -> anyhow::Result<Self> {
        let own = self.objective.of_batch(batch, start)?;
        Ok(Self { objective: own.unwrap_or_else(|| self.objective.clone()), ..self.clone() })
    }

    /// Another objective in place of its own.
    #[must_use]
    pub(crate) fn with(&self, objective: Arc<dyn Objective>) -> Self {
        Self { objective, ..self.clone() }
    }

    /// The loss of one batch of images in its first iteration, see [`Objective::loss`].
    pub fn loss(&self, images: Tensor<4>, labels: &[u32], config: &Synthesize) -> Loss {
        self.objective.loss(Moment::default(), images, labels, config)
    }

    /// Clips each channel to the range of a valid pixel.
    pub fn clip(&self, images: Tensor<4>) -> Tensor<4> {
        let of_channels = |end: fn(&(f32, f32)) -> f32| {
            let ends: Vec<f32> = self.pixel_range.iter().map(end).collect();
            Tensor::<4>::from_data(TensorData::new(ends, [1, 3, 1, 1]), &self.device)
        };
        images.max_pair(of_channels(|range| range.0)).min_pair(of_channels(|range| range.1))
    }

    /// The device the recovery runs on.
    pub fn device(&self) -> &Device {
        &self.device
    }
}
