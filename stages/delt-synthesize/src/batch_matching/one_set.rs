//! A unit of images that match batches of real ones: step by step, with what is noted of its course.

use anyhow::{Context, Result, ensure};
use burn::tensor::{Tensor, TensorData};
use delt_formats::{NamedTensor, RgbImage};
use delt_harness::space::OpenSpace;
use delt_matching::{ImageOptimizer, Learned, Matching as Loss, MatchingError, Scene, learning_rate, stored};
use delt_networks::on_worker;
use delt_pipeline::config::matching::Targets;
use delt_pipeline::config::objective::ObjectiveKind;
use delt_tangent::unrolled_sgd::Set;

use super::{BatchMatching, SHOWN, Sets, course};
use crate::checkpoint::{Kept, float};
use crate::method::{Step, Unit};

/// Moments of the course that is noted, the start among them.
const MOMENTS: u32 = 8;

/// One unit.
pub(super) struct OneSet<'a> {
    of: &'a BatchMatching<'a>,
    of_space: OpenSpace,
    unit: u64,
    set: Set,
    loss: Box<dyn Loss>,
    image_optimizer: ImageOptimizer<4>,
    label_optimizer: Option<ImageOptimizer<2>>,
    /// The two columns of losses.
    trace: [Vec<f32>; 2],
    iteration: u32,
    /// The rows of the set that the course shows.
    shown: Vec<usize>,
    /// Their pixels, moment by moment.
    course: Vec<f32>,
}

/// Before the names of the method's own tensors in a checkpoint.
const OF_METHOD: &str = "method.";

impl<'a> OneSet<'a> {
    /// Before its first step.
    ///
    /// # Errors
    /// Experts that cannot be read.
    pub(super) fn new(sets: &'a Sets<'a>, unit: u64, set: Set, scene: Scene) -> Result<Self> {
        let config = sets.of.config;
        let labels = config.label_optimizer.filter(|_| config.labels == Targets::Learned);
        Ok(Self {
            of: sets.of,
            of_space: sets.space.clone(),
            unit,
            image_optimizer: ImageOptimizer::new(config.image_optimizer, &set.images),
            label_optimizer: labels.map(|rule| ImageOptimizer::new(rule, &set.targets)),
            shown: scene.classes().into_iter().map(|(_, rows)| rows[0]).take(SHOWN).collect(),
            loss: sets.loss(scene)?,
            set,
            trace: [Vec::new(), Vec::new()],
            iteration: 0,
            course: Vec::new(),
        })
    }

    /// Notes what the images look like now, where a moment of the course has come.
    fn note(&mut self) -> Result<()> {
        let moments = self.course.len() / (self.shown.len() * 3 * self.of.form.size.pow(2)).max(1);
        let due = u64::from(self.of.steps()) * moments as u64 / u64::from(MOMENTS);
        if u64::from(self.iteration) == due && moments < MOMENTS as usize {
            let images = self.set.batch(&self.shown).0;
            let values = images.try_into_vec_as::<f32>();
            self.course.extend(values.context("the device did not return the images")?);
        }
        Ok(())
    }

    /// What is kept of set and trace.
    fn tensors(&self, set: &Set) -> Result<Vec<NamedTensor>> {
        let mut tensors =
            vec![stored::floats("images", &set.images)?, stored::floats("targets", &set.targets)?];
        let [first, second] = &self.trace;
        for (name, values) in [("trace.first", first), ("trace.second", second), ("course", &self.course)] {
            tensors.push(float(name, vec![values.len()], values.clone()));
        }
        Ok(tensors)
    }

    fn moved(&mut self) -> Result<String, MatchingError> {
        let (iteration, config) = (self.iteration, self.of.config);
        let found = self.loss.gradients(&self.set, iteration)?;
        let lr = |rule| learning_rate(rule, u64::from(iteration), u64::from(self.of.steps()));
        let images = self.set.images.clone();
        self.set.images = self.image_optimizer.step(images, found.images, lr(&config.image_optimizer));
        if let (Some(optimizer), Some(gradient)) = (&mut self.label_optimizer, found.targets) {
            let rule = config.label_optimizer.as_ref().expect("labels are learned by it");
            let moved = optimizer.step(self.set.targets.clone(), gradient, lr(rule));
            self.set.targets = self.loss.allowed(moved);
        }
        self.loss.after(&self.set, iteration)?;
        for (column, loss) in self.trace.iter_mut().zip(found.losses) {
            column.push(loss as f32);
        }
        let names = self.of.method.trace_names(ObjectiveKind::Labels);
        let [first, second] = found.losses;
        Ok(format!("{} {first:.4} {} {second:.4}", names[0].short, names[1].short))
    }
}

impl Unit for OneSet<'_> {
    fn is_finished(&self) -> bool {
        self.iteration >= self.of.steps()
    }

    fn steps(&self) -> u32 {
        self.iteration
    }

    fn step(&mut self) -> Result<Step> {
        self.note()?;
        let said = on_worker(&self.set.images.device(), || self.moved()).with_context(|| {
            format!(
                "{}, iteration {}: the last checkpoint stays; lower synthesize.matching.image_optimizer.lr ({})",
                self.of.method.title(),
                self.iteration,
                self.of.config.image_optimizer.lr()
            )
        })?;
        self.iteration += 1;
        Ok(Step { work: self.of.units[self.unit as usize].len() as u64, said: Some(said) })
    }

    fn save(&mut self) -> Result<Vec<NamedTensor>> {
        let mut tensors = self.tensors(&self.set)?;
        tensors.extend(self.image_optimizer.state("image_optimizer")?);
        if let Some(optimizer) = &self.label_optimizer {
            tensors.extend(optimizer.state("label_optimizer")?);
        }
        let own = self.loss.save()?.into_iter();
        tensors
            .extend(own.map(|tensor| NamedTensor { name: format!("{OF_METHOD}{}", tensor.name), ..tensor }));
        Ok(tensors)
    }

    fn restore(&mut self, kept: &Kept) -> Result<u64> {
        let device = self.set.images.device();
        let read = |name: &str, shape: &[usize]| -> Result<TensorData> {
            let (found, values) = kept.floats(name)?;
            ensure!(found == shape, kept.misfit(name));
            Ok(TensorData::new(values, found))
        };
        self.set.images = Tensor::from_data(read("images", &self.set.images.dims())?, &device);
        self.set.targets = Tensor::from_data(read("targets", &self.set.targets.dims())?, &device);
        self.trace = [kept.floats("trace.first")?.1, kept.floats("trace.second")?.1];
        self.iteration = self.trace[0].len() as u32;
        self.course = kept.floats("course")?.1;
        self.image_optimizer.restore("image_optimizer", kept.tensors())?;
        if let Some(optimizer) = &mut self.label_optimizer {
            optimizer.restore("label_optimizer", kept.tensors())?;
        }
        self.loss.restore(kept.below(OF_METHOD).tensors())?;
        Ok(u64::from(self.iteration) * self.of.units[self.unit as usize].len() as u64)
    }

    fn course(&self) -> Vec<Vec<RgbImage>> {
        course(&self.of_space, &self.course, self.shown.len(), self.of.form.size)
    }

    fn finish(&mut self) -> Result<Vec<NamedTensor>> {
        let mut tensors = self.tensors(&self.loss.result(&self.set))?;
        let Learned { lr, log_temperature } = self.loss.learned();
        let learned = [("learned_lr", lr), ("log_temperature", log_temperature)];
        tensors
            .extend(learned.into_iter().filter_map(|(name, value)| Some(stored::numbers(name, &[value?]))));
        Ok(tensors)
    }
}
