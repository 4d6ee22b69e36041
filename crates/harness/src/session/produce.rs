//! An artifact of a plan: found in the store, or made there and published.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use delt_formats::canonical::Digest;
use delt_formats::provenance::{ArtifactKind, Provenance, SOURCES};
use delt_store::{Claim, Entry, Holder, RUN_RECORD, Store, StoreError, Workspace};
use serde_json::json;

use super::Session;
use super::told::is_verbose;
use crate::interrupt;
use crate::spent::{Meter, Spent, has_checkpoints};
use crate::usage;
use delt_pipeline::plan::{self, Plan, Stage};

/// Stages that show the notes of what they made below their table, and so once.
const SHOW_NOTES: [Stage; 3] = [plan::EVALUATE, plan::CROSS_ARCH, plan::PRUNE];

/// Where an artifact under construction lies.
#[derive(Debug)]
pub struct Work<'a> {
    /// The program that runs.
    stage: Stage,
    workspace: &'a Workspace,
    plan: &'a Plan,
    notes: Mutex<Vec<String>>,
}

impl Work<'_> {
    /// Folder for the files to publish.
    pub fn out_dir(&self) -> &Path {
        self.workspace.out_dir()
    }

    /// Folder for checkpoints; it outlives a killed run.
    pub fn checkpoint_dir(&self) -> &Path {
        self.workspace.checkpoint_dir()
    }

    /// Refuses to go on if another process has taken the work over; to be asked before a checkpoint is saved.
    ///
    /// # Errors
    /// Names who makes the artifact now.
    pub fn ensure_held(&self) -> Result<()> {
        Ok(self.workspace.ensure_held()?)
    }

    /// Says in one line what the reader of the result must know: input that was passed over, what a figure does not cover. The
    /// line stands in the output at once where no table of the stage shows it, and in `run.json` for tables and pages.
    pub fn note(&self, note: impl Into<String>) {
        let note = note.into();
        if is_verbose() || !SHOW_NOTES.contains(&self.stage) {
            eprintln!("{}: {}: note: {note}", self.stage.name, self.plan.run);
        }
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).push(note);
    }

    fn notes(&self) -> Vec<String> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What each file of the artifact says about its origin.
    pub fn provenance(&self, classes: &[String]) -> Provenance {
        self.plan.provenance(classes)
    }
}

/// A finished artifact, before it is published.
#[derive(Debug)]
pub struct Made {
    /// Origin, with the class list.
    pub provenance: Provenance,
    /// What the manifest says about the content.
    pub facts: serde_json::Value,
    /// One line for the user.
    pub summary: String,
}

