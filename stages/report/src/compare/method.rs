//! One row: what a branch came to, with the branches that measure the same images in another way folded into it.

use anyhow::Result;
use delt_augment::MixSpec;
use delt_device::Opened;
use delt_formats::canonical::Digest;
use delt_formats::synthetic::{SYNTHETIC_FILE, SyntheticReader, mean_per_class};
use delt_harness::session::Session;
use delt_harness::synthetic_images::decoded_images;
use delt_harness::table::{Row, Score, branch_row};
use delt_networks::FrozenNetwork;
use delt_networks::diversity::of_classes;
use delt_pipeline::config::evaluate::Evaluate;
use delt_pipeline::config::relabel::Relabel;
use delt_pipeline::config::{Branch, Pipeline};
use delt_pipeline::dag::Node;
use delt_pipeline::roles::Role;
use delt_store::Entry;

use crate::findings::RunRecord;
use crate::robust_score::{augmentation_robust_score, label_robust_score};

/// One row of the comparison. Accuracies are percent. But for pipeline, networks and images per class, all is none before the
/// branch was evaluated.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Method {
    /// The pipeline.
    pub pipeline: String,
    /// Images per class.
    pub ipc: u32,
    /// The network that labels.
    pub teacher: String,
    /// The branch, the network that learns, and what the table of the run says of them.
    pub row: Row,
    /// Top-1 after the last epoch of students that learn the images' classes in place of soft labels.
    pub hard: Option<Score>,
    /// Label-robust score (DD-Ranking).
    pub lrs: Option<f64>,
    /// Augmentation-robust score (DD-Ranking).
    pub ars: Option<f64>,
    /// Mean cosine of an image's teacher features to the centroid of its class, by class.
    pub cosine_by_class: Vec<f64>,
    /// Making the images, selection and synthesis, on all processes that worked on it; none where the store lost the record.
    pub cost: Option<Cost>,
}

/// What making the images took.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Cost {
    /// By the clock on the wall.
    pub seconds: f64,
    /// Of all processors.
    pub cpu_seconds: Option<f64>,
    /// Whether a process was killed whose time is not counted.
    pub is_lower_bound: bool,
    /// Most memory that a process held.
    pub peak_memory_bytes: Option<u64>,
}

/// What the students of a branch are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A method by itself.
    Method,
    /// The images of a method, learned with hard labels.
    Hard,
    /// The images of a method, learned without augmentation.
    Plain,
}

struct Evaluated<'a> {
    branch: &'a Branch,
    kind: Kind,
    /// Images and teacher: the same for all branches that measure the same.
    subject: (Digest, Digest),
    /// Top-1 after the last epoch.
    last: Score,
}

impl Evaluated<'_> {
    fn share(&self) -> f64 {
        self.last.mean / 100.0
    }

    /// Whether both have learned from the same images by the same recipe, but for what makes `measure` another kind of measure.
    fn is_other_measure_of(&self, measure: &Self) -> bool {
        self.subject == measure.subject && self.is_recipe_of(measure)
    }

    /// Whether labels and students are made by one recipe, but for what makes `other` another kind of measure.
    fn is_recipe_of(&self, other: &Self) -> bool {
        let [own, theirs] = [self, other].map(|of| recipe_as(&of.branch.pipeline, other.kind));
        own == theirs
    }
}

/// How labels and students of a branch would be made for a kind of measure, whatever the seeds.
fn recipe_as(pipeline: &Pipeline, kind: Kind) -> (Relabel, Evaluate) {
    let (mut relabel, mut evaluate) = pipeline.student_recipe();
    match kind {
        Kind::Method => {}
        Kind::Hard => evaluate = evaluate.with_hard_labels(),
        Kind::Plain => {
            evaluate.given.iter_mut().for_each(|given| given.augmentation = Vec::new());
            relabel.randaugment = None;
            relabel.min_crop_scale = 1.0;
            relabel.flip = false;
            relabel.mix = MixSpec::None {};
        }
    }
    (relabel, evaluate)
}

