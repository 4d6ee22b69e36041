//! Section `relabel`: the views that students see, and the teacher's soft labels of them.

use std::collections::BTreeSet;
use std::path::PathBuf;

use delt_augment::randaugment::RandAugment;
use delt_augment::view::{MixSpec, Order, ViewSpec};
use delt_formats::{Keep, LabelPacking};
use serde::{Deserialize, Serialize};

use super::committee::{Committee, Strengths};
use super::{Invalid, SourcePath, is_default, range, recipes};

/// Section `relabel`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Relabel {
    /// Where targets come from. With `given` nothing is labeled: students learn by `evaluate.given`, and of this section only `seeds`
    /// counts.
    #[serde(default, skip_serializing_if = "is_default")]
    pub source: LabelSource,
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
    /// Whose logits are stored: the teacher's, or the mean of the committee's (G-VBSM, CV-DD).
    #[serde(default, skip_serializing_if = "is_default")]
    pub voters: Committee,
    /// What the logits of the committee's networks are weighted by (CV-DD). Absent: all alike.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strengths: Option<Strengths>,
    /// Which statistics the labeling networks normalize by.
    #[serde(default, skip_serializing_if = "is_default")]
    pub teacher_mode: TeacherMode,
    /// ShufflePatches (RDED): every view takes its image as a mosaic of so many patches a side, which change places.
    #[serde(default)]
    pub shuffle_patches: Option<u32>,
    /// `torch`: batches in the order of PyTorch's loaders, so that `export` can write the labels for them (SRe2L's FKD layout).
    #[serde(default, skip_serializing_if = "is_default")]
    pub order: Order,
    /// What is stored of the soft labels.
    pub labels: Labels,
    /// Labels that another model gave to these views, in place of the teacher's: a folder with `labels-SEED.parquet` for each
    /// seed, as the Python package's `label` writes it, or the file of the only seed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub import: Option<SourcePath>,
}

/// Where the targets of students come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LabelSource {
    /// The teacher labels stored views.
    #[default]
    Teacher,
    /// The set: its classes, or targets that were learned with its images.
    Given,
}

/// What is stored of the soft labels: less than everything costs accuracy and saves bytes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Labels {
    /// `full`, or `{top_k: k}`: the k largest logits of a view, and the mean of the others for each of those.
    #[serde(with = "serde_yaml::with::singleton_map")]
    pub keep: Keep,
    /// Bits of a logit: 16 or 8.
    pub bits: u32,
    /// Epochs that are stored; a student sees them again and again until its `relabel.epochs` are over. Absent: all.
    #[serde(default)]
    pub epochs: Option<u32>,
}

impl Labels {
    /// How the logits of a view are packed.
    pub fn packing(&self) -> LabelPacking {
        LabelPacking { keep: self.keep, bits: self.bits }
    }

    fn validate(&self, epochs: u32) -> Result<(), Invalid> {
        let at = |key: &str| format!("relabel.labels.{key}");
        range::require([8, 16].contains(&self.bits), at("bits"), self.bits, "16 or 8 bits a logit")?;
        let keeps_any = self.keep != Keep::TopK(0);
        range::require(keeps_any, at("keep.top_k"), 0, "at least 1 logit of a view, or keep: full")?;
        let stored = self.epochs.unwrap_or(epochs);
        let expected = format!("1 to {epochs} (relabel.epochs), or null to store them all");
        range::require((1..=epochs).contains(&stored), at("epochs"), stored, expected)
    }
}

/// Which statistics the networks normalize by while they label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TeacherMode {
    /// Their running ones.
    #[default]
    Eval,
    /// Those of the student's batch that a view is in: batch-specific soft labels (CV-DD, FADRM). The running ones stay.
    Train,
}

impl Relabel {
    /// What the logits of the teacher and of so many networks of the committee are weighted by; empty: all alike.
    pub fn voting_weights(&self, committee: usize) -> Vec<f64> {
        let members: Vec<usize> = (0..=committee).collect();
        let strengths = self.strengths.as_ref().filter(|_| committee > 0);
        strengths.map_or_else(Vec::new, |strengths| strengths.weights(&members))
    }

    /// What the views are drawn from.
    pub fn view_spec(&self) -> ViewSpec {
        ViewSpec {
            randaugment: self.randaugment,
            min_crop_scale: self.min_crop_scale,
            flip: self.flip,
            mix: self.mix,
            shuffle_patches: self.shuffle_patches,
            order: self.order,
        }
    }

    /// Epochs whose views are stored.
    pub fn stored_epochs(&self) -> u32 {
        self.labels.epochs.unwrap_or(self.epochs)
    }

    /// Whether the labels need the packed layout of their file.
    pub fn is_packed(&self) -> bool {
        self.labels.packing() != LabelPacking::FULL || self.shuffle_patches.is_some()
    }

