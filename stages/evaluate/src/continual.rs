//! Class-incremental learning as DM and who follows it test a set: classes come in steps, in an order that a seed draws; after each
//! step a new student learns the distilled images of all classes so far, and them alone, and is tested on the test images of these
//! classes. A teacher of all classes knows what is to come: unless asked otherwise, of its labels only the classes so far count.

use std::collections::BTreeSet;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use burn::tensor::Device;
use delt_augment::Draws;
use delt_formats::dataset::TEST_FILE;
use delt_formats::evaluation::SUMMARY_FILE;
use delt_formats::history::HISTORY_FILE;
use delt_formats::labels::LABELS_FILE;
use delt_formats::synthetic::SYNTHETIC_FILE;
use delt_formats::{
    ArtifactKind, HistoryWriter, ImageRow, LabelPacking, LabelsReader, LabelsWriter, Provenance, RgbImage,
    StudentResult, SyntheticReader, canonical,
};
use delt_harness::chance::Chance;
use delt_harness::progress::Progress;
use delt_harness::session::{self, Made, Session, Work};
use delt_harness::synthetic_images::decoded_images;
use delt_harness::table::{Score, mean_and_std};
use delt_harness::trained::Trained;
use delt_networks::FrozenNetwork;
use delt_pipeline::config::Branch;
use delt_pipeline::config::experiments::{Continual, ContinualLabels};
use delt_pipeline::dag::Node;
use delt_pipeline::plan;
use delt_pipeline::roles::Role;
use delt_training::{ImageSet, Labeler};
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use crate::figures::{in_words, place, print, print_notes, write_csv};
use crate::stage::{reading, training_images};
use crate::student::{TrainingTargets, train};
use crate::summary::student_result;

/// A student of the classes so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Step {
    /// Seed of the order.
    order: u64,
    /// How many classes there are so far.
    classes: usize,
    /// Images that the student learned.
    images: usize,
    /// Real images that it was tested on.
    test_images: usize,
    /// How it did.
    student: StudentResult,
    /// Where its evaluation lies, for tables.
    #[serde(skip)]
    place: String,
}

/// Columns of the figures.
const COLUMNS: [&str; 10] = [
    "branch",
    "order",
    "classes",
    "images",
    "test_images",
    "last_top1",
    "best_top1",
    "steps",
    "labels",
    "artifact",
];

/// The program.
pub fn main() -> ExitCode {
    session::main(plan::CONTINUAL, |session| {
        session.check_branches(|branch| {
            // what holds for any number of classes is refused before they are known
            branch.pipeline.checked_continual(usize::MAX)?;
            let classes = session.dag().classes_in_use(branch)?.len();
            Ok(branch.pipeline.checked_continual(classes).map(drop)?)
        })?;
        let mut made = Vec::new();
        session.each_branch(|branch| {
            made.extend(steps(session, branch)?.into_iter().map(|step| (branch.clone(), step)));
            Ok(())
        })?;
        session.say_artifacts();
        if session.args.dry_run { Ok(()) } else { tell(session, &made) }
    })
}

/// The students of all orders and steps.
fn steps(session: &Session, branch: &Branch) -> Result<Vec<Step>> {
    let classes = session.dag().classes_in_use(branch)?;
    let section = branch.pipeline.checked_continual(classes.len())?;
    let mut made = Vec::new();
    for order in &section.orders {
        let ordered = ordered(*order, classes.clone());
        for seen in section.classes_by_step(classes.len()).map(|seen| &ordered[..seen]) {
            let plan = session.dag().continual_plan(branch, section, *order, seen.len())?;
            let entry = session.produce(&plan, |work| {
                Memory::open(session, branch, section, seen)?.learn(session, *order, seen.len(), work)
            })?;
            if let Some(entry) = entry {
                made.push(Step { place: place(&entry), ..entry.manifest.facts_as()? });
            }
        }
    }
    Ok(made)
}

/// The order in which classes come.
fn ordered(order: u64, mut classes: Vec<usize>) -> Vec<usize> {
    classes.shuffle(&mut Draws::new(order).stream("class order", 0, 0));
    classes
}

/// The images of the classes so far, and what tells them apart.
struct Memory<'a> {
    branch: &'a Branch,
    teacher: Trained,
    committee: Vec<Trained>,
    /// The classes between which a student chooses, ascending.
    outputs: Vec<usize>,
    pictures: Vec<RgbImage>,
    /// Place of each image's class among the outputs.
    image_labels: Vec<u32>,
    /// Test images of the classes so far, labeled in the same way.
    test: ImageSet,
}

