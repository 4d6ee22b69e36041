//! Key `evaluate.given`: how students learn targets that the set itself gives, with `relabel.source: given`. There are no soft labels
//! then: students draw their own views. Published recipes of the batch-to-batch methods can all be written so.

use delt_augment::dsa::Strategy;
use delt_formats::Whitening;
use serde::{Deserialize, Serialize};

use super::matching::Targets;
use super::{Invalid, is_default, range};

/// Section `evaluate.given`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Given {
    /// What is learned of each image. Its class is 1 for this one and 0 for others, with a squared error both less the mean (FRePo).
    pub targets: Targets,
    /// Whitening of images that have no space of their own: real ones then stand in that of a method. Test images go through it too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whitening: Option<Whitening>,
    /// What is minimized.
    pub loss: GivenLoss,
    /// With its learning rate over the training.
    pub optimizer: GivenOptimizer,
    /// First weights of the students.
    #[serde(default, skip_serializing_if = "is_default")]
    pub first_weights: FirstWeights,
    /// How long: `{epochs: n}` or `{steps: n}`. `optimizer.drop` and `tests` count in this unit.
    #[serde(with = "serde_yaml::with::singleton_map")]
    pub budget: Budget,
    /// Images of a step: `all`, `{images: n}` or `{of_each_class: n}`.
    #[serde(with = "serde_yaml::with::singleton_map")]
    pub batch: Batch,
    /// Strategies of which one is drawn for each batch, with draws of its own for each image (DSA, FRePo); empty: images as they are.
    pub augmentation: Vec<Strategy>,
    /// Learn the mirror images beside the images, with the same targets (RCIG).
    #[serde(default, skip_serializing_if = "is_default")]
    pub mirror: bool,
    /// When students are tested: `{every: n}`, or `{at: [..]}` after so many epochs or steps; at the end always.
    #[serde(with = "serde_yaml::with::singleton_map")]
    pub tests: Tests,
}

/// How first weights are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FirstWeights {
    /// As everywhere: PyTorch's default.
    #[default]
    Torch,
    /// Weights normal with variance 1/fan-in, biases 0 (FRePo, RCIG).
    Lecun,
}

/// What a student minimizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum GivenLoss {
    /// Cross-entropy to the targets, mean over the images. (Braces: serde lets unknown keys pass beside a unit variant.)
    CrossEntropy {},
    /// Half the squared distance of logits and targets.
    HalfSquaredError {
        /// What the sum of squares is divided by.
        per: Per,
    },
}

/// What a sum is divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Per {
    /// The images of the step (FRePo).
    Image,
    /// These times the classes (RCIG).
    ImageAndClass,
}

/// How long a student is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Budget {
    /// Passes over the images.
    Epochs(u32),
    /// Steps.
    Steps(u32),
}

/// Images of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Batch {
    /// All of them.
    All,
    /// So many, in another order in each epoch; the last step of an epoch takes what is left.
    Images(u32),
    /// So many of each class, as before.
    OfEachClass(u32),
}

/// When students are tested.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tests {
    /// After so many epochs or steps, and again after as many.
    Every(u32),
    /// After these.
    At(Vec<u32>),
}

/// Optimizer with every value written out. All tensors decay, biases and normalization too, as the published code has it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum GivenOptimizer {
    /// Stochastic gradient descent as PyTorch has it.
    Sgd {
        /// Learning rate.
        lr: GivenLr,
        /// Momentum.
        momentum: f64,
        /// Weight decay.
        weight_decay: f64,
        /// Lowers the learning rate once.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        drop: Option<Drop>,
    },
    /// Adam.
    Adam {
        /// Peak learning rate.
        lr: GivenLr,
        /// First-moment decay.
        beta_1: f64,
        /// Second-moment decay.
        beta_2: f64,
        /// Denominator's guard.
        epsilon: f64,
        /// The learning rate over the steps; absent: always the peak.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        schedule: Option<WarmCosine>,
    },
}

/// A learning rate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected `lr` to be a number, or `learned`")]
pub enum GivenLr {
    /// This one.
    Number(f64),
    /// That which was learned with the images.
    Learned(Learned),
}

/// The word `learned`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Learned {
    /// As the images.
    Learned,
}

