//! One run of one stage binary: arguments read, pipeline loaded, store open, artifacts made or found.

mod dry_run;
mod external;
mod lookups;
mod produce;
pub(crate) mod told;
mod wanted;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{CommandFactory, FromArgMatches};
use delt_formats::canonical::Digest;
use delt_store::{Store, StoreError};

use crate::advice::make_target;
use crate::args::Args;
use crate::interrupt;
use crate::panic::{self, Ended};
use crate::parts::check_shards;
use delt_pipeline::cells::origin_of;
use delt_pipeline::config::{self, Branch, Invalid, overridden};
use delt_pipeline::cost::{self, Sizes};
use delt_pipeline::dag::{Dag, Missing};
use delt_pipeline::plan::{self, Stage};
use delt_pipeline::yaml::YamlError;

use dry_run::Answers;
pub use lookups::Lookups;
pub use produce::{Made, Work};
use told::Told;
pub use told::few;

/// Exit code of a run that failed.
const FAILED: u8 = 1;
/// Exit code of a call that cannot be right: arguments or configuration.
const BAD_USAGE: u8 = 2;
/// How the name of a CPU device ends.
const CPU: &str = "(CPU)";

/// A run of one stage.
#[derive(Debug)]
pub struct Session {
    /// The command line.
    pub args: Args,
    pub(crate) stage: Stage,
    dag: Dag<Lookups>,
    /// The branch that this run works on alone, where the command line adds one.
    added: Option<String>,
    device: RefCell<Option<String>>,
    /// Keys made by this run: several branches and roles may share one, and `--force` makes it once.
    made: RefCell<BTreeSet<Digest>>,
    /// Keys of what this run has published.
    pub(crate) published: RefCell<BTreeSet<Digest>>,
    pub(crate) told: Told,
    answers: Answers,
}

/// Runs a stage: reads the arguments and calls `run`; prints the error chain and picks the exit code.
pub fn main(stage: Stage, run: fn(&Session) -> Result<()>) -> ExitCode {
    let matches = Args::command().name(stage.name).bin_name(stage.name).about(stage.about).get_matches();
    let args = Args::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    interrupt::listen();
    ended(stage.name, || {
        let session = Session::open(stage, args)?;
        let done = run(&session);
        session.say_artifacts();
        done
    })
}

/// Runs a program of this workspace: prints the error chain and picks the exit code. A reader of stdout that has seen enough
/// ends it quietly.
pub fn ended(program: &'static str, run: impl FnOnce() -> Result<()>) -> ExitCode {
    panic::say_in_one_line(program);
    match panic::caught(run) {
        Ok(Ok(())) | Err(Ended::Unread) => ExitCode::SUCCESS,
        Err(Ended::Panicked) => ExitCode::from(FAILED),
        Err(Ended::Unwritable(why)) => {
            eprintln!(
                "{program}: stdout cannot be written: {why}; what was made is in the store: make room and run the same again, or \
                 send the output elsewhere"
            );
            ExitCode::from(FAILED)
        }
        Ok(Err(error)) => {
            eprintln!("{program}: {error:#}");
            ExitCode::from(exit_code(&error))
        }
    }
}

/// A configuration that cannot be right is bad usage, whether that shows at load or once the classes are known.
fn exit_code(error: &anyhow::Error) -> u8 {
    if error.is::<YamlError>() || error.is::<Invalid>() { BAD_USAGE } else { FAILED }
}

/// Files that stages to come will read are asked for before the first one works, and by a dry run, which reads none.
fn check_files<'a>(args: &Args, mut branches: impl Iterator<Item = &'a Branch>) -> Result<(), YamlError> {
    branches.try_for_each(|Branch { name, pipeline, .. }| {
        let of_branch = |invalid| YamlError::of_key(origin_of(&args.pipeline, Some(name)), &invalid);
        pipeline.check_files().map_err(of_branch)
    })
}

/// The store of the command line.
fn open_store(args: &Args) -> Result<Store> {
    Store::open_at(&args.store, &args.cache).map_err(|error| match error {
        StoreError::Profile { .. } => error.into(),
        other => anyhow::Error::from(other)
            .context(format!("store {}: cannot be used; choose another with STORE= (--store)", args.store)),
    })
}

impl Session {
    /// Loads the pipeline and opens the store.
    ///
    /// # Errors
    /// [`YamlError`] for a pipeline that does not fit, or, where ingest or teacher-train runs, names a file that is not
    /// there; what the store reports.
    pub fn open(stage: Stage, args: Args) -> Result<Self> {
        told::ask(args.verbose);
        check_shards(stage, &args)?;
        let added = external::branch(&args)?;
        let data = args.data.as_deref();
        let all = config::load_with(&args.pipeline, &args.set, data, added.as_ref(), &args.branches)?;
        let added = added.map(|branch| branch.name);
        let elsewhere = wanted::check(&args, &all)?;
        let is_added = |b: &Branch| added.as_ref() == Some(&b.group);
        let is_wanted = |b: &Branch| {
            args.branches.is_empty()
                || is_added(b)
                || args.branches.iter().any(|name| wanted::has(std::slice::from_ref(b), name))
        };
        let branches: Vec<Branch> = all.iter().filter(|branch| is_wanted(branch)).cloned().collect();
        let notes = overridden::notes(&all, &branches)
            .map_err(|invalid| YamlError::of_key(origin_of(&args.pipeline, None), &invalid))?;
        // before any work, and where the results are shown
        if stage == plan::INGEST || stage == plan::EVALUATE {
            notes.iter().chain(&elsewhere).for_each(|note| eprintln!("{}: note: {note}", stage.name));
        }
        if (stage == plan::INGEST || stage == plan::TEACHER_TRAIN) && !args.assume_files {
            check_files(&args, branches.iter().filter(|branch| added.is_none() || is_added(branch)))?;
        }
        let store = open_store(&args)?;
        let (name, knobs) = (config::pipeline_name(&args.pipeline), args.clone());
        let dag = Dag::new(name, branches, Lookups::new(store), move |target| make_target(target, &knobs));
        Ok(Self {
            args,
            stage,
            dag,
            added,
            device: RefCell::default(),
            made: RefCell::default(),
            published: RefCell::default(),
            told: Told::default(),
            answers: Answers::default(),
        })
    }

