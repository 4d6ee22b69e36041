//! The stage: artifacts in, a method, artifacts out.

use std::cell::OnceCell;
use std::ops::Range;

use anyhow::{Context, Result};
use delt_formats::synthetic::{COURSE_FILE, SYNTHETIC_FILE};
use delt_formats::trace::TRACE_FILE;
use delt_formats::{
    InitialRow, Provenance, RgbImage, Space, SyntheticFacts, SyntheticRow, SyntheticWriter, TraceRow,
    TraceWriter,
};
use delt_harness::parts::{InPieces, Pieces};
use delt_harness::progress::Progress;
use delt_harness::session::{Made, Session, Work};
use delt_matching::Learned;
use delt_pipeline::config::Branch;
use delt_pipeline::config::synthesize::Batches;
use delt_pipeline::dag::Node;
use delt_pipeline::roles::Role;
use delt_training::speed::flops_per_second;
use serde_json::to_value;

use crate::checkpoint::{Checkpoints, Kept, finished_file};
use crate::import::Imported;
use crate::inputs::{Inputs, read_initial};
use crate::method::{self, Method, Place};
use crate::{import, outer_loop};

/// Refuses images of another project that do not fit, before another branch recovers its own for hours.
///
/// # Errors
/// As [`import::images`]; missing inputs.
pub fn check(session: &Session, branch: &Branch) -> Result<()> {
    let network = session.network(branch, Role::Teacher)?;
    if branch.pipeline.synthesize.import.is_some()
        && session.dag().if_made(branch, Node::Synthetic)?.is_none()
    {
        import::images(branch, network.classes())?;
    }
    Ok(())
}

/// Makes or finds the synthetic images of one branch.
///
/// # Errors
/// Missing inputs, artifacts that do not fit each other, and what the method reports.
#[expect(clippy::print_stdout, reason = "the answer of a dry run is the result")]
pub fn run(session: &Session, branch: &Branch) -> Result<()> {
    let plan = session.dag().plan(branch, Node::Synthetic)?;
    let config = &branch.pipeline.synthesize;
    if !config.makes_images() {
        if !session.makes_one_part() {
            session.produce(&plan, |work| unrecovered(session, branch, work))?;
        }
        return Ok(());
    }
    let (inputs, method) = (OnceCell::new(), OnceCell::new());
    // what is in the store already needs no initial image to be read
    let opened = || -> Result<&dyn Method> {
        if inputs.get().is_none() {
            let _ = inputs.set(Inputs::open(session, branch)?);
        }
        let inputs = inputs.get().context("the inputs were opened")?;
        if method.get().is_none() {
            let _ = method.set(method::open(inputs)?);
        }
        method.get().map(Box::as_ref).context("the method was opened")
    };
    if session.args.dry_run {
        println!("{}/{}: {}", session.pipeline_name(), branch.name, opened()?.describe());
    }
    let teacher = session.network(branch, Role::Teacher)?;
    let pieces = InPieces {
        units: &|| Ok(opened()?.units()),
        make: &|units, work| make(session, branch, opened()?, units, work),
        is_piece: |name| name.ends_with("-finished.safetensors"),
        classes: teacher.classes(),
    };
    session.produce_in_pieces(&plan, &pieces, |pieces, work| {
        join(opened()?, config.batches, pieces, teacher.classes(), work)
    })
}

/// Computes some units into the checkpoint folder.
fn make(
    session: &Session,
    branch: &Branch,
    method: &dyn Method,
    units: Range<u64>,
    work: &Work<'_>,
) -> Result<()> {
    session.detail(format!("{}/{}: {}", session.pipeline_name(), branch.name, method.describe()));
    let opened = delt_device::open(&session.args.device)?;
    session.use_device(&opened.name);
    let teacher = session.network(branch, Role::Teacher)?.facts;
    session.forecast(branch, |classes| {
        Ok(flops_per_second(&teacher.architecture, teacher.size, classes, &opened.device)?)
    })?;
    let announce = |label: &str, total: u64, unit: &str| Progress::of_branch(label, total, unit, branch);
    let checkpoints = Checkpoints::new(work.checkpoint_dir());
    let place = Place { opened, checkpoints, announce: &announce };
    let prepared = method.prepare(&place)?;
    let total = units.clone().map(|unit| method.work_of(unit)).sum();
    let progress = announce("delt-synthesize", total, method.counted_in());
    outer_loop::run(method, prepared.as_ref(), units, &place.checkpoints, &progress)?;
    progress.finish();
    Ok(())
}

