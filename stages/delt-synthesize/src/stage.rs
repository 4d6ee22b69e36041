//! The stage: artifacts in, schedule, recovery, artifacts out.

use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result};
use delt_augment::draws::Draws;
use delt_augment::normalize::{to_normalized, to_picture};
use delt_device::Opened;
use delt_formats::dataset::TRAIN_FILE;
use delt_formats::{
    Entry, InitialReader, InitialRow, Normalization, Picture, SyntheticRow, SyntheticWriter, TeacherFacts,
    TraceWriter,
};
use delt_harness::config::synthesize::{Batches, Dtype, Init, Synthesize};
use delt_harness::config::{Branch, Pipeline};
use delt_harness::parts::{InPieces, Pieces};
use delt_harness::progress::Progress;
use delt_harness::resolve::Role;
use delt_harness::session::{Made, Session, Work};
use delt_networks::FrozenNetwork;
use delt_training::PictureSet;
use delt_training::speed::flops_per_second;
use serde_json::json;

use crate::checkpoint::{Checkpoints, finished_file, read_finished};
use crate::class_target::RealClasses;
use crate::convolution_statistics::{ConvolutionStatistics, of_real};
use crate::early_late::{BatchSchedule, EarlyLate, EarlyLateConfig};
use crate::import;
use crate::recover::{RecoveryTeacher, lr_at};
use crate::synthesize::{Synthesis, noise};

/// A GPU works on while the host waits for the losses of so many iterations.
const GPU_ITERATIONS_BETWEEN_READS: usize = 25;

/// Makes or finds the synthetic images of one branch.
///
/// # Errors
/// Missing inputs, artifacts that do not fit each other, and what the recovery reports.
#[expect(clippy::print_stdout, reason = "the answer of a dry run is the result")]
pub fn run(session: &Session, branch: &Branch) -> Result<()> {
    let plan = session.synthetic_plan(branch)?;
    let config = &branch.pipeline.synthesize;
    if let Some(path) = &config.import {
        if !session.makes_one_part() {
            session.produce(&plan, |work| import(session, branch, path, work))?;
        }
        return Ok(());
    }
    let initial = session.initial(branch)?;
    if session.args.dry_run && config.max_iterations > 0 {
        let (_, rows) = read_initial(&initial)?;
        println!("{}/{}: {}", session.pipeline_name(), branch.name, schedule(branch, &rows).describe());
    }
    if config.max_iterations == 0 {
        if !session.makes_one_part() {
            session.produce(&plan, |work| keep_initial(&initial, work))?;
        }
        return Ok(());
    }
    let teacher = session.network(branch, Role::Teacher)?;
    let facts: TeacherFacts = teacher.manifest.facts_as()?;
    let classes = &teacher.manifest.provenance.classes;
    let pieces = InPieces {
        units: &|| Ok(schedule(branch, &read_initial(&initial)?.1).batches.len() as u64),
        make: &|range, work| recover(session, branch, &teacher, &initial, range, work),
        is_piece: |name| name.ends_with("-finished.safetensors"),
        classes,
    };
    session.produce_in_pieces(&plan, &pieces, |pieces, work| {
        let schedule = schedule(branch, &read_initial(&initial)?.1);
        write(&schedule, pieces, config, &facts, classes, work)
    })
}

/// `max_iterations: 0`: the initial images are the synthetic ones.
fn keep_initial(initial: &Entry, work: &Work<'_>) -> Result<Made> {
    let (classes, rows) = read_initial(initial)?;
    let summary = format!("{} initial images kept as they are", rows.len());
    let keep =
        |InitialRow { png, label, slot, .. }| SyntheticRow { png, label, slot, round: 0, iterations: 0 };
    write_unrecovered(rows.into_iter().map(keep).collect(), summary, &classes, work)
}

/// Images of another project.
fn import(session: &Session, branch: &Branch, path: &Path, work: &Work<'_>) -> Result<Made> {
    let classes = session.network(branch, Role::Teacher)?.manifest.provenance.classes;
    let rows = import::images(path, &classes, branch.pipeline.teacher.size, branch.pipeline.select.ipc)?;
    let summary = format!("{} images imported from {}", rows.len(), path.display());
    write_unrecovered(rows, summary, &classes, work)
}

fn write_unrecovered(
    rows: Vec<SyntheticRow>,
    summary: String,
    classes: &[String],
    work: &Work<'_>,
) -> Result<Made> {
    let provenance = work.provenance(classes);
    let mut writer = SyntheticWriter::create(work.out_dir().join("synthetic.parquet"), &provenance)?;
    for row in &rows {
        writer.write(row)?;
    }
    writer.finish()?;
    TraceWriter::create(work.out_dir().join("trace.parquet"), &provenance)?.finish()?;
    let facts = json!({ "images": rows.len(), "image_iterations": 0, "rounds": 0 });
    Ok(Made { provenance, facts, summary })
}

