//! Sections `cross_arch`, `continual` and `prune`: what is asked of a synthetic set beside the accuracy of one student.

mod students;

use std::collections::{BTreeMap, BTreeSet};

use delt_formats::teacher::Architecture;
use serde::{Deserialize, Serialize};
use serde_yaml::Value;

use self::students::{named, short_names, unknown, usual};
use super::relabel::LabelSource;
use super::{Branch, Invalid, Pipeline, is_default, range};
use crate::near::near_names;

/// Section `cross_arch`: one set, many students.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CrossArch {
    /// The students: a name, or a network with its fields. Absent: those of published tables for the size of the images.
    #[serde(default)]
    pub students: Option<Vec<Student>>,
    /// Learning rate of students for which none is published.
    pub lr: f64,
    /// Top-1 that a paper prints, in percent, by branch and student, as `students` or the table names it.
    #[serde(default)]
    pub published: BTreeMap<String, BTreeMap<String, f64>>,
}

/// A student of [`CrossArch`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "expected each of `students` to be a name, or a network: {name: convnet, depth: 3, width: 128}"
)]
pub enum Student {
    /// By its name; what is missing follows from the size of the images.
    Named(String),
    /// With all of its fields.
    Whole(Architecture),
}

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
        if self.cross_arch.as_ref().is_some_and(|section| section.students.is_some()) {
            self.cross_students()?;
        }
        self.validate_published()?;
        if let Some(section) = &self.continual {
            section.validate(usize::MAX)?;
        }
        self.prune.as_ref().map_or(Ok(()), Prune::validate)
    }

    /// The networks that learn one set, in the order of the table.
    ///
    /// # Errors
    /// [`Invalid`]: no section, a name that stands for no network, one that does not fit the images.
    pub fn cross_students(&self) -> Result<Vec<Architecture>, Invalid> {
        let section = self.cross_arch.as_ref().ok_or_else(|| missing("cross_arch"))?;
        let place = "cross_arch.students";
        range::POSITIVE.check("cross_arch.lr", section.lr)?;
        let size = self.teacher.size;
        let Some(listed) = &section.students else {
            let students = usual(size).iter().filter_map(|name| self.known_as(name));
            return Ok(students.filter(|network| network.misfit(size as usize).is_none()).collect());
        };
        range::require(!listed.is_empty(), place, "an empty list", "at least one network")?;
        let mut students = Vec::new();
        for student in listed {
            let network = match student {
                Student::Whole(network) => *network,
                Student::Named(name) => {
                    self.known_as(name).ok_or_else(|| Invalid::new(place, unknown(name)))?
                }
            };
            if let Some(problem) = network.misfit(size as usize) {
                return Err(Invalid::new(place, format!("{network}: {problem}")));
            }
            range::ensure(!students.contains(&network), place, format!("{network} is named twice"))?;
            students.push(network);
        }
        Ok(students)
    }

    /// Refuses figures of branches and students that are none.
    fn validate_published(&self) -> Result<(), Invalid> {
        let published = self.cross_arch.iter().flat_map(|section| &section.published);
        for (branch, figures) in published {
            let place = format!("cross_arch.published.{branch}");
            let branches = || self.branches.keys().filter_map(Value::as_str);
            if !branches().any(|name| name == branch) {
                let known = branches().collect::<Vec<_>>().join(", ");
                let problem =
                    format!("no branch `{branch}`{}; there are: {known}", meant(branch, branches()));
                return Err(Invalid::new(place, problem));
            }
            let own = [self.evaluate.student, self.teacher.network];
            let known = || own.into_iter().chain(self.cross_students().unwrap_or_default());
            let is_known = |name: &str| {
                self.known_as(name).is_some()
                    || Architecture::NAMES.contains(&name)
                    || known().any(|network| network.to_string() == name)
            };
            if let Some(name) = figures.keys().find(|name| !is_known(name)) {
                return Err(Invalid::new(place, unknown(name)));
            }
        }
        Ok(())
    }

    /// What a name stands for: the pipeline's own student or teacher, where it is called so, else what is usual at this size.
    fn known_as(&self, name: &str) -> Option<Architecture> {
        let own = [self.evaluate.student, self.teacher.network];
        own.into_iter().find(|network| network.name() == name).or_else(|| named(name, self.teacher.size))
    }

    /// What a network is called in tables and among runs: the shortest name that stands for it here, else all that there is to say.
    pub fn called(&self, network: Architecture) -> String {
        let stands_for_it = |name: &String| self.known_as(name) == Some(network);
        short_names(network).into_iter().find(stands_for_it).unwrap_or_else(|| network.to_string())
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

/// What a misspelled name may be meant as.
fn meant<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    near_names(name, known).first().map_or_else(String::new, |near| format!("; did you mean `{near}`?"))
}

