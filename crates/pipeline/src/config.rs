//! The typed pipeline: one struct per section of the YAML, unknown keys refused, validated once.
//!
//! Nothing that changes a result has a hidden default here: the defaults a run inherits stand in `pipelines/base/`.

mod branches;
pub mod committee;
pub mod densification;
pub mod evaluate;
pub mod experiments;
pub mod experts;
pub mod external_branch;
pub mod given;
pub mod image_optimizer;
pub mod import_tensors;
mod in_vain;
pub mod ingest;
pub mod matching;
pub mod method;
pub mod objective;
pub mod overridden;
pub mod published;
mod range;
pub mod recipes;
pub mod relabel;
pub mod residual;
mod running_statistics;
pub mod select;
pub mod synthesize;
pub mod target;
pub mod teacher;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use delt_formats::Whitening;
use serde::{Deserialize, Serialize};
use serde_yaml::Mapping;

use self::branches::{changes_of, repetitions};
use self::external_branch::ExternalBranch;
use self::import_tensors::ImportTensors;
use self::method::Method;
use self::overridden::refusals;
pub(crate) use self::overridden::refusals::refuse_vain_null;
use crate::cells;
use crate::roles::Role;
use crate::yaml::{self, YamlError};

/// A whole run: what is read, trained, selected, recovered, relabeled and evaluated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pipeline {
    /// One sentence for people.
    pub description: String,
    /// Seed of the teacher, of the selection and of the synthesis; students have their own (`relabel.seeds`).
    pub seed: u64,
    /// Seeds of so many repetitions of the selection and the synthesis, in place of `seed`, which the teachers keep: each branch
    /// becomes as many, the i-th with the i-th of `relabel.seeds` for its student, and the table takes them together.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub draws: Vec<u64>,
    /// Stage ingest.
    pub ingest: ingest::Ingest,
    /// Stage teacher-train.
    pub teacher: teacher::Teacher,
    /// Networks beside the teacher that recover and label with it, where `synthesize.teachers` or `relabel.voters` says so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub committee: Vec<teacher::Teacher>,
    /// Networks whose weights are kept after each epoch, where a branch matches trajectories.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub experts: Option<experts::Experts>,
    /// Stage init-select.
    pub select: select::Select,
    /// Stage delt-synthesize.
    pub synthesize: synthesize::Synthesize,
    /// Stage relabel.
    pub relabel: relabel::Relabel,
    /// Stage evaluate.
    pub evaluate: evaluate::Evaluate,
    /// One set, many students.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cross_arch: Option<experiments::CrossArch>,
    /// Classes that come in steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continual: Option<experiments::Continual>,
    /// Pruning with the synthetic set alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prune: Option<experiments::Prune>,
    /// Also train the student's network on all real images with hard labels, the upper line of the table.
    pub full_data: bool,
    /// Branches of the run in the order of the table: a name and what it changes in the sections above. `null` leaves out one of
    /// a file that this one extends.
    pub branches: Mapping,
    /// A pipeline for smaller machines, named when this one would take long on the device at hand.
    #[serde(default)]
    pub smaller_pipeline: Option<String>,
    /// What a paper reports for one of the branches.
    #[serde(default, skip_serializing)]
    pub published: Option<published::Published>,
    /// Which of `draws` this repetition has.
    #[serde(skip)]
    draw: Option<u64>,
}

/// One branch of a pipeline with its overrides applied.
#[derive(Debug, Clone, PartialEq)]
pub struct Branch {
    /// What its artifacts are called: [`Self::group`], from the second repetition on with a number behind it (`delt-1`).
    pub name: String,
    /// Name in the YAML, e.g. `delt` or `random`.
    pub group: String,
    /// The sections as this branch sees them.
    pub pipeline: Pipeline,
    /// What the overrides of the command line do here.
    reach: Vec<overridden::Reach>,
    /// A branch of the file that this one of the command line may be a misspelling of.
    meant_as: Option<String>,
}

/// A section whose values do not fit together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{place}`: {problem}")]
pub struct Invalid {
    /// Dotted path of the key.
    pub place: String,
    /// Found, expected, and what to do.
    pub problem: String,
}

impl Invalid {
    /// A complaint about one key.
    pub fn new(place: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { place: place.into(), problem: problem.into() }
    }
}

/// Reads a pipeline and its branches.
///
/// `data` replaces `ingest.source.path`, `overrides` are `key=value`.
///
/// # Errors
/// [`YamlError`] naming the file and the key.
pub fn load(path: &Path, overrides: &[String], data: Option<&Path>) -> Result<Vec<Branch>, YamlError> {
    load_with(path, overrides, data, None, &[])
}