impl<'a> Memory<'a> {
    fn open(session: &Session, branch: &'a Branch, section: &Continual, seen: &[usize]) -> Result<Self> {
        let dag = session.dag();
        let teacher = session.network(branch, Role::Teacher)?;
        let votes = branch.pipeline.labels_by_committee();
        let reader =
            SyntheticReader::open(dag.entry(branch, Node::Synthetic)?.verified_file(SYNTHETIC_FILE)?)?;
        reader.expect_classes(teacher.classes())?;
        let (pictures, labels) = decoded_images(&reader)?;
        let mut outputs = match section.labels {
            ContinualLabels::SeenClasses => seen.to_vec(),
            ContinualLabels::AllClasses => (0..teacher.classes().len()).collect(),
        };
        outputs.sort_unstable();
        let place = |label: u32| {
            let class = label as usize;
            seen.contains(&class).then(|| outputs.partition_point(|output| *output < class) as u32)
        };
        let of_seen =
            pictures.into_iter().zip(labels).filter_map(|(image, label)| Some((image, place(label)?)));
        let (pictures, image_labels) = of_seen.unzip();
        let dataset = dag.entry(branch, Node::Dataset)?;
        let (path, size, classes) =
            (dataset.verified_file(TEST_FILE)?, teacher.facts.size, teacher.classes());
        let (is_seen, reading) = (|row: &ImageRow| place(row.label).is_some(), reading(&dataset)?);
        let mut test = ImageSet::load_chosen(&path, size, classes, usize::MAX, is_seen, &reading)?;
        reading.finish();
        test.labels.iter_mut().for_each(|label| *label = place(*label).unwrap_or(*label));
        ensure!(
            !test.is_empty(),
            "{TEST_FILE}: holds no test image of the first {} classes of an order; give `ingest` a source that tests each class, or take \
             fewer steps",
            seen.len()
        );
        let committee = if votes { session.committee(branch)? } else { Vec::new() };
        Ok(Self { branch, teacher, committee, outputs, pictures, image_labels, test })
    }

    fn learn(&self, session: &Session, order: u64, classes: usize, work: &Work<'_>) -> Result<Made> {
        let opened = delt_device::open(&session.args.device)?;
        session.use_device(&opened.name);
        let (pipeline, relabel) = (&self.branch.pipeline, &self.branch.pipeline.relabel);
        let provenance = work.provenance(self.teacher.classes());
        let batch = session.dag().student_batch(self.branch)?.min(self.pictures.len() as u32);
        let labels = self.labels(order, batch as usize, &provenance, &opened.device, work)?;
        let total = training_images(pipeline, self.pictures.len(), self.test.len());
        let label = format!("continual order {order}, {classes} classes");
        let progress = Progress::of_branch(&label, total, "images", self.branch);
        let targets = TrainingTargets {
            config: &pipeline.evaluate,
            lr: pipeline.student_lr(self.teacher.classes().len())?,
            seed: order,
            epochs: relabel.epochs,
            stored_epochs: relabel.stored_epochs(),
            pictures: &self.pictures,
            image_labels: &self.image_labels,
            labels,
            normalization: &self.teacher.facts.normalization,
            size: self.teacher.facts.size,
            classes: self.outputs.len(),
            device: &opened.device,
            start: None,
            scales_l1: 0.0,
        };
        let history = train(&targets, &self.test, work.checkpoint_dir(), &progress)?;
        progress.finish();
        let mut writer = HistoryWriter::create(work.out_dir().join(HISTORY_FILE), &provenance)?;
        history.iter().try_for_each(|row| writer.write(row))?;
        writer.finish()?;
        let student = student_result(order, &history).context("the student was never tested")?;
        let summary = format!(
            "student {} top-1 {:.2} of {classes} classes ({} images, {} test images)",
            pipeline.evaluate.student,
            student.last_top1,
            self.pictures.len(),
            self.test.len()
        );
        let (images, test_images) = (self.pictures.len(), self.test.len());
        let step = Step { order, classes, images, test_images, student, place: String::new() };
        fs_err::write(work.out_dir().join(SUMMARY_FILE), canonical::readable_json(&step))?;
        Ok(Made { provenance, facts: serde_json::to_value(&step)?, summary })
    }

    /// Views of the images and what the teacher says of them between the outputs: in a file beside the checkpoint, which is made
    /// once.
    fn labels(
        &self,
        order: u64,
        batch: usize,
        provenance: &Provenance,
        device: &Device,
        work: &Work<'_>,
    ) -> Result<LabelsReader> {
        let path = work.checkpoint_dir().join(LABELS_FILE);
        if path.exists() {
            return Ok(LabelsReader::open(path)?);
        }
        let relabel = &self.branch.pipeline.relabel;
        let labeler = self.labeler(device)?;
        let (epochs, spec) = (relabel.stored_epochs(), relabel.view_spec());
        let views = u64::from(epochs) * self.pictures.len() as u64;
        let progress = Progress::of_branch(&format!("label order {order}"), views, "views", self.branch);
        let classes = self.outputs.iter().map(|output| self.teacher.classes()[*output].clone()).collect();
        let provenance = Provenance {
            artifact: ArtifactKind::Labels,
            schema_version: ArtifactKind::Labels.schema_version(),
            classes,
            ..provenance.clone()
        };
        let beside = path.with_extension("writing");
        let packing = relabel.is_packed().then_some(LabelPacking::FULL);
        let mut writer = LabelsWriter::create(&beside, &provenance, packing)?;
        for epoch in 0..epochs {
            let draws = Draws::new(order);
            let mut rows = labeler.epoch(&self.pictures, &draws, epoch, batch, &spec, &progress)?;
            for row in &mut rows {
                row.logits = self.outputs.iter().map(|output| row.logits[*output]).collect();
            }
            writer.write_epoch(&rows)?;
        }
        writer.finish()?;
        progress.finish();
        fs_err::rename(&beside, &path)?;
        Ok(LabelsReader::open(path)?)
    }

