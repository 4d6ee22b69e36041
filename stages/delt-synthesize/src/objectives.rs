//! The first door: what the pixels of a batch minimize inside EarlyLate recovery. One file for each objective, one row of
//! [`prepare`]; what an objective reads and what its two losses are called is declared beside its configuration
//! ([`delt_pipeline::config::objective`]), so that plan, key and page know it before anything runs.
//!
//! | objective | file | of |
//! |---|---|---|
//! | labels and BatchNorm statistics | [`labels`] | DELT, SRe2L, CDA, RDED's neighbors |
//! | statistics of what enters the convolutions too | [`convolution_statistics`] | G-VBSM |
//! | barycenters of real features | [`barycenter`] | WMDD |
//!
//! [`together`] weighs several networks (CV-DD), [`densification`] keeps the images of a class apart (G-VBSM), and [`residual`] blends images with what they started from, whatever they minimize (FADRM).

pub mod barycenter;
mod class_target;
pub mod convolution_statistics;
pub mod densification;
pub mod labels;
pub mod residual;
mod shares;
pub mod together;
mod transport;
mod wasserstein;

use std::fmt::Debug;
use std::sync::Arc;

use anyhow::{Context, Result};
use burn::tensor::Tensor;
use delt_augment::draws::Draws;
use delt_formats::{NamedTensor, Normalization};
use delt_networks::FrozenNetwork;
use delt_pipeline::config::objective::ObjectiveKind;
use delt_pipeline::config::synthesize::Synthesize;
use delt_pipeline::early_late::BatchSchedule;
use delt_training::ImageSet;

use crate::checkpoint::Kept;
use crate::method::Place;

/// Real images that a network sees at once.
const REAL_BATCH: usize = 100;

/// Which iteration of which batch a loss is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moment {
    /// Index of the batch.
    pub batch: u32,
    /// Iteration of the batch, from 0.
    pub iteration: u32,
}

/// Loss of one batch of images, with the two parts that the trace keeps; the configuration says what they are.
#[derive(Debug)]
pub struct Loss {
    /// What is minimized, `[1]`: `target + alpha_BN · statistics`.
    pub total: Tensor<1>,
    /// What pulls the images to their class, `[1]`.
    pub target: Tensor<1>,
    /// Weighted sum of the distances of statistics, before alpha_BN, `[1]`.
    pub statistics: Tensor<1>,
}

/// What pixels minimize, with the network that judges them.
pub trait Objective: Debug + Send + Sync {
    /// The loss of one batch of images.
    ///
    /// # Shapes
    /// `images`: `[n, 3, size, size]`, normalized, augmented; `labels`: n class indices.
    fn loss(&self, moment: Moment, images: Tensor<4>, labels: &[u32], config: &Synthesize) -> Loss;

    /// The objective of one batch alone, where it depends on the batch; none where one serves all.
    ///
    /// # Shapes
    /// `start`: all images of the batch, `[batch, 3, size, size]`, normalized.
    ///
    /// # Errors
    /// What preparing it reports.
    fn of_batch(&self, batch: &BatchSchedule, start: &[f32]) -> Result<Option<Arc<dyn Objective>>> {
        let _ = (batch, start);
        Ok(None)
    }

    /// What a checkpoint inside a batch must keep of it, beside pixels and moments; one that changes while pixels do holds it in a
    /// cell. Names need not differ from those of others.
    fn save(&self) -> Vec<NamedTensor> {
        Vec::new()
    }

    /// Puts back what [`Self::save`] gave.
    ///
    /// # Errors
    /// A tensor that is absent or has another shape.
    fn restore(&self, kept: &Kept) -> Result<()> {
        let _ = kept;
        Ok(())
    }
}

/// What objectives are prepared from.
#[expect(missing_debug_implementations, reason = "functions have nothing to show")]
pub struct Preparation<'a> {
    /// Section `synthesize`.
    pub config: &'a Synthesize,
    /// The real training images, where the configuration says that they are needed.
    pub real: Option<Arc<ImageSet>>,
    /// How networks see pixels.
    pub normalization: Normalization,
    /// Number of classes.
    pub classes: usize,
    /// Source of all draws.
    pub draws: Draws,
    /// Where they are computed.
    pub place: &'a Place<'a>,
}

impl Preparation<'_> {
    /// The real training images of an objective that needs them.
    fn real_images(&self) -> Result<&Arc<ImageSet>> {
        self.real.as_ref().context("the real training images were not opened")
    }
}

/// Prepares the objective of a configuration for one network; `member` is 0 for the teacher, then the committee.
///
/// # Errors
/// What the preparation reports.
pub fn prepare(
    network: FrozenNetwork,
    member: usize,
    preparation: &Preparation<'_>,
) -> Result<Arc<dyn Objective>> {
    Ok(match preparation.config.objective() {
        ObjectiveKind::Labels => Arc::new(labels::Labels { network }),
        ObjectiveKind::ConvolutionStatistics(matched) => Arc::new(
            convolution_statistics::ConvolutionStatistics::prepare(network, matched, member, preparation)?,
        ),
        ObjectiveKind::Barycenter { weight, cross_entropy } => {
            Arc::new(barycenter::Barycenter::prepare(network, [weight, cross_entropy], preparation)?)
        }
    })
}
