//! The stage: dataset in, trained or imported networks out.

use std::path::Path;

use anyhow::{Context, Result};
use burn::tensor::Device;
use delt_device::Opened;
use delt_formats::dataset::{DatasetFacts, DatasetReader, TEST_FILE, TRAIN_FILE};
use delt_formats::history::{HISTORY_FILE, HistoryRow, HistoryWriter};
use delt_formats::provenance::ArtifactKind;
use delt_formats::teacher::{Normalization, TeacherFacts, WEIGHTS_FILE};
use delt_formats::tensors::{NamedTensor, write_safetensors};
use delt_guard::read_weights;
use delt_harness::args::Args;
use delt_harness::progress::Progress;
use delt_harness::session::{Made, Session, Work};
use delt_harness::{external_images, external_scores};
use delt_images::external_set::Read;
use delt_networks::Network;
use delt_networks::checkpoint::Found;
use delt_pipeline::config::Branch;
use delt_pipeline::config::teacher::{Import, Teacher, TrainRecipe};
use delt_pipeline::dag::Node;
use delt_pipeline::plan::Plan;
use delt_pipeline::roles::Role;
use delt_store::Entry;
use delt_training::speed::flops_per_second;
use delt_training::{ImageSet, test_accuracy};

use crate::import::{self, GATE_IMAGES, Tested};
use crate::train::{TEST_BATCH, Trained, Training};
use crate::{class_order, gate};

/// Refuses what later work on a branch would refuse, as far as the data set and the files of weights tell it.
///
/// # Errors
/// Settings that do not fit the classes, weights that do not fit the network; missing inputs.
pub fn check(session: &Session, branch: &Branch, checked: &mut Vec<Teacher>) -> Result<()> {
    let Args { dry_run, assume_files, .. } = session.args;
    if dry_run && !assume_files && session.dag().if_made(branch, Node::Dataset)?.is_none() {
        check_readable(branch, checked)?;
    }
    session.dag().check(branch)?;
    let dataset = session.dag().entry(branch, Node::Dataset)?;
    let facts = dataset.manifest.facts_as()?;
    if !dry_run {
        external_images::of(branch, &dataset.manifest.provenance.classes, Read::Labels)?;
    }
    if let Some(file) = branch.pipeline.select.scores.as_ref().filter(|_| !dry_run) {
        let images = DatasetReader::open(dataset.verified_file(TRAIN_FILE)?)?;
        external_scores::read_for(file, &images, &dataset.manifest.provenance.classes)?;
    }
    for role in roles(branch) {
        let Some(teacher) = branch.pipeline.network_of(role).filter(|teacher| !checked.contains(teacher))
        else {
            continue;
        };
        let inputs = Inputs { session, branch, dataset: &dataset, facts: &facts, teacher: &teacher };
        if let Some(source) = teacher.import.as_ref().filter(|source| !inputs.is_given(source)) {
            let import = inputs.planned(role, source)?;
            let is_made = session.dag().found(import.plan.kind, &import.plan.key())?.is_some();
            if !is_made && !assume_files {
                import.found?;
            }
        }
        checked.push(teacher);
    }
    Ok(())
}

/// Whether weights fit is known once there are classes; whether they can be read a dry run tells before.
fn check_readable(branch: &Branch, checked: &mut Vec<Teacher>) -> Result<()> {
    for role in roles(branch) {
        let teacher = branch.pipeline.network_of(role).filter(|teacher| !checked.contains(teacher));
        if let Some(teacher) = teacher {
            teacher.import.iter().try_for_each(|import| read_weights(&import.path).map(drop))?;
            checked.push(teacher);
        }
    }
    Ok(())
}

/// The networks of a branch, in the order in which they are made.
fn roles(branch: &Branch) -> impl Iterator<Item = Role> {
    let ranker = branch.pipeline.select.ranker.as_ref().map(|_| Role::Ranker);
    let roles = [Some(Role::Teacher), ranker, Some(Role::FullData)].into_iter().flatten();
    roles.chain(branch.pipeline.committee_roles())
}

/// Makes or finds every network of one branch.
///
/// # Errors
/// Missing inputs, weights that do not fit, and what training reports.
pub fn run(session: &Session, branch: &Branch) -> Result<()> {
    let dataset = session.dag().entry(branch, Node::Dataset)?;
    let facts = dataset.manifest.facts_as()?;
    for role in roles(branch) {
        let Some(teacher) = branch.pipeline.network_of(role) else { continue };
        let inputs = Inputs { session, branch, dataset: &dataset, facts: &facts, teacher: &teacher };
        match (&teacher.import, &teacher.train) {
            (Some(source), _) => inputs.import(role, source)?,
            (None, Some(recipe)) => inputs.train(role, recipe)?,
            (None, None) => {
                anyhow::bail!("`teacher`: expected `train` (a recipe) or `import` (a weights file)")
            }
        }
    }
    Ok(())
}

