//! What a branch starts from: the data set and the networks. Both may come from outside, and are then remembered in the store
//! by where they were read.

use anyhow::{Context, Result, ensure};
use delt_formats::canonical::Digest;
use delt_formats::provenance::SOURCES;
use serde_json::{Value, json};

use super::{Dag, Lookup, Node};
use crate::config::Branch;
use crate::config::select::Select;
use crate::config::teacher::Teacher;
use crate::plan::Plan;
use crate::roles::Role;

/// Digits of a digest in the name of a source.
const SOURCE_DIGITS: usize = 32;

impl<L: Lookup> Dag<L> {
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
        Ok(format!("{SOURCES}/dataset-{}", Digest::of_json(&section).prefix(SOURCE_DIGITS)))
    }

    /// The plan of the dataset: its key holds what the source contains, not where it lies; the fingerprint stands for
    /// paths and file lists.
    ///
    /// # Errors
    /// Where the section cannot be serialized.
    pub fn dataset_plan(&self, branch: &Branch, fingerprint: &Digest) -> Result<Plan> {
        let mut config = serde_json::to_value(&branch.pipeline.ingest)?;
        remove(&mut config["source"], &["path", "sha256", "images"]);
        for files in ["train", "test"] {
            if config["source"][files].is_array() {
                config["source"][files] = Value::Null;
            }
        }
        config["fingerprint"] = json!(fingerprint);
        self.plan_of(branch, Node::Dataset, config, &[])
    }

    /// The name under which teacher-train remembers an imported network.
    ///
    /// # Errors
    /// Where the section cannot be serialized.
    pub fn import_pointer(&self, teacher: &Teacher, dataset: &L::Entry) -> Result<String> {
        let mut section = serde_json::to_value(teacher)?;
        remove(&mut section, &["train"]);
        if let Some(import) = &teacher.import {
            section["import"]["path"] = json!(std::path::absolute(&import.path)?);
        }
        let digest = Digest::of_json(&json!({ "teacher": section, "dataset": dataset.as_ref().digest }));
        Ok(format!("{SOURCES}/import-{}", digest.prefix(SOURCE_DIGITS)))
    }

    /// The plan of a network; `imported` is the digest of the weights and the class order where they are imported.
    ///
    /// # Errors
    /// [`super::Missing`] data sets; no such network in this pipeline.
    pub fn network_plan(&self, branch: &Branch, role: Role, imported: Option<&Digest>) -> Result<Plan> {
        let mut config = serde_json::to_value(self.network_of(branch, role)?)?;
        if let Some(imported) = imported {
            remove(&mut config, &["train"]);
            remove(&mut config["import"], &["path", "classes", "expected_top1"]);
            config["import"]["digest"] = json!(imported);
        }
        let mut plan = self.plan_of(branch, Node::Network(role), config, &[Node::Dataset])?;
        if imported.is_some() {
            plan.seed = 0;
        }
        Ok(plan)
    }

    /// The settings of a network of the branch.
    pub(super) fn network_of(&self, branch: &Branch, role: Role) -> Result<Teacher> {
        let network = branch.pipeline.network_of(role);
        network.with_context(|| format!("this pipeline has no network `{}`", role.name()))
    }

    /// The pointer that remembers where a node of this branch was read, where it comes from outside.
    pub(super) fn memory_of(&self, branch: &Branch, node: Node) -> Result<Option<String>> {
        match node {
            Node::Dataset => Ok(Some(self.dataset_pointer(branch)?)),
            Node::Network(role) => {
                let teacher = self.network_of(branch, role)?;
                if teacher.import.is_none() {
                    return Ok(None);
                }
                Ok(Some(self.import_pointer(&teacher, &self.entry(branch, Node::Dataset)?)?))
            }
            _ => Ok(None),
        }
    }

    /// Refuses more images per class than a class has, and for `medium` as many (it starts above the middle), before a
    /// teacher is trained for nothing.
    ///
    /// # Errors
    /// The class, what it has and what is asked of it; [`super::Missing`].
    pub fn check_ipc(&self, branch: &Branch) -> Result<()> {
        let dataset = self.entry(branch, Node::Dataset)?;
        let facts = self.dataset_facts(branch)?;
        let Select { ipc, strategy, patches, .. } = &branch.pipeline.select;
        let images = patches.map_or(*ipc, |patches| patches.of_class(*ipc));
        let (name, needed) = (strategy.name(), u64::from(images) + u64::from(strategy.spare()));
        for (class, images) in dataset.as_ref().provenance.classes.iter().zip(&facts.train_per_class) {
            ensure!(
                *images == 0 || *images >= needed,
                "class `{class}` has {images} training images, `{name}` with {ipc} images per class needs at least {needed}; \
                 lower select.ipc or choose another select.strategy"
            );
        }
        Ok(())
    }
}

/// Takes keys out of a section.
fn remove(section: &mut Value, keys: &[&str]) {
    if let Some(section) = section.as_object_mut() {
        section.retain(|key, _| !keys.contains(&key.as_str()));
    }
}
