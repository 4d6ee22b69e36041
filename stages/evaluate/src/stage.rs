//! The stage: data set, synthetic images and labels in, history and summary out; an epoch is the unit of resuming.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use burn::tensor::Device;
use delt_formats::dataset::{DatasetFacts, TEST_FILE};
use delt_formats::evaluation::SUMMARY_FILE;
use delt_formats::history::HISTORY_FILE;
use delt_formats::labels::LABELS_FILE;
use delt_formats::synthetic::SYNTHETIC_FILE;
use delt_formats::{
    HistoryRow, HistoryWriter, LabelsReader, RgbImage, StudentResult, Summary, SyntheticFacts,
    SyntheticReader,
};
use delt_harness::progress::Progress;
use delt_harness::session::{Made, Session, Work};
use delt_harness::synthetic_images::decoded_images;
use delt_harness::table::{Score, mean_and_std};
use delt_harness::trained::Trained;
use delt_networks::FrozenNetwork;
use delt_networks::diversity::{Diversity, of_classes};
use delt_pipeline::config::{Branch, Pipeline};
use delt_pipeline::dag::Node;
use delt_pipeline::roles::Role;
use delt_pipeline::watch::Watch;
use delt_store::Entry;
use delt_training::{ImageSet, side_by_side};
use serde_json::{Value, json};

use crate::given::GivenSet;
use crate::given_student::{Lessons, train as train_on_given};
use crate::student::{TrainingTargets, is_tested, train};
use crate::summary::{at_chance, student_result};

/// The setting of a student's learning rate.
pub const LR: &str = "evaluate.lr";

/// Makes or finds the evaluation of one branch, whose learning rate is called `lr` where it is to be changed.
///
/// # Errors
/// Missing inputs, artifacts that do not fit each other, a loss that is NaN or infinite, an interrupt.
pub fn run(session: &Session, branch: &Branch, lr: &str) -> Result<()> {
    let plan = session.dag().plan(branch, Node::Evaluation)?;
    session.produce(&plan, |work| Inputs::open(session, branch)?.evaluate(session, work, lr))?;
    Ok(())
}

/// What students are made and tested with.
pub(crate) struct Inputs<'a> {
    branch: &'a Branch,
    pub(crate) teacher: Trained,
    /// The synthetic images' artifact.
    synthetic: Entry,
    /// How the initial images were made; null where the images are imported.
    initial_recipe: Value,
    pub(crate) pictures: Vec<RgbImage>,
    /// Class of each image.
    image_labels: Vec<u32>,
    /// The real images that students are tested on.
    pub(crate) test: ImageSet,
    /// Images in network space and targets, where the set gives them.
    given: Option<GivenSet>,
    /// Soft labels by student seed; none where the set gives the targets.
    pub(crate) labels: Vec<(u64, LabelsReader)>,
    /// Bytes of all labels.
    label_bytes: u64,
}

impl<'a> Inputs<'a> {
    pub(crate) fn open(session: &Session, branch: &'a Branch) -> Result<Self> {
        let (dag, pipeline) = (session.dag(), &branch.pipeline);
        let teacher = session.network(branch, Role::Teacher)?;
        let synthetic = dag.entry(branch, Node::Synthetic)?;
        let reader = SyntheticReader::open(synthetic.verified_file(SYNTHETIC_FILE)?)?;
        reader.expect_classes(teacher.classes())?;
        let (pictures, image_labels) = decoded_images(&reader)?;
        let dataset = dag.entry(branch, Node::Dataset)?;
        let reading = reading(&dataset)?;
        let path = dataset.verified_file(TEST_FILE)?;
        let test = test_images_of(&path, teacher.facts.size, teacher.classes(), &reading)?;
        reading.finish();
        let initial_recipe = match pipeline.synthesize.import {
            Some(_) => Value::Null,
            None => dag.entry(branch, Node::Initial)?.manifest.provenance.config,
        };
        let facts: SyntheticFacts = synthetic.manifest.facts_as()?;
        let given = pipeline.evaluate.given.as_ref();
        let whitening = pipeline.whitening().map(|_| dag.entry(branch, Node::Whitening)).transpose()?;
        let read = |given| GivenSet::read(&reader, &facts, &teacher.facts, given, whitening.as_ref());
        let mut given = given.map(read).transpose()?;
        given.iter_mut().try_for_each(|set| set.enter(&test, &reading))?;
        let (mut labels, mut label_bytes) = (Vec::new(), 0);
        let labeled = pipeline.relabel.seeds.iter().filter(|_| given.is_none());
        for seed in labeled {
            let shared = pipeline.relabel.share_labels;
            let label_seed = if shared { pipeline.relabel.seeds[0] } else { *seed };
            let entry = dag.entry(branch, Node::Labels(label_seed))?;
            let reader = LabelsReader::open(&entry.verified_file(LABELS_FILE)?)?;
            reader.expect_classes(teacher.classes())?;
            reader.expect_input("synthetic", &synthetic.manifest.digest)?;
            reader.expect_input("teacher", &teacher.entry.manifest.digest)?;
            if label_bytes == 0 || !shared {
                label_bytes += entry.manifest.bytes();
            }
            labels.push((*seed, reader));
        }
        Ok(Self {
            branch,
            teacher,
            synthetic,
            initial_recipe,
            pictures,
            image_labels,
            test,
            given,
            labels,
            label_bytes,
        })
    }