    /// The branches to work on: all, or the one that the command line adds.
    fn worked_on(&self) -> impl Iterator<Item = &Branch> {
        let is_worked_on = |branch: &&Branch| self.added.as_ref().is_none_or(|name| *name == branch.group);
        self.branches().iter().filter(is_worked_on)
    }

    /// The branches that tables and pages show, in the order of the pipeline file.
    pub fn branches(&self) -> &[Branch] {
        &self.dag.branches
    }

    /// The branches, those that repeat one another under other seeds together.
    pub(crate) fn groups(&self) -> impl Iterator<Item = &[Branch]> {
        self.branches().chunk_by(|a, b| a.group == b.group)
    }

    /// File name of the pipeline without `.yaml`.
    pub fn pipeline_name(&self) -> &str {
        &self.dag.pipeline_name
    }

    /// The command that makes a target again, with the knobs that are in force.
    pub fn make_command(&self, target: &str) -> String {
        make_target(target, &self.args)
    }

    /// The store.
    pub fn store(&self) -> &Store {
        self.dag.lookup.store()
    }

    /// The artifacts of all branches, each resolved once.
    pub fn dag(&self) -> &Dag<Lookups> {
        &self.dag
    }

    /// Remembers the device for `run.json` and the line about what was made.
    pub fn use_device(&self, name: &str) {
        self.use_devices([name]);
    }

    /// The same for several that compute side by side.
    pub fn use_devices<'a>(&self, names: impl IntoIterator<Item = &'a str>) {
        let name = names.into_iter().collect::<Vec<_>>().join(", ");
        if self.device.borrow().as_deref() != Some(name.as_str()) {
            self.detail(format!("device {name}"));
            self.device.replace(Some(name));
        }
    }

    /// Before work on a CPU, once: how long the rest of the run takes on this device, where the pipeline names a smaller
    /// one. `flops_per_second` measures the device.
    ///
    /// # Errors
    /// [`Missing`], or what the measurement reports.
    pub fn forecast(
        &self,
        branch: &Branch,
        flops_per_second: impl FnOnce(usize) -> Result<f64>,
    ) -> Result<()> {
        let is_cpu = self.device.borrow().as_deref().is_some_and(|name| name.ends_with(CPU));
        let Some(smaller) = branch.pipeline.smaller_pipeline.as_deref().filter(|_| is_cpu) else {
            return Ok(());
        };
        if !self.told.is_new("forecast") {
            return Ok(());
        }
        let sizes = Sizes::from(&self.dag.dataset_facts(branch)?);
        let branches: Vec<Branch> = self.worked_on().cloned().collect();
        let costs = cost::of_run(&branches, &sizes);
        let speed = flops_per_second(sizes.classes)?;
        eprintln!("{}", cost::forecast(self.pipeline_name(), self.stage.name, &costs, speed, smaller));
        Ok(())
    }

    /// Calls `check` for each branch before any of them works, so that no hour is lost to a branch before the one that cannot
    /// work. What waits for an input is said where it works.
    ///
    /// # Errors
    /// The first error of `check`.
    pub fn check_branches(&self, mut check: impl FnMut(&Branch) -> Result<()>) -> Result<()> {
        for branch in self.worked_on() {
            match check(branch) {
                Err(error) if error.is::<Missing>() => {}
                other => other.with_context(|| format!("{}/{}", self.pipeline_name(), branch.name))?,
            }
        }
        Ok(())
    }

    /// Calls `work` for each branch. In a dry run, a branch whose inputs are missing says so and is passed over.
    ///
    /// # Errors
    /// The first error of `work`.
    pub fn each_branch(&self, mut work: impl FnMut(&Branch) -> Result<()>) -> Result<()> {
        for branch in self.worked_on() {
            let done = work(branch);
            let missing = done.as_ref().err().and_then(|error| error.downcast_ref::<Missing>());
            match missing.filter(|_| self.args.dry_run) {
                Some(missing) => self.say_missing(branch, missing),
                None => done.with_context(|| format!("{}/{}", self.pipeline_name(), branch.name))?,
            }
        }
        self.say_others();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_that_cannot_be_right_is_bad_usage_whenever_it_shows() {
        let late = Err::<(), _>(Invalid::new("relabel.batch", "found 1")).context("tiny/delt");
        assert_eq!(exit_code(&late.expect_err("refused").context("relabel")), BAD_USAGE);
        let early = YamlError::new("--set nonsense", "expected key=value");
        assert_eq!(exit_code(&early.into()), BAD_USAGE);
        assert_eq!(exit_code(&anyhow::anyhow!("the disk is full")), FAILED);
    }
}