/// As [`load`], with a branch on top, which `overrides` may change as any other. Advice names the `chosen` branches alone, where any
/// are.
///
/// # Errors
/// As [`load`]; another branch of that name.
pub fn load_with(
    path: &Path,
    overrides: &[String],
    data: Option<&Path>,
    added: Option<&ExternalBranch>,
    chosen: &[String],
) -> Result<Vec<Branch>, YamlError> {
    let mut root = yaml::load(path)?;
    let origin = cells::origin_of(path, None);
    let of_key = |invalid: Invalid| YamlError::of_key(&origin, &invalid);
    if let Some(added) = added {
        added.add_to(&mut root).map_err(of_key)?;
    }
    refusals::refuse_repeated(overrides).map_err(of_key)?;
    let written = root.clone();
    for assignment in overrides {
        yaml::set(&mut root, assignment)?;
    }
    refuse_vain_null(&written, &root).map_err(of_key)?;
    refusals::refuse_strangers(&written, &root, overrides).map_err(of_key)?;
    let refused = |place: &str, problem: String| of_key(Invalid::new(place, problem));
    place_images(&mut root, data).map_err(of_key)?;
    let whole: Pipeline = yaml::typed(&root, &origin).map_err(|error| {
        let misplaced = refusals::misplaced(&written, overrides, chosen);
        misplaced.map_or(error, of_key)
    })?;
    let mut branches = Vec::new();
    for (name, change) in whole.branches.iter().filter(|(_, change)| !change.is_null()) {
        let Some(name) = name.as_str() else {
            let found = yaml::in_a_word(name);
            let problem = format!("found {found} as the name of a branch, expected text; quote it");
            return Err(refused("branches", problem));
        };
        let change = changes_of(&whole.branches, name, change, &mut Vec::new())
            .map_err(|problem| refused(&format!("branches.{name}"), problem))?;
        let meant_as = refusals::meant_as(&written, name, &whole.branches[name]);
        let mut sections = root.clone();
        yaml::merge(&mut sections, change);
        let origin = cells::origin_of(path, Some(name));
        let mut pipeline: Pipeline = yaml::typed(&sections, &origin)?;
        pipeline.leave_out_what_does_not_count();
        pipeline.validate().map_err(|invalid| YamlError::of_key(&origin, &invalid))?;
        let reach = overridden::reach(overrides, &root, &sections, name, &pipeline);
        let group = name.to_owned();
        branches.extend(repetitions(Branch { name: group.clone(), group, pipeline, reach, meant_as }));
    }
    refuse_unused(&whole, &branches).map_err(|invalid| YamlError::of_key(&origin, &invalid))?;
    let mut names = BTreeSet::new();
    let twice = branches.iter().find(|branch| !names.insert(branch.name.as_str()));
    let problem = match twice {
        Some(Branch { name, .. }) => {
            format!("`{name}` is also what a repetition of another branch is called; rename it")
        }
        None if branches.is_empty() => "expected at least one branch, e.g. `delt: {}`".to_owned(),
        None => return Ok(branches),
    };
    Err(refused("branches", problem))
}

/// Refuses sections that no branch reads: whoever writes them expects something else.
fn refuse_unused(whole: &Pipeline, branches: &[Branch]) -> Result<(), Invalid> {
    let is_read = |section: fn(&Pipeline) -> bool| branches.iter().any(|branch| section(&branch.pipeline));
    let matching = |of: &Pipeline| of.synthesize.matching.is_some();
    let experts = |of: &Pipeline| of.experts.is_some();
    let problem =
        "no branch matches batches of real images; set synthesize.method in one, or leave this section out";
    range::ensure(!matching(whole) || is_read(matching), "synthesize.matching", problem)?;
    let problem = "no branch matches trajectories; set synthesize.method to trajectory_matching in one, or leave this section out";
    range::ensure(!experts(whole) || is_read(experts), "experts", problem)
}

/// Puts the place of the images where a pipeline states it: what the command line says, else where a wheel has them installed.
fn place_images(root: &mut Mapping, data: Option<&Path>) -> Result<(), Invalid> {
    if let Some(data) = data {
        let kind = root.get("ingest").and_then(|i| i.get("source")?.get("kind")?.as_str());
        let problem = format!(
            "DATA (--data) says that the images are at {}, but this pipeline reads the embedded digits; leave it out",
            data.display()
        );
        range::ensure(kind != Some("embedded_digits"), "ingest.source", problem)?;
        yaml::merge(root, yaml::overlay("ingest.source.path", data.to_string_lossy().into()));
    }
    if let Some(installed) = source_of(root).and_then(|path| yaml::installed(Path::new(path))) {
        yaml::merge(root, yaml::overlay("ingest.source.path", installed.to_string_lossy().into()));
    }
    Ok(())
}

/// Where a pipeline says that its images are.
fn source_of(root: &Mapping) -> Option<&str> {
    root.get("ingest")?.get("source")?.get("path")?.as_str()
}

