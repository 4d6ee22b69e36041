//! The DAG: which plan each artifact of a branch has, given what the store holds of its inputs.

mod origins;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use delt_formats::canonical::Digest;
use delt_formats::provenance::ArtifactKind;
use delt_formats::store::Entry;
use delt_formats::{Keep, LabelPacking};
use serde_json::{Value, json};
use walkdir::{DirEntry, WalkDir};

use crate::advice::make_target;
use crate::config::Branch;
use crate::config::relabel::TeacherMode;
use crate::plan::{self, Plan, Stage};
use crate::session::Session;

pub use origins::Role;

/// An input that is not in the store yet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} is not in the store; make it with `{command}`")]
pub struct Missing {
    /// Which artifact.
    pub what: String,
    /// The call of make that makes it, with the knobs in force.
    pub command: String,
}

impl Session {
    fn run_name(&self, branch: &Branch, artifact: &str) -> String {
        format!("{}/{}/{artifact}", self.pipeline_name(), branch.name)
    }

    fn plan(
        &self,
        branch: &Branch,
        kind: ArtifactKind,
        stage: Stage,
        config: Value,
        inputs: &[(&str, &Entry)],
    ) -> Plan {
        Plan {
            kind,
            stage,
            config,
            seed: branch.pipeline.seed,
            inputs: inputs.iter().map(|(n, e)| ((*n).to_owned(), e.manifest.digest.clone())).collect(),
            run: self.run_name(branch, kind.dir()),
        }
    }

    fn find(&self, plan: &Plan) -> Result<Entry> {
        let found = self.store().lookup(plan.kind, &plan.key())?;
        found.ok_or_else(|| self.missing(plan.run.clone(), plan.stage).into())
    }

    fn missing(&self, what: String, stage: Stage) -> Missing {
        let target = format!("{}/{}", self.pipeline_name(), stage.name);
        Missing { what, command: make_target(&target, &self.args) }
    }

    /// The plan of the scores of all training images.
    ///
    /// # Errors
    /// [`Missing`] inputs.
    pub fn scores_plan(&self, branch: &Branch) -> Result<Plan> {
        let dataset = self.dataset(branch)?;
        let Some(file) = &branch.pipeline.select.scores else {
            let ranker = self.network(branch, Role::Ranker)?;
            let inputs = [("dataset", &dataset), ("ranker", &ranker)];
            let plan = self.plan(branch, ArtifactKind::Scores, plan::INIT_SELECT, json!({}), &inputs);
            return Ok(Plan { seed: 0, ..plan });
        };
        let digest = Digest::of_file(file).context(
            "`select.scores`: the ranking cannot be read; correct its path, or leave it out to score with the ranker",
        )?;
        let config = json!({ "scores": digest });
        let plan =
            self.plan(branch, ArtifactKind::Scores, plan::INIT_SELECT, config, &[("dataset", &dataset)]);
        Ok(Plan { seed: 0, ..plan })
    }

    /// The scores of all training images.
    ///
    /// # Errors
    /// [`Missing`].
    pub fn scores(&self, branch: &Branch) -> Result<Entry> {
        self.find(&self.scores_plan(branch)?)
    }

    /// The plan of the initial images.
    ///
    /// # Errors
    /// [`Missing`] inputs.
    pub fn initial_plan(&self, branch: &Branch) -> Result<Plan> {
        if branch.pipeline.synthesize.import.is_some() {
            return Err(self
                .missing("initial images of a branch that imports its images".to_owned(), plan::INIT_SELECT)
                .into());
        }
        let (dataset, scores) = (self.dataset(branch)?, self.scores(branch)?);
        let select = &branch.pipeline.select;
        let mut config =
            json!({ "ipc": select.ipc, "strategy": select.strategy, "size": branch.pipeline.teacher.size });
        let mut inputs = vec![("dataset", &dataset), ("scores", &scores)];
        let ranker;
        if let Some(patches) = &select.patches {
            config["patches"] = serde_json::to_value(patches)?;
            ranker = self.network(branch, Role::Ranker)?;
            inputs.push(("ranker", &ranker));
        }
        let coverer;
        if let Some(facility_location) = &select.facility_location {
            config["facility_location"] = serde_json::to_value(facility_location)?;
            coverer = self.network(branch, Role::Ranker)?;
            inputs.push(("ranker", &coverer));
        }
        Ok(self.plan(branch, ArtifactKind::Initial, plan::INIT_SELECT, config, &inputs))
    }

