//! The stage: data set, synthetic images and labels in, history and summary out; an epoch is the unit of resuming.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use delt_formats::{HistoryWriter, LabelsReader, Picture, Summary, SyntheticReader, TeacherFacts};
use delt_harness::config::Branch;
use delt_harness::progress::Progress;
use delt_harness::resolve::Role;
use delt_harness::session::{Made, Session, Work};
use delt_harness::table::Score;
use delt_networks::FrozenNetwork;
use delt_networks::diversity::{Diversity, of_classes};
use delt_training::{PictureSet, side_by_side};
use serde_json::{Value, json};

use crate::student::{Lesson, is_tested, train};
use crate::summary::{mean_and_std, student_result};

/// Makes or finds the evaluation of one branch.
///
/// # Errors
/// Missing inputs, artifacts that do not fit each other, a loss that is no number, an interrupt.
pub fn run(session: &Session, branch: &Branch) -> Result<()> {
    let plan = session.evaluation_plan(branch)?;
    session.produce(&plan, |work| evaluate(session, branch, work))?;
    Ok(())
}

fn evaluate(session: &Session, branch: &Branch, work: &Work<'_>) -> Result<Made> {
    let mut opened = delt_device::open_all(&session.args.device)?;
    opened.truncate(branch.pipeline.relabel.seeds.len());
    session.use_devices(opened.iter().map(|opened| opened.name.as_str()));
    let pipeline = &branch.pipeline;
    let teacher = session.network(branch, Role::Teacher)?;
    let facts: TeacherFacts = teacher.manifest.facts_as()?;
    let classes = teacher.manifest.provenance.classes.clone();
    let synthetic = session.synthetic(branch)?;
    let reader = SyntheticReader::open(&synthetic.verified_file("synthetic.parquet")?)?;
    reader.expect_classes(&classes)?;
    let (mut pictures, mut picture_labels) = (Vec::new(), Vec::new());
    for row in reader.rows() {
        let row = row?;
        pictures.push(
            Picture::decode(&row.png)
                .with_context(|| format!("synthetic.parquet, row {}", pictures.len()))?,
        );
        picture_labels.push(row.label);
    }
    let dataset = session.dataset(branch)?;
    let test = test_pictures(&dataset.verified_file("test.parquet")?, facts.size, &classes)?;
    let relabel = &pipeline.relabel;
    let mut with_labels = Vec::new();
    let mut label_bytes = 0;
    let mut label_config = Value::Null;
    for seed in &relabel.seeds {
        let label_seed = if relabel.share_labels { relabel.seeds[0] } else { *seed };
        let labels_entry = session.labels(branch, label_seed)?;
        let labels = LabelsReader::open(&labels_entry.verified_file("labels.parquet")?)?;
        labels.expect_classes(&classes)?;
        labels.expect_input("synthetic", &synthetic.manifest.digest)?;
        labels.expect_input("teacher", &teacher.manifest.digest)?;
        label_config = labels.provenance().config.clone();
        if label_bytes == 0 || !relabel.share_labels {
            label_bytes += labels_entry.manifest.files.values().map(|file| file.bytes).sum::<u64>();
        }
        with_labels.push((*seed, labels));
    }
    let tests = (0..relabel.epochs).filter(|e| is_tested(&pipeline.evaluate, *e, relabel.epochs)).count();
    let total = (relabel.epochs as usize * pictures.len() + tests * test.len()) as u64;
    let devices: Vec<_> = opened.iter().map(|opened| &opened.device).collect();
    let histories = side_by_side(devices, with_labels, |device, (seed, labels)| {
        let progress = Progress::of_branch(&format!("evaluate seed {seed}"), total, "images", branch);
        let lesson = Lesson {
            config: &pipeline.evaluate,
            lr: pipeline.student_lr(classes.len()),
            seed,
            epochs: relabel.epochs,
            stored_epochs: relabel.stored_epochs(),
            pictures: &pictures,
            picture_labels: &picture_labels,
            labels,
            normalization: &facts.normalization,
            size: facts.size,
            classes: classes.len(),
            device,
        };
        let history = train(&lesson, &test, work.checkpoint_dir(), &progress)?;
        progress.finish();
        anyhow::Ok(history)
    })?;
    let students = relabel
        .seeds
        .iter()
        .zip(&histories)
        .map(|(seed, history)| student_result(*seed, history).context("the student was never tested"));
    let students = students.collect::<Result<Vec<_>>>()?;

    let weights = teacher.verified_file("weights.safetensors")?;
    let teacher = FrozenNetwork::load(
        &facts.architecture,
        classes.len(),
        facts.size as usize,
        &weights,
        &opened[0].device,
    )?;
    let diversity =
        Diversity::mean(&of_classes(&teacher, &pictures, &picture_labels, &facts, &opened[0].device)?);
    let provenance = work.provenance(&classes);
    let mut writer = HistoryWriter::create(work.out_dir().join("history.parquet"), &provenance)?;
    for row in histories.iter().flatten() {
        writer.write(row)?;
    }
    writer.finish()?;
    let of = |f: fn(&delt_formats::StudentResult) -> f64| {
        mean_and_std(&students.iter().map(f).collect::<Vec<_>>())
    };
    let (last_mean, last_std) = of(|s| s.last_top1);
    let (best_mean, best_std) = of(|s| s.best_top1);
    let initial = match branch.pipeline.synthesize.import {
        Some(_) => Value::Null,
        None => session.initial(branch)?.manifest.provenance.config,
    };
    let summary = Summary {
        // from the artifacts themselves: the pipeline file may say things that this branch does not read
        branch_recipe: json!({
            "initial": initial,
            "synthetic": synthetic.manifest.provenance.config,
            "labels": label_config,
            "evaluation": provenance.config,
        }),
        students,
        last_mean,
        last_std,
        best_mean,
        best_std,
        image_bytes: synthetic.manifest.files.get("synthetic.parquet").map_or(0, |file| file.bytes),
        label_bytes,
        images: pictures.len() as u64,
        test_images: test.len() as u64,
        cosine_to_centroid: diversity.cosine_to_centroid,
        pairwise_cosine: diversity.pairwise_cosine,
    };
    summary.write(work.out_dir().join("summary.json"))?;
    let n = relabel.seeds.len();
    let score = |mean, std| Score { mean, std, n };
    let line = format!(
        "student {} top-1 last {}, best {} (n = {n}, {} test images)",
        pipeline.evaluate.student,
        score(last_mean, last_std),
        score(best_mean, best_std),
        summary.test_images
    );
    Ok(Made { provenance, facts: serde_json::to_value(&summary)?, summary: line })
}

/// The real images that students are tested on.
///
/// # Errors
/// A split that cannot be read or holds no image.
pub fn test_pictures(path: &Path, size: u32, classes: &[String]) -> Result<PictureSet> {
    let test = PictureSet::load(path, size, classes)?;
    ensure!(
        !test.is_empty(),
        "{}: holds no test image, so students cannot be tested; give `ingest` a source with a test split",
        path.display()
    );
    Ok(test)
}
