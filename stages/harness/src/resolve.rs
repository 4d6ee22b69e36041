//! The DAG: which plan each artifact of a branch has, given what the store holds of its inputs.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use delt_formats::canonical::Digest;
use delt_formats::dataset::DatasetFacts;
use delt_formats::provenance::ArtifactKind;
use delt_formats::store::{Entry, SOURCES};
use delt_formats::{Keep, LabelPacking};
use serde_json::{Value, json};
use walkdir::{DirEntry, WalkDir};

use crate::advice::make_target;
use crate::config::relabel::TeacherMode;
use crate::config::select::Select;
use crate::config::teacher::Teacher;
use crate::config::{Branch, Pipeline};
use crate::plan::{self, Plan, Stage};
use crate::session::Session;

/// An input that is not in the store yet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} is not in the store; make it with `{command}`")]
pub struct Missing {
    /// Which artifact.
    pub what: String,
    /// The call of make that makes it, with the knobs in force.
    pub command: String,
}

/// Which network of a branch is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Recovers and labels.
    Teacher,
    /// Scores the real images.
    Ranker,
    /// The student's network trained on all real images.
    FullData,
    /// A network of section `committee`, by its place there.
    Committee(usize),
}

impl Role {
    /// What its artifact is called under `runs/` and among the inputs of others.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Teacher => "teacher".to_owned(),
            Self::Ranker => "ranker".to_owned(),
            Self::FullData => "full-data".to_owned(),
            Self::Committee(index) => format!("committee-{index}"),
        }
    }
}

impl Pipeline {
    /// The network settings of a role; `None` where the pipeline has no such network.
    ///
    /// The full-data student is trained as `teacher.train` says; with the student's network equal to an imported
    /// teacher's, the import is the full-data line.
    pub fn network_of(&self, role: Role) -> Option<Teacher> {
        match role {
            Role::Teacher => Some(self.teacher.clone()),
            Role::Ranker => self.select.ranker.clone().or_else(|| Some(self.teacher.clone())),
            Role::Committee(index) => self.committee.get(index).cloned(),
            Role::FullData if !self.full_data => None,
            Role::FullData if self.evaluate.student == self.teacher.network => Some(self.teacher.clone()),
            Role::FullData => {
                self.teacher.train.as_ref()?;
                Some(Teacher { network: self.evaluate.student, import: None, ..self.teacher.clone() })
            }
        }
    }
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

    /// The name under which ingest remembers what it read for this section, whatever the branch.
    ///
    /// The source's path enters as an absolute one, so that two working folders that share a store do not read each
    /// other's `data/images`.
    ///
    /// # Errors
    /// Where the section cannot be serialized.
    pub fn dataset_pointer(&self, branch: &Branch) -> Result<String> {
        let mut section = serde_json::to_value(&branch.pipeline.ingest)?;
        if let Some(path) = section["source"]["path"].as_str() {
            section["source"]["path"] = json!(std::path::absolute(path)?);
        }
        Ok(format!("{SOURCES}/dataset-{}", short(&Digest::of_json(&section))))
    }

    /// The plan of the dataset: its key holds what the source contains, not where it lies; the fingerprint stands for
    /// paths and file lists.
    ///
    /// # Errors
    /// Where the section cannot be serialized.
    pub fn dataset_plan(&self, branch: &Branch, fingerprint: &Digest) -> Result<Plan> {
        let mut config = serde_json::to_value(&branch.pipeline.ingest)?;
        remove(&mut config, &["source", "path"]);
        remove(&mut config, &["source", "sha256"]);
        for files in ["train", "test"] {
            if config["source"][files].is_array() {
                config["source"][files] = Value::Null;
            }
        }
        config["fingerprint"] = json!(fingerprint);
        Ok(Plan { seed: 0, ..self.plan(branch, ArtifactKind::Dataset, plan::INGEST, config, &[]) })
    }

    /// The dataset that ingest read for this branch.
    ///
    /// # Errors
    /// [`Missing`], or what the store reports.
    pub fn dataset(&self, branch: &Branch) -> Result<Entry> {
        let missing = || self.missing(self.run_name(branch, "dataset"), plan::INGEST);
        let key = self.store().pointer(&self.dataset_pointer(branch)?)?.ok_or_else(missing)?.key;
        Ok(self.store().lookup(ArtifactKind::Dataset, &key)?.ok_or_else(missing)?)
    }

