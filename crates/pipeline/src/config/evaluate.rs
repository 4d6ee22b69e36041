//! Section `evaluate`: a student trained from scratch on the replayed views.

use delt_formats::teacher::Architecture;
use serde::{Deserialize, Serialize};

use super::given::Given;
use super::matching::Targets;
use super::relabel::LabelSource;
use super::{Invalid, range};

/// Section `evaluate`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evaluate {
    /// The student's network; it need not be the teacher's.
    pub student: Architecture,
    /// What the student minimizes.
    pub loss: Loss,
    /// Peak learning rate of AdamW; absent or `null`: the published one, see [`super::Pipeline::student_lr`].
    #[serde(default)]
    pub lr: Option<f64>,
    /// AdamW's first-moment decay.
    pub beta_1: f64,
    /// AdamW's second-moment decay.
    pub beta_2: f64,
    /// AdamW's denominator guard.
    pub epsilon: f64,
    /// Weight decay, on weights of two or more dimensions.
    pub weight_decay: f64,
    /// Learning rate over the epochs.
    pub schedule: StudentSchedule,
    /// BatchNorm momentum; 0.19 reproduces the two forward passes a step of the published code. See [`Self::bn_momentum`].
    pub bn_momentum: f64,
    /// Train the student with its dropout and stochastic depth, as published code does; absent: without.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dropout: bool,
    /// Test at epochs 0, n, 2n, … and the last.
    pub test_every: u32,
    /// Test an exponential moving average of the student, weights and running statistics: average ← ema · average + (1 − ema) ·
    /// student after every step, from the initial weights on (EDC: 0.99). Absent: test the student itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ema: Option<f64>,
    /// How students learn the targets of the set itself, with `relabel.source: given`. Of this section only `student` and
    /// `bn_momentum` count then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given: Option<Given>,
}

/// What a student minimizes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Loss {
    /// Kullback-Leibler divergence to the stored teacher logits, batch mean, without the factor T².
    Kl {
        /// Temperature of both distributions.
        temperature: f64,
    },
    /// Mean squared distance to the stored teacher logits, over images and classes, plus cross-entropy to the class of the
    /// image (that of its own image, however it is mixed), as the published code has it (G-VBSM, EDC).
    MseGt {
        /// Weight of the cross-entropy (G-VBSM on CIFAR: 0.15).
        ce_weight: f64,
    },
    /// Cross-entropy to the image's class (mixed by the share of the mix).
    HardLabel {},
}

/// Learning rate over the epochs, as a factor of the peak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StudentSchedule {
    /// ½(1 + cos(π t / 2E)): ends at one half.
    SmoothedCosine,
    /// ½(1 + cos(π t / E)): ends at zero.
    Cosine,
    /// Always the peak.
    Constant,
}

impl Evaluate {
    /// The same recipe on the images' classes.
    #[must_use]
    pub fn with_hard_labels(self) -> Self {
        match self.given {
            Some(given) => Self { given: Some(Given { targets: Targets::Hard, ..given }), ..self },
            None => Self { loss: Loss::HardLabel {}, ..self },
        }
    }

    /// The BatchNorm momentum that counts: that of the network where it has its own (MnasNet), else what is set.
    pub fn bn_momentum(&self) -> f64 {
        self.student.bn_momentum(self.bn_momentum)
    }

    pub(super) fn validate(&self, size: u32, source: LabelSource) -> Result<(), Invalid> {
        super::teacher::check_fit(&self.student, size, "evaluate.student")?;
        self.validate_given(source)?;
        range::require(self.test_every > 0, "evaluate.test_every", 0, "at least 1")?;
        if self.lr.is_some() || source == LabelSource::Teacher {
            range::POSITIVE.check("evaluate.lr", self.lr_or_published()?)?;
        }
        range::POSITIVE.check("evaluate.epsilon", self.epsilon)?;
        range::BELOW_ONE.check("evaluate.beta_1", self.beta_1)?;
        range::BELOW_ONE.check("evaluate.beta_2", self.beta_2)?;
        range::NOT_NEGATIVE.check("evaluate.weight_decay", self.weight_decay)?;
        match self.loss {
            Loss::Kl { temperature } => range::ABOVE_ZERO.check("evaluate.loss.temperature", temperature)?,
            Loss::MseGt { ce_weight } => range::NOT_NEGATIVE.check("evaluate.loss.ce_weight", ce_weight)?,
            Loss::HardLabel {} => {}
        }
        if let Some(ema) = self.ema {
            range::BETWEEN.check("evaluate.ema", ema)?;
        }
        range::SHARE.check("evaluate.bn_momentum", self.bn_momentum)
    }

    /// The learning rate of this section, or else the published one of the student.
    pub(super) fn lr_or_published(&self) -> Result<f64, Invalid> {
        self.lr.or_else(|| self.student.published_lr()).ok_or_else(|| {
            let student = self.student;
            let problem = format!(
                "no learning rate is published for {student} as student; set evaluate.lr (0.001 is that of most networks)"
            );
            Invalid::new("evaluate.lr", problem)
        })
    }

    fn validate_given(&self, source: LabelSource) -> Result<(), Invalid> {
        let place = "evaluate.given";
        match (&self.given, source) {
            (None, LabelSource::Teacher) => Ok(()),
            (None, LabelSource::Given) => {
                let problem =
                    "is missing, which relabel.source: given needs: how students learn the set's own targets";
                Err(Invalid::new(place, problem))
            }
            (Some(_), LabelSource::Teacher) => {
                let problem = "found with relabel.source: teacher, whose soft labels are learned by the rest of this section; set \
                    relabel.source: given, or this to null";
                Err(Invalid::new(place, problem))
            }
            (Some(given), LabelSource::Given) => {
                let problem = "found with evaluate.given, whose students are tested themselves; leave it out";
                range::ensure(self.ema.is_none(), "evaluate.ema", problem)?;
                let problem = "found true with evaluate.given, whose students train without; leave it out";
                range::ensure(!self.dropout, "evaluate.dropout", problem)?;
                given.validate()
            }
        }
    }
}
