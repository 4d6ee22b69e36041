//! The recovery loop of one batch: pixels that minimise cross-entropy plus the distance of the teacher's BatchNorm
//! statistics, image after image joining as the EarlyLate schedule says (DELT, sections 3.1 and 3.2; SRe2L, eq. 7).

use burn::tensor::{Device, Tensor, TensorData};
use delt_formats::TraceRow;
use delt_harness::config::synthesize::{LrSchedule, Synthesize};

use crate::adam::PixelAdam;
use crate::augmentation::Augmentation;
use crate::early_late::BatchSchedule;
pub use crate::recovery_loss::{RecoveryLoss, RecoveryTeacher};

/// What goes wrong while pixels are optimised.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The loss is no number any more.
    #[error(
        "batch {batch} (classes {classes}), iteration {iteration}: the loss is {loss}; the last checkpoint is kept; \
         lower synthesize.lr or synthesize.bn_matching_weight"
    )]
    NotFinite {
        /// Index of the batch.
        batch: u32,
        /// Names of its first and last class.
        classes: String,
        /// Iteration, from 0.
        iteration: u32,
        /// What was found.
        loss: f32,
    },
    /// A value could not be read back from the device.
    #[error("the device returned no values: {0}")]
    Device(String),
}

/// Learning rate of an iteration: a cosine from `lr` to 0.
///
/// `iteration` counts within `span`, the batch's iterations or those of one round.
pub fn cosine_lr(lr: f64, iteration: u32, span: u32) -> f64 {
    0.5 * lr * (1.0 + (std::f64::consts::PI * f64::from(iteration) / f64::from(span)).cos())
}

/// Learning rate by iteration.
pub type LrOf<'a> = &'a dyn Fn(u32) -> f64;

/// Learning rate of an iteration of a batch, over the span that the configuration names.
pub fn lr_at(config: &Synthesize, schedule: &BatchSchedule, iteration: u32) -> f64 {
    match config.lr_schedule {
        LrSchedule::PerBatch => cosine_lr(config.lr, iteration, schedule.iterations),
        LrSchedule::PerRound => {
            let span = schedule.round_iterations();
            cosine_lr(config.lr, iteration % span, span)
        }
    }
}

/// One batch while it is optimised. Images stand in the order in which they join, so those at work are a prefix.
#[derive(Debug)]
pub struct Recovery {
    schedule: BatchSchedule,
    /// Position in the batch of each image in joining order.
    order: Vec<u32>,
    labels: Vec<u32>,
    /// Images that have joined, `[active, 3, size, size]`, normalised.
    pub active: Tensor<4>,
    /// Images that wait, in joining order, CHW each.
    waiting: Vec<f32>,
    /// What all images start from, in joining order, where they are blended with it again.
    initial: Option<Vec<f32>>,
    /// Moments of the active images.
    pub adam: PixelAdam,
    /// Iterations done.
    pub iteration: u32,
    /// Losses so far, but for those that are still on the device: see [`Self::read_losses`].
    pub trace: Vec<TraceRow>,
    unread: Vec<Unread>,
    size: usize,
}

/// Losses of an iteration that are still on the device.
#[derive(Debug)]
struct Unread {
    lr: f64,
    /// Cross-entropy, `[1]`.
    cross_entropy: Tensor<1>,
    /// Sum of the BatchNorm terms, `[1]`.
    bn_statistics: Tensor<1>,
}

impl Recovery {
    /// Starts a batch.
    ///
    /// # Shapes
    /// `start`: all images of the batch in batch order, CHW, normalised, `[batch, 3, size, size]`.
    pub fn start(
        schedule: &BatchSchedule,
        start: &[f32],
        size: usize,
        config: &Synthesize,
        device: &Device,
    ) -> Self {
        let order = joining_order(schedule);
        let pixels = 3 * size * size;
        let sorted: Vec<f32> = order
            .iter()
            .flat_map(|at| &start[*at as usize * pixels..(*at as usize + 1) * pixels])
            .copied()
            .collect();
        let joined = schedule.rounds.first().map_or(0, Vec::len);
        let active = TensorData::new(sorted[..joined * pixels].to_vec(), [joined, 3, size, size]);
        Self {
            labels: order.iter().map(|at| schedule.labels[*at as usize]).collect(),
            schedule: schedule.clone(),
            active: Tensor::from_data(active, device),
            waiting: sorted[joined * pixels..].to_vec(),
            initial: config.residual.is_some().then_some(sorted),
            adam: PixelAdam::new(config, joined, size, device),
            iteration: 0,
            trace: Vec::new(),
            unread: Vec::new(),
            order,
            size,
        }
    }

