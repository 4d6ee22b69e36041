//! EarlyLate recovery as a method (DELT, algorithm 1): batches of the schedule are the units; each is a [`Recovery`] under the
//! augmentation of its iteration and the objective of the teacher, or of a network of the committee drawn anew each time.

use std::sync::Arc;

use anyhow::{Context, Result};
use delt_augment::draws::Draws;
use delt_augment::normalize::{to_normalized, to_rgb_image};
use delt_formats::dataset::{DatasetFacts, TRAIN_FILE};
use delt_formats::initial::INITIAL_FILE;
use delt_formats::{InitialRow, NamedTensor, Normalization, RgbImage, SyntheticRow};
use delt_harness::progress::Progress;
use delt_harness::trained::Trained;
use delt_matching::Learned;
use delt_networks::FrozenNetwork;
use delt_pipeline::config::synthesize::{Dtype, Init, Synthesize};
use delt_pipeline::early_late::{BatchSchedule, EarlyLate};
use delt_store::Entry;
use delt_training::ImageSet;
use rand::RngExt;

use crate::augmentation::Augmentation;
use crate::checkpoint::Kept;
use crate::health::{Health, notes};
use crate::inputs::Inputs;
use crate::method::{Finished, Method, Place, Prepared, Step, Unit};
use crate::objectives::together::Together;
use crate::objectives::{self, Preparation};
use crate::recover::{FinishedBatch, Recovery, RecoveryTeacher};

/// A GPU works on while the host waits for the losses of so many iterations.
const GPU_ITERATIONS_BETWEEN_READS: usize = 25;

/// At most so many initial images are asked how many of their values are black or white.
const INITIAL_LOOKED_AT: usize = 1000;

/// The method of DELT and its neighbors.
#[derive(Debug)]
pub struct EarlyLateRecovery<'a> {
    inputs: &'a Inputs<'a>,
    schedule: EarlyLate,
}

impl<'a> EarlyLateRecovery<'a> {
    /// Computes the schedule of the classes that have initial images.
    pub fn new(inputs: &'a Inputs<'a>) -> Self {
        let pipeline = &inputs.branch.pipeline;
        let mut labels: Vec<u32> = inputs.initial.iter().map(|row| row.label).collect();
        labels.dedup();
        let (config, ipc, draws) =
            (&pipeline.synthesize, pipeline.select.ipc, Draws::new(pipeline.draw_seed()));
        Self { inputs, schedule: EarlyLate::new(config, ipc, labels, &draws) }
    }

    fn config(&self) -> &Synthesize {
        &self.inputs.branch.pipeline.synthesize
    }

    fn batch(&self, unit: u64) -> &BatchSchedule {
        &self.schedule.batches[unit as usize]
    }
}

impl Method for EarlyLateRecovery<'_> {
    fn describe(&self) -> String {
        self.schedule.describe()
    }

    fn units(&self) -> u64 {
        self.schedule.batches.len() as u64
    }

    fn work_of(&self, unit: u64) -> u64 {
        self.batch(unit).image_iterations()
    }

    fn counted_in(&self) -> &'static str {
        "image-iterations"
    }

    fn prepare<'m>(&'m self, place: &'m Place<'m>) -> Result<Box<dyn Prepared + 'm>> {
        let (inputs, config) = (self.inputs, self.config());
        let facts = &inputs.teacher.facts;
        let open = |entry: &Entry| -> Result<ImageSet> {
            let images = entry.manifest.facts_as::<DatasetFacts>()?.train_images;
            let (path, classes) = (entry.verified_file(TRAIN_FILE)?, inputs.teacher.classes());
            let progress = Progress::new("delt-synthesize reading", images, "images");
            let set = ImageSet::load(&path, facts.size, classes, &progress)?;
            progress.finish();
            Ok(set)
        };
        let preparation = Preparation {
            config,
            real: inputs.dataset.as_ref().map(open).transpose()?.map(Arc::new),
            normalization: facts.normalization,
            classes: inputs.teacher.classes().len(),
            draws: Draws::new(inputs.branch.pipeline.draw_seed()),
            place,
        };
        let networks = std::iter::once(&inputs.teacher).chain(&inputs.committee).enumerate();
        let teachers = networks.map(|(member, network)| teacher(network, member, &preparation));
        let teachers = teachers.collect::<Result<_>>()?;
        Ok(Box::new(Recoveries {
            config,
            classes: inputs.teacher.classes(),
            initial: &inputs.initial,
            schedule: &self.schedule,
            normalization: facts.normalization,
            size: facts.size as usize,
            draws: preparation.draws,
            teachers,
        }))
    }

    fn rows(&self, unit: u64, finished: &Kept) -> Result<Finished> {
        let (batch, facts) = (self.batch(unit), &self.inputs.teacher.facts);
        let finished = FinishedBatch::read(finished, batch, self.config())?;
        let mut health = Health::of_losses(&finished.trace, batch, self.config());
        let mut images = Vec::new();
        let pixels = 3 * (facts.size as usize).pow(2);
        for (at, image) in finished.images.chunks(pixels).enumerate() {
            let picture = to_rgb_image(image, facts.size, &facts.normalization);
            health.count(&picture);
            let png = picture.encode_png()?;
            let (label, slot, round) = (batch.labels[at], batch.slots[at], batch.joins[at]);
            let iterations = batch.iterations_of(at);
            images.push(SyntheticRow { png, label, slot, round, iterations, ..SyntheticRow::default() });
        }
        let (trace, learned) = (finished.trace, Learned::default());
        Ok(Finished { images, trace, health, learned, course: Vec::new() })
    }

    fn notes(&self, health: &[Health]) -> Result<Vec<String>> {
        let rows = &self.inputs.initial;
        let mut initial = Health::default();
        for row in rows.iter().step_by(rows.len().div_ceil(INITIAL_LOOKED_AT)) {
            initial.count(&RgbImage::decode(&row.png).context(INITIAL_FILE)?);
        }
        Ok(notes(health, &initial, self.config()))
    }

    fn rounds(&self) -> Option<usize> {
        self.schedule.batches.iter().map(|batch| batch.rounds.len()).max()
    }
}

