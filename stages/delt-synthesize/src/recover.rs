//! The recovery loop of one batch: pixels that minimize cross-entropy plus the distance of the teacher's BatchNorm
//! statistics, image after image joining as the EarlyLate schedule says (DELT, sections 3.1 and 3.2; SRe2L, eq. 7).

use anyhow::{Context, Result, anyhow, ensure};
use burn::tensor::{Device, Tensor, TensorData};
use delt_formats::{NamedTensor, TensorValues, TraceRow};
use delt_networks::on_worker;
use delt_pipeline::config::synthesize::{LrSchedule, Synthesize};

use delt_training::schedule::cosine;

use crate::adam::PixelAdam;
use crate::augmentation::Augmentation;
use crate::checkpoint::{Kept, float};
use crate::objectives::Moment;
use crate::objectives::densification;
use crate::objectives::residual::Blending;
pub use crate::recovery_teacher::RecoveryTeacher;
use delt_pipeline::early_late::BatchSchedule;

/// Learning rate of an iteration of a batch: a cosine from `lr` to 0 over the span that the configuration names.
pub fn lr_at(config: &Synthesize, schedule: &BatchSchedule, iteration: u32) -> f64 {
    let (at, span) = match config.lr_schedule {
        LrSchedule::PerBatch => (iteration, schedule.iterations),
        LrSchedule::PerRound => (iteration % schedule.round_iterations(), schedule.round_iterations()),
    };
    config.lr * cosine(at.into(), span.into())
}

