//! What a branch starts from: the data set and the networks. Both may come from outside, and are then remembered in the store
//! by where they were read.

use anyhow::{Context, Result};
use delt_formats::canonical::Digest;
use delt_formats::dataset::DatasetFacts;
use delt_formats::provenance::ArtifactKind;
use delt_formats::store::{Entry, SOURCES};
use serde_json::{Value, json};

use crate::config::select::Select;
use crate::config::teacher::Teacher;
use crate::config::{Branch, Pipeline};
use crate::plan::{self, Plan};
use crate::session::Session;

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
    /// [`Missing`](super::Missing), or what the store reports.
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
    /// [`Missing`](super::Missing), or what the store reports.
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

    /// Refuses more images per class than a class has, and for `medium` as many (it starts above the middle), before a
    /// teacher is trained for nothing.
    ///
    /// # Errors
    /// The class, what it has and what is asked of it; [`Missing`](super::Missing).
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
    /// [`Missing`](super::Missing), or a manifest that cannot be read.
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
