//! Soft labels: the teacher's logits of stored views.

use burn::tensor::{Device, Tensor, TensorData};
use delt_augment::{AugmentError, Draws, ViewSpec, build_views, draw_views};
use delt_formats::{Normalization, RgbImage, ViewRow};
use delt_networks::FrozenNetwork;
use delt_pipeline::config::relabel::TeacherMode;
use delt_pipeline::watch::Watch;
use half::f16;

use crate::ahead::ahead;
use crate::error::TrainingError;

/// Views that the teacher sees at once, at least. While its statistics are fixed, the number changes no label.
const TEACHER_BATCH: usize = 128;

/// A frozen teacher with what its views are made with.
#[derive(Debug)]
pub struct Labeler {
    /// In evaluation mode, on a device without autodiff.
    pub teacher: FrozenNetwork,
    /// Networks that vote with the teacher: the mean of all logits is stored.
    pub committee: Vec<FrozenNetwork>,
    /// Which statistics they normalize by.
    pub mode: TeacherMode,
    /// The teacher's own constants.
    pub normalization: Normalization,
    /// Side of the images, px.
    pub size: u32,
    /// Where the teacher is.
    pub device: Device,
}

impl Labeler {
    /// Draws the views of one epoch and labels them; `progress` advances by views.
    ///
    /// # Errors
    /// Views that cannot be built, a device that returns no values, or
    /// [`delt_pipeline::watch::Interrupted`]: this epoch is then lost.
    pub fn epoch(
        &self,
        images: &[RgbImage],
        draws: &Draws,
        epoch: u32,
        batch: usize,
        spec: &ViewSpec,
        progress: &dyn Watch,
    ) -> Result<Vec<ViewRow>, TrainingError> {
        let mut rows = draw_views(draws, epoch, images.len(), batch, spec, self.size)?;
        // whole batches, because images of a batch are mixed
        let together = match self.mode {
            TeacherMode::Eval => TEACHER_BATCH.div_ceil(batch) * batch,
            TeacherMode::Train => batch,
        };
        let (size, normalization) = (self.size, self.normalization);
        let views = rows.chunks(together).map(|rows| {
            let batches = rows.chunk_by(|a, b| a.batch == b.batch);
            let views = batches.map(|rows| build_views(images, rows, size, &normalization));
            Ok::<_, AugmentError>(views.collect::<Result<Vec<_>, _>>()?.concat())
        });
        let logits = ahead(views, |views| {
            rows.chunks(together)
                .zip(views)
                .map(|(rows, views)| {
                    let logits = self.logits(views?, rows.len())?;
                    progress.advance(rows.len() as u64)?;
                    Ok(logits)
                })
                .collect::<Result<Vec<_>, TrainingError>>()
        })?
        .concat();
        let classes = logits.len() / rows.len().max(1);
        for (row, logits) in rows.iter_mut().zip(logits.chunks(classes.max(1))) {
            row.logits = logits.iter().map(|value| f16::from_f32(*value)).collect();
        }
        Ok(rows)
    }

    /// Logits, before temperature, of normalized views, in training mode those of one batch: `[n, 3, size, size]` → n · classes values.
    ///
    /// # Errors
    /// A device that returns no values.
    pub fn logits(&self, views: Vec<f32>, n: usize) -> Result<Vec<f32>, TrainingError> {
        let side = self.size as usize;
        let views = Tensor::<4>::from_data(TensorData::new(views, [n, 3, side, side]), &self.device);
        let vote = |network: &FrozenNetwork, views| match self.mode {
            TeacherMode::Eval => network.forward(views),
            TeacherMode::Train => network.forward_by_batch_statistics(views),
        };
        let votes: Vec<Tensor<2>> = self.committee.iter().map(|member| vote(member, views.clone())).collect();
        let count = 1 + votes.len();
        let mut logits = vote(&self.teacher, views);
        if count > 1 {
            logits = votes.into_iter().fold(logits, |sum, vote| sum + vote).div_scalar(count as f64);
        }
        let unread = |source| TrainingError::Read { what: "the logits of a batch of views", source };
        logits.try_into_vec_as::<f32>().map_err(unread)
    }
}

#[cfg(test)]
mod tests {
    use delt_formats::Architecture;
    use delt_networks::Network;

    use super::*;

    #[test]
    fn a_committee_stores_the_mean_of_its_logits() {
        let device = Device::flex();
        let network = |seed: u64| {
            let architecture = Architecture::convnet(1, 4);
            let network = Network::initialize(&architecture, 3, 8, seed, &device).expect("a network");
            FrozenNetwork::new(network, &device)
        };
        let labeler = |teacher: u64, committee: &[u64]| Labeler {
            teacher: network(teacher),
            committee: committee.iter().map(|seed| network(*seed)).collect(),
            mode: TeacherMode::Eval,
            normalization: Normalization { mean: [0.5; 3], std: [0.25; 3] },
            size: 8,
            device: device.clone(),
        };
        let views: Vec<f32> = (0..2 * 3 * 64).map(|i| (i % 17) as f32 / 8.0 - 1.0).collect();
        let logits = |labeler: Labeler| labeler.logits(views.clone(), 2).expect("readable");
        let alone: Vec<Vec<f32>> = (1..=3).map(|seed| logits(labeler(seed, &[]))).collect();
        let together = logits(labeler(1, &[2, 3]));
        assert_eq!(together.len(), 6);
        for (at, found) in together.iter().enumerate() {
            let mean = (alone[0][at] + alone[1][at] + alone[2][at]) / 3.0;
            assert!((found - mean).abs() < 1e-6, "{found}, expected {mean}");
        }
    }
}
