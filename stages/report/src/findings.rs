//! What the store holds of a run, read for the page. What has not been made yet is left out.

use anyhow::{Context, Result};
use delt_formats::dataset::DatasetFacts;
use delt_formats::history::{HISTORY_FILE, HistoryReader, HistoryRow};
use delt_formats::labels::LabelsFacts;
use delt_formats::teacher::TeacherFacts;
use delt_formats::trace::{TRACE_FILE, TraceReader, TraceRow};
use delt_harness::session::Session;
use delt_harness::table::{self, Table};
use delt_pipeline::config::Branch;
use delt_pipeline::config::objective::{TraceName, trace_names_of};
use delt_pipeline::dag::Node;
use delt_pipeline::roles::Role;
use delt_store::Entry;
use serde::Deserialize;
use serde_json::Value;
use serde_yaml::Mapping;

use crate::gallery::{self, Gallery};

/// Everything the page shows.
#[derive(Debug)]
pub struct Findings {
    /// The pipeline's name.
    pub pipeline: String,
    /// Its one sentence.
    pub description: String,
    /// Results of all branches.
    pub table: Table,
    /// Class names, in the order of the labels.
    pub classes: Vec<String>,
    /// The real images.
    pub dataset: Option<DatasetFacts>,
    /// The network that the images were recovered from.
    pub teacher: Option<TeacherFacts>,
    /// The branches, in their order.
    pub branches: Vec<BranchFindings>,
    /// How long each artifact took, in the order of the stages; shared artifacts once.
    pub timings: Vec<Timing>,
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
    /// Losses of the synthesis.
    pub trace: Vec<TraceRow>,
    /// What its two columns hold.
    pub trace_names: [TraceName; 2],
    /// Initial and synthetic images.
    pub gallery: Option<Gallery>,
    /// Soft labels, one for each label seed.
    pub labels: Vec<LabelsFacts>,
}

/// What `run.json` says about the making of an artifact.
#[derive(Debug, Clone, PartialEq)]
pub struct Timing {
    /// Artifact with its branches, e.g. `synthetic (delt)`.
    pub what: String,
    /// The stage that made it.
    pub stage: String,
    /// Wall-clock time.
    pub seconds: f64,
    /// Device, where the stage computes on one.
    pub device: Option<String>,
    /// Most memory that the stage's process held, bytes.
    pub peak_memory_bytes: Option<u64>,
    /// Whether a process that was killed had begun, whose time is not counted.
    pub resumed: bool,
}

/// The part of `run.json` that pages show.
#[derive(Debug, Deserialize)]
pub(crate) struct RunRecord {
    stage: String,
    pub(crate) seconds: f64,
    #[serde(default)]
    pub(crate) cpu_seconds: Option<f64>,
    device: Option<String>,
    pub(crate) peak_memory_bytes: Option<u64>,
    #[serde(default)]
    pub(crate) resumed: bool,
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
        let dataset = session.dag().if_made(first, Node::Dataset)?;
        let teacher = session.dag().if_made(first, Node::Network(Role::Teacher))?;
        let mut timings = Timings::default();
        let mut branches = Vec::new();
        for branch in session.branches() {
            timings.add_branch(session, branch)?;
            branches.push(BranchFindings::collect(session, branch)?);
        }
        Ok(Self {
            pipeline: session.pipeline_name().to_owned(),
            description: first.pipeline.description.clone(),
            table: table::collect(session)?,
            classes: dataset
                .as_ref()
                .map_or_else(Vec::new, |entry| entry.manifest.provenance.classes.clone()),
            dataset: dataset.map(|entry| entry.manifest.facts_as()).transpose()?,
            teacher: teacher.map(|entry| entry.manifest.facts_as()).transpose()?,
            branches,
            timings: timings.in_order(),
        })
    }
}

impl Findings {
    /// Whether any branch has results.
    pub fn is_evaluated(&self) -> bool {
        self.branches.iter().any(|branch| !branch.history.is_empty())
    }
}

impl BranchFindings {
    fn collect(session: &Session, branch: &Branch) -> Result<Self> {
        let history = match session.dag().if_made(branch, Node::Evaluation)? {
            Some(entry) => {
                HistoryReader::open(entry.verified_file(HISTORY_FILE)?)?.rows().collect::<Result<_, _>>()?
            }
            None => Vec::new(),
        };
        let synthetic = session.dag().if_made(branch, Node::Synthetic)?;
        let trace = match &synthetic {
            Some(entry) if entry.manifest.files.contains_key(TRACE_FILE) => {
                TraceReader::open(entry.verified_file(TRACE_FILE)?)?.rows().collect::<Result<_, _>>()?
            }
            _ => Vec::new(),
        };
        let stored = synthetic.as_ref().map_or(&Value::Null, |entry| &entry.manifest.provenance.config);
        let trace_names = trace_names_of(stored);
        let share = gallery::BYTES_ON_PAGE / session.branches().len().max(1) as u64;
        let initial = session.dag().if_made(branch, Node::Initial)?;
        let read = |synthetic: &Entry| Gallery::read(branch, initial.as_ref(), synthetic, share);
        let gallery = synthetic.as_ref().map(read).transpose()?;
        let mut labels = Vec::new();
        for entry in label_entries(session, branch)? {
            labels.push(entry.manifest.facts_as()?);
        }
        let recipe = recipe_as_run(session, branch)?;
        Ok(Self { name: branch.name.clone(), recipe, history, trace, trace_names, gallery, labels })
    }
}