impl Session {
    /// Finds the artifact of `plan` in the store, or makes and publishes it.
    ///
    /// A dry run prints key, inputs and whether it is cached, and returns what the store has.
    ///
    /// # Errors
    /// What `make` and the store report; an interrupted run keeps its checkpoint.
    pub fn produce(
        &self,
        plan: &Plan,
        make: impl FnOnce(&Work<'_>) -> Result<Made>,
    ) -> Result<Option<Entry>> {
        self.produce_as(self.args.force, plan, make)
    }

    /// As [`Self::produce`], made again if it is `forced`.
    pub(crate) fn produce_as(
        &self,
        forced: bool,
        plan: &Plan,
        make: impl FnOnce(&Work<'_>) -> Result<Made>,
    ) -> Result<Option<Entry>> {
        let key = plan.key();
        if self.args.dry_run {
            return self.explain(forced, plan, &key);
        }
        let is_forced = forced && self.made.borrow_mut().insert(key.clone());
        if let Some(entry) = self.dag.known(plan.kind, &key).filter(|_| !is_forced) {
            return self.cached(plan, entry).map(Some);
        }
        let mut said = false;
        let mut on_wait = |holder: &Holder| {
            if !said {
                said = true;
                eprintln!("{}: {} is being made by {holder}; waiting", self.stage.name, plan.run);
            }
            if interrupt::is_requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        self.dag.lookup.count(plan.kind, &key);
        let claim = if is_forced { Store::claim_anew } else { Store::claim };
        let claimed = claim(self.store(), plan.kind, &key, &mut on_wait);
        match claimed.map_err(|error| self.with_advice(error))? {
            Claim::Hit(entry) => self.cached(plan, entry),
            Claim::Work(workspace) => self.make(plan, workspace, make),
        }
        .map(Some)
    }

    /// Makes and publishes an artifact whose claim is held.
    fn make(
        &self,
        plan: &Plan,
        workspace: Workspace,
        make: impl FnOnce(&Work<'_>) -> Result<Made>,
    ) -> Result<Entry> {
        if let Some(damage) = workspace.damage() {
            eprintln!("{}: {} was damaged ({damage}) and is recomputed", self.stage.name, plan.run);
        }
        let checkpoints = workspace.checkpoint_dir();
        if has_checkpoints(checkpoints)? {
            eprintln!("{}: {} resumes from its checkpoint", self.stage.name, plan.run);
        }
        self.detail(format!("configuration {}", plan.config));
        let meter = Meter::start(checkpoints)?;
        let work = Work { stage: self.stage, workspace: &workspace, plan, notes: Mutex::default() };
        let made = make(&work).or_else(|error| {
            // Whoever takes the work over renames the checkpoints: then saving fails, but that is not why.
            workspace.ensure_held()?;
            // a disk that is full is told of by the error itself
            meter.keep().ok();
            Err(error)
        })?;
        let spent = meter.spent();
        self.write_run_record(workspace.out_dir(), &spent, &work.notes())?;
        let entry = workspace.publish_for(&plan.run, made.provenance, made.facts)?;
        self.published.borrow_mut().insert(plan.key());
        self.say_made(format!("{} {}", plan.run, made.summary), spent.seconds, &entry.dir);
        self.pointed_to(plan, entry)
    }

    /// An artifact that was there already.
    fn cached(&self, plan: &Plan, entry: Entry) -> Result<Entry> {
        if !self.published.borrow().contains(&entry.manifest.key) {
            self.told.cached(&plan.run);
        }
        self.pointed_to(plan, entry)
    }

    fn pointed_to(&self, plan: &Plan, entry: Entry) -> Result<Entry> {
        self.dag.learn(&entry);
        self.point(&plan.run, plan.kind, &entry.manifest.key)?;
        Ok(entry)
    }

    /// Points a run to an artifact, unless it does already: a run that finds everything writes nothing, so a store may
    /// be read-only. Where such a store lacks the pointer of an artifact that was found, one line says so; only the
    /// memory of a source must be written, since later stages find nothing without it.
    ///
    /// # Errors
    /// What the store reports.
    pub fn point(&self, run: &str, kind: ArtifactKind, key: &Digest) -> Result<()> {
        if self.dag.pointed(run)?.as_ref() == Some(key) {
            return Ok(());
        }
        let is_memory = run.split('/').next() == Some(SOURCES);
        self.dag.learn_pointer(run, key);
        match self.store().point(run, kind, key) {
            Err(error) if error.is_read_only() && !is_memory && !self.published.borrow().contains(key) => {
                let stage = self.stage.name;
                self.say_once(format!(
                    "{stage}: the store is read-only, so {run} will not be found by this name: {error}"
                ));
                Ok(())
            }
            other => other.map_err(|error| self.with_advice(error)),
        }
    }

    /// What to do about a store that the system refuses.
    fn with_advice(&self, error: StoreError) -> anyhow::Error {
        let StoreError::Io(_) = error else { return error.into() };
        anyhow::Error::from(error).context(format!(
            "store {}: cannot be read or written; choose another with STORE= (--store)",
            self.args.store
        ))
    }

    /// Seconds, host, device: true of this run only, so no digest covers the file.
    fn write_run_record(&self, dir: &Path, spent: &Spent, notes: &[String]) -> Result<()> {
        let unix_seconds = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
        let record = json!({
            "stage": self.stage.name,
            "seconds": spent.seconds,
            "cpu_seconds": spent.cpu_seconds,
            "resumed": spent.is_lower_bound,
            "finished_unix_seconds": unix_seconds,
            "host": gethostname::gethostname().to_string_lossy(),
            "device": *self.device.borrow(),
            "peak_memory_bytes": usage::peak_bytes(),
            "threads": std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            "version": env!("CARGO_PKG_VERSION"),
            "notes": notes,
        });
        Ok(fs_err::write(dir.join(RUN_RECORD), serde_json::to_string_pretty(&record)?)?)
    }
}