/// One batch while it is optimized. Images stand in the order in which they join, so those at work are a prefix.
#[derive(Debug)]
pub struct Recovery {
    config: Synthesize,
    schedule: BatchSchedule,
    /// Position in the batch of each image in joining order.
    order: Vec<usize>,
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
    /// As of [`crate::objectives::Loss::target`] and [`crate::objectives::Loss::statistics`], by iteration.
    unread: Vec<[Tensor<1>; 2]>,
    size: usize,
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
        // stable: of those of one round the first in the batch comes first
        let mut order: Vec<usize> = (0..schedule.labels.len()).collect();
        order.sort_by_key(|at| schedule.joins[*at]);
        let pixels = 3 * size * size;
        let sorted = order.iter().flat_map(|at| &start[at * pixels..(at + 1) * pixels]);
        let sorted: Vec<f32> = sorted.copied().collect();
        let joined = schedule.rounds.first().map_or(0, Vec::len);
        Self {
            labels: order.iter().map(|at| schedule.labels[*at]).collect(),
            schedule: schedule.clone(),
            active: on_device(sorted[..joined * pixels].to_vec(), size, device),
            waiting: sorted[joined * pixels..].to_vec(),
            blending: config.residual.map(|config| Blending { config, initial: sorted }),
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

    /// Number of images at work in an iteration.
    pub fn images_at(&self, iteration: u32) -> usize {
        let round = (iteration / self.schedule.round_iterations()) as usize;
        self.schedule.rounds.get(round).map_or(0, Vec::len)
    }

    /// One iteration: images join, augmentation, loss, backward pass, Adam, clip.
    ///
    /// # Errors
    /// When the loss is NaN or infinite, of this iteration or of one before whose losses had not been read; the images are spoiled
    /// then, and a checkpoint is what to resume from.
    pub fn step(
        &mut self,
        teacher: &RecoveryTeacher,
        augmentation: &Augmentation,
        class_names: &[String],
    ) -> Result<()> {
        on_worker(&self.active.device(), || self.move_images(teacher, augmentation, class_names))
    }

    fn move_images(
        &mut self,
        teacher: &RecoveryTeacher,
        augmentation: &Augmentation,
        class_names: &[String],
    ) -> Result<()> {
        self.join(teacher);
        let active = self.active.dims()[0];
        let leaf = self.active.clone().autodiff().require_grad();
        let (images, labels) = (augmentation.apply(leaf.clone()), &self.labels[..active]);
        let moment = Moment { batch: self.schedule.batch, iteration: self.iteration };
        let apart =
            self.config.densification.map(|config| densification::loss(images.clone(), labels, config));
        let loss = teacher.objective.loss(moment, images, labels, &self.config);
        let total = match apart.transpose()?.flatten() {
            Some(apart) => loss.total + apart,
            None => loss.total,
        };
        let gradients = total.backward();
        let gradient = leaf.grad(&gradients);
        let gradient = gradient.context("the device returned no values: no gradient on the images")?;
        let lr = lr_at(&self.config, &self.schedule, self.iteration);
        let steps_before = self.blending.as_ref().map(|blending| blending.steps_before(self.iteration));
        let change = self.adam.step(gradient, lr, steps_before.unwrap_or(self.iteration) + 1);
        self.active = teacher.clip(self.active.clone() - change);
        self.unread.push([loss.target.inner(), loss.statistics.inner()]);
        self.iteration += 1;
        if let Some(blending) = &self.blending
            && blending.config.is_due(self.iteration, self.schedule.iterations)
        {
            self.active = blending.blend(&self.active);
            if blending.config.restart_adam {
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
    /// The first iteration whose loss is NaN or infinite.
    pub fn read_losses(&mut self, class_names: &[String]) -> Result<()> {
        if self.unread.is_empty() {
            return Ok(());
        }
        let losses = values(Tensor::cat(self.unread.drain(..).flatten().collect(), 0))?;
        let batch = self.schedule.batch;
        for losses in losses.chunks_exact(2) {
            let iteration = self.trace.len() as u32;
            let row = trace_row(&self.config, &self.schedule, iteration, losses[0], losses[1]);
            let loss = (f64::from(row.ce) + self.config.bn_matching_weight * f64::from(row.bn)) as f32;
            ensure!(
                loss.is_finite(),
                "batch {batch} (classes {}), iteration {iteration}: the loss is {loss}; the last checkpoint is kept; \
                 lower synthesize.lr or synthesize.bn_matching_weight",
                self.first_and_last(class_names)
            );
            self.trace.push(row);
        }
        Ok(())
    }

    /// Names of the batch's first and last class.
    fn first_and_last(&self, class_names: &[String]) -> String {
        let labels = &self.schedule.labels;
        let name = |label: Option<&u32>| {
            label.and_then(|l| class_names.get(*l as usize)).map_or("?", String::as_str)
        };
        format!("{} to {}", name(labels.first()), name(labels.last()))
    }

    /// Takes in the images whose round begins. They were clipped with the others at every earlier step (a quirk of
    /// the published code that shows only where initial images lie outside the range of a pixel).
    fn join(&mut self, teacher: &RecoveryTeacher) {
        let [active, ..] = self.active.dims();
        let joining = self.images_at(self.iteration).saturating_sub(active);
        if joining == 0 {
            return;
        }
        let pixels = self.waiting.drain(..joining * 3 * self.size * self.size).collect();
        let images = teacher.clip(on_device(pixels, self.size, teacher.device()));
        self.active = Tensor::cat(vec![self.active.clone(), images], 0);
        self.adam.join(joining);
    }

    /// All images of the batch in batch order, CHW, normalized; images that have not joined are as they will be then.
    ///
    /// # Errors
    /// A device that returns no values.
    pub fn images(&self, teacher: &RecoveryTeacher) -> Result<Vec<f32>> {
        let mut sorted = values(self.active.clone())?;
        if !self.waiting.is_empty() {
            let waiting = on_device(self.waiting.clone(), self.size, teacher.device());
            sorted.extend(values(if self.iteration > 0 { teacher.clip(waiting) } else { waiting })?);
        }
        let pixels = 3 * self.size * self.size;
        let mut images = vec![0.0; sorted.len()];
        for (image, at) in sorted.chunks(pixels).zip(&self.order) {
            images[at * pixels..(at + 1) * pixels].copy_from_slice(image);
        }
        Ok(images)
    }

    /// The state inside the batch, whose losses have all been read: active images, moments, steps and trace.
    ///
    /// # Errors
    /// A device that returns no values.
    pub fn save(&self) -> Result<Vec<NamedTensor>> {
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
    pub fn restore(&mut self, kept: &Kept) -> Result<()> {
        let steps: Vec<u32> = kept.integers("steps")?.iter().map(|step| *step as u32).collect();
        let trace = trace_rows(kept, &self.schedule, &self.config)?;
        let joined = self.images_at((trace.len() as u32).saturating_sub(1));
        let [present, channels, height, width] = self.active.dims();
        let device = self.active.device();
        let load = |name: &str| -> Result<Tensor<4>> {
            let shape = [joined, channels, height, width];
            let (found, values) = kept.floats(name)?;
            ensure!(found == shape, kept.misfit(name));
            Ok(Tensor::from_data(TensorData::new(values, shape), &device))
        };
        let (pixels, first, second) = (load("pixels")?, load("first_moment")?, load("second_moment")?);
        ensure!(steps.len() == joined, kept.misfit("steps"));
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
    pub fn read(kept: &Kept, schedule: &BatchSchedule, config: &Synthesize) -> Result<Self> {
        let images = kept.floats("images")?.1;
        let trace = trace_rows(kept, schedule, config)?;
        let per_image = images.len() / schedule.labels.len().max(1);
        let is_whole = per_image > 0 && images.len() == per_image * schedule.labels.len();
        ensure!(is_whole, kept.misfit("images"));
        ensure!(trace.len() == schedule.iterations as usize, kept.misfit("trace_ce"));
        Ok(Self { images, trace })
    }
}

fn trace_tensors(trace: &[TraceRow]) -> Vec<NamedTensor> {
    let column =
        |name: &str, f: fn(&TraceRow) -> f32| float(name, vec![trace.len()], trace.iter().map(f).collect());
    vec![column("trace_ce", |row| row.ce), column("trace_bn", |row| row.bn)]
}

fn trace_rows(kept: &Kept, schedule: &BatchSchedule, config: &Synthesize) -> Result<Vec<TraceRow>> {
    let (ce, bn) = (kept.floats("trace_ce")?.1, kept.floats("trace_bn")?.1);
    let row = |((ce, bn), iteration)| trace_row(config, schedule, iteration, ce, bn);
    Ok(ce.into_iter().zip(bn).zip(0..).map(row).collect())
}

fn trace_row(config: &Synthesize, schedule: &BatchSchedule, iteration: u32, ce: f32, bn: f32) -> TraceRow {
    TraceRow { batch: schedule.batch, iteration, lr: lr_at(config, schedule, iteration), ce, bn }
}

/// Images, CHW each, on a device: `[n, 3, size, size]`.
fn on_device(pixels: Vec<f32>, size: usize, device: &Device) -> Tensor<4> {
    let images = pixels.len() / (3 * size * size);
    Tensor::from_data(TensorData::new(pixels, [images, 3, size, size]), device)
}

/// All values of a tensor on the host.
///
/// # Errors
/// A device that returns none.
pub fn values<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>> {
    let data = tensor.try_into_data().map_err(|error| anyhow!("the device returned no values: {error:?}"))?;
    data.try_into_vec().map_err(|error| anyhow!("the device returned no values: {error:?}"))
}
