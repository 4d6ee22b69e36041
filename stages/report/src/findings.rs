//! What the store holds of a run, read for the page. What has not been made yet is left out.

use std::path::PathBuf;

use anyhow::{Context, Result};
use delt_formats::dataset::TRAIN_FILE;
use delt_formats::history::{HISTORY_FILE, HistoryReader, HistoryRow};
use delt_formats::trace::{TRACE_FILE, TraceReader, TraceRow};
use delt_formats::{DatasetFacts, LabelsFacts, Manifest, TeacherFacts};
use delt_harness::notes::{self, Note};
use delt_harness::session::Session;
use delt_harness::table::{self, Table};
use delt_harness::verdict;
use delt_pipeline::config::Branch;
use delt_pipeline::config::objective::{TraceName, trace_names_of};
use delt_pipeline::dag::Node;
use delt_pipeline::roles::Role;
use delt_store::Entry;
use serde::Deserialize;
use serde_json::{Value, json};
use serde_yaml::Mapping;

use crate::continual::Steps;
use crate::gallery::{self, Gallery};

/// Everything the page shows.
#[derive(Debug)]
pub struct Findings {
    /// Its one sentence.
    pub description: String,
    /// The pipeline's name, and the results of all branches.
    pub table: Table,
    /// What it came to, in sentences.
    pub verdict: Vec<String>,
    /// The command that runs it.
    pub command: String,
    /// That which trains students of classes that come in steps.
    pub continual_command: String,
    /// Where its artifacts lie.
    pub store: PathBuf,
    /// The real images.
    pub dataset: Option<DatasetFacts>,
    /// Bytes of the real training images as they are stored.
    pub train_bytes: Option<u64>,
    /// Seconds that the student's network took to learn all of them; none where it is imported.
    pub full_data_seconds: Option<f64>,
    /// The network that the images were recovered from.
    pub teacher: Option<TeacherFacts>,
    /// The branches, in their order.
    pub branches: Vec<BranchFindings>,
    /// How long each artifact took, in the order of the stages; shared artifacts once.
    pub timings: Vec<Timing>,
    /// What the reader of the results must know.
    pub notes: Vec<Note>,
}

/// What one branch came to.
#[derive(Debug)]
pub struct BranchFindings {
    /// Its name.
    pub name: String,
    /// The settings that its artifacts were made with, as YAML.
    pub recipe: String,
    /// Students' accuracies by epoch.
    pub history: Vec<HistoryRow>,
    /// Students of classes that come in steps.
    pub continual: Steps,
    /// Losses of the synthesis.
    pub trace: Vec<TraceRow>,
    /// What its two columns hold.
    pub trace_names: [TraceName; 2],
    /// Iterations of the longest batch before which new images join.
    pub joins: Vec<u32>,
    /// Initial and synthetic images.
    pub gallery: Option<Gallery>,
    /// Soft labels, one for each label seed.
    pub labels: Vec<LabelsFacts>,
}

/// How long the making of an artifact took.
#[derive(Debug, Clone, PartialEq)]
pub struct Timing {
    /// Artifact with its branches, e.g. `synthetic (delt)`.
    pub what: String,
    /// What was written down when it was made.
    pub record: RunRecord,
}

/// The part of `run.json` that pages show.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct RunRecord {
    /// The stage that made the artifact.
    pub stage: String,
    /// Wall-clock time.
    pub seconds: f64,
    /// Time of all processors.
    pub cpu_seconds: Option<f64>,
    /// When it was finished, in seconds since 1970.
    pub finished_unix_seconds: Option<i64>,
    /// Device, where the stage computes on one.
    pub device: Option<String>,
    /// Most memory that the stage's process held, bytes.
    pub peak_memory_bytes: Option<u64>,
    /// Whether a process that was killed had begun, whose time is not counted.
    #[serde(default)]
    pub resumed: bool,
}

impl RunRecord {
    /// None where the store has lost the record: it belongs to no digest, and may go.
    pub(crate) fn of(entry: &Entry) -> Option<Self> {
        serde_json::from_slice(&entry.run_record()?).ok()
    }
}

impl Findings {
    /// Reads what there is.
    ///
    /// # Errors
    /// An artifact that is there and cannot be read.
    pub fn collect(session: &Session) -> Result<Self> {
        let first = session.branches().first().context("the pipeline has no branch")?;
        let made: Vec<Artifacts> =
            session.branches().iter().map(|branch| Artifacts::of(session, branch)).collect::<Result<_>>()?;
        let share = gallery::BYTES_ON_PAGE / made.len() as u64;
        let branches = session.branches().iter().zip(&made);
        let branches = branches.map(|(branch, made)| BranchFindings::collect(session, branch, made, share));
        let dataset = made[0].get(Node::Dataset).map(|entry| &entry.manifest);
        let teacher = made[0].get(Node::Network(Role::Teacher)).map(|entry| &entry.manifest);
        let full_data = first.pipeline.network_of(Role::FullData).filter(|network| network.import.is_none());
        let full_data = full_data.and_then(|_| made[0].get(Node::Network(Role::FullData)));
        let table = table::collect(session)?;
        Ok(Self {
            description: first.pipeline.description.clone(),
            verdict: verdict::sentences(session, &table)?,
            command: session.make_command(&format!("{}/report", session.pipeline_name())),
            continual_command: session.make_command(&format!("{}/continual", session.pipeline_name())),
            store: session.store().root().to_owned(),
            table,
            dataset: dataset.map(Manifest::facts_as).transpose()?,
            train_bytes: dataset.and_then(|dataset| Some(dataset.files.get(TRAIN_FILE)?.bytes)),
            full_data_seconds: full_data.and_then(RunRecord::of).map(|record| record.seconds),
            teacher: teacher.map(Manifest::facts_as).transpose()?,
            branches: branches.collect::<Result<_>>()?,
            timings: timings(session.branches(), &made),
            notes: notes::collect(session)?,
        })
    }

