//! A network of the store, opened: its entry and what its manifest says.

use std::path::PathBuf;

use anyhow::Result;
use delt_formats::teacher::{TeacherFacts, WEIGHTS_FILE};
use delt_pipeline::config::Branch;
use delt_pipeline::dag::Node;
use delt_pipeline::roles::Role;
use delt_store::Entry;

use crate::session::Session;

/// A trained or imported network.
#[derive(Debug, Clone)]
pub struct Trained {
    /// The artifact.
    pub entry: Entry,
    /// Architecture, size and normalization.
    pub facts: TeacherFacts,
}

impl Trained {
    /// Reads the manifest of a network.
    ///
    /// # Errors
    /// Facts of another artifact.
    pub fn new(entry: Entry) -> Result<Self> {
        Ok(Self { facts: entry.manifest.facts_as()?, entry })
    }

    /// Class names in the order of its outputs.
    pub fn classes(&self) -> &[String] {
        &self.entry.manifest.provenance.classes
    }

    /// Its weights, after every byte was checked.
    ///
    /// # Errors
    /// What the store reports.
    pub fn weights(&self) -> Result<PathBuf> {
        Ok(self.entry.verified_file(WEIGHTS_FILE)?)
    }
}

impl Session {
    /// A network of a branch.
    ///
    /// # Errors
    /// [`delt_pipeline::dag::Missing`], or what the store reports.
    pub fn network(&self, branch: &Branch, role: Role) -> Result<Trained> {
        Trained::new(self.dag().entry(branch, Node::Network(role))?)
    }

    /// A network of a branch, where the pipeline has one of that role and it has been made.
    ///
    /// # Errors
    /// What the store reports.
    pub fn network_if_made(&self, branch: &Branch, role: Role) -> Result<Option<Trained>> {
        if branch.pipeline.network_of(role).is_none() {
            return Ok(None);
        }
        self.dag().if_made(branch, Node::Network(role))?.map(Trained::new).transpose()
    }

    /// The networks of a branch's committee beside the teacher.
    ///
    /// # Errors
    /// As [`delt_pipeline::dag::Dag::committee`].
    pub fn committee(&self, branch: &Branch) -> Result<Vec<Trained>> {
        self.dag().committee(branch)?.into_iter().map(Trained::new).collect()
    }
}