/// Recovers some batches into the checkpoint folder.
fn recover(
    session: &Session,
    branch: &Branch,
    teacher: &Entry,
    initial: &Entry,
    batches: Range<u64>,
    work: &Work<'_>,
) -> Result<()> {
    let pipeline = &branch.pipeline;
    let config = &pipeline.synthesize;
    let facts: TeacherFacts = teacher.manifest.facts_as()?;
    let (classes, rows) = read_initial(initial)?;
    initial.manifest.provenance.expect_classes(&initial.dir, &teacher.manifest.provenance.classes)?;
    let draws = Draws::new(pipeline.seed);
    let whole = schedule(branch, &rows);
    eprintln!("delt-synthesize: {}/{}: {}", session.pipeline_name(), branch.name, whole.describe());
    let own = batches.start as usize..batches.end as usize;
    let schedule = EarlyLate { batches: whole.batches[own].to_vec(), ..whole };

    let opened = delt_device::open(&session.args.device)?;
    session.use_device(&opened.name);
    session.forecast(branch, |classes| {
        Ok(flops_per_second(&facts.architecture, facts.size, classes, &opened.device)?)
    })?;
    let images = if config.needs_real_images() {
        let train = session.dataset(branch)?.verified_file(TRAIN_FILE)?;
        Some(PictureSet::load(&train, facts.size, &classes)?)
    } else {
        None
    };
    let checkpoints = Checkpoints::new(work.checkpoint_dir());
    let load = |(entry, member): (&Entry, usize)| -> Result<RecoveryTeacher> {
        let recovery = load(entry, config, &opened)?;
        let (Some(matched), Some(images)) = (config.convolution_statistics, &images) else {
            return Ok(recovery);
        };
        let targets = checkpoints.statistics(&format!("network-{member}"), || {
            let label = "delt-synthesize convolution statistics";
            let progress = Progress::of_branch(label, images.len() as u64, "images", branch);
            let (constants, device) = (&facts.normalization, &opened.device);
            let found = of_real(recovery.network(), images, constants, device, &progress)?;
            progress.finish();
            Ok(found)
        })?;
        let matched = ConvolutionStatistics::new(&targets, matched.drop, draws, &opened.device);
        Ok(recovery.matching_convolutions(matched))
    };
    let recovery_teacher = load((teacher, 0))?;
    let committee = if pipeline.recovers_by_committee() { session.committee(branch)? } else { Vec::new() };
    let committee: Vec<RecoveryTeacher> = committee.iter().zip(1..).map(load).collect::<Result<_>>()?;
    let size = facts.size as usize;
    let real = images
        .filter(|_| config.target.is_barycenter())
        .map(|images| RealClasses::new(images, classes.len(), facts.normalization, &opened.device));
    let start = |batch: &BatchSchedule| match config.init {
        Init::Noise => Ok(noise(&draws, batch, size)),
        Init::Selected => initial_pixels(&rows, batch, size, &facts.normalization),
    };
    let progress =
        Progress::of_branch("delt-synthesize", schedule.image_iterations(), "image-iterations", branch);
    let synthesis = Synthesis {
        teacher: &recovery_teacher,
        committee: &committee,
        config,
        classes: &classes,
        size,
        draws: Draws::new(pipeline.seed),
        real,
    };
    synthesis.run(&schedule, start, &checkpoints, &progress)?;
    progress.finish();
    Ok(())
}

/// A network, ready to recover from.
fn load(entry: &Entry, config: &Synthesize, opened: &Opened) -> Result<RecoveryTeacher> {
    let facts: TeacherFacts = entry.manifest.facts_as()?;
    let weights = entry.verified_file("weights.safetensors")?;
    let network = FrozenNetwork::load(
        &facts.architecture,
        entry.manifest.provenance.classes.len(),
        facts.size as usize,
        &weights,
        &opened.device,
    )?;
    let network = match config.dtype {
        Dtype::F32 => network,
        Dtype::Bf16 => network.in_bf16(),
    };
    let teacher = RecoveryTeacher::new(network, &facts.normalization, &opened.device);
    Ok(teacher.reading_losses_every(if opened.is_cpu() { 1 } else { GPU_ITERATIONS_BETWEEN_READS }))
}

/// The schedule of the classes that have initial images.
fn schedule(branch: &Branch, rows: &[InitialRow]) -> EarlyLate {
    let Pipeline { synthesize, select, seed, .. } = &branch.pipeline;
    let mut labels: Vec<u32> = rows.iter().map(|row| row.label).collect();
    labels.dedup();
    EarlyLate::new(&schedule_config(synthesize, select.ipc), labels, &Draws::new(*seed))
}