    /// Whether any branch has results.
    pub fn is_evaluated(&self) -> bool {
        self.branches.iter().any(|branch| !branch.history.is_empty())
    }
}

impl BranchFindings {
    /// Reads what was made; the gallery takes about `bytes` of images.
    fn collect(session: &Session, branch: &Branch, made: &Artifacts, bytes: u64) -> Result<Self> {
        let history = match made.get(Node::Evaluation) {
            Some(entry) => {
                HistoryReader::open(entry.verified_file(HISTORY_FILE)?)?.rows().collect::<Result<_, _>>()?
            }
            None => Vec::new(),
        };
        let synthetic = made.get(Node::Synthetic);
        let trace = match synthetic {
            Some(entry) if entry.manifest.files.contains_key(TRACE_FILE) => {
                TraceReader::open(entry.verified_file(TRACE_FILE)?)?.rows().collect::<Result<_, _>>()?
            }
            _ => Vec::new(),
        };
        let stored = synthetic.map_or(&Value::Null, |entry| &entry.manifest.provenance.config);
        let read = |synthetic| Gallery::read(branch, made.get(Node::Initial), synthetic, bytes);
        let gallery = synthetic.map(read).transpose()?;
        Ok(Self {
            name: branch.name.clone(),
            recipe: made.recipe()?,
            history,
            continual: synthetic.map(|_| Steps::of(session, branch)).transpose()?.unwrap_or_default(),
            trace,
            trace_names: trace_names_of(stored),
            joins: gallery.as_ref().map(Gallery::joins).unwrap_or_default(),
            gallery,
            labels: made.labels().map(|entry| Ok(entry.manifest.facts_as()?)).collect::<Result<_>>()?,
        })
    }
}

/// What has been made of a branch, in the order of the stages.
struct Artifacts(Vec<(Node, Entry)>);

impl Artifacts {
    fn of(session: &Session, branch: &Branch) -> Result<Self> {
        let is_shown = |node: &Node| !matches!(node, Node::Network(Role::Committee(_)));
        let mut made = Vec::new();
        for node in Node::of(&branch.pipeline).into_iter().filter(is_shown) {
            made.extend(session.dag().if_made(branch, node)?.map(|entry| (node, entry)));
        }
        Ok(Self(made))
    }

    fn get(&self, node: Node) -> Option<&Entry> {
        self.0.iter().find(|(other, _)| *other == node).map(|(_, entry)| entry)
    }

    /// The soft labels, one for each label seed.
    fn labels(&self) -> impl Iterator<Item = &Entry> {
        self.0.iter().filter(|(node, _)| matches!(node, Node::Labels(_))).map(|(_, entry)| entry)
    }

    /// What each artifact says it was made with: the pipeline file may leave values to be derived, and may say things that this
    /// branch does not read.
    fn recipe(&self) -> Result<String> {
        let label_seeds: Vec<u64> = self.labels().map(|entry| entry.manifest.provenance.seed).collect();
        let mut recipe = Mapping::new();
        for (node, Entry { manifest, .. }) in &self.0 {
            let mut config = manifest.provenance.config.clone();
            match node {
                Node::Network(Role::Ranker) => continue,
                // ingest and scoring draw nothing
                Node::Dataset | Node::Whitening | Node::Scores => {}
                Node::Labels(_) if label_seeds.len() > 1 => config["seeds"] = json!(label_seeds),
                _ => config["seed"] = manifest.provenance.seed.into(),
            }
            let name = match node {
                Node::Labels(_) => "labels".to_owned(),
                node => node.name().replace('-', "_"),
            };
            recipe.insert(name.into(), serde_yaml::to_value(config)?);
        }
        Ok(serde_yaml::to_string(&recipe)?)
    }
}

/// How long each artifact took, in the order of the stages; artifacts that branches share are listed once, with the names of the
/// branches, and those whose record is lost not at all.
fn timings(branches: &[Branch], made: &[Artifacts]) -> Vec<Timing> {
    let mut listed: Vec<(Node, &Entry, Vec<&str>)> = Vec::new();
    for (branch, Artifacts(made)) in branches.iter().zip(made) {
        for (node, entry) in made {
            match listed.iter_mut().find(|(_, other, _)| other.dir == entry.dir) {
                Some((.., names)) if names.last() == Some(&branch.name.as_str()) => {}
                Some((.., names)) => names.push(&branch.name),
                None => listed.push((*node, entry, vec![&branch.name])),
            }
        }
    }
    // labels stay in the order of the pipeline's seeds
    listed.sort_by_key(|(node, ..)| match node {
        Node::Labels(_) => Node::Labels(0),
        other => *other,
    });
    let timing = |(node, entry, names): (Node, &Entry, Vec<&str>)| {
        let what = match node {
            Node::Labels(seed) => format!("labels, seed {seed}"),
            node => node.name().replace('-', " "),
        };
        let what = format!("{what} ({})", names.join(", "));
        Some(Timing { what, record: RunRecord::of(entry)? })
    };
    listed.into_iter().filter_map(timing).collect()
}