/// A network with its objective, on the device.
fn teacher(network: &Trained, member: usize, preparation: &Preparation<'_>) -> Result<RecoveryTeacher> {
    let opened = &preparation.place.opened;
    let (device, normalization) = (&opened.device, &network.facts.normalization);
    let classes = network.classes().len();
    let frozen = FrozenNetwork::load(&network.facts, classes, &network.weights()?, device)?;
    let frozen = match preparation.config.dtype {
        Dtype::F32 => frozen,
        Dtype::Bf16 => frozen.in_bf16(),
    };
    let objective = objectives::prepare(frozen, member, preparation)?;
    let between_reads = if opened.is_cpu() { 1 } else { GPU_ITERATIONS_BETWEEN_READS };
    Ok(RecoveryTeacher::of(objective, normalization, device).reading_losses_every(between_reads))
}

/// The recovery of all batches, with its networks on a device.
#[derive(Debug)]
pub struct Recoveries<'a> {
    /// Hyperparameters.
    pub config: &'a Synthesize,
    /// Class names by label.
    pub classes: &'a [String],
    /// The initial images, by class and slot.
    pub initial: &'a [InitialRow],
    /// Which image is optimized when.
    pub schedule: &'a EarlyLate,
    /// How the networks see pixels.
    pub normalization: Normalization,
    /// Side of the images, px.
    pub size: usize,
    /// Seed of every draw.
    pub draws: Draws,
    /// The frozen teacher, then the networks beside it, of which each iteration takes one.
    pub teachers: Vec<RecoveryTeacher>,
}

impl Recoveries<'_> {
    /// The networks that iterations of a batch choose from: all, or one that stands for those drawn for the batch.
    fn at_once(&self, batch: &BatchSchedule, teachers: Vec<RecoveryTeacher>) -> Vec<RecoveryTeacher> {
        let Some(together) = self.config.together.as_ref().filter(|_| teachers.len() > 1) else {
            return teachers;
        };
        let mut rng = self.draws.stream("committee-together", u64::from(batch.batch), 0);
        let mut members: Vec<usize> = (0..teachers.len()).collect();
        for at in 0..together.networks as usize {
            let other = rng.random_range(at..members.len());
            members.swap(at, other);
        }
        members.truncate(together.networks as usize);
        let weights = together.strengths.weights(&members);
        let objectives = members.iter().map(|member| teachers[*member].objective.clone());
        match Together::new(weights.into_iter().zip(objectives)) {
            Some(together) => vec![teachers[0].with(Arc::new(together))],
            None => teachers,
        }
    }
}

impl Prepared for Recoveries<'_> {
    fn begin(&self, unit: u64) -> Result<Box<dyn Unit + '_>> {
        let batch = &self.schedule.batches[unit as usize];
        let start = match self.config.init {
            Init::Noise => noise(&self.draws, batch, self.size),
            Init::Selected => initial_pixels(self.initial, batch, self.size, &self.normalization)?,
        };
        let recovery = Recovery::start(batch, &start, self.size, self.config, self.teachers[0].device());
        let teachers = self.teachers.iter().map(|teacher| teacher.of_batch(batch, &start));
        let teachers = self.at_once(batch, teachers.collect::<Result<_>>()?);
        Ok(Box::new(OneBatch { of: self, batch, recovery, teachers }))
    }
}

