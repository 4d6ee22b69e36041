//! Sections `cross_arch`, `continual` and `prune`: what is asked of a synthetic set beside the accuracy of one student.

mod cross_arch;
mod students;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

pub use self::cross_arch::{CrossArch, Student};
use super::relabel::LabelSource;
use super::{Invalid, Pipeline, is_default, range};

/// Section `continual`: classes that come in steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Continual {
    /// In how many steps the classes come.
    pub steps: u32,
    /// Seeds of orders of the classes; each is also that of the students of its order and of their views.
    pub orders: Vec<u64>,
    /// What labels say.
    pub labels: ContinualLabels,
}

/// What labels of images say while classes are to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContinualLabels {
    /// The teacher's logits of the classes so far, between which the student chooses: nothing is known of those to come.
    SeenClasses,
    /// The teacher's logits of all classes, between which the student chooses: they know what is to come.
    AllClasses,
}

/// Section `prune`: a network loses channels with the synthetic set alone, by network slimming (Liu et al., 2017) or by magnitude.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prune {
    /// Share of the channels that is removed.
    pub share: f64,
    /// Weight of the sum of the absolute scales of BatchNorm in the loss, before channels are removed by them.
    pub l1: f64,
    /// From which weights the network learns the set.
    pub start: PruneStart,
    /// By what channels are removed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub criterion: Criterion,
}

/// By what channels are removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Criterion {
    /// The scales of BatchNorm, over all layers.
    #[default]
    Scales,
    /// The magnitude of their filters, in each layer the same share (Li et al., 2017); `l1` does not count.
    Magnitude,
}

/// What a network that is to be pruned starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PruneStart {
    /// New weights.
    Random,
    /// The teacher's weights, where the student is the same network.
    Teacher,
}

impl Pipeline {
    /// Refuses of `cross_arch`, `continual` and `prune` what no branch, class or student can make right.
    pub(super) fn validate_experiments(&self) -> Result<(), Invalid> {
        if self.cross_arch.as_ref().is_some_and(|section| section.students.is_some() || section.lr.is_some())
        {
            self.cross_students()?;
        }
        self.validate_published()?;
        if let Some(section) = &self.continual {
            section.validate(usize::MAX)?;
        }
        self.prune.as_ref().map_or(Ok(()), Prune::validate)
    }

    /// Section `continual`, for so many classes that there are images of; as many as can be where that is not known yet.
    ///
    /// # Errors
    /// [`Invalid`]: no section, more steps than classes, labels that cannot be made for some classes.
    pub fn checked_continual(&self, classes: usize) -> Result<&Continual, Invalid> {
        let section = self.continual.as_ref().ok_or_else(|| missing("continual"))?;
        section.validate(classes)?;
        self.require_labels("continual")?;
        let problem = "found with `continual`, whose images change from step to step, so that the teacher has to label them; leave \
            it out";
        range::ensure(self.relabel.import.is_none(), "relabel.import", problem)?;
        Ok(section)
    }

    /// Section `prune`.
    ///
    /// # Errors
    /// [`Invalid`]: no section, a student without BatchNorm, a start that the teacher does not give.
    pub fn checked_prune(&self) -> Result<&Prune, Invalid> {
        let section = self.prune.as_ref().ok_or_else(|| missing("prune"))?;
        section.validate()?;
        self.require_labels("prune")?;
        let (student, teacher) = (self.evaluate.student, self.teacher.network);
        let problem = format!(
            "{student} has no channels that can go: sums, gates and grouped convolutions need those of all its BatchNorm; choose a chain \
             of convolutions, e.g. {{name: dc_vgg11, norm: batch}}"
        );
        let can_lose = || !student.description(self.teacher.size as usize, 2).prunable().is_empty();
        range::ensure(!student.has_batch_norm() || can_lose(), "evaluate.student", problem)?;
        let why = match section.criterion {
            Criterion::Scales => "whose scales say which channels are removed",
            Criterion::Magnitude => "and filters lose channels in front of one alone, whatever the criterion",
        };
        let problem = format!(
            "{student} has no BatchNorm, {why}; choose another student, e.g. {{name: dc_vgg11, norm: batch}}"
        );
        range::ensure(student.has_batch_norm(), "evaluate.student", problem)?;
        let is_startable = section.start == PruneStart::Random || student == teacher;
        let problem =
            format!("found teacher, but that is {teacher}, not the student's {student}; set random");
        range::ensure(is_startable, "prune.start", problem)?;
        Ok(section)
    }