/// Lowers the learning rate once; momentum starts anew, because the published code makes a new optimizer then.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drop {
    /// After so many epochs or steps.
    pub after: u32,
    /// By this factor.
    pub factor: f64,
}

/// From 0 up to the peak in a straight line, then down along a cosine.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WarmCosine {
    /// Steps to the peak.
    pub warmup_steps: u32,
    /// Share of the peak that the cosine ends at.
    pub final_share: f64,
}

impl Budget {
    /// Epochs or steps.
    pub fn units(self) -> u32 {
        match self {
            Self::Epochs(units) | Self::Steps(units) => units,
        }
    }
}

impl GivenOptimizer {
    /// Peak learning rate as configured.
    pub fn lr(&self) -> GivenLr {
        match self {
            Self::Sgd { lr, .. } | Self::Adam { lr, .. } => *lr,
        }
    }
}

impl Given {
    /// Steps of an epoch: `per_class` are the images of each class, mirror images not counted.
    pub fn steps_per_epoch(&self, per_class: &[u64]) -> u64 {
        let times = if self.mirror { 2 } else { 1 };
        match self.batch {
            Batch::All => 1,
            Batch::Images(n) => (times * per_class.iter().sum::<u64>()).div_ceil(u64::from(n.max(1))),
            Batch::OfEachClass(n) => {
                (times * per_class.iter().max().copied().unwrap_or(0)).div_ceil(u64::from(n.max(1)))
            }
        }
    }

    /// Passes over the images, mirror images counted: `per_class` are the images of each class.
    pub fn passes(&self, per_class: &[u64]) -> f64 {
        let epochs = match self.budget {
            Budget::Epochs(epochs) => f64::from(epochs),
            Budget::Steps(steps) => f64::from(steps) / self.steps_per_epoch(per_class).max(1) as f64,
        };
        if self.mirror { 2.0 * epochs } else { epochs }
    }

    /// After how many epochs or steps students are tested, ascending; the last is the end.
    pub fn tested_after(&self) -> Vec<u32> {
        let units = self.budget.units();
        let mut after: Vec<u32> = match &self.tests {
            Tests::Every(every) => (1..=units / every.max(&1)).map(|time| time * every).collect(),
            Tests::At(at) => at.clone(),
        };
        after.extend((after.last() != Some(&units)).then_some(units));
        after
    }

    pub(super) fn validate(&self) -> Result<(), Invalid> {
        let at = |key: &str| format!("evaluate.given.{key}");
        let units = self.budget.units();
        range::require(units > 0, at("budget"), 0, "at least 1")?;
        range::at_most(at("budget"), units, range::MOST_ITERATIONS)?;
        if let Batch::Images(n) | Batch::OfEachClass(n) = self.batch {
            range::require(n > 0, at("batch"), 0, "at least 1 image, or `all`")?;
            range::at_most(at("batch"), n, range::MOST_BATCH)?;
        }
        for (index, strategy) in self.augmentation.iter().enumerate() {
            let problem = "names a strategy twice; name each once";
            range::ensure(!self.augmentation[..index].contains(strategy), at("augmentation"), problem)?;
        }
        match &self.tests {
            Tests::Every(every) => range::require(*every > 0, at("tests.every"), 0, "at least 1")?,
            Tests::At(after) => {
                let ascends =
                    after.is_sorted_by(|a, b| a < b) && after.first().is_none_or(|first| *first > 0);
                let fits = ascends && after.last().is_none_or(|last| *last <= units);
                range::require(
                    fits,
                    at("tests.at"),
                    format_args!("{after:?}"),
                    format_args!("ascending numbers from 1 to {units}"),
                )?;
            }
        }
        self.validate_optimizer(units)
    }