/// An imported network before it is made.
struct Planned {
    /// The class of each output.
    order: Vec<String>,
    /// The network in the file, where it can be read.
    found: Result<Found>,
    plan: Plan,
}

/// What every network is made from.
struct Inputs<'a> {
    session: &'a Session,
    branch: &'a Branch,
    dataset: &'a Entry,
    facts: &'a DatasetFacts,
    teacher: &'a Teacher,
}

impl Inputs<'_> {
    fn classes(&self) -> &[String] {
        &self.dataset.manifest.provenance.classes
    }

    fn pictures(&self, file: &str) -> Result<ImageSet> {
        let path = self.dataset.verified_file(file)?;
        read_images(&path, self.facts, self.teacher.size, self.classes())
    }

    fn tested(&self, images: usize) -> Tested {
        Tested { images, is_published: self.branch.pipeline.ingest.has_published_test_set() }
    }

    fn forecast(&self, Opened { device, .. }: &Opened) -> Result<()> {
        let Teacher { network, size, .. } = self.teacher;
        self.session.forecast(self.branch, |classes| Ok(flops_per_second(network, *size, classes, device)?))
    }

    fn train(&self, role: Role, recipe: &TrainRecipe) -> Result<()> {
        let Self { session, branch, facts, teacher, .. } = self;
        let plan = session.dag().network_plan(branch, role, None)?;
        session.produce(&plan, |work| {
            let normalization = Normalization { mean: facts.mean, std: facts.std };
            let (train, test) = (self.pictures(TRAIN_FILE)?, self.pictures(TEST_FILE)?);
            let opened = delt_device::open_all(&session.args.device)?;
            let used = opened.len().min(recipe.replicas.0 as usize);
            if used < opened.len() {
                eprintln!(
                    "teacher-train: {used} of {} devices compute, since teacher.train.replicas is {used}; with more, each part \
                     of a batch has BatchNorm statistics of its own, which is another teacher",
                    opened.len()
                );
            }
            let opened = &opened[..used];
            session.use_devices(opened.iter().map(|opened| opened.name.as_str()));
            self.forecast(&opened[0])?;
            let devices: Vec<Device> = opened.iter().map(|opened| opened.device.clone()).collect();
            let training = Training {
                architecture: &teacher.network,
                recipe,
                train: &train,
                test: &test,
                normalization: &normalization,
                classes: self.classes().len(),
                seed: branch.pipeline.seed,
                devices: &devices,
            };
            let label = format!("teacher-train {}", teacher.network);
            let progress = Progress::of_branch(&label, training.images_ahead(), "images", branch);
            let Trained { network, history } = training.run(work.checkpoint_dir(), &progress)?;
            progress.finish();
            let last = history.last().and_then(|row| Some((row.top1?, row.top5?)));
            let (top1, top5) = last.context("the last epoch was not tested")?;
            let note = gate::judge(role, recipe, &history, &test.labels, top1)?;
            note.into_iter().for_each(|note| work.note(note));
            self.write(work, &network, &history, normalization, (top1, top5), test.len())
        })?;
        Ok(())
    }

    /// What an import comes to. Weights that cannot be read are no error as long as the store has their network.
    fn planned(&self, role: Role, source: &Import) -> Result<Planned> {
        let Self { session, branch, teacher, .. } = self;
        let order = class_order::resolve(&source.classes, self.classes())?;
        let found = import::find(source, &teacher.network, teacher.size, self.classes().len());
        let preferred = found.as_ref().ok().and_then(|found| found.preferred.as_deref());
        let digest = import::digest(&source.path, &order, preferred).context("import.path")?;
        let plan = session.dag().network_plan(branch, role, Some(&digest))?;
        Ok(Planned { order, found, plan })
    }

    /// Whether a dry run takes weights for given that are not there.
    fn is_given(&self, source: &Import) -> bool {
        self.session.args.assume_files && !source.path.exists()
    }

    fn import(&self, role: Role, source: &Import) -> Result<()> {
        let Self { session, dataset, facts, teacher, .. } = self;
        if self.is_given(source) {
            let what = format!("{}, which is not there", source.path.display());
            session.say_waits(self.branch, "weights", &what);
            return Ok(());
        }
        let Planned { order, found, plan } = self.planned(role, source)?;
        let entry = session.produce(&plan, |work| {
            let found = found?;
            if let Some(said) = &found.said {
                session.say_once(format!("teacher-train: {}: {said}", source.path.display()));
            }
            self.import_network(source, found.tensors, &order, work)
        })?;
        // what the makers state is no part of the key: a network found in the store may have been held to less
        if let (Some(entry), Some(expected)) = (entry, source.expected_top1) {
            let found: TeacherFacts = entry.manifest.facts_as()?;
            let tested = self.tested(facts.test_images as usize);
            import::check_stated(&source.path, found.test_top1, tested, expected, &found.normalization)?;
        }
        if !session.args.dry_run {
            let pointer = session.dag().import_pointer(teacher, dataset)?;
            session.point(&pointer, ArtifactKind::Teacher, &plan.key())?;
        }
        Ok(())
    }

    fn import_network(
        &self,
        source: &Import,
        tensors: Vec<NamedTensor>,
        order: &[String],
        work: &Work<'_>,
    ) -> Result<Made> {
        let Self { session, branch, dataset, facts, teacher } = self;
        let normalization =
            source.normalization.unwrap_or(Normalization { mean: facts.mean, std: facts.std });
        let opened = delt_device::open(&session.args.device)?;
        session.use_device(&opened.name);
        self.forecast(&opened)?;
        let (device, classes) = (&opened.device, self.classes());
        let orders = (order, classes);
        let network = import::build(source, &teacher.network, teacher.size, tensors, orders, device)?;
        let known = dataset.verified_file(TRAIN_FILE)?;
        let known = import::gate_images(&known, classes, &facts.train_per_class, teacher.size, GATE_IMAGES)?;
        let label = format!("teacher-train {}", teacher.network);
        let progress = Progress::of_branch(&label, known.len() as u64 + facts.test_images, "images", branch);
        let gate = test_accuracy(&network, &known, &normalization, TEST_BATCH, device, &progress)?;
        import::check_gate(&source.path, gate.top1, known.len(), classes.len(), &normalization)?;
        let test = self.pictures(TEST_FILE)?;
        let accuracy = test_accuracy(&network, &test, &normalization, TEST_BATCH, device, &progress)?;
        progress.finish();
        if let Some(expected) = source.expected_top1 {
            let tested = self.tested(test.len());
            import::check_stated(&source.path, accuracy.top1, tested, expected, &normalization)?;
        }
        self.write(work, &network, &[], normalization, (accuracy.top1, accuracy.top5), test.len())
    }

    /// Writes a network, tested on so many images; one without a history was imported.
    fn write(
        &self,
        work: &Work<'_>,
        network: &Network,
        history: &[HistoryRow],
        normalization: Normalization,
        (top1, top5): (f64, f64),
        tested: usize,
    ) -> Result<Made> {
        let provenance = work.provenance(self.classes());
        write_safetensors(work.out_dir().join(WEIGHTS_FILE), &network.named_tensors()?, Some(&provenance))?;
        let mut writer = HistoryWriter::create(work.out_dir().join(HISTORY_FILE), &provenance)?;
        history.iter().try_for_each(|row| writer.write(row))?;
        writer.finish()?;
        let facts = TeacherFacts {
            architecture: self.teacher.network,
            size: self.teacher.size,
            normalization,
            test_top1: percent(top1),
            test_top5: percent(top5),
            epochs: history.len() as u32,
            imported: history.is_empty(),
        };
        let how =
            if facts.imported { "imported".to_owned() } else { format!("after {} epochs", facts.epochs) };
        let summary = format!(
            "{} {how}: top-1 {:.2} %, top-5 {:.2} % of {tested} test images",
            facts.architecture, facts.test_top1, facts.test_top5
        );
        Ok(Made { provenance, facts: serde_json::to_value(facts)?, summary })
    }
}

/// A split of the data set, brought to size.
///
/// # Errors
/// What [`ImageSet::load`] reports.
pub(crate) fn read_images(
    path: &Path,
    facts: &DatasetFacts,
    size: u32,
    classes: &[String],
) -> Result<ImageSet> {
    let is_test = path.ends_with(TEST_FILE);
    let images = if is_test { facts.test_images } else { facts.train_images };
    let progress = Progress::new("teacher-train reading", images, "images");
    let set = ImageSet::load(path, size, classes, &progress)?;
    progress.finish();
    Ok(set)
}

/// To four decimals: short enough that every JSON reader gets the same number, which the content digest covers.
fn percent(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}
