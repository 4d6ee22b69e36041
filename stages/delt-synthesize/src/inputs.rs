//! What the synthesis of a branch starts from, opened and read once.

use anyhow::Result;
use delt_formats::initial::INITIAL_FILE;
use delt_formats::{InitialReader, InitialRow};
use delt_harness::session::Session;
use delt_harness::trained::Trained;
use delt_pipeline::config::Branch;
use delt_pipeline::dag::Node;
use delt_pipeline::roles::Role;
use delt_store::Entry;

/// The inputs of one branch.
#[derive(Debug)]
pub struct Inputs<'a> {
    /// Its settings.
    pub branch: &'a Branch,
    /// The network whose labels and statistics count.
    pub teacher: Trained,
    /// Networks beside the teacher.
    pub committee: Vec<Trained>,
    /// The training images' artifact, where the configuration says that they are looked at.
    pub dataset: Option<Entry>,
    /// What real images are whitened by, where they are.
    pub whitening: Option<Entry>,
    /// Networks with their weights after each epoch, where the method looks at them.
    pub experts: Option<Entry>,
    /// The initial images, by class and slot.
    pub initial: Vec<InitialRow>,
}

impl<'a> Inputs<'a> {
    /// Opens what the configuration says that the method and its objective need.
    ///
    /// # Errors
    /// [`delt_pipeline::dag::Missing`], artifacts that do not fit each other.
    pub fn open(session: &Session, branch: &'a Branch) -> Result<Self> {
        let (dag, pipeline) = (session.dag(), &branch.pipeline);
        let teacher = session.network(branch, Role::Teacher)?;
        let entry = dag.entry(branch, Node::Initial)?;
        let (_, initial) = read_initial(&entry)?;
        entry.manifest.provenance.expect_classes(&entry.dir, teacher.classes())?;
        let needs = pipeline.synthesize.needs();
        let input = |is_needed: bool, node| is_needed.then(|| dag.entry(branch, node)).transpose();
        let by_committee = pipeline.recovers_by_committee();
        Ok(Self {
            branch,
            dataset: input(needs.real_images, Node::Dataset)?,
            whitening: input(needs.whitening, Node::Whitening)?,
            experts: input(needs.experts, Node::Experts)?,
            committee: if by_committee { session.committee(branch)? } else { Vec::new() },
            teacher,
            initial,
        })
    }
}

/// Class names and initial images, by class and slot.
///
/// # Errors
/// A file that cannot be read.
pub fn read_initial(initial: &Entry) -> Result<(Vec<String>, Vec<InitialRow>)> {
    let reader = InitialReader::open(&initial.verified_file(INITIAL_FILE)?)?;
    let classes = reader.provenance().classes.clone();
    let mut rows = reader.rows().collect::<Result<Vec<_>, _>>()?;
    rows.sort_by_key(|row| (row.label, row.slot));
    Ok((classes, rows))
}