    fn require_labels(&self, section: &str) -> Result<(), Invalid> {
        let problem = format!(
            "found given, but `{section}` needs a teacher's labels; choose a branch that is labeled (BRANCH=)"
        );
        range::ensure(self.relabel.source == LabelSource::Teacher, "relabel.source", problem)
    }
}

impl Continual {
    /// How many classes there are after each step.
    pub fn classes_by_step(&self, classes: usize) -> impl Iterator<Item = usize> {
        let steps = self.steps as usize;
        (1..=steps).map(move |step| classes * step / steps)
    }

    fn validate(&self, classes: usize) -> Result<(), Invalid> {
        let Self { steps, orders, .. } = self;
        let expected = match classes {
            usize::MAX => "at least 1".to_owned(),
            classes => format!("1 to {classes}, the classes that there are"),
        };
        range::require((1..=classes).contains(&(*steps as usize)), "continual.steps", steps, expected)?;
        range::require(!orders.is_empty(), "continual.orders", "an empty list", "at least one seed")?;
        let distinct: BTreeSet<&u64> = orders.iter().collect();
        let problem = "a seed is named twice; name each once";
        range::ensure(distinct.len() == orders.len(), "continual.orders", problem)
    }
}

impl Prune {
    fn validate(&self) -> Result<(), Invalid> {
        range::BETWEEN.check("prune.share", self.share)?;
        range::NOT_NEGATIVE.check("prune.l1", self.l1)
    }

    /// Weight of the scales in the loss.
    pub fn penalty(&self) -> f64 {
        if self.criterion == Criterion::Scales { self.l1 } else { 0.0 }
    }
}

fn missing(section: &str) -> Invalid {
    Invalid::new(section, "this section is missing; pipelines/base/delt.yaml has it")
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Branch;

    pub(super) fn branch(pipeline: &str, settings: &[&str]) -> Branch {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines").join(pipeline);
        let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
        super::super::load(&path, &settings, None).expect("loads").remove(0)
    }

    /// What is said of a setting when the pipeline is read, before any work.
    pub(super) fn refused_at_once(settings: &[&str]) -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines/digits.yaml");
        let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let said = super::super::load(&path, &settings, None).expect_err("refused").to_string();
        said.split_once(": at ").expect("a key").1.to_owned()
    }

    #[test]
    fn steps_and_pruning_that_cannot_be_are_refused() {
        let continual = |settings: &[&str]| {
            branch("digits.yaml", settings).pipeline.checked_continual(10).map(|it| it.steps)
        };
        assert_eq!(continual(&[]), Ok(5));
        let said = |found: Result<u32, Invalid>| found.expect_err("refused").to_string();
        assert_eq!(
            said(continual(&["continual.steps=11"])),
            "`continual.steps`: found 11, expected 1 to 10, the classes that there are"
        );
        assert_eq!(
            refused_at_once(&["continual.orders=[1,1]"]),
            "`continual.orders`: a seed is named twice; name each once"
        );
        assert_eq!(
            refused_at_once(&["continual.steps=0"]),
            "`continual.steps`: found 0, expected at least 1"
        );
        assert!(refused_at_once(&["prune.share=1"]).starts_with("`prune.share`: found 1, expected"));
        let prune = |settings: &[&str]| branch("digits.yaml", settings).pipeline.checked_prune().map(|_| 0);
        assert_eq!(prune(&["prune.start=teacher"]), Ok(0));
        assert_eq!(
            said(prune(&["evaluate.student={name: convnet, depth: 2, width: 8, norm: none}"])),
            "`evaluate.student`: convnet2-w8-none has no BatchNorm, whose scales say which channels are removed; choose another student, \
             e.g. {name: dc_vgg11, norm: batch}"
        );
        let by_magnitude =
            ["prune.criterion=magnitude", "evaluate.student={name: convnet, depth: 2, width: 8, norm: none}"];
        assert!(said(prune(&by_magnitude)).contains("in front of one alone, whatever the criterion"));
        assert_eq!(
            said(prune(&["prune.start=teacher", "evaluate.student.width=8"])),
            "`prune.start`: found teacher, but that is convnet2-w32, not the student's convnet2-w8; set random"
        );
    }
}
