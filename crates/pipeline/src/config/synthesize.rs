//! Section `synthesize`: EarlyLate recovery (DELT, section 3).

use serde::{Deserialize, Serialize};

use super::committee::{Committee, Together};
use super::densification::Densification;
use super::import_tensors::ImportTensors;
use super::matching::Matching;
use super::method::Method;
use super::residual::Residual;
use super::target::Target;
use super::{Invalid, SourcePath, is_default, range};

/// Section `synthesize`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Synthesize {
    /// MI: iterations of the images that join first; 0 keeps the initial images.
    pub max_iterations: u32,
    /// RI: iterations of one round; the number of rounds is MI / RI.
    pub round_iterations: u32,
    /// Assign the images of a class to rounds; off: all images get all iterations.
    pub early_late: bool,
    /// Images optimized together.
    pub batch: u32,
    /// Which images these are.
    #[serde(default, skip_serializing_if = "is_default")]
    pub batches: Batches,
    /// alpha_BN: weight of the BatchNorm-statistics term.
    pub bn_matching_weight: f64,
    /// Weight of the first BatchNorm layer against the others (published: 10).
    pub first_bn_multiplier: f64,
    /// Peak learning rate of Adam.
    pub lr: f64,
    /// Adam's first-moment decay.
    pub beta_1: f64,
    /// Adam's second-moment decay.
    pub beta_2: f64,
    /// Adam's denominator guard.
    pub epsilon: f64,
    /// Smallest area share of the crop at the end of the easy2hard curriculum; 1 turns cropping off.
    pub min_crop_scale: f64,
    /// Share of the iterations after which the crop's lower bound has reached `min_crop_scale`; 0: from the start.
    pub milestone: f64,
    /// Mirror the batch in half of the iterations.
    pub flip: bool,
    /// Roll the batch by 0 to so many pixels down and right (SRe2L on CIFAR: 4).
    pub jitter: u32,
    /// What the images start from.
    pub init: Init,
    /// Whose steps Adam counts.
    pub optimizer_state: OptimizerState,
    /// Over which span the cosine learning rate runs.
    pub lr_schedule: LrSchedule,
    /// Fewest iterations of the first image of a class: the number of rounds of each class is then drawn at random
    /// from `min_iterations / RI ..= MI / RI`. Absent: all classes have all rounds.
    #[serde(default)]
    pub min_iterations: Option<u32>,
    /// The numbers that the teacher's convolutions are computed in.
    #[serde(default, skip_serializing_if = "is_default")]
    pub dtype: Dtype,
    /// Blend the images again and again with those that they started from (FADRM). Absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub residual: Option<Residual>,
    /// What the images are pulled to: their class, or the barycenter of its real features (WMDD).
    #[serde(default, skip_serializing_if = "is_default")]
    pub target: Target,
    /// Whose loss an iteration takes: the teacher's, or that of one network of the committee, drawn anew each time (G-VBSM).
    #[serde(default, skip_serializing_if = "is_default")]
    pub teachers: Committee,
    /// Several networks of the committee at once (CV-DD). Absent: one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub together: Option<Together>,
    /// Match the statistics of what enters the convolutions too, by channel and by patch (G-VBSM). Absent: of batch
    /// normalization only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub convolution_statistics: Option<ConvolutionStatistics>,
    /// Keep the images of a class apart (G-VBSM). Absent: nothing does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub densification: Option<Densification>,
    /// The outer loop. Absent: EarlyLate recovery.
    #[serde(default, skip_serializing_if = "is_default")]
    pub method: Method,
    /// What the methods share that match batches of real images. All above but `method` is then left out, as is this with
    /// EarlyLate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matching: Option<Matching>,
    /// Images that another project made, in place of all this: a folder with a folder for each class, Parquet, tensors of PyTorch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub import: Option<SourcePath>,
    /// How these become pixels, where they are tensors of another range than 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub import_tensors: Option<ImportTensors>,
}

/// Statistics of what enters the convolutions: weighted as those of batch normalization, and `first_bn_multiplier` is then the
/// first convolution's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConvolutionStatistics {
    /// Share of the convolutions that an iteration leaves out, drawn anew each time (published: 0.4).
    pub drop: f64,
}

/// Which images are optimized together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Batches {
    /// Those of one class, then of the next (DELT, G-VBSM).
    #[default]
    ByClass,
    /// The first image of each class, then the second (SRe2L, CDA, FADRM): where a batch has as many images as there are
    /// classes, one of each.
    AcrossClasses,
}

/// What the images start from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Init {
    /// The images of init-select.
    Selected,
    /// Standard normal noise in normalized space (SRe2L, CDA).
    Noise,
}

/// Whose steps Adam's bias correction counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OptimizerState {
    /// One counter for the batch: the first step of a late image is about 1.58 times lr, as published.
    PerBatch,
    /// Each image counts its own steps.
    PerImage,
}

/// Over which span the cosine learning rate runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LrSchedule {
    /// Over all iterations of the batch, as published: late images start low.
    PerBatch,
    /// Anew in each round (what `--round-lr-reset` of the published code was meant to do).
    PerRound,
}

/// The numbers that the teacher's convolutions are computed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dtype {
    /// 32 bit.
    #[default]
    F32,
    /// 16 bit with the range of 32, for GPUs; batch normalization, its statistics, losses and pixels stay in 32.
    Bf16,
}