    /// Whether all iterations are done.
    pub fn is_finished(&self) -> bool {
        self.iteration >= self.schedule.iterations
    }

    /// Number of images at work in the coming iteration.
    pub fn active_images(&self) -> usize {
        let round = (self.iteration / self.schedule.round_iterations()) as usize;
        self.schedule.rounds.get(round).map_or(0, Vec::len)
    }

    /// One iteration: images join, augmentation, loss, backward, Adam, clip.
    ///
    /// # Errors
    /// [`RecoverError::NotFinite`] when the loss is NaN or infinite, of this iteration or of one before whose losses had
    /// not been read; the images are spoilt then, and a checkpoint is what to go on from.
    pub fn step(
        &mut self,
        teacher: &RecoveryTeacher,
        config: &Synthesize,
        augmentation: &Augmentation,
        class_names: &[String],
    ) -> Result<(), RecoverError> {
        self.join(teacher);
        let active = self.active.dims()[0];
        let leaf = self.active.clone().autodiff().require_grad();
        let (images, labels) = (augmentation.apply(leaf.clone()), &self.labels[..active]);
        let loss = teacher.loss_in(self.schedule.batch, self.iteration, images, labels, config);
        let gradients = loss.total.backward();
        let gradient =
            leaf.grad(&gradients).ok_or_else(|| RecoverError::Device("no gradient on the images".into()))?;
        let lr = lr_at(config, &self.schedule, self.iteration);
        let steps_before = config.residual.filter(|residual| residual.restart_adam);
        let steps_before = steps_before.map_or(self.iteration, |r| r.within_block(self.iteration));
        let change = self.adam.step(gradient, lr, steps_before + 1);
        self.active = teacher.clip(self.active.clone() - change);
        self.unread.push(Unread {
            lr,
            cross_entropy: loss.cross_entropy.inner(),
            bn_statistics: loss.bn_statistics.inner(),
        });
        self.iteration += 1;
        self.blend_with_initial(config);
        if self.unread.len() >= teacher.losses_read_every {
            self.read_losses(config, class_names)?;
        }
        Ok(())
    }

    /// At the end of a block, blends the active images with what they started from (FADRM's data residual).
    fn blend_with_initial(&mut self, config: &Synthesize) {
        let (Some(residual), Some(initial)) = (&config.residual, &self.initial) else { return };
        if !residual.is_due(self.iteration, self.schedule.iterations) {
            return;
        }
        let shape = self.active.dims();
        let initial = initial[..shape.iter().product()].to_vec();
        let initial = Tensor::<4>::from_data(TensorData::new(initial, shape), &self.active.device());
        self.active =
            self.active.clone().mul_scalar(residual.share) + initial.mul_scalar(1.0 - residual.share);
        if residual.restart_adam {
            self.adam.restart();
        }
    }

    /// Reads the losses that are still on the device into the trace, all at once.
    ///
    /// # Errors
    /// [`RecoverError::NotFinite`] for the first iteration whose loss is NaN or infinite.
    pub fn read_losses(&mut self, config: &Synthesize, class_names: &[String]) -> Result<(), RecoverError> {
        let unread = std::mem::take(&mut self.unread);
        if unread.is_empty() {
            return Ok(());
        }
        let losses = unread.iter().flat_map(|step| [step.cross_entropy.clone(), step.bn_statistics.clone()]);
        let losses = values(Tensor::cat(losses.collect(), 0))?;
        for (step, losses) in unread.iter().zip(losses.chunks_exact(2)) {
            let (iteration, ce, bn) = (self.trace.len() as u32, losses[0], losses[1]);
            let total = (f64::from(ce) + config.bn_matching_weight * f64::from(bn)) as f32;
            if !total.is_finite() {
                return Err(self.not_finite(iteration, total, class_names));
            }
            self.trace.push(TraceRow { batch: self.schedule.batch, iteration, lr: step.lr, ce, bn });
        }
        Ok(())
    }