    fn validate_optimizer(&self, units: u32) -> Result<(), Invalid> {
        let at = |key: &str| format!("evaluate.given.optimizer.{key}");
        if let GivenLr::Number(lr) = self.optimizer.lr() {
            range::POSITIVE.check(at("lr"), lr)?;
        }
        match self.optimizer {
            GivenOptimizer::Sgd { momentum, weight_decay, drop, .. } => {
                range::BELOW_ONE.check(at("momentum"), momentum)?;
                range::NOT_NEGATIVE.check(at("weight_decay"), weight_decay)?;
                if let Some(Drop { after, factor }) = drop {
                    let expected = format!("1 to {}, before the end", units.saturating_sub(1));
                    range::require((1..units).contains(&after), at("drop.after"), after, expected)?;
                    range::POSITIVE.check(at("drop.factor"), factor)?;
                }
                Ok(())
            }
            GivenOptimizer::Adam { beta_1, beta_2, epsilon, schedule, .. } => {
                range::BELOW_ONE.check(at("beta_1"), beta_1)?;
                range::BELOW_ONE.check(at("beta_2"), beta_2)?;
                range::POSITIVE.check(at("epsilon"), epsilon)?;
                schedule.map_or(Ok(()), |it| range::SHARE.check(at("schedule.final_share"), it.final_share))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The students of the papers: DC, DSA and DM, MTT and TESLA, RaT-BPTT, FRePo, RCIG.
    const PUBLISHED: [&str; 6] = [
        "{targets: hard, loss: {kind: cross_entropy}, budget: {epochs: 301}, batch: {images: 256}, augmentation: [], tests: {every: 301}, \
          optimizer: {kind: sgd, lr: 0.01, momentum: 0.9, weight_decay: 5.0e-4, drop: {after: 152, factor: 0.1}}}",
        "{targets: hard, loss: {kind: cross_entropy}, budget: {epochs: 1001}, batch: {images: 256}, tests: {every: 1001}, \
          augmentation: [color, crop, cutout, flip, scale, rotate], \
          optimizer: {kind: sgd, lr: 0.01, momentum: 0.9, weight_decay: 5.0e-4, drop: {after: 502, factor: 0.1}}}",
        "{targets: hard, loss: {kind: cross_entropy}, budget: {epochs: 1001}, batch: {images: 256}, tests: {every: 100}, \
          augmentation: [color, crop, cutout, flip, scale, rotate], \
          optimizer: {kind: sgd, lr: learned, momentum: 0.9, weight_decay: 5.0e-4, drop: {after: 502, factor: 0.1}}}",
        "{targets: learned, loss: {kind: cross_entropy}, budget: {steps: 3000}, batch: {of_each_class: 1}, \
          augmentation: [flip, rotate], tests: {at: [300, 600, 1000]}, \
          optimizer: {kind: adam, lr: 1.0e-3, beta_1: 0.9, beta_2: 0.999, epsilon: 1.0e-8}}",
        "{targets: learned, loss: {kind: half_squared_error, per: image}, budget: {steps: 2000}, batch: {images: 500}, \
          augmentation: [flip, soft_color, zoom, turn, translate, small_cutout], tests: {every: 200}, first_weights: lecun, \
          optimizer: {kind: adam, lr: 3.0e-4, beta_1: 0.9, beta_2: 0.999, epsilon: 1.0e-8, \
          schedule: {warmup_steps: 500, final_share: 0.01}}}",
        "{targets: learned, loss: {kind: half_squared_error, per: image_and_class}, budget: {steps: 2000}, batch: all, mirror: true, \
          augmentation: [], tests: {every: 2000}, first_weights: lecun, \
          optimizer: {kind: adam, lr: 1.0e-4, beta_1: 0.9, beta_2: 0.999, epsilon: 1.0e-8, \
          schedule: {warmup_steps: 500, final_share: 0.01}}}",
    ];

    #[test]
    fn the_published_students_can_be_written_and_keep_their_words() {
        let mut tested = Vec::new();
        for text in PUBLISHED {
            let given: Given = serde_yaml::from_str(text).expect("reads");
            given.validate().expect("fits");
            let json = serde_json::to_value(&given).expect("writes");
            assert_eq!(serde_json::from_value::<Given>(json).expect("reads"), given);
            tested.push(given.tested_after());
        }
        assert_eq!(tested[0], [301]);
        assert_eq!((tested[2].len(), tested[2][10]), (11, 1001));
        assert_eq!(tested[3], [300, 600, 1000, 3000]);
        let mirrored: Given = serde_yaml::from_str(PUBLISHED[5]).expect("reads");
        assert_eq!((mirrored.steps_per_epoch(&[10; 10]), mirrored.passes(&[10; 10])), (1, 4000.0));
        let some: Given = serde_yaml::from_str(PUBLISHED[3]).expect("reads");
        assert_eq!((some.steps_per_epoch(&[10; 10]), some.passes(&[10; 10])), (10, 300.0));
    }
}