    fn evaluate(mut self, session: &Session, work: &Work<'_>, lr: &str) -> Result<Made> {
        let mut opened = delt_device::open_all(&session.args.device)?;
        opened.truncate(self.branch.pipeline.relabel.seeds.len());
        session.use_devices(opened.iter().map(|opened| opened.name.as_str()));
        let labels = std::mem::take(&mut self.labels);
        let label_recipe =
            labels.last().map_or(Value::Null, |(_, labels)| labels.provenance().config.clone());
        let devices: Vec<&Device> = opened.iter().map(|opened| &opened.device).collect();
        let histories = match &self.given {
            Some(set) => self.train_on_given(set, devices, work)?,
            None => self.train(labels, devices, work)?,
        };

        let provenance = work.provenance(self.teacher.classes());
        let mut writer = HistoryWriter::create(work.out_dir().join(HISTORY_FILE), &provenance)?;
        histories.iter().flatten().try_for_each(|row| writer.write(row))?;
        writer.finish()?;
        // from the artifacts themselves: the pipeline file may say things that this branch does not read
        let branch_recipe = json!({
            "initial": self.initial_recipe,
            "synthetic": self.synthetic.manifest.provenance.config,
            "labels": label_recipe,
            "evaluation": provenance.config,
        });
        let summary = self.summarize(branch_recipe, &histories, &opened[0].device)?;
        summary.write(work.out_dir().join(SUMMARY_FILE))?;
        let last: Vec<_> = summary.students.iter().map(|student| (student.seed, student.last_top1)).collect();
        let note = at_chance(&last, &self.test.labels, &self.knobs(lr)?);
        note.into_iter().for_each(|note| work.note(note));
        let n = summary.students.len();
        let score = |mean, std| Score { mean, std, n };
        let line = format!(
            "student {} top-1 last {}, best {} (n = {n}, {} test images)",
            self.branch.pipeline.evaluate.student,
            score(summary.last_mean, summary.last_std),
            score(summary.best_mean, summary.best_std),
            summary.test_images
        );
        Ok(Made { provenance, facts: serde_json::to_value(&summary)?, summary: line })
    }

    /// What students that do not learn may owe it to.
    pub(crate) fn knobs(&self, lr: &str) -> Result<String> {
        let pipeline = &self.branch.pipeline;
        Ok(match &self.given {
            Some(set) => format!("evaluate.given.optimizer.lr ({}) and evaluate.given.budget", set.lr),
            None => format!(
                "{lr} ({}), relabel.epochs ({}) and the teacher's accuracy",
                pipeline.student_lr(self.teacher.classes().len())?,
                pipeline.relabel.epochs
            ),
        })
    }

    /// As [`Self::train`], on what the set gives.
    fn train_on_given(
        &self,
        set: &GivenSet,
        devices: Vec<&Device>,
        work: &Work<'_>,
    ) -> Result<Vec<Vec<HistoryRow>>> {
        let evaluate = &self.branch.pipeline.evaluate;
        let given = evaluate.given.as_ref().context("`evaluate.given` is missing")?;
        side_by_side(devices, self.branch.pipeline.relabel.seeds.clone(), |device, seed| {
            let lessons = Lessons {
                student: &evaluate.student,
                given,
                bn_momentum: evaluate.bn_momentum(),
                seed,
                set,
                test: &self.test,
                device,
            };
            let label = format!("evaluate seed {seed}");
            let progress = Progress::of_branch(&label, lessons.images(), "images", self.branch);
            let history = train_on_given(&lessons, work.checkpoint_dir(), &progress)?;
            progress.finish();
            Ok(history)
        })
    }