/// What each artifact of a branch says it was made with: the pipeline file may leave values to be derived, and may say things
/// that this branch does not read.
fn recipe_as_run(session: &Session, branch: &Branch) -> Result<String> {
    let mut made = vec![("dataset", session.dag().if_made(branch, Node::Dataset)?)];
    for (name, role) in [("teacher", Role::Teacher), ("full_data", Role::FullData)] {
        if branch.pipeline.network_of(role).is_some() {
            made.push((name, session.dag().if_made(branch, Node::Network(role))?));
        }
    }
    made.push(("scores", session.dag().if_made(branch, Node::Scores)?));
    made.push(("initial", session.dag().if_made(branch, Node::Initial)?));
    made.push(("synthetic", session.dag().if_made(branch, Node::Synthetic)?));
    let labels = label_entries(session, branch)?;
    let label_seeds: Vec<u64> = labels.iter().map(|entry| entry.manifest.provenance.seed).collect();
    made.push(("labels", labels.into_iter().next()));
    made.push(("evaluation", session.dag().if_made(branch, Node::Evaluation)?));
    let mut recipe = Mapping::new();
    for (name, entry) in made {
        let Some(Entry { manifest, .. }) = entry else { continue };
        let mut config = manifest.provenance.config;
        // ingest and scoring draw nothing
        if !matches!(name, "dataset" | "scores") {
            match (name, label_seeds.as_slice()) {
                ("labels", [_, _, ..]) => config["seeds"] = serde_json::to_value(&label_seeds)?,
                _ => config["seed"] = manifest.provenance.seed.into(),
            }
        }
        recipe.insert(name.into(), serde_yaml::to_value(config)?);
    }
    Ok(serde_yaml::to_string(&recipe)?)
}

fn label_entries(session: &Session, branch: &Branch) -> Result<Vec<Entry>> {
    let seeds = branch.pipeline.relabel.label_seeds();
    let entries = seeds.iter().map(|seed| session.dag().if_made(branch, Node::Labels(*seed)));
    Ok(entries.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
}

/// Timings under construction: artifacts that branches share are listed once, with the names of the branches.
#[derive(Debug, Default)]
struct Timings {
    made: Vec<Made>,
}

#[derive(Debug)]
struct Made {
    /// Place in the order of the stages.
    order: usize,
    what: String,
    branches: Vec<String>,
    entry: Entry,
}

impl Timings {
    fn add_branch(&mut self, session: &Session, branch: &Branch) -> Result<()> {
        let has = |role| branch.pipeline.network_of(role).is_some();
        let network =
            |role| if has(role) { session.dag().if_made(branch, Node::Network(role)) } else { Ok(None) };
        let labels = |seed: &u64| {
            Ok((7, format!("labels, seed {seed}"), session.dag().if_made(branch, Node::Labels(*seed))?))
        };
        let mut found = vec![
            (0, "dataset".to_owned(), session.dag().if_made(branch, Node::Dataset)?),
            (1, "teacher".to_owned(), network(Role::Teacher)?),
            (2, "ranker".to_owned(), network(Role::Ranker)?),
            (3, "full data".to_owned(), network(Role::FullData)?),
            (4, "scores".to_owned(), session.dag().if_made(branch, Node::Scores)?),
            (5, "initial".to_owned(), session.dag().if_made(branch, Node::Initial)?),
            (6, "synthetic".to_owned(), session.dag().if_made(branch, Node::Synthetic)?),
            (8, "evaluation".to_owned(), session.dag().if_made(branch, Node::Evaluation)?),
        ];
        let seeds = branch.pipeline.relabel.label_seeds().iter();
        found.extend(seeds.map(labels).collect::<Result<Vec<_>>>()?);
        for (order, what, entry) in found {
            if let Some(entry) = entry {
                self.add(order, what, &branch.name, entry);
            }
        }
        Ok(())
    }

    fn add(&mut self, order: usize, what: String, branch: &str, entry: Entry) {
        match self.made.iter_mut().find(|made| made.entry.dir == entry.dir) {
            Some(made) if !made.branches.iter().any(|name| name == branch) => {
                made.branches.push(branch.to_owned());
            }
            Some(_) => {}
            None => self.made.push(Made { order, what, branches: vec![branch.to_owned()], entry }),
        }
    }

    fn in_order(mut self) -> Vec<Timing> {
        self.made.sort_by_key(|made| made.order);
        self.made.into_iter().filter_map(Made::timing).collect()
    }
}

impl Made {
    /// None where the record is lost.
    fn timing(self) -> Option<Timing> {
        let RunRecord { stage, seconds, device, peak_memory_bytes, resumed, .. } =
            RunRecord::of(&self.entry)?;
        let what = format!("{} ({})", self.what, self.branches.join(", "));
        Some(Timing { what, stage, seconds, device, peak_memory_bytes, resumed })
    }
}
