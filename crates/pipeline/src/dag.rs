//! The DAG of a run, resolved once per process: for each artifact of each branch its plan, and with it the key; the entry that a
//! store holds of it; what the entry's manifest says.
//!
//! A [`Node`] is resolved from its inputs (`dag/plans.rs`) or, where it comes from outside, from what the store remembers of it
//! (`dag/origins.rs`). Whatever was found once is not asked for again, whichever branch or node asks; what is made or found otherwise
//! meanwhile is told by [`Dag::learn`].

mod experiments;
mod origins;
mod plans;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use anyhow::Result;
use delt_augment::view::Order;
use delt_formats::Manifest;
use delt_formats::dataset::DatasetFacts;
use delt_formats::provenance::{ArtifactKind, Key};
use serde_json::Value;

use crate::config::{Branch, Pipeline};
use crate::plan::{Plan, Stage};
use crate::roles::Role;

/// An artifact of a branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Node {
    /// The real images.
    Dataset,
    /// The matrices that they are whitened by, where batches of them are matched.
    Whitening,
    /// A network trained on them, or imported.
    Network(Role),
    /// Networks trained on them with their weights after each epoch, where trajectories are matched.
    Experts,
    /// The ranker's probabilities of all training images.
    Scores,
    /// The images that the synthesis starts from.
    Initial,
    /// What becomes of them.
    Synthetic,
    /// The soft labels for the student of a seed.
    Labels(u64),
    /// The students.
    Evaluation,
}

/// What the DAG asks of a store.
pub trait Lookup {
    /// An artifact that is there.
    type Entry: Clone + AsRef<Manifest>;

    /// The artifact of a key.
    ///
    /// # Errors
    /// What the store reports.
    fn entry(&self, kind: ArtifactKind, key: &Key) -> Result<Option<Self::Entry>>;

    /// The key that a run's pointer names.
    ///
    /// # Errors
    /// What the store reports.
    fn pointer(&self, run: &str) -> Result<Option<Key>>;
}

/// An input that is not in the store yet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} is not in the store; make it with `{command}`")]
pub struct Missing {
    /// Which artifact.
    pub what: String,
    /// The call of make that makes it, with the knobs in force.
    pub command: String,
    /// Who makes it.
    pub stage: &'static str,
}

/// What was found of each artifact that was asked for.
type Found<E> = BTreeMap<(ArtifactKind, Key), Option<E>>;

/// What is remembered under a name, or else made and remembered.
fn once<K: Ord, V: Clone>(
    memory: &RefCell<BTreeMap<K, V>>,
    name: K,
    make: impl FnOnce() -> Result<V>,
) -> Result<V> {
    if let Some(known) = memory.borrow().get(&name) {
        return Ok(known.clone());
    }
    let made = make()?;
    memory.borrow_mut().insert(name, made.clone());
    Ok(made)
}

/// The artifacts of all branches of a pipeline, each resolved when it is first asked for.
pub struct Dag<L: Lookup> {
    /// What answers.
    pub lookup: L,
    /// File name of the pipeline without `.yaml`.
    pub pipeline_name: String,
    /// The branches, in the order of the pipeline file.
    pub branches: Vec<Branch>,
    /// The call of make that reaches a target, with the knobs in force.
    make_target: Box<dyn Fn(&str) -> String>,
    plans: RefCell<BTreeMap<(String, Node), Rc<Plan>>>,
    entries: RefCell<Found<L::Entry>>,
    pointers: RefCell<BTreeMap<String, Option<Key>>>,
}

impl<L: Lookup + std::fmt::Debug> std::fmt::Debug for Dag<L> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dag").field("pipeline", &self.pipeline_name).field("lookup", &self.lookup).finish()
    }
}

impl<L: Lookup> Dag<L> {
    /// Nothing is looked up yet. `make_target` says how a user calls make for a target, for messages.
    pub fn new(
        pipeline_name: String,
        branches: Vec<Branch>,
        lookup: L,
        make_target: impl Fn(&str) -> String + 'static,
    ) -> Self {
        Self {
            lookup,
            pipeline_name,
            branches,
            make_target: Box::new(make_target),
            plans: RefCell::default(),
            entries: RefCell::default(),
            pointers: RefCell::default(),
        }
    }

    /// The plan of a node.
    ///
    /// # Errors
    /// [`Missing`] inputs; settings that do not fit what the inputs turn out to be.
    pub fn plan(&self, branch: &Branch, node: Node) -> Result<Rc<Plan>> {
        once(&self.plans, (branch.name.clone(), node), || Ok(Rc::new(self.make_plan(branch, node)?)))
    }

    /// The artifact of a node.
    ///
    /// # Errors
    /// [`Missing`], or what the store reports.
    pub fn entry(&self, branch: &Branch, node: Node) -> Result<L::Entry> {
        let key = match self.memory_of(branch, node)? {
            Some(run) => self.pointed(&run)?,
            None => Some(self.plan(branch, node)?.key()),
        };
        let found = key.map(|key| self.found(node.kind(), &key)).transpose()?.flatten();
        found.ok_or_else(|| self.missing(self.run_name(branch, node), node.stage()).into())
    }