    /// The histories of all students, by seed.
    fn train(
        &self,
        labels: Vec<(u64, LabelsReader)>,
        devices: Vec<&Device>,
        work: &Work<'_>,
    ) -> Result<Vec<Vec<HistoryRow>>> {
        let total = training_images(&self.branch.pipeline, self.pictures.len(), self.test.len());
        side_by_side(devices, labels, |device, (seed, labels)| {
            let label = format!("evaluate seed {seed}");
            let progress = Progress::of_branch(&label, total, "images", self.branch);
            let targets = self.targets(seed, labels, device)?;
            let history = train(&targets, &self.test, work.checkpoint_dir(), &progress)?;
            progress.finish();
            Ok(history)
        })
    }

    /// What a student of these labels learns from.
    pub(crate) fn targets<'t>(
        &'t self,
        seed: u64,
        labels: LabelsReader,
        device: &'t Device,
    ) -> Result<TrainingTargets<'t>> {
        let (pipeline, relabel) = (&self.branch.pipeline, &self.branch.pipeline.relabel);
        let (facts, classes) = (&self.teacher.facts, self.teacher.classes().len());
        Ok(TrainingTargets {
            config: &pipeline.evaluate,
            lr: pipeline.student_lr(classes)?,
            seed,
            epochs: relabel.epochs,
            stored_epochs: relabel.stored_epochs(),
            pictures: &self.pictures,
            image_labels: &self.image_labels,
            labels,
            normalization: &facts.normalization,
            size: facts.size,
            classes,
            device,
            start: None,
            scales_l1: 0.0,
        })
    }

    fn summarize(
        &self,
        branch_recipe: Value,
        histories: &[Vec<HistoryRow>],
        device: &Device,
    ) -> Result<Summary> {
        let Self { teacher, pictures, image_labels, .. } = self;
        let seeds = self.branch.pipeline.relabel.seeds.iter().zip(histories);
        let students = seeds
            .map(|(seed, history)| student_result(*seed, history).context("the student was never tested"))
            .collect::<Result<Vec<_>>>()?;
        let network =
            FrozenNetwork::load(&teacher.facts, teacher.classes().len(), &teacher.weights()?, device)?;
        let of_classes = of_classes(&network, pictures, image_labels, &teacher.facts, device)?;
        let diversity = Diversity::mean(&of_classes);
        let of = |f: fn(&StudentResult) -> f64| mean_and_std(&students.iter().map(f).collect::<Vec<_>>());
        let (last_mean, last_std) = of(|student| student.last_top1);
        let (best_mean, best_std) = of(|student| student.best_top1);
        Ok(Summary {
            branch_recipe,
            students,
            last_mean,
            last_std,
            best_mean,
            best_std,
            image_bytes: self.synthetic.manifest.files.get(SYNTHETIC_FILE).map_or(0, |file| file.bytes),
            label_bytes: self.label_bytes,
            images: pictures.len() as u64,
            test_images: self.test.len() as u64,
            cosine_to_centroid: diversity.cosine_to_centroid,
            pairwise_cosine: diversity.pairwise_cosine,
        })
    }
}

/// Images that pass through a student while it is trained, tests included.
pub(crate) fn training_images(pipeline: &Pipeline, images: usize, test_images: usize) -> u64 {
    let epochs = pipeline.relabel.epochs;
    let tests = (0..epochs).filter(|epoch| is_tested(&pipeline.evaluate, *epoch, epochs)).count();
    (epochs as usize * images + tests * test_images) as u64
}

/// Counts the test images of a data set while they are read.
pub(crate) fn reading(dataset: &Entry) -> Result<Progress> {
    let facts: DatasetFacts = dataset.manifest.facts_as()?;
    Ok(Progress::new("evaluate reading", facts.test_images, "images"))
}

/// The real images that students are tested on.
///
/// # Errors
/// A split that cannot be read or holds no image.
pub fn test_images_of(path: &Path, size: u32, classes: &[String], watch: &dyn Watch) -> Result<ImageSet> {
    let test = ImageSet::load(path, size, classes, watch)?;
    ensure!(
        !test.is_empty(),
        "{}: holds no test image, so students cannot be tested; give `ingest` a source with a test split",
        path.display()
    );
    Ok(test)
}