    /// The initial images.
    ///
    /// # Errors
    /// [`Missing`].
    pub fn initial(&self, branch: &Branch) -> Result<Entry> {
        self.find(&self.initial_plan(branch)?)
    }

    /// The plan of the synthetic images.
    ///
    /// # Errors
    /// [`Missing`] inputs.
    pub fn synthetic_plan(&self, branch: &Branch) -> Result<Plan> {
        let (kind, stage) = (ArtifactKind::Synthetic, plan::DELT_SYNTHESIZE);
        if let Some(images) = &branch.pipeline.synthesize.import {
            let classes = self.network(branch, Role::Teacher)?.manifest.provenance.classes;
            let content = content_of(images)
                .context("`synthesize.import`: the images cannot be read; correct the path")?;
            let (ipc, size) = (branch.pipeline.select.ipc, branch.pipeline.teacher.size);
            let config =
                json!({ "import": content, "classes": Digest::of_json(&classes), "ipc": ipc, "size": size });
            return Ok(Plan { seed: 0, ..self.plan(branch, kind, stage, config, &[]) });
        }
        let initial = self.initial(branch)?;
        if branch.pipeline.synthesize.max_iterations == 0 {
            let plan =
                self.plan(branch, kind, stage, json!({ "max_iterations": 0 }), &[("initial", &initial)]);
            return Ok(Plan { seed: 0, ..plan });
        }
        let teacher = self.network(branch, Role::Teacher)?;
        let synthesize = &branch.pipeline.synthesize;
        let config = serde_json::to_value(synthesize)?;
        let mut inputs = vec![("initial", &initial), ("teacher", &teacher)];
        let dataset = self.dataset(branch)?;
        if synthesize.needs_real_images() {
            inputs.push(("dataset", &dataset));
        }
        let mut plan = self.plan(branch, kind, stage, config, &inputs);
        if branch.pipeline.recovers_by_committee() {
            self.add_committee(branch, &mut plan)?;
        }
        Ok(plan)
    }

    /// The synthetic images.
    ///
    /// # Errors
    /// [`Missing`].
    pub fn synthetic(&self, branch: &Branch) -> Result<Entry> {
        self.find(&self.synthetic_plan(branch)?)
    }

    /// The plan of one student's soft labels.
    ///
    /// # Errors
    /// [`Missing`] inputs, or no batch for this number of images per class.
    pub fn labels_plan(&self, branch: &Branch, seed: u64) -> Result<Plan> {
        let (synthetic, teacher) = (self.synthetic(branch)?, self.network(branch, Role::Teacher)?);
        let relabel = &branch.pipeline.relabel;
        let classes = teacher.manifest.provenance.classes.len();
        if self.stage() == plan::RELABEL
            && let Some(line) = self.batch_is_all(branch)?
        {
            self.say_once(line);
        }
        let mut config = json!({
            "epochs": relabel.stored_epochs(),
            "batch": branch.pipeline.student_batch(classes)?,
            "views": relabel.view_spec(),
        });
        let packing = relabel.labels.packing();
        if packing != LabelPacking::FULL {
            config["packing"] = serde_json::to_value(packing)?;
        }
        if let Keep::TopK(k) = packing.keep {
            anyhow::ensure!(
                (k as usize) < classes,
                "`relabel.labels.keep.top_k`: found {k} of {classes} classes, which is all of them; take keep: full"
            );
        }
        if relabel.teacher_mode != TeacherMode::default() {
            config["teacher_mode"] = serde_json::to_value(relabel.teacher_mode)?;
        }
        if branch.pipeline.labels_by_committee() {
            config["voters"] = serde_json::to_value(relabel.voters)?;
        }
        let inputs = [("synthetic", &synthetic), ("teacher", &teacher)];
        let mut plan = self.plan(branch, ArtifactKind::Labels, plan::RELABEL, config, &inputs);
        if branch.pipeline.labels_by_committee() {
            self.add_committee(branch, &mut plan)?;
        }
        plan.seed = seed;
        plan.run = format!("{}-{seed}", plan.run);
        Ok(plan)
    }