    /// Images per step: as configured, else the published rule; `counted` is what the number of images per class is called.
    ///
    /// # Errors
    /// [`Invalid`] where nothing is configured and no batch is published for this `ipc`.
    pub fn batch_for(&self, ipc: u32, classes: usize, counted: &str) -> Result<u32, Invalid> {
        self.batch.or_else(|| recipes::published_batch(ipc, classes)).ok_or_else(|| {
            let problem = format!(
                "no batch is published for {counted} {ipc}; set relabel.batch, the images of one step"
            );
            Invalid::new("relabel.batch", problem)
        })
    }

    /// Whether the set itself gives the targets, so that there are no labels.
    pub fn is_given(&self) -> bool {
        self.source == LabelSource::Given
    }

    /// The seeds that get a label artifact of their own.
    pub fn label_seeds(&self) -> &[u64] {
        match (self.source, self.share_labels) {
            (LabelSource::Given, _) => &[],
            (LabelSource::Teacher, true) => &self.seeds[..1],
            (LabelSource::Teacher, false) => &self.seeds,
        }
    }

    /// Refuses views that nobody could replay in that order.
    fn check_order(&self) -> Result<(), Invalid> {
        let beyond = [
            (self.randaugment.is_some(), "RandAugment; set relabel.randaugment=null"),
            (self.shuffle_patches.is_some(), "shuffled patches; set relabel.shuffle_patches=null"),
        ];
        let Some((_, part)) = beyond.iter().find(|(is_set, _)| *is_set && self.order == Order::Torch) else {
            return Ok(());
        };
        let problem = format!(
            "`torch` is the order of loaders that replay crops, flips and one mix a batch, but not {part}, or leave relabel.order out"
        );
        Err(Invalid::new("relabel.order", problem))
    }

    /// The file of imported labels of a seed.
    pub fn imported(&self, seed: u64) -> Option<PathBuf> {
        let path = self.import.as_ref()?;
        Some(if path.is_file() { path.clone() } else { path.join(format!("labels-{seed}.parquet")) })
    }

    /// Refuses imported labels that are not there.
    pub(super) fn check_files(&self) -> Result<(), Invalid> {
        let Some(import) = &self.import else { return Ok(()) };
        let (seeds, place) = (self.label_seeds(), "relabel.import");
        let problem = format!(
            "{}: is one file, but there are {} seeds of labels; name a folder with labels-SEED.parquet for each",
            import.display(),
            seeds.len()
        );
        range::ensure(!import.is_file() || seeds.len() == 1, place, problem)?;
        for (seed, file) in seeds.iter().filter_map(|seed| Some((seed, self.imported(*seed)?))) {
            let expected = format!("labels of seed {seed}, as the Python package's `label` writes them");
            range::file(place, &file, &expected)?;
        }
        Ok(())
    }

    /// `ipc` is none where the images are imported, and their number counts.
    pub(super) fn validate(&self, ipc: Option<u32>, size: u32) -> Result<(), Invalid> {
        self.validate_seeds()?;
        if self.is_given() {
            let is_alone = self.import.is_none() && is_default(&self.voters);
            let problem =
                "found given with import or voters, whose labels nobody would learn; leave these out";
            return range::ensure(is_alone, "relabel.source", problem);
        }
        self.view_spec().validate().map_err(|error| Invalid::new("relabel", error.to_string()))?;
        if let Some(ipc) = ipc {
            self.batch_for(ipc, 2, recipes::IPC)?;
        }
        if let Some(patches) = self.shuffle_patches {
            let problem = format!("{patches} x {patches} patches do not divide {size} px (teacher.size)");
            range::ensure(size.is_multiple_of(patches), "relabel.shuffle_patches", problem)?;
        }
        self.check_order()?;
        range::require(self.epochs > 0, "relabel.epochs", 0, "at least 1")?;
        range::at_most("relabel.epochs", self.epochs, range::MOST_EPOCHS)?;
        if let Some(batch) = self.batch {
            range::batch("relabel.batch", batch)?;
        }
        self.labels.validate(self.epochs)?;
        let is_alone = is_default(&self.voters) && is_default(&self.teacher_mode);
        let problem = "labels of others know no voters and no teacher_mode; leave these out";
        range::ensure(self.import.is_none() || is_alone, "relabel.import", problem)?;
        let layers = self.randaugment.map_or(0, |randaugment| randaugment.layers);
        range::at_most("relabel.randaugment.layers", layers, range::MOST_LAYERS)
    }

    fn validate_seeds(&self) -> Result<(), Invalid> {
        let (seeds, most) = (self.seeds.len(), range::MOST_SEEDS);
        range::require(seeds <= most, "relabel.seeds", format!("{seeds} seeds"), format!("at most {most}"))?;
        range::require(seeds > 0, "relabel.seeds", "an empty list", "at least one student seed")?;
        let distinct: BTreeSet<&u64> = self.seeds.iter().collect();
        range::ensure(distinct.len() == seeds, "relabel.seeds", "a seed is named twice; name each once")
    }
}