fn missing(section: &str) -> Invalid {
    Invalid::new(section, "this section is missing; pipelines/base/delt.yaml has it")
}

impl Branch {
    /// What a paper prints of a network as student of this branch: under what the table calls it, else under a name that stands for
    /// it, else under its bare name.
    pub fn published_cross_arch(&self, student: Architecture) -> Option<f64> {
        let figures = self.pipeline.cross_arch.as_ref()?.published.get(&self.group)?;
        let stands_for_it = |name: &&String| self.pipeline.known_as(name) == Some(student);
        let of_name = || figures.keys().find(stands_for_it).map(String::as_str);
        let called = student.to_string();
        let key = figures.contains_key(&called).then_some(called.as_str()).or_else(of_name);
        figures.get(key.unwrap_or(student.name())).copied()
    }

    /// The same set with another student, at the learning rate that is published for it, else that of section `cross_arch`. The
    /// pipeline's own student stays as it is.
    #[must_use]
    pub fn with_student(&self, student: Architecture) -> Self {
        let mut branch = self.clone();
        let evaluate = &mut branch.pipeline.evaluate;
        if student == evaluate.student {
            return branch;
        }
        let fallback = self.pipeline.cross_arch.as_ref().map(|section| section.lr);
        evaluate.student = student;
        evaluate.lr = student.published_lr().or(fallback);
        let called = self.pipeline.called(student);
        let words =
            called.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        branch.name = format!("{}-on-{}", self.name, words.collect::<Vec<_>>().join("-"));
        branch
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn branch(pipeline: &str, settings: &[&str]) -> Branch {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines").join(pipeline);
        let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
        super::super::load(&path, &settings, None).expect("loads").remove(0)
    }

    fn students(pipeline: &str, settings: &[&str]) -> String {
        let students = branch(pipeline, settings).pipeline.cross_students().expect("known and fitting");
        students.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }

    /// What is said of a setting when the pipeline is read, before any work.
    fn refused_at_once(settings: &[&str]) -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines/digits.yaml");
        let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let said = super::super::load(&path, &settings, None).expect_err("refused").to_string();
        said.split_once(": at ").expect("a key").1.to_owned()
    }

    #[test]
    fn names_stand_for_what_is_usual_at_the_size_of_the_images() {
        let large = "resnet18 (standard stem), efficientnet_b0, mobilenet_v2, mnasnet1_3, regnet_y_8gf";
        assert_eq!(students("imagenet1k-ipc10.yaml", &[]), large);
        let medium = "convnet3-w128, resnet18 (small stem), mobilenet_v2_modified, shufflenet_v2_x0_5_small, wrn_16_2, dc_vgg11";
        assert_eq!(students("cifar100-ipc10.yaml", &[]), medium);
        assert_eq!(
            students("digits.yaml", &[]),
            "convnet2-w128, dc_alexnet-none, mobilenet_v2_modified, wrn_16_2"
        );
        let given =
            "cross_arch.students=[dc_vgg11_bn,dc_resnet18,resnet34,{name: convnet, depth: 2, width: 8}]";
        let expected = "dc_vgg11, dc_resnet18-instance, resnet34 (small stem, conv1 from PyTorch's default), convnet2-w8";
        assert_eq!(students("cifar100-ipc10.yaml", &[given]), expected);
    }

