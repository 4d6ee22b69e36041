//! The plans of what is asked of a set beside its students: continual learning and pruning. Both make evaluations, under names and
//! keys of their own.

use anyhow::{Context, Result};
use serde_json::json;

use super::plans::TEACHER;
use super::{Dag, Lookup, Node};
use crate::config::Branch;
use crate::config::experiments::{Continual, Prune};
use crate::config::relabel::TeacherMode;
use crate::plan::{self, Plan};

impl<L: Lookup> Dag<L> {
    /// The classes that a set has images of.
    ///
    /// # Errors
    /// [`super::Missing`], or a manifest that cannot be read.
    pub fn classes_in_use(&self, branch: &Branch) -> Result<Vec<usize>> {
        let imported = self.imported_per_class(branch)?;
        let counts = if imported.is_empty() { self.dataset_facts(branch)?.train_per_class } else { imported };
        Ok((0..counts.len()).filter(|class| counts[*class] > 0).collect())
    }

    /// The plan of a student of the first so many classes of an order: whatever the number of steps, it is the same student.
    ///
    /// # Errors
    /// [`super::Missing`]; settings that do not fit what the inputs turn out to be.
    pub fn continual_plan(
        &self,
        branch: &Branch,
        section: &Continual,
        order: u64,
        classes: usize,
    ) -> Result<Plan> {
        let relabel = &branch.pipeline.relabel;
        let mut config = json!({
            "evaluate": branch.pipeline.evaluate,
            "epochs": relabel.epochs,
            "stored_epochs": relabel.stored_epochs(),
            "views": relabel.view_spec(),
            "batch": self.student_batch(branch)?,
            "continual": { "classes": classes, "labels": section.labels },
        });
        config["evaluate"]["lr"] = json!(branch.pipeline.student_lr(self.classes(branch)?)?);
        if relabel.teacher_mode != TeacherMode::default() {
            config["teacher_mode"] = json!(relabel.teacher_mode);
        }
        let inputs = [Node::Dataset, TEACHER, Node::Synthetic];
        let mut plan = self.plan_of(branch, Node::Evaluation, config, &inputs)?;
        if branch.pipeline.labels_by_committee() {
            plan.config["voters"] = json!(relabel.voters);
            self.add_committee(branch, &mut plan)?;
        }
        let run = format!("{}/{}/continual-{order}-{classes}", self.pipeline_name, branch.name);
        Ok(Plan { stage: plan::CONTINUAL, seed: order, run, ..plan })
    }

    /// The plan of the pruned students of a branch.
    ///
    /// # Errors
    /// As [`Self::continual_plan`].
    pub fn pruning_plan(&self, branch: &Branch, section: &Prune) -> Result<Plan> {
        let mut plan = (*self.plan(branch, Node::Evaluation)?).clone();
        plan.config
            .as_object_mut()
            .context("a configuration is a map")?
            .insert("prune".to_owned(), json!(section));
        let run = format!("{}/{}/pruned", self.pipeline_name, branch.name);
        Ok(Plan { stage: plan::PRUNE, run, ..plan })
    }
}
