//! Section `relabel`: the views that students see, and the teacher's soft labels of them.

use delt_augment::randaugment::RandAugment;
use delt_augment::view::{MixSpec, ViewSpec};
use serde::{Deserialize, Serialize};

use super::{Invalid, range, recipes};

/// Section `relabel`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Relabel {
    /// Passes over the synthetic images; a student trains for exactly these.
    pub epochs: u32,
    /// Images per student step; absent: the published batch for this number of images per class. Where there are fewer
    /// synthetic images, a step takes them all, and relabel says so.
    #[serde(default)]
    pub batch: Option<u32>,
    /// One student, with views of its own, for each seed.
    pub seeds: Vec<u64>,
    /// Give all students the views of the first seed.
    pub share_labels: bool,
    /// RandAugment on the stored 8-bit image; `null` for none.
    pub randaugment: Option<RandAugment>,
    /// Smallest area share of RandomResizedCrop; 1 for none.
    pub min_crop_scale: f64,
    /// Mirror half of the views.
    pub flip: bool,
    /// CutMix, MixUp or none.
    pub mix: MixSpec,
}

impl Relabel {
    /// What the views are drawn from.
    pub fn view_spec(&self) -> ViewSpec {
        ViewSpec {
            randaugment: self.randaugment,
            min_crop_scale: self.min_crop_scale,
            flip: self.flip,
            mix: self.mix,
        }
    }

    /// Images per step: as configured, else the published rule, never more than there are.
    ///
    /// # Errors
    /// [`Invalid`] where nothing is configured and no batch is published for this `ipc`.
    pub fn batch_for(&self, ipc: u32, classes: usize) -> Result<u32, Invalid> {
        let images = ipc.saturating_mul(u32::try_from(classes).unwrap_or(u32::MAX));
        let batch = match self.batch {
            Some(batch) => batch,
            None => recipes::published_batch(ipc, classes).ok_or_else(|| {
                Invalid::new(
                    "relabel.batch",
                    format!("no batch is published for select.ipc {ipc}; set relabel.batch, the images of one step"),
                )
            })?,
        };
        Ok(batch.min(images))
    }

    /// The seeds that get a label artifact of their own.
    pub fn label_seeds(&self) -> &[u64] {
        if self.share_labels { &self.seeds[..1] } else { &self.seeds }
    }

    pub(super) fn validate(&self, ipc: u32) -> Result<(), Invalid> {
        self.view_spec().validate().map_err(|error| Invalid::new("relabel", error.to_string()))?;
        self.batch_for(ipc, 2)?;
        if self.epochs == 0 {
            return Err(Invalid::new("relabel.epochs", "found 0, expected at least 1"));
        }
        if let Some(batch) = self.batch.filter(|batch| *batch < 2) {
            let problem = format!("found {batch}, expected at least 2 images: BatchNorm needs a batch");
            return Err(Invalid::new("relabel.batch", problem));
        }
        range::at_most("relabel.epochs", self.epochs, range::MOST_EPOCHS)?;
        range::at_most("relabel.batch", self.batch.unwrap_or(0), range::MOST_BATCH)?;
        let layers = self.randaugment.map_or(0, |randaugment| randaugment.layers);
        range::at_most("relabel.randaugment.layers", layers, range::MOST_LAYERS)?;
        if self.seeds.len() > range::MOST_SEEDS {
            let problem = format!("found {} seeds, expected at most {}", self.seeds.len(), range::MOST_SEEDS);
            return Err(Invalid::new("relabel.seeds", problem));
        }
        if self.seeds.is_empty() {
            return Err(Invalid::new(
                "relabel.seeds",
                "found an empty list, expected at least one student seed",
            ));
        }
        let mut sorted = self.seeds.clone();
        sorted.sort_unstable();
        sorted.dedup();
        if sorted.len() != self.seeds.len() {
            return Err(Invalid::new("relabel.seeds", "a seed is named twice; name each once"));
        }
        Ok(())
    }
}