/// The name of a pipeline: its file name without `.yaml`.
pub fn pipeline_name(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// Whether a value is left out of the canonical configuration, so that keys from before it existed stay.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A path from a pipeline file: as it stands, relative to the working folder.
pub type SourcePath = PathBuf;

impl Pipeline {
    /// Refuses files of weights, class names and rankings that are not there: for the stages before the one that reads
    /// them, so that nothing is computed for nothing.
    ///
    /// # Errors
    /// [`Invalid`] naming the key and the file.
    pub fn check_files(&self) -> Result<(), Invalid> {
        let ranker = self.select.ranker.iter().map(|ranker| (ranker, "select.ranker".to_owned()));
        let committee =
            self.committee.iter().zip(0..).map(|(member, at)| (member, format!("committee.{at}")));
        let teacher = std::iter::once((&self.teacher, "teacher".to_owned()));
        for (network, place) in teacher.chain(ranker).chain(committee) {
            if let Some(import) = &network.import {
                import.check_files(&format!("{place}.import"))?;
            }
        }
        if let Some(scores) = &self.select.scores {
            range::file("select.scores", scores, "a ranking in CSV")?;
        }
        if let Some(images) = &self.synthesize.import {
            let expected = "expected a folder with a folder for each class, Parquet, or tensors of PyTorch";
            let problem = format!("{}: nothing is there, {expected}", images.display());
            range::ensure(images.exists(), "synthesize.import", problem)?;
            self.synthesize.import_tensors.iter().try_for_each(ImportTensors::check_files)?;
        }
        self.relabel.check_files()
    }

    /// Seed of the selection and of the synthesis.
    pub fn draw_seed(&self) -> u64 {
        self.draw.unwrap_or(self.seed)
    }

    /// Whether the images are real ones, drawn at random: what methods compare with.
    pub fn keeps_random_images(&self) -> bool {
        let Self { select, synthesize, .. } = self;
        select.strategy == select::Strategy::Random
            && !select.looks_at_images()
            && !synthesize.makes_images()
            && synthesize.import.is_none()
    }

    /// The whitening of the images, and of the test images of their students: the method's, or what students ask for where images have
    /// no space of their own.
    pub fn whitening(&self) -> Option<Whitening> {
        let of_method = self.synthesize.matching.as_ref().map(|matching| matching.whitening);
        let of_students = self.evaluate.given.as_ref().and_then(|given| given.whitening);
        of_method.or(of_students).filter(|kind| *kind != Whitening::None)
    }

    fn validate_whitening(&self) -> Result<(), Invalid> {
        let asked = self.evaluate.given.as_ref().and_then(|given| given.whitening);
        let Some((asked, matching)) = asked.zip(self.synthesize.matching.as_ref()) else { return Ok(()) };
        let problem =
            "is another than synthesize.matching.whitening, behind which the images are; leave it out";
        range::ensure(asked == matching.whitening, "evaluate.given.whitening", problem)
    }

    /// How labels and students are made, whatever the seeds.
    pub fn student_recipe(&self) -> (relabel::Relabel, evaluate::Evaluate) {
        let relabel = relabel::Relabel { seeds: Vec::new(), ..self.relabel.clone() };
        (relabel, self.evaluate.clone())
    }

    fn leave_out_what_does_not_count(&mut self) {
        self.synthesize.leave_out_what_does_not_count();
        if !self.synthesize.needs().experts {
            self.experts = None;
        }
    }

    fn validate_experts(&self) -> Result<(), Invalid> {
        let Method::TrajectoryMatching(method) = &self.synthesize.method else { return Ok(()) };
        let problem = "is missing, which trajectory matching needs: how many, and how they are trained";
        self.experts.as_ref().ok_or_else(|| Invalid::new("experts", problem))?.validate(method)
    }

    fn validate(&self) -> Result<(), Invalid> {
        if !self.draws.is_empty() {
            let (draws, seeds) = (self.draws.len(), self.relabel.seeds.len());
            let expected = format!("{seeds} as relabel.seeds: each repetition has a student of its own");
            range::require(draws == seeds, "draws", format!("{draws} seeds"), expected)?;
        }
        if let Some(published) = &self.published {
            published.validate(&self.branches)?;
        }
        self.ingest.validate()?;
        self.teacher.validate("teacher")?;
        self.select.validate()?;
        self.synthesize.validate(self.select.ipc, self.teacher.size)?;
        self.validate_experts()?;
        let ipc = self.synthesize.import.is_none().then_some(self.select.ipc);
        self.relabel.validate(ipc, self.teacher.size)?;
        self.validate_committee()?;
        self.validate_running_statistics()?;
        self.evaluate.validate(self.teacher.size, self.relabel.source)?;
        self.validate_whitening()?;
        self.validate_experiments()?;
        let has_full_data = !self.full_data || self.network_of(Role::FullData).is_some();
        let problem = "the student's network is not the imported teacher's, so `teacher.train` must say how to train it on all \
            images (or set full_data: false)";
        range::ensure(has_full_data, "full_data", problem)
    }
}

#[cfg(test)]
mod tests;
