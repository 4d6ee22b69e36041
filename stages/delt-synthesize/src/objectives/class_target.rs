//! What the images of one class are pulled to: the barycenter of its real features, and the statistics of its real images
//! (WMDD, ICCV 2025, sections 3.2 and 3.3).

use std::sync::Arc;

use anyhow::{Context, Result};
use burn::tensor::{Device, Tensor, TensorData};
use delt_formats::Normalization;
use delt_networks::{FrozenNetwork, JoinedStatistics};
use delt_pipeline::config::synthesize::Init;
use delt_training::ImageSet;

use super::wasserstein::WassersteinBarycenter;
use super::{Preparation, REAL_BATCH};
use crate::recover::values;

/// The real training images, class by class.
#[derive(Debug)]
pub(super) struct RealClasses {
    images: Arc<ImageSet>,
    /// Position of the images of each class.
    of_class: Vec<Vec<usize>>,
    normalization: Normalization,
    device: Device,
    init: Init,
}

impl RealClasses {
    /// Sorts the images by class.
    ///
    /// # Errors
    /// Where the real images were not opened.
    pub(super) fn new(preparation: &Preparation<'_>) -> Result<Self> {
        let images = preparation.real_images()?.clone();
        let mut of_class = vec![Vec::new(); preparation.classes];
        for (at, label) in images.labels.iter().enumerate() {
            of_class[*label as usize].push(at);
        }
        let device = preparation.place.opened.device.clone();
        let (normalization, init) = (preparation.normalization, preparation.config.init);
        Ok(Self { images, of_class, normalization, device, init })
    }

    /// What one class is pulled to, from all its real images: the teacher, whose distances of statistics are from theirs, and a
    /// point for the features of each slot, `[ipc, features]`. The points of the barycenter start from the features of
    /// `initial`, the images that its slots start from, so that a slot is pulled to a point near it; where these are noise, from
    /// those of the class's first real images.
    ///
    /// # Shapes
    /// `initial`: `[ipc, 3, size, size]`, normalized.
    ///
    /// # Errors
    /// A class without real images, or a device that returns no values.
    pub(super) fn target(
        &self,
        teacher: &FrozenNetwork,
        class: u32,
        initial: &[f32],
    ) -> Result<(FrozenNetwork, Tensor<2>)> {
        let indices = self.of_class.get(class as usize).filter(|indices| !indices.is_empty());
        let indices =
            indices.with_context(|| format!("class {class} has no training image; run ingest again"))?;
        let mut features = Vec::new();
        let mut statistics = JoinedStatistics::default();
        for indices in indices.chunks(REAL_BATCH) {
            let pixels = self.images.normalized(indices, &self.normalization)?;
            let batch = self.images.on_device(pixels, &self.device);
            let (batch_features, batch_statistics) = teacher.features_with_statistics(batch)?;
            features.extend(values(batch_features)?);
            statistics.add(indices.len(), &batch_statistics);
        }
        let length = features.len() / indices.len();
        let slots = initial.len() / (3 * (self.images.size as usize).pow(2));
        let start = match self.init {
            Init::Selected => {
                values(teacher.features(self.images.on_device(initial.to_vec(), &self.device)))?
            }
            Init::Noise => features[..slots * length].to_vec(),
        };
        let points = WassersteinBarycenter::of(&features, &start, length).points;
        let shape = [points.len() / length, length];
        let points = Tensor::from_data(TensorData::new(points, shape), &self.device);
        Ok((teacher.with_bn_targets(&statistics.layers()), points))
    }
}