/// One batch.
#[derive(Debug)]
struct OneBatch<'a> {
    of: &'a Recoveries<'a>,
    batch: &'a BatchSchedule,
    recovery: Recovery,
    /// Those of [`Recoveries`], with the objective of this batch.
    teachers: Vec<RecoveryTeacher>,
}

impl OneBatch<'_> {
    /// The network of an iteration: the teacher, or one of the committee, drawn alike.
    fn member(&self, iteration: u32) -> usize {
        let members = self.teachers.len();
        if members == 1 {
            return 0;
        }
        let (batch, iteration) = (u64::from(self.batch.batch), u64::from(iteration));
        self.of.draws.stream("committee-member", batch, iteration).random_range(0..members)
    }
}

/// Before the names of an objective's own tensors in a checkpoint.
fn objective_prefix(member: usize) -> String {
    format!("objective.{member}.")
}

impl Unit for OneBatch<'_> {
    fn is_finished(&self) -> bool {
        self.recovery.is_finished()
    }

    fn steps(&self) -> u32 {
        self.recovery.iteration
    }

    fn step(&mut self) -> Result<Step> {
        let (of, batch, iteration) = (self.of, self.batch, self.recovery.iteration);
        let work = self.recovery.images_at(iteration) as u64;
        let (size, iterations) = (of.size as u32, batch.iterations);
        let augmentation = Augmentation::draw(of.config, &of.draws, batch.batch, iteration, iterations, size);
        let teacher = &self.teachers[self.member(iteration)];
        self.recovery.step(teacher, &augmentation, of.classes)?;
        let [target, statistics] = of.config.objective().trace_names().map(|name| name.short);
        let said =
            self.recovery.trace.last().map(|row| {
                format!("batch {} {target} {:.3} {statistics} {:.2}", batch.batch, row.ce, row.bn)
            });
        Ok(Step { work, said })
    }

    fn save(&mut self) -> Result<Vec<NamedTensor>> {
        self.recovery.read_losses(self.of.classes)?;
        let mut tensors = self.recovery.save()?;
        for (member, teacher) in self.teachers.iter().enumerate() {
            let own = teacher.objective.save().into_iter();
            tensors.extend(
                own.map(|tensor| NamedTensor { name: objective_prefix(member) + &tensor.name, ..tensor }),
            );
        }
        Ok(tensors)
    }

    fn restore(&mut self, kept: &Kept) -> Result<u64> {
        self.recovery.restore(kept)?;
        for (member, teacher) in self.teachers.iter().enumerate() {
            teacher.objective.restore(&kept.below(&objective_prefix(member)))?;
        }
        let worked = |iteration| self.recovery.images_at(iteration) as u64;
        Ok((0..self.recovery.iteration).map(worked).sum())
    }

    fn finish(&mut self) -> Result<Vec<NamedTensor>> {
        self.recovery.read_losses(self.of.classes)?;
        let images = self.recovery.images(&self.teachers[0])?;
        Ok(FinishedBatch { images, trace: std::mem::take(&mut self.recovery.trace) }.save())
    }
}

/// Standard normal noise for the images of a batch, drawn per class and slot (SRe2L, CDA).
pub fn noise(draws: &Draws, batch: &BatchSchedule, size: usize) -> Vec<f32> {
    let images = batch.labels.iter().zip(&batch.slots);
    images
        .flat_map(|(label, slot)| {
            let rng = draws.stream("initial-noise", u64::from(*label), u64::from(*slot));
            delt_augment::draws::standard_normal(rng).take(3 * size * size)
        })
        .collect()
}

/// The initial images of a batch, CHW, normalized.
fn initial_pixels(
    rows: &[InitialRow],
    batch: &BatchSchedule,
    size: usize,
    constants: &Normalization,
) -> Result<Vec<f32>> {
    let mut pixels = vec![0.0; batch.labels.len() * 3 * size * size];
    let images = batch.labels.iter().zip(&batch.slots);
    for ((label, slot), out) in images.zip(pixels.chunks_mut(3 * size * size)) {
        let at = rows.binary_search_by_key(&(label, slot), |row| (&row.label, &row.slot)).ok();
        let at = at.with_context(|| {
            format!(
                "initial.parquet: no image for class {label} slot {slot}; run init-select again (FORCE=1)"
            )
        })?;
        let picture =
            RgbImage::decode(&rows[at].png).with_context(|| format!("initial.parquet, row {at}"))?;
        to_normalized(&picture.rgb, constants, out);
    }
    Ok(pixels)
}
