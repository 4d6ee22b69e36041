//! What the images of one class are pulled to: the barycenter of its real features, and the statistics of its real images
//! (WMDD, ICCV 2025, sections 3.2 and 3.3).

use std::sync::Arc;

use anyhow::{Context, Result};
use burn::tensor::{Device, Tensor, TensorData};
use delt_formats::Normalization;
use delt_networks::{FrozenNetwork, JoinedStatistics};
use delt_pipeline::config::synthesize::Init;
use delt_training::{Floats, ImageSet};

use super::wasserstein::WassersteinBarycenter;
use super::{Preparation, REAL_BATCH};
use crate::recover::values;

/// Bytes of a class's features that stay in memory: more go through a file, all of them.
const MOST_IN_MEMORY: u64 = 16 << 20;

/// The real training images, class by class.
///
/// What it takes in memory for each of them, beside what [`ImageSet`] does: 4 bytes, and while the target of its class is computed
/// 24 more and 8 for each synthetic image of the class ([`WassersteinBarycenter::of`]). Over a data set of even classes that is
/// 14 bytes an image at 10 images per class and 10 classes, 46 at 50, and with 100 classes 5 and 8.
#[derive(Debug)]
pub(super) struct RealClasses {
    images: Arc<ImageSet>,
    /// Position of the images of each class.
    of_class: Vec<Vec<u32>>,
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
        let mut counts = vec![0; preparation.classes];
        images.labels.iter().for_each(|label| counts[*label as usize] += 1);
        let mut of_class: Vec<Vec<u32>> = counts.into_iter().map(Vec::with_capacity).collect();
        for (at, label) in images.labels.iter().enumerate() {
            of_class[*label as usize].push(at as u32);
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
        let (mut features, mut length) = (None, 0);
        let mut statistics = JoinedStatistics::default();
        for batch in indices.chunks(REAL_BATCH) {
            let batch: Vec<usize> = batch.iter().map(|index| *index as usize).collect();
            let pixels = self.images.normalized(&batch, &self.normalization)?;
            let pixels = self.images.on_device(pixels, &self.device);
            let (batch_features, batch_statistics) = teacher.features_with_statistics(pixels)?;
            length = batch_features.dims()[1];
            let features = match &mut features {
                Some(features) => features,
                none => none.insert(Floats::within(MOST_IN_MEMORY, length, indices.len())?),
            };
            features.push(&values(batch_features)?)?;
            statistics.add(batch.len(), &batch_statistics);
        }
        let features = features.context("the class has images")?;
        let slots = initial.len() / (3 * (self.images.size as usize).pow(2));
        let start = match self.init {
            Init::Selected => {
                values(teacher.features(self.images.on_device(initial.to_vec(), &self.device)))?
            }
            Init::Noise => features.rows(&(0..slots).collect::<Vec<_>>())?,
        };
        let points = WassersteinBarycenter::of(&features, &start, length)?.points;
        let shape = [points.len() / length, length];
        let points = Tensor::from_data(TensorData::new(points, shape), &self.device);
        Ok((teacher.with_bn_targets(&statistics.layers()), points))
    }
}