    fn labeler(&self, device: &Device) -> Result<Labeler> {
        let load = |network: &Trained| -> Result<FrozenNetwork> {
            Ok(FrozenNetwork::load(&network.facts, network.classes().len(), &network.weights()?, device)?)
        };
        Ok(Labeler {
            teacher: load(&self.teacher)?,
            committee: self.committee.iter().map(load).collect::<Result<_>>()?,
            weights: self.branch.pipeline.relabel.voting_weights(self.committee.len()),
            mode: self.branch.pipeline.relabel.teacher_mode,
            normalization: self.teacher.facts.normalization,
            size: self.teacher.facts.size,
            device: device.clone(),
        })
    }
}

/// A line for each branch that has students whom guessing explains on the classes that they were tested on. Of one class alone
/// nothing is learned.
fn notes(session: &Session, made: &[(Branch, Step)]) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    for group in made.chunk_by(|a, b| a.0.group == b.0.group) {
        let mut lost = Vec::new();
        for (branch, step) in group.iter().filter(|(_, step)| step.classes > 1) {
            let dataset = session.dag().entry(branch, Node::Dataset)?;
            let order = ordered(step.order, session.dag().classes_in_use(branch)?);
            let chance = Chance::of_classes(&dataset, |class| order[..step.classes].contains(&class))?;
            lost.extend(chance.reaches(step.student.last_top1).then_some((step, chance)));
        }
        let Some((Step { order, classes, student, test_images, .. }, chance)) = lost.first() else {
            continue;
        };
        notes.push(format!(
            "{}: {} of {} students are no better than guessing (that of order {order}, {classes} classes: {:.2} % of {test_images} test \
             images; {chance})",
            group[0].0.group,
            lost.len(),
            group.len(),
            student.last_top1
        ));
    }
    Ok(notes)
}

/// Prints the table, mean and standard deviation over the orders, and writes each student's accuracy.
fn tell(session: &Session, made: &[(Branch, Step)]) -> Result<()> {
    let (mut rows, mut lines) = (Vec::new(), Vec::new());
    for group in made.chunk_by(|a, b| a.0.group == b.0.group) {
        let name = group[0].0.group.clone();
        let asked = group[0].0.pipeline.continual.as_ref();
        let labels = asked.map_or_else(String::new, |section| in_words(&section.labels));
        let steps: Vec<&Step> = group.iter().map(|(_, step)| step).collect();
        let counts: BTreeSet<usize> = steps.iter().map(|step| step.classes).collect();
        let score = |of: &dyn Fn(&Step) -> bool| {
            let top1: Vec<f64> =
                steps.iter().filter(|step| of(step)).map(|step| step.student.last_top1).collect();
            let (mean, std) = mean_and_std(&top1);
            Score { mean, std, n: top1.len() }
        };
        let mut means = Vec::new();
        for classes in counts {
            let found = score(&|step| step.classes == classes);
            let images = steps.iter().find(|step| step.classes == classes).map_or(0, |step| step.images);
            means.push(found.mean);
            rows.push([
                name.clone(),
                classes.to_string(),
                images.to_string(),
                found.to_string(),
                found.n.to_string(),
            ]);
        }
        let mean = format!("{:.2}", mean_and_std(&means).0);
        rows.push([name.clone(), "mean".to_owned(), String::new(), mean, String::new()]);
        lines.extend(steps.iter().map(|step| {
            let StudentResult { last_top1, best_top1, .. } = step.student;
            let counts = [step.classes, step.images, step.test_images].map(|count| count.to_string());
            let [classes, images, test_images] = counts;
            [
                name.clone(),
                step.order.to_string(),
                classes,
                images,
                test_images,
                last_top1.to_string(),
                best_top1.to_string(),
                asked.map_or_else(String::new, |section| section.steps.to_string()),
                labels.clone(),
                step.place.clone(),
            ]
        }));
    }
    let labels = made.first().and_then(|(branch, _)| Some(branch.pipeline.continual.as_ref()?.labels));
    let known = match labels {
        Some(ContinualLabels::AllClasses) => "labels and students know all classes",
        _ => "labels of the classes so far",
    };
    let title = format!(
        "{}: top-1 in percent on the test images of the classes so far, over class orders; {known}",
        session.pipeline_name()
    );
    print(&title, ["", "classes", "images", "top-1", "orders"], &rows, &[0]);
    print_notes(session, &notes(session, made)?)?;
    write_csv(session, "continual", COLUMNS, &lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_follows_from_its_seed_and_has_each_class_once() {
        let order = |seed| ordered(seed, (0..20).collect());
        assert_eq!(order(1), order(1));
        assert_ne!(order(1), order(2));
        let mut sorted = order(3);
        sorted.sort_unstable();
        assert_eq!(sorted, (0..20).collect::<Vec<_>>());
    }
}