/// The rows of one pipeline, in the order of its branches. A branch with hard labels or without augmentation, whose images are
/// those of another one, becomes a number in that one's row.
///
/// # Errors
/// An artifact that is there and cannot be read.
pub fn methods_of(session: &Session, device: &Opened) -> Result<Vec<Method>> {
    let branches = session.branches();
    let row = |branch: &Branch| -> Result<Row> {
        Ok(Row { name: branch.name.clone(), ..branch_row(session, std::slice::from_ref(branch))? })
    };
    let rows = branches.iter().map(row).collect::<Result<Vec<_>>>()?;
    let mut evaluated = Vec::new();
    for (branch, row) in branches.iter().zip(&rows) {
        if let Some(last) = row.last {
            let images = session.dag().entry(branch, Node::Synthetic)?.manifest.digest;
            let teacher = session.network(branch, Role::Teacher)?.entry.manifest.digest;
            let kind = kind_of(&branch.pipeline);
            evaluated.push(Evaluated { branch, kind, subject: (images, teacher), last });
        }
    }
    let mut methods = Vec::new();
    for (branch, row) in branches.iter().zip(rows) {
        let own = evaluated.iter().find(|other| other.branch.name == branch.name);
        if let Some(own) = own
            && own.kind != Kind::Method
            && evaluated.iter().any(|other| other.kind == Kind::Method && other.is_other_measure_of(own))
        {
            continue;
        }
        let mut method = Method {
            pipeline: session.pipeline_name().to_owned(),
            ipc: branch.pipeline.select.ipc,
            teacher: branch.pipeline.teacher.network.to_string(),
            row,
            ..Method::default()
        };
        if let Some(own) = own {
            measure(session, own, &evaluated, device, &mut method)?;
        }
        methods.push(method);
    }
    Ok(methods)
}

fn kind_of(pipeline: &Pipeline) -> Kind {
    let is_made_for = |kind: &Kind| recipe_as(pipeline, *kind) == pipeline.student_recipe();
    [Kind::Hard, Kind::Plain].into_iter().find(is_made_for).unwrap_or(Kind::Method)
}

/// What other branches, the records of the store and the images themselves say of a method.
fn measure(
    session: &Session,
    own: &Evaluated<'_>,
    evaluated: &[Evaluated<'_>],
    device: &Opened,
    method: &mut Method,
) -> Result<()> {
    let branch = own.branch;
    let of_kind = |kind| evaluated.iter().filter(move |other| other.kind == kind && own.is_recipe_of(other));
    let of_subject = |kind| of_kind(kind).find(|other| other.subject == own.subject);
    let random = |kind| of_kind(kind).find(|other| other.branch.pipeline.keeps_random_images());
    let (hard, plain) = (of_subject(Kind::Hard), of_subject(Kind::Plain));
    let real = session.network_if_made(branch, Role::FullData)?;
    method.hard = hard.map(|hard| hard.last);
    method.lrs = real.zip(hard).zip(random(Kind::Method)).map(|((real, hard), random)| {
        label_robust_score(real.facts.test_top1 / 100.0, hard.share(), own.share(), random.share())
    });
    method.ars = plain.zip(random(Kind::Method)).zip(random(Kind::Plain)).map(|((plain, random), bare)| {
        augmentation_robust_score(own.share(), random.share(), plain.share(), bare.share())
    });
    let imported = session.dag().imported_per_class(branch)?;
    if !imported.is_empty() {
        method.ipc = mean_per_class(&imported).round() as u32;
    }
    let synthetic = session.dag().entry(branch, Node::Synthetic)?;
    let initial = session.dag().if_made(branch, Node::Initial)?;
    method.cosine_by_class = cosine_by_class(session, branch, device)?;
    method.cost = cost_of(initial.iter().chain([&synthetic]));
    Ok(())
}

fn cosine_by_class(session: &Session, branch: &Branch, device: &Opened) -> Result<Vec<f64>> {
    let teacher = session.network(branch, Role::Teacher)?;
    let (facts, classes) = (&teacher.facts, teacher.classes().len());
    let network = FrozenNetwork::load(facts, classes, &teacher.weights()?, &device.device)?;
    let synthetic = session.dag().entry(branch, Node::Synthetic)?;
    let reader = SyntheticReader::open(synthetic.verified_file(SYNTHETIC_FILE)?)?;
    let (pictures, labels) = decoded_images(&reader)?;
    let classes = of_classes(&network, &pictures, &labels, facts, &device.device)?;
    Ok(classes.iter().map(|class| class.cosine_to_centroid).collect())
}

/// None where a record is lost.
fn cost_of<'a>(made: impl Iterator<Item = &'a Entry>) -> Option<Cost> {
    let mut sum = Cost { cpu_seconds: Some(0.0), ..Cost::default() };
    for entry in made {
        let record = RunRecord::of(entry)?;
        sum.seconds += record.seconds;
        sum.cpu_seconds = sum.cpu_seconds.zip(record.cpu_seconds).map(|(sum, seconds)| sum + seconds);
        sum.is_lower_bound |= record.resumed;
        sum.peak_memory_bytes = sum.peak_memory_bytes.max(record.peak_memory_bytes);
    }
    Some(sum)
}