    #[test]
    fn students_that_are_unknown_too_large_or_named_twice_are_refused() {
        let refused = |list: &str| refused_at_once(&[&format!("cross_arch.students={list}")]);
        assert_eq!(
            refused("[]"),
            "`cross_arch.students`: found an empty list, expected at least one network"
        );
        assert_eq!(
            refused("[resnet19]"),
            "`cross_arch.students`: `resnet19` stands for no network by itself; write it with its fields, e.g. {name: convnet, depth: 3, \
             width: 128} (docs/networks.md), or did you mean `resnet18`?"
        );
        assert!(refused("[dc_vgg11_bm]").contains("did you mean `dc_vgg11`?"));
        let zebra = refused("[zebra]");
        assert!(zebra.ends_with("(docs/networks.md)"), "{zebra}");
        assert_eq!(
            refused("[vgg11]"),
            "`cross_arch.students`: vgg11: 8 px is too small for this network; expected 32 or more; raise teacher.size"
        );
        assert_eq!(refused("[convnet2,convnet2]"), "`cross_arch.students`: convnet2-w128 is named twice");
    }

    #[test]
    fn another_student_has_its_published_learning_rate_and_the_own_one_stays() {
        let own = branch("digits.yaml", &[]);
        assert_eq!(own.with_student(own.pipeline.evaluate.student), own);
        let of = |name| {
            let branch = own.with_student(named(name, 8).expect("known"));
            (branch.name, branch.pipeline.evaluate.lr)
        };
        assert_eq!(of("mobilenet_v2_modified"), ("random-on-mobilenet-v2-modified".to_owned(), Some(2.5e-3)));
        assert_eq!(of("dc_alexnet_bn"), ("random-on-dc-alexnet-bn".to_owned(), Some(1e-3)));
    }

    #[test]
    fn a_network_is_called_as_one_would_write_it() {
        let own = branch("cifar100-ipc10.yaml", &[]);
        let called = |network: Architecture| own.pipeline.called(network);
        for name in ["resnet18", "resnet34", "convnet2", "dc_vgg11_bn", "dc_alexnet", "vgg11_bn", "wrn_16_2"]
        {
            assert_eq!(called(own.pipeline.known_as(name).expect("known")), name);
        }
        let large = named("resnet34", 224).expect("known");
        assert_eq!(called(large), "resnet34 (standard stem)");
        assert_eq!(own.with_student(large).name, "random-on-resnet34-standard-stem");
        assert_eq!(called(Architecture::convnet(2, 8)), "convnet2-w8");
    }

    #[test]
    fn published_figures_are_found_under_each_name_of_a_student() {
        let figures = |names: &str| {
            let given = format!("cross_arch.published={{random: {{{names}}}}}");
            let own = branch("digits.yaml", &[&given]);
            let of = |name| own.published_cross_arch(named(name, 8).expect("known"));
            [of("convnet3"), of("dc_vgg11_bn"), of("wrn_16_2")]
        };
        let each = [Some(1.0), Some(2.0), Some(3.0)];
        assert_eq!(figures("convnet3: 1, dc_vgg11_bn: 2, wrn_16_2: 3"), each, "as STUDENTS names them");
        let bare = figures("convnet: 1, dc_vgg11: 2, wrn_16_2: 3");
        assert_eq!(bare, each);
        let given = "{random: {resnet19: 1}}";
        let said = |published: &str| refused_at_once(&[&format!("cross_arch.published={published}")]);
        assert!(said(given).starts_with("`cross_arch.published.random`: `resnet19` stands for no network"));
        assert_eq!(
            said("{dlet: {resnet18: 1}}"),
            "`cross_arch.published.dlet`: no branch `dlet`; did you mean `delt`?; there are: random, delt"
        );
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
