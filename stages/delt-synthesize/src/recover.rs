//! The recovery loop of one batch: pixels that minimize cross-entropy plus the distance of the teacher's BatchNorm
//! statistics, image after image joining as the EarlyLate schedule says (DELT, sections 3.1 and 3.2; SRe2L, eq. 7).

use burn::tensor::{Device, Tensor, TensorData};
use delt_formats::TraceRow;
use delt_formats::{NamedTensor, TensorValues};
use delt_pipeline::config::synthesize::{LrSchedule, Synthesize};

use delt_training::schedule::cosine;

use crate::adam::PixelAdam;
use crate::augmentation::Augmentation;
use crate::checkpoint::{CheckpointError, Kept, float};
use crate::objectives::Moment;
use crate::objectives::residual::Blending;
pub use crate::recovery_teacher::RecoveryTeacher;
use delt_pipeline::early_late::BatchSchedule;

/// What goes wrong while pixels are optimized.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The loss is NaN or infinite.
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

/// Learning rate of an iteration of a batch: a cosine from `lr` to 0 over the span that the configuration names.
pub fn lr_at(config: &Synthesize, schedule: &BatchSchedule, iteration: u32) -> f64 {
    match config.lr_schedule {
        LrSchedule::PerBatch => config.lr * cosine(iteration.into(), schedule.iterations.into()),
        LrSchedule::PerRound => {
            let span = schedule.round_iterations();
            config.lr * cosine((iteration % span).into(), span.into())
        }
    }
}

/// One batch while it is optimized. Images stand in the order in which they join, so those at work are a prefix.
#[derive(Debug)]
pub struct Recovery {
    config: Synthesize,
    schedule: BatchSchedule,
    /// Position in the batch of each image in joining order.
    order: Vec<u32>,
    labels: Vec<u32>,
    /// Images that have joined, `[active, 3, size, size]`, normalized.
    pub active: Tensor<4>,
    /// Images that wait, in joining order, CHW each.
    waiting: Vec<f32>,
    /// Where images are blended with what they started from.
    blending: Option<Blending>,
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
    /// As of [`crate::objectives::Loss::target`].
    target: Tensor<1>,
    /// As of [`crate::objectives::Loss::statistics`].
    statistics: Tensor<1>,
}

impl Recovery {
    /// Starts a batch.
    ///
    /// # Shapes
    /// `start`: all images of the batch in batch order, CHW, normalized, `[batch, 3, size, size]`.
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
            blending: config.residual.map(|residual| Blending::new(residual, sorted)),
            config: config.clone(),
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

    /// One iteration: images join, augmentation, loss, backward pass, Adam, clip.
    ///
    /// # Errors
    /// [`RecoverError::NotFinite`] when the loss is NaN or infinite, of this iteration or of one before whose losses had
    /// not been read; the images are spoiled then, and a checkpoint is what to resume from.
    pub fn step(
        &mut self,
        teacher: &RecoveryTeacher,
        augmentation: &Augmentation,
        class_names: &[String],
    ) -> Result<(), RecoverError> {
        self.join(teacher);
        let active = self.active.dims()[0];
        let leaf = self.active.clone().autodiff().require_grad();
        let (images, labels) = (augmentation.apply(leaf.clone()), &self.labels[..active]);
        let moment = Moment { batch: self.schedule.batch, iteration: self.iteration };
        let loss = teacher.objective.loss(moment, images, labels, &self.config);
        let gradients = loss.total.backward();
        let gradient =
            leaf.grad(&gradients).ok_or_else(|| RecoverError::Device("no gradient on the images".into()))?;
        let lr = lr_at(&self.config, &self.schedule, self.iteration);
        let steps_before = self.blending.as_ref().map(|blending| blending.steps_before(self.iteration));
        let change = self.adam.step(gradient, lr, steps_before.unwrap_or(self.iteration) + 1);
        self.active = teacher.clip(self.active.clone() - change);
        let (target, statistics) = (loss.target.inner(), loss.statistics.inner());
        self.unread.push(Unread { lr, target, statistics });
        self.iteration += 1;
        let blended = self.blending.as_ref();
        let blended = blended.and_then(|b| b.blend(&self.active, self.iteration, self.schedule.iterations));
        if let Some((active, forgets)) = blended {
            self.active = active;
            if forgets {
                self.adam.restart();
            }
        }
        if self.unread.len() >= teacher.losses_read_every {
            self.read_losses(class_names)?;
        }
        Ok(())
    }