/// The part of the configuration that the schedule depends on.
pub fn schedule_config(config: &Synthesize, ipc: u32) -> EarlyLateConfig {
    EarlyLateConfig {
        ipc,
        max_iterations: config.max_iterations,
        round_iterations: config.round_iterations,
        batch: config.batch,
        batches: config.batches,
        early_late: config.early_late,
        min_iterations: config.min_iterations,
    }
}

fn read_initial(initial: &Entry) -> Result<(Vec<String>, Vec<InitialRow>)> {
    let reader = InitialReader::open(&initial.verified_file("initial.parquet")?)?;
    let classes = reader.provenance().classes.clone();
    let mut rows = reader.rows().collect::<Result<Vec<_>, _>>()?;
    rows.sort_by_key(|row| (row.label, row.slot));
    Ok((classes, rows))
}

fn initial_pixels(
    rows: &[InitialRow],
    batch: &BatchSchedule,
    size: usize,
    constants: &Normalization,
) -> Result<Vec<f32>> {
    let mut pixels = vec![0.0; batch.labels.len() * 3 * size * size];
    let images = batch.labels.iter().zip(&batch.slots);
    for ((label, slot), out) in images.zip(pixels.chunks_mut(3 * size * size)) {
        let at = rows.binary_search_by_key(&(label, slot), |row| (&row.label, &row.slot)).ok().with_context(
            || {
                format!(
                    "initial.parquet: no image for class {label} slot {slot}; run init-select again (FORCE=1)"
                )
            },
        )?;
        let picture = Picture::decode(&rows[at].png).with_context(|| format!("initial.parquet, row {at}"))?;
        to_normalized(&picture, constants, out);
    }
    Ok(pixels)
}

fn write(
    schedule: &EarlyLate,
    pieces: &Pieces,
    config: &Synthesize,
    facts: &TeacherFacts,
    classes: &[String],
    work: &Work<'_>,
) -> Result<Made> {
    let provenance = work.provenance(classes);
    let mut images = SyntheticWriter::create(work.out_dir().join("synthetic.parquet"), &provenance)?;
    let mut trace = TraceWriter::create(work.out_dir().join("trace.parquet"), &provenance)?;
    let pixels = 3 * (facts.size as usize).pow(2);
    let mut rows = Vec::new();
    let mut count = 0;
    for batch in &schedule.batches {
        let path = pieces.file(u64::from(batch.batch), &finished_file(batch.batch))?;
        let finished = read_finished(&path, batch, &|iteration| lr_at(config, batch, iteration))?;
        for (at, image) in finished.images.chunks(pixels).enumerate() {
            let png = to_picture(image, facts.size, &facts.normalization).encode_png()?;
            let (label, slot, round) = (batch.labels[at], batch.slots[at], batch.joins[at]);
            rows.push(SyntheticRow { png, label, slot, round, iterations: batch.iterations_of(at) });
            count += 1;
        }
        // those of one class are written as they come, so that a large set is never whole in memory
        if config.batches == Batches::ByClass {
            rows.drain(..).try_for_each(|row| images.write(&row))?;
        }
        for row in &finished.trace {
            trace.write(row)?;
        }
    }
    rows.sort_by_key(|row| (row.label, row.slot));
    rows.iter().try_for_each(|row| images.write(row))?;
    images.finish()?;
    trace.finish()?;
    let image_iterations = schedule.image_iterations();
    let rounds = schedule.batches.iter().map(|b| b.rounds.len()).max();
    let facts = json!({ "images": count, "image_iterations": image_iterations, "rounds": rounds });
    Ok(Made {
        provenance,
        facts,
        summary: format!("{count} images recovered in {image_iterations} image-iterations"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_initial_image_that_is_not_there_is_named_by_class_and_slot() {
        let picture = Picture { width: 2, height: 2, rgb: vec![128; 12] };
        let png = picture.encode_png().expect("PNG");
        let rows: Vec<InitialRow> = [(0, 0), (0, 1), (1, 0)]
            .into_iter()
            .map(|(label, slot)| InitialRow { png: png.clone(), label, slot, image_id: 0, probability: 0.5 })
            .collect();
        let config = EarlyLateConfig {
            ipc: 2,
            max_iterations: 2,
            round_iterations: 1,
            batch: 4,
            batches: Batches::ByClass,
            early_late: true,
            min_iterations: None,
        };
        let schedule = EarlyLate::new(&config, 0..2, &Draws::new(0));
        let constants = Normalization { mean: [0.5; 3], std: [0.5; 3] };
        let message = |rows: &[InitialRow]| {
            let error = initial_pixels(rows, &schedule.batches[0], 2, &constants).expect_err("refused");
            format!("{error:#}")
        };
        assert_eq!(
            message(&rows),
            "initial.parquet: no image for class 1 slot 1; run init-select again (FORCE=1)"
        );
        let mut broken = rows;
        broken[1].png = b"no picture".to_vec();
        assert!(message(&broken).starts_with("initial.parquet, row 1: "), "{}", message(&broken));
    }
}
