//! All batches of a synthesis: recover one after the other, checkpoint, go on where an earlier run stopped.

use delt_augment::draws::Draws;
use delt_harness::config::synthesize::Synthesize;
use delt_harness::progress::Progress;
use rand::RngExt;

use crate::augmentation::Augmentation;
use crate::checkpoint::{CHECKPOINT_ITERATIONS, Checkpoints, FinishedBatch};
use crate::class_target::RealClasses;
use crate::early_late::{BatchSchedule, EarlyLate};
use crate::recover::{Recovery, RecoveryTeacher, lr_at};

/// What the synthesis of all batches needs.
#[derive(Debug)]
pub struct Synthesis<'a> {
    /// The frozen teacher.
    pub teacher: &'a RecoveryTeacher,
    /// Networks beside it, of which or the teacher each iteration takes one.
    pub committee: &'a [RecoveryTeacher],
    /// Hyperparameters.
    pub config: &'a Synthesize,
    /// Class names by label.
    pub classes: &'a [String],
    /// Side of the images, px.
    pub size: usize,
    /// Seed of every draw.
    pub draws: Draws,
    /// The real images, where each batch is pulled to those of its class.
    pub real: Option<RealClasses>,
}

impl Synthesis<'_> {
    /// Recovers all batches of the schedule into checkpoints, one batch in memory at a time. `start` gives the initial images of a batch, CHW, normalised.
    ///
    /// The result does not depend on whether or where an earlier run was stopped.
    ///
    /// # Errors
    /// A loss that is no number, a checkpoint that cannot be kept, or
    /// [`delt_harness::interrupt::Interrupted`] after the state was kept.
    pub fn run(
        &self,
        schedule: &EarlyLate,
        start: impl Fn(&BatchSchedule) -> anyhow::Result<Vec<f32>>,
        checkpoints: &Checkpoints<'_>,
        progress: &Progress,
    ) -> anyhow::Result<()> {
        let device = self.teacher.device();
        let mut done = 0;
        for batch in &schedule.batches {
            let lr_of = |iteration| lr_at(self.config, batch, iteration);
            if checkpoints.has_finished(batch.batch) {
                done += batch.image_iterations();
                progress.resume_at(done);
                continue;
            }
            let start = start(batch)?;
            let mut recovery = Recovery::start(batch, &start, self.size, self.config, device);
            checkpoints.restore(batch.batch, &mut recovery, &lr_of, device)?;
            let resumed: u64 = (0..recovery.iteration)
                .map(|i| batch.rounds[(i / batch.round_iterations()) as usize].len() as u64)
                .sum();
            if resumed > 0 {
                progress.resume_at(done + resumed);
            }
            let of_class = match &self.real {
                Some(real) => {
                    let target = real.target(self.teacher.network(), batch.labels[0], &start)?;
                    Some(self.teacher.pulling_to(target))
                }
                None => None,
            };
            let teacher = of_class.as_ref().unwrap_or(self.teacher);
            self.recover_batch(teacher, batch, &mut recovery, checkpoints, progress)?;
            let finished = FinishedBatch {
                images: recovery.images(teacher)?,
                trace: std::mem::take(&mut recovery.trace),
            };
            checkpoints.keep_finished(batch.batch, &finished)?;
            done += batch.image_iterations();
        }
        Ok(())
    }

    /// The network of one iteration of one batch: the teacher, or one of the committee, drawn alike.
    fn member<'t>(&'t self, teacher: &'t RecoveryTeacher, batch: u32, iteration: u32) -> &'t RecoveryTeacher {
        if self.committee.is_empty() {
            return teacher;
        }
        let mut rng = self.draws.stream("committee-member", u64::from(batch), u64::from(iteration));
        match rng.random_range(0..=self.committee.len()) {
            0 => teacher,
            member => &self.committee[member - 1],
        }
    }

    fn recover_batch(
        &self,
        teacher: &RecoveryTeacher,
        batch: &BatchSchedule,
        recovery: &mut Recovery,
        checkpoints: &Checkpoints<'_>,
        progress: &Progress,
    ) -> Result<(), anyhow::Error> {
        while !recovery.is_finished() {
            let active = recovery.active_images() as u64;
            let (index, size) = (recovery.iteration, self.size as u32);
            let augmentation =
                Augmentation::draw(self.config, &self.draws, batch.batch, index, batch.iterations, size);
            let teacher = self.member(teacher, batch.batch, index);
            recovery.step(teacher, self.config, &augmentation, self.classes)?;
            if let Some(row) = recovery.trace.last() {
                progress.message(format!("batch {} ce {:.3} bn {:.2}", batch.batch, row.ce, row.bn));
            }
            let keep = |recovery: &mut Recovery| -> anyhow::Result<()> {
                recovery.read_losses(self.config, self.classes)?;
                Ok(checkpoints.keep_state(batch.batch, recovery)?)
            };
            if recovery.iteration.is_multiple_of(CHECKPOINT_ITERATIONS) && !recovery.is_finished() {
                keep(recovery)?;
            }
            if let Err(interrupted) = progress.advance(active) {
                keep(recovery)?;
                return Err(interrupted.into());
            }
        }
        Ok(recovery.read_losses(self.config, self.classes)?)
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