    /// What to say where `relabel.batch` asks for more images than there are.
    ///
    /// # Errors
    /// [`Missing`], or a manifest that cannot be read.
    pub fn batch_is_all(&self, branch: &Branch) -> Result<Option<String>> {
        let in_use = self.dataset_facts(branch)?.train_per_class.iter().filter(|images| **images > 0).count();
        let images = in_use as u64 * u64::from(branch.pipeline.select.ipc);
        let batch = branch.pipeline.relabel.batch.filter(|batch| u64::from(*batch) > images);
        Ok(batch.map(|batch| {
            format!("relabel: relabel.batch is {batch}, but there are {images} synthetic images; a step takes them all")
        }))
    }

    /// One student's soft labels.
    ///
    /// # Errors
    /// [`Missing`].
    pub fn labels(&self, branch: &Branch, seed: u64) -> Result<Entry> {
        self.find(&self.labels_plan(branch, seed)?)
    }

    /// The plan of the evaluation of all students of a branch.
    ///
    /// # Errors
    /// [`Missing`] inputs.
    pub fn evaluation_plan(&self, branch: &Branch) -> Result<Plan> {
        let relabel = &branch.pipeline.relabel;
        let (dataset, teacher) = (self.dataset(branch)?, self.network(branch, Role::Teacher)?);
        let synthetic = self.synthetic(branch)?;
        let mut config = serde_json::to_value(&branch.pipeline.evaluate)?;
        config["seeds"] = json!(relabel.seeds);
        if relabel.stored_epochs() != relabel.epochs {
            config["epochs"] = json!(relabel.epochs);
        }
        config["lr"] = json!(branch.pipeline.student_lr(teacher.manifest.provenance.classes.len()));
        let inputs = [("dataset", &dataset), ("synthetic", &synthetic), ("teacher", &teacher)];
        let mut plan = self.plan(branch, ArtifactKind::Evaluation, plan::EVALUATE, config, &inputs);
        plan.seed = relabel.seeds[0];
        let mut labels = BTreeMap::new();
        for seed in relabel.label_seeds() {
            labels.insert(format!("labels-{seed}"), self.labels(branch, *seed)?.manifest.digest);
        }
        plan.inputs.extend(labels);
        Ok(plan)
    }

    /// The evaluation of all students of a branch.
    ///
    /// # Errors
    /// [`Missing`].
    pub fn evaluation(&self, branch: &Branch) -> Result<Entry> {
        self.find(&self.evaluation_plan(branch)?)
    }
}

/// The digest of a file, or of all files in a folder with their names; hidden ones are passed over.
fn content_of(path: &Path) -> Result<Digest> {
    if !path.is_dir() {
        return Ok(Digest::of_file(path)?);
    }
    let is_seen =
        |entry: &DirEntry| entry.depth() == 0 || !entry.file_name().to_string_lossy().starts_with('.');
    let mut files = BTreeMap::new();
    for entry in WalkDir::new(path).follow_links(true).into_iter().filter_entry(is_seen) {
        let entry = entry?;
        if entry.file_type().is_file() {
            let name = entry.path().strip_prefix(path)?.to_string_lossy().into_owned();
            files.insert(name, Digest::of_file(entry.path())?);
        }
    }
    Ok(Digest::of_json(&files))
}
