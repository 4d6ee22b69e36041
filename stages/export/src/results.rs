//! What a format is made from: one branch of a pipeline, and what the store holds of it.

use std::cell::RefCell;
use std::collections::BTreeMap;

use anyhow::{Context, Result};
use delt_formats::canonical::Digest;
use delt_formats::evaluation::SUMMARY_FILE;
use delt_formats::synthetic::SYNTHETIC_FILE;
use delt_formats::{RgbImage, Summary, SyntheticReader, SyntheticRow, TeacherFacts};
use delt_harness::interrupt;
use delt_harness::session::Session;
use delt_pipeline::config::Branch;
use delt_pipeline::dag::Node;
use delt_pipeline::roles::Role;
use delt_store::Entry;

/// The results of one branch.
#[derive(Debug)]
pub struct Results<'a> {
    /// The session, for what is not here.
    pub session: &'a Session,
    /// The branch.
    pub branch: &'a Branch,
    /// What was read, by the names of the nodes.
    read: RefCell<BTreeMap<String, Digest>>,
}

impl<'a> Results<'a> {
    /// Nothing is read yet.
    pub fn new(session: &'a Session, branch: &'a Branch) -> Self {
        Self { session, branch, read: RefCell::default() }
    }

    /// Pipeline and branch, e.g. `digits/delt`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.session.pipeline_name(), self.branch.name)
    }

    /// An artifact of the branch.
    ///
    /// # Errors
    /// [`delt_pipeline::dag::Missing`], which says how to make it.
    pub fn entry(&self, node: Node) -> Result<Entry> {
        let entry = self.session.dag().entry(self.branch, node)?;
        self.read.borrow_mut().insert(node.name(), entry.manifest.digest.clone());
        Ok(entry)
    }

    /// An artifact, where it has been made.
    ///
    /// # Errors
    /// What the store reports.
    pub fn if_made(&self, node: Node) -> Result<Option<Entry>> {
        self.session.dag().if_made(self.branch, node)?.map(|_| self.entry(node)).transpose()
    }

    /// The digests of what was read so far, by the names of the nodes.
    pub fn read(&self) -> BTreeMap<String, Digest> {
        self.read.borrow().clone()
    }

    /// The class names.
    ///
    /// # Errors
    /// [`delt_pipeline::dag::Missing`].
    pub fn classes(&self) -> Result<Vec<String>> {
        Ok(self.entry(Node::Network(Role::Teacher))?.manifest.provenance.classes)
    }

    /// What is known of the teacher: the size of the images, and how they are normalized.
    ///
    /// # Errors
    /// [`delt_pipeline::dag::Missing`].
    pub fn teacher(&self) -> Result<TeacherFacts> {
        Ok(self.entry(Node::Network(Role::Teacher))?.manifest.facts_as()?)
    }

    /// The synthetic images, class by class. An interrupt ends them.
    ///
    /// # Errors
    /// [`delt_pipeline::dag::Missing`]; a file that is not what it claims to be.
    pub fn images(&self) -> Result<impl Iterator<Item = Result<SyntheticRow>> + use<>> {
        let path = self.entry(Node::Synthetic)?.verified_file(SYNTHETIC_FILE)?;
        let rows = SyntheticReader::open(path)?.rows();
        Ok(rows.map(|row| {
            interrupt::check()?;
            Ok(row?)
        }))
    }

    /// What the students came to, where they have been tested.
    ///
    /// # Errors
    /// What the store reports.
    pub fn evaluation(&self) -> Result<Option<Summary>> {
        let entry = self.if_made(Node::Evaluation)?;
        entry.map(|entry| Ok(Summary::read(entry.verified_file(SUMMARY_FILE)?)?)).transpose()
    }
}

/// The pixels of a synthetic image.
///
/// # Errors
/// Names the image that cannot be decoded.
pub fn decoded(row: &SyntheticRow) -> Result<RgbImage> {
    RgbImage::decode(&row.png).with_context(|| format!("class {}, image {}", row.label, row.slot))
}