    /// The name under which teacher-train remembers an imported network.
    ///
    /// # Errors
    /// Where the section cannot be serialized.
    pub fn import_pointer(&self, teacher: &Teacher, dataset: &Entry) -> Result<String> {
        let mut section = serde_json::to_value(teacher)?;
        remove(&mut section, &["train"]);
        if let Some(import) = &teacher.import {
            section["import"]["path"] = json!(std::path::absolute(&import.path)?);
        }
        let digest = Digest::of_json(&json!({ "teacher": section, "dataset": dataset.manifest.digest }));
        Ok(format!("{SOURCES}/import-{}", short(&digest)))
    }

    /// The plan of a network; `imported` is the digest of the weights and the class order where they are imported.
    ///
    /// # Errors
    /// Where the section cannot be serialized.
    pub fn teacher_plan(
        &self,
        branch: &Branch,
        role: Role,
        teacher: &Teacher,
        dataset: &Entry,
        imported: Option<&Digest>,
    ) -> Result<Plan> {
        let mut config = serde_json::to_value(teacher)?;
        if let Some(imported) = imported {
            remove(&mut config, &["train"]);
            remove(&mut config, &["import", "path"]);
            remove(&mut config, &["import", "classes"]);
            remove(&mut config, &["import", "expected_top1"]);
            config["import"]["digest"] = json!(imported);
        }
        let mut plan =
            self.plan(branch, ArtifactKind::Teacher, plan::TEACHER_TRAIN, config, &[("dataset", dataset)]);
        plan.run = self.run_name(branch, &role.name());
        if imported.is_some() {
            plan.seed = 0;
        }
        Ok(plan)
    }

    /// A network of the branch.
    ///
    /// # Errors
    /// [`Missing`], or what the store reports.
    pub fn network(&self, branch: &Branch, role: Role) -> Result<Entry> {
        let teacher = branch
            .pipeline
            .network_of(role)
            .with_context(|| format!("this pipeline has no network `{}`", role.name()))?;
        let dataset = self.dataset(branch)?;
        if teacher.import.is_none() {
            return self.find(&self.teacher_plan(branch, role, &teacher, &dataset, None)?);
        }
        let missing = || self.missing(self.run_name(branch, &role.name()), plan::TEACHER_TRAIN);
        let pointer = self.import_pointer(&teacher, &dataset)?;
        let key = self.store().pointer(&pointer)?.ok_or_else(missing)?.key;
        Ok(self.store().lookup(ArtifactKind::Teacher, &key)?.ok_or_else(missing)?)
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

    /// Refuses more images per class than a class has, and for `medium` as many (it starts above the middle), before a
    /// teacher is trained for nothing.
    ///
    /// # Errors
    /// The class, what it has and what is asked of it; [`Missing`].
    pub fn check_ipc(&self, branch: &Branch) -> Result<()> {
        let dataset = self.dataset(branch)?;
        let facts = self.dataset_facts(branch)?;
        let Select { ipc, strategy, patches, .. } = &branch.pipeline.select;
        let images = patches.map_or(*ipc, |patches| patches.of_class(*ipc));
        let (name, needed) = (strategy.name(), u64::from(images) + u64::from(strategy.spare()));
        for (class, images) in dataset.manifest.provenance.classes.iter().zip(&facts.train_per_class) {
            anyhow::ensure!(
                *images == 0 || *images >= needed,
                "class `{class}` has {images} training images, `{name}` with {ipc} images per class needs at least {needed}; \
                 lower select.ipc or choose another select.strategy"
            );
        }
        Ok(())
    }

    /// What ingest stored about the data set of a branch.
    ///
    /// # Errors
    /// [`Missing`], or a manifest that cannot be read.
    pub fn dataset_facts(&self, branch: &Branch) -> Result<DatasetFacts> {
        Ok(self.dataset(branch)?.manifest.facts_as::<DatasetFacts>()?)
    }
}

fn short(digest: &Digest) -> String {
    digest.to_string().chars().take(32).collect()
}

fn remove(value: &mut Value, path: &[&str]) {
    let Some((last, parents)) = path.split_last() else { return };
    let mut at = value;
    for part in parents {
        match at.get_mut(part) {
            Some(next) => at = next,
            None => return,
        }
    }
    if let Some(map) = at.as_object_mut() {
        map.remove(*last);
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
