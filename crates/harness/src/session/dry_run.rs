//! What a dry run answers. What holds of several branches is said of the first, and the others are counted; `--verbose` says all.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use delt_formats::canonical::Digest;
use delt_pipeline::config::Branch;
use delt_pipeline::dag::Missing;
use delt_pipeline::plan::Plan;
use delt_store::Entry;

use super::Session;
use super::told::{few, is_verbose};
use crate::explain;

/// What was answered, and of what else it holds.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    keys: RefCell<BTreeSet<Digest>>,
    /// Runs that end with an artifact that another one has.
    same: RefCell<Vec<String>>,
    /// Runs beside the first that wait, by what they wait for.
    waiting: RefCell<BTreeMap<String, Vec<String>>>,
}

#[expect(clippy::print_stdout, reason = "the answer of a dry run is the result")]
impl Session {
    /// Key and inputs of an artifact, and where it is to be made, why.
    pub(super) fn explain(&self, forced: bool, plan: &Plan, key: &Digest) -> Result<Option<Entry>> {
        let found = self.dag.found(plan.kind, key)?;
        if !self.answers.keys.borrow_mut().insert(key.clone()) && !is_verbose() {
            self.answers.same.borrow_mut().push(self.within(&plan.run));
            return Ok(found);
        }
        let state = match found {
            Some(_) if forced => "cached, recomputed by --force",
            Some(_) => "cached",
            None => "not cached",
        };
        println!("{} {}: {state}, key {key}", self.stage.name, plan.run);
        for (role, digest) in &plan.inputs {
            println!("    {role} {digest}");
        }
        if found.is_none() {
            for change in explain::changes(self, plan)? {
                println!("    changed: {change}");
            }
        }
        Ok(found)
    }

    /// Says that a branch waits, and for what; branches that wait for the same `cause` are said together.
    pub fn say_waits(&self, branch: &Branch, cause: &str, what: &str) {
        let mut waiting = self.answers.waiting.borrow_mut();
        match waiting.get_mut(cause) {
            Some(others) if !is_verbose() => others.push(branch.name.clone()),
            _ => {
                println!("{} {}/{}: waits: {what}", self.stage.name, self.pipeline_name(), branch.name);
                waiting.insert(cause.to_owned(), Vec::new());
            }
        }
    }

    /// The same for an input that is not in the store.
    pub(super) fn say_missing(&self, branch: &Branch, missing: &Missing) {
        let artifact = missing.what.rsplit('/').next().unwrap_or_default();
        let what = match missing.stage == self.stage.name {
            true => format!("{}, which this stage makes first", missing.what),
            false => missing.to_string(),
        };
        self.say_waits(branch, artifact, &what);
    }

    /// Of what else the answers hold.
    pub(super) fn say_others(&self) {
        let place = format!("{} {}", self.stage.name, self.pipeline_name());
        let same = self.answers.same.take();
        if !same.is_empty() {
            println!("{place}: the same keys: {}", few(&same, ", "));
        }
        for (cause, others) in self.answers.waiting.take() {
            if !others.is_empty() {
                println!("{place}: waits for its {cause} as well: {}", few(&others, ", "));
            }
        }
    }

    /// The name of a run without that of the pipeline.
    fn within(&self, run: &str) -> String {
        let rest = run.strip_prefix(self.pipeline_name()).and_then(|rest| rest.strip_prefix('/'));
        rest.unwrap_or(run).to_owned()
    }
}