    fn not_finite(&self, iteration: u32, loss: f32, class_names: &[String]) -> RecoverError {
        let labels = &self.schedule.labels;
        let name = |label: Option<&u32>| {
            label.and_then(|l| class_names.get(*l as usize)).map_or("?", String::as_str)
        };
        RecoverError::NotFinite {
            batch: self.schedule.batch,
            classes: format!("{} to {}", name(labels.first()), name(labels.last())),
            iteration,
            loss,
        }
    }

    /// Takes in the images whose round begins. They were clipped with the others at every earlier step (a quirk of
    /// the published code that shows only where initial images lie outside the range of a pixel).
    fn join(&mut self, teacher: &RecoveryTeacher) {
        let [active, ..] = self.active.dims();
        let joining = self.active_images().saturating_sub(active);
        if joining == 0 {
            return;
        }
        let pixels = 3 * self.size * self.size;
        let later = self.waiting.split_off(joining * pixels);
        let data =
            TensorData::new(std::mem::replace(&mut self.waiting, later), [joining, 3, self.size, self.size]);
        let images = teacher.clip(Tensor::from_data(data, teacher.device()));
        self.active = Tensor::cat(vec![self.active.clone(), images], 0);
        self.adam.join(joining);
    }

    /// All images of the batch in batch order, CHW, normalised; images that have not joined are as they will be then.
    ///
    /// # Errors
    /// [`RecoverError::Device`].
    pub fn images(&self, teacher: &RecoveryTeacher) -> Result<Vec<f32>, RecoverError> {
        let mut sorted = values(self.active.clone())?;
        if !self.waiting.is_empty() {
            let pixels = 3 * self.size * self.size;
            let shape = [self.waiting.len() / pixels, 3, self.size, self.size];
            let waiting = Tensor::from_data(TensorData::new(self.waiting.clone(), shape), teacher.device());
            sorted.extend(values(if self.iteration > 0 { teacher.clip(waiting) } else { waiting })?);
        }
        let pixels = 3 * self.size * self.size;
        let mut images = vec![0.0; sorted.len()];
        for (image, at) in sorted.chunks(pixels).zip(&self.order) {
            images[*at as usize * pixels..(*at as usize + 1) * pixels].copy_from_slice(image);
        }
        Ok(images)
    }

    /// Images that have joined once `iterations` are done.
    pub fn images_joined_at(&self, iterations: u32) -> usize {
        let last = iterations.saturating_sub(1) / self.schedule.round_iterations();
        self.schedule.rounds.get(last as usize).map_or(0, Vec::len)
    }

    /// Puts back what a checkpoint kept: the active images, their moments and steps, and the trace.
    pub fn restore(
        &mut self,
        pixels: Tensor<4>,
        first: Tensor<4>,
        second: Tensor<4>,
        steps: Vec<u32>,
        trace: Vec<TraceRow>,
    ) {
        let [joined, ..] = pixels.dims();
        let [present, ..] = self.active.dims();
        self.waiting.drain(..(joined - present) * 3 * self.size * self.size);
        self.active = pixels;
        self.adam.first = first;
        self.adam.second = second;
        self.adam.steps = steps;
        self.iteration = trace.len() as u32;
        self.trace = trace;
    }
}

/// Positions sorted by the round in which they join, then by position.
fn joining_order(schedule: &BatchSchedule) -> Vec<u32> {
    let mut order: Vec<u32> = (0..schedule.labels.len() as u32).collect();
    order.sort_by_key(|at| (schedule.joins[*at as usize], *at));
    order
}

/// All values of a tensor on the host.
///
/// # Errors
/// [`RecoverError::Device`].
pub fn values<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>, RecoverError> {
    let data = tensor.try_into_data().map_err(|error| RecoverError::Device(format!("{error:?}")))?;
    data.try_into_vec::<f32>().map_err(|error| RecoverError::Device(format!("{error:?}")))
}
