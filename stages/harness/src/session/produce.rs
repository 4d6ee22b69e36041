//! An artifact of a plan: found in the store, or made there and published.

use std::ops::ControlFlow;
use std::path::Path;

use anyhow::Result;
use delt_formats::canonical::Digest;
use delt_formats::provenance::{ArtifactKind, Provenance};
use delt_formats::store::{Claim, Entry, Holder, RUN_RECORD, SOURCES, StoreError, Workspace};
use serde_json::json;

use super::Session;
use crate::explain;
use crate::interrupt;
use crate::plan::Plan;
use crate::progress::human_seconds;
use crate::spent::{Meter, Spent, has_checkpoints};
use crate::usage;

/// Where an artifact under construction lies.
#[derive(Debug)]
pub struct Work<'a> {
    workspace: &'a Workspace,
    plan: &'a Plan,
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
    #[expect(clippy::print_stdout, reason = "the answer of a dry run is the result")]
    pub(crate) fn produce_as(
        &self,
        forced: bool,
        plan: &Plan,
        make: impl FnOnce(&Work<'_>) -> Result<Made>,
    ) -> Result<Option<Entry>> {
        let key = plan.key();
        if self.args.dry_run {
            let found = self.store.lookup(plan.kind, &key)?;
            let state = match found {
                Some(_) if forced => "cached, made again by --force",
                Some(_) => "cached",
                None => "not cached",
            };
            println!("{} {}: {state}, key {key}", self.stage.name, plan.run);
            for (role, digest) in &plan.inputs {
                println!("    {role} {digest}");
            }
            if found.is_none() {
                for change in explain::changes(&self.store, plan)? {
                    println!("    changed: {change}");
                }
            }
            return Ok(found);
        }
        let is_forced = forced && self.made.borrow_mut().insert(key.clone());
        let mut said = false;
        let mut on_wait = |holder: &Holder| {
            if !said {
                said = true;
                eprintln!("{}: {} is being made by {holder}; waiting", self.stage.name, plan.run);
            }
            if interrupt::is_requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let claim = if is_forced {
            self.store.claim_anew(plan.kind, &key, &mut on_wait)
        } else {
            self.store.claim(plan.kind, &key, &mut on_wait)
        };
        let claim = claim.map_err(|error| self.with_advice(error))?;
        let entry = match claim {
            Claim::Hit(entry) => {
                self.cached.borrow_mut().push(plan.run.clone());
                entry
            }
            Claim::Work(workspace) => {
                if let Some(damage) = workspace.damage() {
                    eprintln!("{}: {} was damaged ({damage}) and is made again", self.stage.name, plan.run);
                }
                let checkpoints = workspace.checkpoint_dir();
                if has_checkpoints(checkpoints)? {
                    eprintln!("{}: {} goes on from its checkpoint", self.stage.name, plan.run);
                }
                let config = format!("{}: configuration {}", self.stage.name, plan.config);
                self.say_once(config);
                let meter = Meter::start(checkpoints)?;
                let made = make(&Work { workspace: &workspace, plan }).or_else(|error| {
                    // Whoever takes the work over renames the checkpoints: then saving fails, but that is not why.
                    workspace.ensure_held()?;
                    // a disk that is full is told of by the error itself
                    meter.keep().ok();
                    Err(error)
                })?;
                let spent = meter.spent();
                self.write_run_record(workspace.out_dir(), &spent)?;
                let entry = workspace.publish_for(&plan.run, made.provenance, made.facts)?;
                self.published.borrow_mut().insert(key.clone());
                let (name, summary) = (self.stage.name, made.summary);
                eprintln!(
                    "{name}: {} {summary}, {} ({})",
                    plan.run,
                    human_seconds(spent.seconds),
                    entry.dir.display()
                );
                entry
            }
        };
        self.point(&plan.run, plan.kind, &key)?;
        Ok(Some(entry))
    }

    /// Points a run to an artifact, unless it does already: a run that finds everything writes nothing, so a store may
    /// be read-only. Where such a store lacks the pointer of an artifact that was found, one line says so; only the
    /// memory of a source must be written, since later stages find nothing without it.
    ///
    /// # Errors
    /// What the store reports.
    pub fn point(&self, run: &str, kind: ArtifactKind, key: &Digest) -> Result<()> {
        let points =
            self.store.pointer(run)?.is_some_and(|pointer| pointer.kind == kind && &pointer.key == key);
        if points {
            return Ok(());
        }
        let is_memory = run.split('/').next() == Some(SOURCES);
        match self.store.point(run, kind, key) {
            Err(error) if error.is_read_only() && !is_memory && !self.published.borrow().contains(key) => {
                self.say_once(format!(
                    "{}: the store is read-only, so {run} will not be found by this name: {error}",
                    self.stage.name
                ));
                Ok(())
            }
            other => other.map_err(|error| self.with_advice(error)),
        }
    }

    /// What to do about a store that the system refuses.
    fn with_advice(&self, error: StoreError) -> anyhow::Error {
        let is_io = matches!(error, StoreError::Io(_));
        let error = anyhow::Error::from(error);
        if !is_io {
            return error;
        }
        error.context(format!(
            "store {}: cannot be read or written; choose another with STORE= (--store)",
            self.args.store
        ))
    }

    /// Seconds, host, device: true of this run only, so no digest covers the file.
    fn write_run_record(&self, dir: &Path, spent: &Spent) -> Result<()> {
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
        });
        Ok(fs_err::write(dir.join(RUN_RECORD), serde_json::to_string_pretty(&record)?)?)
    }
}