    /// Reads the losses that are still on the device into the trace, all at once.
    ///
    /// # Errors
    /// [`RecoverError::NotFinite`] for the first iteration whose loss is NaN or infinite.
    pub fn read_losses(&mut self, class_names: &[String]) -> Result<(), RecoverError> {
        let unread = std::mem::take(&mut self.unread);
        if unread.is_empty() {
            return Ok(());
        }
        let losses = unread.iter().flat_map(|step| [step.target.clone(), step.statistics.clone()]);
        let losses = values(Tensor::cat(losses.collect(), 0))?;
        for (step, losses) in unread.iter().zip(losses.chunks_exact(2)) {
            let (iteration, ce, bn) = (self.trace.len() as u32, losses[0], losses[1]);
            let total = (f64::from(ce) + self.config.bn_matching_weight * f64::from(bn)) as f32;
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

    /// All images of the batch in batch order, CHW, normalized; images that have not joined are as they will be then.
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

    /// The state inside the batch, whose losses have all been read: active images, moments, steps and trace.
    ///
    /// # Errors
    /// [`RecoverError::Device`].
    pub fn save(&self) -> Result<Vec<NamedTensor>, RecoverError> {
        let shape = self.active.dims().to_vec();
        let mut tensors = trace_tensors(&self.trace);
        tensors.push(float("pixels", shape.clone(), values(self.active.clone())?));
        tensors.push(float("first_moment", shape.clone(), values(self.adam.first.clone())?));
        tensors.push(float("second_moment", shape.clone(), values(self.adam.second.clone())?));
        let steps = TensorValues::I64(self.adam.steps.iter().map(|s| i64::from(*s)).collect());
        tensors.push(NamedTensor { name: "steps".into(), shape: vec![shape[0]], values: steps });
        Ok(tensors)
    }

    /// Puts back what [`Self::save`] gave.
    ///
    /// # Errors
    /// A tensor that is absent or has another shape than the schedule asks for.
    pub fn restore(&mut self, kept: &Kept) -> Result<(), CheckpointError> {
        let steps: Vec<u32> = kept.integers("steps")?.iter().map(|step| *step as u32).collect();
        let trace = trace_rows(kept, &self.schedule, &self.config)?;
        let joined = self.images_joined_at(trace.len() as u32);
        let [present, channels, height, width] = self.active.dims();
        let device = self.active.device();
        let load = |name: &str| -> Result<Tensor<4>, CheckpointError> {
            let shape = [joined, channels, height, width];
            let (found, values) = kept.floats(name)?;
            if found != shape {
                return Err(kept.misfit(name));
            }
            Ok(Tensor::from_data(TensorData::new(values, shape), &device))
        };
        let (pixels, first, second) = (load("pixels")?, load("first_moment")?, load("second_moment")?);
        if steps.len() != joined {
            return Err(kept.misfit("steps"));
        }
        self.waiting.drain(..(joined - present) * channels * height * width);
        (self.active, self.adam.first, self.adam.second) = (pixels, first, second);
        self.adam.steps = steps;
        self.iteration = trace.len() as u32;
        self.trace = trace;
        Ok(())
    }
}

/// The end of a batch: its images in batch order and its losses.
#[derive(Debug, Clone, PartialEq)]
pub struct FinishedBatch {
    /// CHW, normalized, in batch order.
    pub images: Vec<f32>,
    /// One row per iteration.
    pub trace: Vec<TraceRow>,
}

impl FinishedBatch {
    /// As a checkpoint keeps it.
    pub fn save(&self) -> Vec<NamedTensor> {
        let mut tensors = trace_tensors(&self.trace);
        tensors.push(float("images", vec![self.images.len()], self.images.clone()));
        tensors
    }

    /// From what a checkpoint kept.
    ///
    /// # Errors
    /// A tensor that is absent or has another shape than the schedule asks for.
    pub fn read(kept: &Kept, schedule: &BatchSchedule, config: &Synthesize) -> Result<Self, CheckpointError> {
        let images = kept.floats("images")?.1;
        let trace = trace_rows(kept, schedule, config)?;
        let per_image = images.len() / schedule.labels.len().max(1);
        if per_image == 0 || images.len() != per_image * schedule.labels.len() {
            return Err(kept.misfit("images"));
        }
        if trace.len() != schedule.iterations as usize {
            return Err(kept.misfit("trace_ce"));
        }
        Ok(Self { images, trace })
    }
}

fn trace_tensors(trace: &[TraceRow]) -> Vec<NamedTensor> {
    let column =
        |name: &str, f: fn(&TraceRow) -> f32| float(name, vec![trace.len()], trace.iter().map(f).collect());
    vec![column("trace_ce", |row| row.ce), column("trace_bn", |row| row.bn)]
}

fn trace_rows(
    kept: &Kept,
    schedule: &BatchSchedule,
    config: &Synthesize,
) -> Result<Vec<TraceRow>, CheckpointError> {
    let (ce, bn) = (kept.floats("trace_ce")?.1, kept.floats("trace_bn")?.1);
    let row = |((ce, bn), iteration)| TraceRow {
        batch: schedule.batch,
        iteration,
        lr: lr_at(config, schedule, iteration),
        ce,
        bn,
    };
    Ok(ce.into_iter().zip(bn).zip(0..).map(row).collect())
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