    /// The artifact of a node, or none where it, or anything that it is made from, has not been made.
    ///
    /// # Errors
    /// Anything but [`Missing`].
    pub fn if_made(&self, branch: &Branch, node: Node) -> Result<Option<L::Entry>> {
        match self.entry(branch, node) {
            Ok(entry) => Ok(Some(entry)),
            Err(error) if error.is::<Missing>() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What ingest stored about the data set of a branch.
    ///
    /// # Errors
    /// [`Missing`], or a manifest that cannot be read.
    pub fn dataset_facts(&self, branch: &Branch) -> Result<DatasetFacts> {
        Ok(self.entry(branch, Node::Dataset)?.as_ref().facts_as()?)
    }

    /// Takes note of an artifact that was made, or found otherwise.
    pub fn learn(&self, entry: &L::Entry) {
        let manifest = entry.as_ref();
        self.entries.borrow_mut().insert((manifest.artifact, manifest.key.clone()), Some(entry.clone()));
    }

    /// Takes note of a pointer that was written.
    pub fn learn_pointer(&self, run: &str, key: &Key) {
        self.pointers.borrow_mut().insert(run.to_owned(), Some(key.clone()));
    }

    /// The artifact of a key, where it has been found before.
    pub fn known(&self, kind: ArtifactKind, key: &Key) -> Option<L::Entry> {
        self.entries.borrow().get(&(kind, key.clone())).cloned().flatten()
    }

    /// The artifact of a key, asked for once.
    ///
    /// # Errors
    /// What the store reports.
    pub fn found(&self, kind: ArtifactKind, key: &Key) -> Result<Option<L::Entry>> {
        once(&self.entries, (kind, key.clone()), || self.lookup.entry(kind, key))
    }

    /// The key that a pointer names, asked for once.
    ///
    /// # Errors
    /// What the store reports.
    pub fn pointed(&self, run: &str) -> Result<Option<Key>> {
        once(&self.pointers, run.to_owned(), || self.lookup.pointer(run))
    }

    fn run_name(&self, branch: &Branch, node: Node) -> String {
        let is_torch = matches!(node, Node::Labels(_)) && branch.pipeline.relabel.order == Order::Torch;
        // labels for other loaders stand beside those that students have, and do not take their name
        let order = if is_torch { "torch-" } else { "" };
        format!("{}/{}/{order}{}", self.pipeline_name, branch.name, node.name())
    }

    fn missing(&self, what: String, stage: Stage) -> Missing {
        let command = (self.make_target)(&format!("{}/{}", self.pipeline_name, stage.name));
        Missing { what, command, stage: stage.name }
    }

    /// A plan whose inputs are these nodes, each under its name.
    fn plan_of(&self, branch: &Branch, node: Node, config: Value, inputs: &[Node]) -> Result<Plan> {
        let mut digests = BTreeMap::new();
        for input in inputs {
            digests.insert(input.name(), self.entry(branch, *input)?.as_ref().digest.clone());
        }
        Ok(Plan {
            kind: node.kind(),
            schema_version: node.kind().schema_version(),
            stage: node.stage(),
            config,
            seed: node.seed(&branch.pipeline),
            inputs: digests,
            run: self.run_name(branch, node),
        })
    }
}

impl Node {
    /// The artifacts that a result of a branch comes from, in the order of the stages.
    pub fn of(pipeline: &Pipeline) -> Vec<Self> {
        let networks = [Role::Teacher, Role::Ranker, Role::FullData].into_iter();
        let networks = networks.chain(pipeline.committee_roles());
        let networks = networks.filter(|role| pipeline.network_of(*role).is_some());
        let labels = pipeline.relabel.label_seeds().iter().map(|seed| Self::Labels(*seed));
        let needs = pipeline.synthesize.needs();
        let mut nodes = vec![Self::Dataset];
        nodes.extend(pipeline.whitening().map(|_| Self::Whitening));
        nodes.extend(networks.map(Self::Network));
        nodes.extend(needs.experts.then_some(Self::Experts));
        nodes.extend([Self::Scores, Self::Initial, Self::Synthetic]);
        nodes.extend(labels);
        nodes.push(Self::Evaluation);
        nodes
    }

    /// What kind of artifact it is.
    pub fn kind(self) -> ArtifactKind {
        match self {
            Self::Dataset => ArtifactKind::Dataset,
            Self::Whitening => ArtifactKind::Whitening,
            Self::Network(_) => ArtifactKind::Teacher,
            Self::Experts => ArtifactKind::Experts,
            Self::Scores => ArtifactKind::Scores,
            Self::Initial => ArtifactKind::Initial,
            Self::Synthetic => ArtifactKind::Synthetic,
            Self::Labels(_) => ArtifactKind::Labels,
            Self::Evaluation => ArtifactKind::Evaluation,
        }
    }

    /// Who makes it.
    pub fn stage(self) -> Stage {
        use crate::plan::{DELT_SYNTHESIZE, EVALUATE, INGEST, INIT_SELECT, RELABEL, TEACHER_TRAIN};
        match self {
            Self::Dataset | Self::Whitening => INGEST,
            Self::Network(_) | Self::Experts => TEACHER_TRAIN,
            Self::Scores | Self::Initial => INIT_SELECT,
            Self::Synthetic => DELT_SYNTHESIZE,
            Self::Labels(_) => RELABEL,
            Self::Evaluation => EVALUATE,
        }
    }

    /// Seed of every draw in it; 0 where nothing is drawn.
    fn seed(self, pipeline: &Pipeline) -> u64 {
        match self {
            Self::Dataset | Self::Whitening | Self::Scores => 0,
            Self::Network(_) | Self::Experts => pipeline.seed,
            Self::Synthetic if !pipeline.synthesize.makes_images() => 0,
            Self::Initial | Self::Synthetic => pipeline.draw_seed(),
            Self::Labels(seed) => seed,
            Self::Evaluation => pipeline.relabel.seeds[0],
        }
    }

    /// What it is called in the name of a run and among the inputs of others.
    pub fn name(self) -> String {
        match self {
            Self::Network(role) => role.name(),
            Self::Labels(seed) => format!("labels-{seed}"),
            other => other.kind().dir().to_owned(),
        }
    }
}