impl Synthesize {
    /// The published settings, as `pipelines/base/delt.yaml` states them.
    pub fn published() -> Self {
        Self {
            max_iterations: 4000,
            round_iterations: 500,
            early_late: true,
            batch: 100,
            batches: Batches::ByClass,
            bn_matching_weight: 0.01,
            first_bn_multiplier: 10.0,
            lr: 0.25,
            beta_1: 0.5,
            beta_2: 0.9,
            epsilon: 1e-8,
            min_crop_scale: 0.08,
            milestone: 1.0,
            flip: true,
            jitter: 0,
            init: Init::Selected,
            optimizer_state: OptimizerState::PerBatch,
            lr_schedule: LrSchedule::PerBatch,
            min_iterations: None,
            dtype: Dtype::F32,
            residual: None,
            target: Target::default(),
            teachers: Committee::TeacherAlone,
            together: None,
            convolution_statistics: None,
            densification: None,
            method: Method::default(),
            matching: None,
            import: None,
            import_tensors: None,
        }
    }

    pub(super) fn validate(&self, ipc: u32, size: u32) -> Result<(), Invalid> {
        let at = |key: &str| format!("synthesize.{key}");
        if self.method.is_matching() {
            let problem = format!(
                "is missing, which {} needs: its network, iterations and optimizer",
                self.method.title()
            );
            let matching = self.matching.as_ref().ok_or_else(|| Invalid::new(at("matching"), problem))?;
            self.method.validate(ipc)?;
            return matching.validate(self.method, size);
        }
        range::require(self.batch > 0, at("batch"), 0, "at least 1 image")?;
        range::at_most(at("batch"), self.batch, range::MOST_BATCH)?;
        range::at_most(at("max_iterations"), self.max_iterations, range::MOST_ITERATIONS)?;
        range::at_most(at("jitter"), self.jitter, range::MOST_SIDE)?;
        if self.max_iterations > 0 && self.early_late && ipc > 1 {
            let (most, round) = (self.max_iterations, self.round_iterations);
            // nothing but 0 is a multiple of 0
            let problem =
                format!("{most} iterations are not a multiple of rounds of {round}; choose a divisor");
            range::ensure(most.is_multiple_of(round), at("round_iterations"), problem)?;
            if let Some(least) = self.min_iterations {
                let fits = (1..=most).contains(&least) && least.is_multiple_of(round);
                let expected =
                    format!("a multiple of round_iterations ({round}) up to max_iterations ({most})");
                range::require(fits, at("min_iterations"), least, expected)?;
            }
        }
        self.refuse_ignored(ipc)?;
        if let Some(tensors) = &self.import_tensors {
            tensors.validate(self.import.is_some())?;
        }
        if let Some(residual) = &self.residual {
            residual.validate(self)?;
        }
        if let Some(densification) = self.densification.filter(|_| self.max_iterations > 0) {
            densification.validate(ipc)?;
        }
        self.target.validate(self, ipc)?;
        if let Some(ConvolutionStatistics { drop }) = self.convolution_statistics {
            range::BELOW_ONE.check(at("convolution_statistics.drop"), drop)?;
            let problem =
                "found with target.kind barycenter, whose statistics are those of one class; leave one out";
            range::ensure(!self.target.is_barycenter(), at("convolution_statistics"), problem)?;
        }
        range::NOT_NEGATIVE.check(at("bn_matching_weight"), self.bn_matching_weight)?;
        range::NOT_NEGATIVE.check(at("first_bn_multiplier"), self.first_bn_multiplier)?;
        range::AREA.check(at("min_crop_scale"), self.min_crop_scale)?;
        range::OF_RECOVERY.check(at("milestone"), self.milestone)?;
        range::BELOW_ONE.check(at("beta_1"), self.beta_1)?;
        range::BELOW_ONE.check(at("beta_2"), self.beta_2)?;
        range::POSITIVE.check(at("lr"), self.lr)?;
        range::POSITIVE.check(at("epsilon"), self.epsilon)
    }

    /// Whether images are optimized, and not those of init-select or of another project taken as they are.
    pub fn makes_images(&self) -> bool {
        self.method.is_matching() || self.max_iterations > 0
    }

    /// Images that are imported are not made: nothing of this section counts but their place; and nothing of EarlyLate recovery
    /// where batches of real images are matched.
    pub(super) fn leave_out_what_does_not_count(&mut self) {
        if self.import.is_some() {
            self.max_iterations = 0;
            self.method = Method::default();
        }
        if !self.method.is_matching() {
            self.matching = None;
        }
        if self.import.is_some() || self.method.is_matching() {
            self.init = Init::Selected;
            self.batches = Batches::default();
            self.min_iterations = None;
            self.residual = None;
            self.target = Target::default();
            self.teachers = Committee::default();
            self.convolution_statistics = None;
            self.densification = None;
            self.together = None;
        }
    }

    /// Settings that would change nothing are refused: whoever writes them expects something else.
    fn refuse_ignored(&self, ipc: u32) -> Result<(), Invalid> {
        if self.max_iterations == 0 {
            let problem = "found noise with max_iterations 0, which keeps the selected images; set init: selected or more iterations";
            return range::ensure(self.init != Init::Noise, "synthesize.init", problem);
        }
        let without_rounds = match (self.early_late, ipc) {
            (false, _) => "early_late: false",
            (true, 1) => "select.ipc 1",
            _ => return Ok(()),
        };
        let Some(least) = self.min_iterations else { return Ok(()) };
        let problem =
            format!("found {least} with {without_rounds}, which has no rounds to draw; leave it out");
        Err(Invalid::new("synthesize.min_iterations", problem))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::yaml;

    #[test]
    fn the_published_settings_are_those_that_every_run_inherits() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines/base/delt.yaml");
        let base = yaml::load(&path).expect("loads");
        let section = base["synthesize"].as_mapping().expect("a section");
        assert_eq!(yaml::typed::<Synthesize>(section, "base").expect("reads"), Synthesize::published());
    }
}