/// Joins finished units to the artifact.
fn join(
    method: &dyn Method,
    batches: Batches,
    pieces: &Pieces,
    classes: &[String],
    work: &Work<'_>,
) -> Result<Made> {
    let mut output = Output::create(classes, work)?;
    let (mut waiting, mut image_iterations, mut health) = (Vec::new(), 0, Vec::new());
    for unit in 0..method.units() {
        let finished = Kept::read(&pieces.file(unit, &finished_file(unit))?)?;
        let finished = method.rows(unit, &finished)?;
        waiting.extend(finished.images);
        // those of one class are written as they come, so that a large set is never whole in memory
        if batches == Batches::ByClass {
            waiting.drain(..).try_for_each(|row| output.image(&row))?;
        }
        finished.trace.iter().try_for_each(|row| output.loss(row))?;
        health.push(finished.health);
        output.learned = finished.learned;
        output.course.resize(output.course.len().max(finished.course.len()), Vec::new());
        let moments = output.course.iter_mut().zip(finished.course);
        moments.for_each(|(row, images)| row.extend(images));
        image_iterations += method.work_of(unit);
    }
    waiting.sort_by_key(|row| (row.label, row.slot));
    waiting.iter().try_for_each(|row| output.image(row))?;
    method.notes(&health)?.into_iter().for_each(|note| work.note(note));
    let images = output.images;
    let summary = format!("{images} images recovered in {image_iterations} {}", method.counted_in());
    output.space = method.space()?;
    output.course(work)?;
    output.finish(image_iterations, method.rounds(), summary)
}

/// The images of another project, or with `max_iterations: 0` the initial ones.
fn unrecovered(session: &Session, branch: &Branch, work: &Work<'_>) -> Result<Made> {
    let (classes, Imported { rows, per_class, notes }, summary) = match &branch.pipeline.synthesize.import {
        Some(path) => {
            let classes = session.network(branch, Role::Teacher)?.classes().to_vec();
            let imported = import::images(branch, &classes)?;
            let summary = format!("{} images imported from {}", imported.rows.len(), path.display());
            (classes, imported, summary)
        }
        None => {
            let (classes, rows) = read_initial(&session.dag().entry(branch, Node::Initial)?)?;
            let summary = format!("{} initial images kept as they are", rows.len());
            let keep = |InitialRow { png, label, slot, .. }| SyntheticRow {
                png,
                label,
                slot,
                ..SyntheticRow::default()
            };
            let rows = rows.into_iter().map(keep).collect();
            (classes, Imported { rows, ..Imported::default() }, summary)
        }
    };
    notes.into_iter().for_each(|note| work.note(note));
    let mut output = Output { per_class, ..Output::create(&classes, work)? };
    rows.iter().try_for_each(|row| output.image(row))?;
    output.finish(0, Some(0), summary)
}

/// The artifact under construction.
struct Output {
    provenance: Provenance,
    rows: SyntheticWriter,
    trace: TraceWriter,
    images: u64,
    /// As [`Imported::per_class`].
    per_class: Vec<u64>,
    space: Option<Space>,
    /// What the last unit learned: methods that learn numbers have one unit.
    learned: Learned,
    /// What some images looked like on the way.
    course: Vec<Vec<RgbImage>>,
}

impl Output {
    fn create(classes: &[String], work: &Work<'_>) -> Result<Self> {
        let provenance = work.provenance(classes);
        let rows = SyntheticWriter::create(work.out_dir().join(SYNTHETIC_FILE), &provenance)?;
        let trace = TraceWriter::create(work.out_dir().join(TRACE_FILE), &provenance)?;
        let (space, learned) = (None, Learned::default());
        let (per_class, course) = (Vec::new(), Vec::new());
        Ok(Self { provenance, rows, trace, images: 0, per_class, space, learned, course })
    }

    fn image(&mut self, row: &SyntheticRow) -> Result<()> {
        self.images += 1;
        Ok(self.rows.write(row)?)
    }

    fn loss(&mut self, row: &TraceRow) -> Result<()> {
        Ok(self.trace.write(row)?)
    }

    /// Writes the course of some images, where there is one.
    fn course(&self, work: &Work<'_>) -> Result<()> {
        let course = RgbImage::in_rows(&self.course);
        if !course.rgb.is_empty() {
            fs_err::write(work.out_dir().join(COURSE_FILE), course.encode_png()?)?;
        }
        Ok(())
    }

    fn finish(self, image_iterations: u64, rounds: Option<usize>, summary: String) -> Result<Made> {
        self.rows.finish()?;
        self.trace.finish()?;
        let rounds = rounds.map(|rounds| rounds as u64);
        let Self { images, per_class, space, learned, .. } = self;
        let Learned { lr: learned_lr, log_temperature } = learned;
        let facts = SyntheticFacts {
            images,
            image_iterations,
            rounds,
            per_class,
            space,
            learned_lr,
            log_temperature,
        };
        Ok(Made { provenance: self.provenance, facts: to_value(facts)?, summary })
    }
}
