//! One student that learns what its set gives: it draws its own views, and is tested on real images in the space of the set.

use std::path::Path;

use anyhow::{Result, bail, ensure};
use burn::module::Module;
use burn::optim::ModuleOptimizer;
use burn::tensor::{Device, Int, Tensor};
use delt_augment::dsa::{Images, draw};
use delt_formats::{Architecture, HistoryRow};
use delt_harness::progress::Progress;
use delt_networks::Network;
use delt_pipeline::config::given::{FirstWeights, Given, GivenLoss, Per};
use delt_training::losses::{class_indices, cross_entropy_to_distribution, half_squared_error};
use delt_training::{
    ImageSet, StepLoss, TrainingState, dsa, given_optimizer, test_accuracy_on, training_step,
};
use serde::{Deserialize, Serialize};

use crate::given::GivenSet;
use crate::student::TEST_BATCH;
use crate::timetable::Timetable;

/// Steps between two states that may be saved.
const SAVE_STEPS: u64 = 50;

/// What a student learns, and how.
#[derive(Debug)]
pub struct Lessons<'a> {
    /// The network.
    pub student: &'a Architecture,
    /// Recipe.
    pub given: &'a Given,
    /// BatchNorm momentum.
    pub bn_momentum: f64,
    /// Seed of the student's initial weights, of the order of images and of their views.
    pub seed: u64,
    /// Images and targets.
    pub set: &'a GivenSet,
    /// The real images.
    pub test: &'a ImageSet,
    /// A plain device.
    pub device: &'a Device,
}

impl Lessons<'_> {
    /// Images that pass through the student, tests included.
    pub fn images(&self) -> u64 {
        let timetable = Timetable::new(self.given, &self.set.labels, self.seed);
        let tests = self.given.tested_after().len() * self.test.len();
        timetable.images_of(timetable.steps()) + tests as u64
    }
}

/// What is saved beside network and optimizer.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Counters {
    /// Steps done.
    step: u64,
    /// Sum of the losses since the last test, over images.
    loss_sum: f64,
    /// Images since the last test.
    images: u64,
    /// One row a test.
    history: Vec<HistoryRow>,
}

/// Trains one student and returns its history, one row a test: the epoch of a row, or with a budget of steps its step, is that before
/// the test; its loss is the mean since the last one.
///
/// # Errors
/// A loss or a weight that is NaN or infinite, or an interrupt (a state of the last minutes is kept).
pub fn train(lessons: &Lessons<'_>, checkpoints: &Path, progress: &Progress) -> Result<Vec<HistoryRow>> {
    let folder = checkpoints.join(format!("student-{}", lessons.seed));
    fs_err::create_dir_all(&folder)?;
    let mut state = TrainingState::new(&folder);
    let mut training = Training::begin(lessons, &state, progress)?;
    let mut kept = training.counters.clone();
    let mut learn_all = || -> Result<()> {
        let steps = training.timetable.steps();
        while training.counters.step < steps {
            training.step()?;
            let is_tested = training.test_if_due()?;
            if is_tested || training.counters.step >= kept.step + SAVE_STEPS {
                training.account()?;
                kept = training.counters.clone();
                state.keep(training.student(), None, &training.optimizer, &kept)?;
            }
        }
        Ok(())
    };
    let learned = learn_all();
    state.flush(&kept)?;
    learned.map(|()| kept.history)
}

/// A student under way.
struct Training<'a> {
    lessons: &'a Lessons<'a>,
    timetable: Timetable<'a>,
    progress: &'a Progress,
    /// All images and targets, on the plain device.
    images: Tensor<4>,
    targets: Tensor<2>,
    /// None only within a step.
    student: Option<Network>,
    optimizer: ModuleOptimizer,
    counters: Counters,
    /// The steps of the current epoch.
    epoch: Option<(u64, Vec<Vec<usize>>)>,
    /// The last step, its images and its loss, which is read once the next one is under way.
    unread: Option<(u64, u64, StepLoss)>,
    /// After how many steps it is tested, and what epochs or steps these end.
    tests: Vec<(u64, u32)>,
}

impl<'a> Training<'a> {
    fn begin(lessons: &'a Lessons<'a>, state: &TrainingState, progress: &'a Progress) -> Result<Self> {
        let Lessons { student: architecture, given, seed, set, device, .. } = *lessons;
        let trainable = device.clone().autodiff();
        let fresh = || given_optimizer(&given.optimizer);
        let saved = state.load(architecture, set.classes, set.size, &trainable, |_| fresh())?;
        let (student, optimizer, counters) = match saved {
            Some(saved) => saved,
            None => {
                let initialize = match given.first_weights {
                    FirstWeights::Torch => Network::initialize,
                    FirstWeights::Lecun => Network::initialize_lecun,
                };
                let student = initialize(architecture, set.classes, set.size, seed, &trainable)?;
                (student, fresh(), Counters::default())
            }
        };
        let timetable = Timetable::new(given, &set.labels, seed);
        let tests = given.tested_after().into_iter().map(|units| (timetable.steps_after(units), units));
        let tests_done = counters.history.len() * lessons.test.len();
        progress.resume_at(timetable.images_of(counters.step) + tests_done as u64);
        let (images, targets) = set.on_device(given.mirror, device);
        Ok(Self {
            lessons,
            progress,
            images,
            targets,
            student: Some(student),
            optimizer,
            counters,
            epoch: None,
            unread: None,
            tests: tests.collect(),
            timetable,
        })
    }

    fn student(&self) -> &Network {
        self.student.as_ref().expect("it is put back at the end of each step")
    }

    /// Peak learning rate times the share of a step.
    fn lr(&self, step: u64) -> f64 {
        self.lessons.set.lr * self.timetable.lr_share(step)
    }

    /// The images of a step.
    fn batch(&mut self, step: u64) -> Vec<usize> {
        let of_epoch = self.timetable.steps_per_epoch.max(1);
        let (epoch, place) = (step / of_epoch, (step % of_epoch) as usize);
        if self.epoch.as_ref().is_none_or(|(current, _)| *current != epoch) {
            self.epoch = Some((epoch, self.timetable.epoch(epoch)));
        }
        self.epoch.as_ref().map_or_else(Vec::new, |(_, steps)| steps[place].clone())
    }

    fn step(&mut self) -> Result<()> {
        let (step, Lessons { given, bn_momentum, set, device, .. }) = (self.counters.step, self.lessons);
        if self.timetable.is_restart(step) {
            self.optimizer = given_optimizer(&given.optimizer);
        }
        let batch = self.batch(step);
        let (n, lr) = (batch.len(), self.lr(step));
        let indices: Tensor<1, Int> = class_indices(batch.iter().map(|index| *index as u32), device);
        let images = self.images.clone().select(0, indices.clone());
        let targets = self.targets.clone().select(0, indices).autodiff();
        let mut draws = self.timetable.view_draws(step);
        let images = match draw(&given.augmentation, &mut draws, Images::Each(n), set.size) {
            Some(operation) => dsa::apply(&operation, images),
            None => images,
        };
        let loss = |logits: Tensor<2>| match given.loss {
            GivenLoss::CrossEntropy {} => cross_entropy_to_distribution(logits, targets),
            GivenLoss::HalfSquaredError { per: Per::Image } => half_squared_error(logits, targets),
            GivenLoss::HalfSquaredError { per: Per::ImageAndClass } => {
                half_squared_error(logits, targets) / set.classes as f64
            }
        };
        let student = self.student.take().expect("it is put back at the end of each step");
        let (student, loss) =
            training_step(student, &mut self.optimizer, lr, *bn_momentum, images.autodiff(), loss);
        self.student = Some(student);
        self.account()?;
        self.unread = Some((step, n as u64, loss));
        self.counters.step += 1;
        Ok(self.progress.advance(n as u64)?)
    }

    /// Reads the loss of the last step.
    fn account(&mut self) -> Result<()> {
        let Some((step, images, loss)) = self.unread.take() else { return Ok(()) };
        let loss = loss.read()?;
        ensure!(loss.is_finite(), "{}: the loss is {loss}; {}", self.place(step), self.advice());
        self.counters.loss_sum += loss * images as f64;
        self.counters.images += images;
        self.progress.message(format!("step {step} loss {loss:.4}"));
        Ok(())
    }

    /// Tests the student where the steps that are done end at a test, and begins a new mean of losses.
    fn test_if_due(&mut self) -> Result<bool> {
        let done = self.counters.step;
        let Some((_, units)) = self.tests.iter().find(|(steps, _)| *steps == done) else { return Ok(false) };
        let epoch = units - 1;
        self.account()?;
        if let Some((tensor, value)) = self.student().first_not_finite()? {
            bail!("{}: `{tensor}` holds {value} after it; {}", self.place(done - 1), self.advice());
        }
        let Lessons { seed, set, test, device, .. } = *self.lessons;
        let values = |indices: &[usize]| set.test_values(test, indices);
        let tested = self.student().valid();
        let accuracy = test_accuracy_on(&tested, test, values, TEST_BATCH, device, self.progress)?;
        let Counters { loss_sum, images, .. } = self.counters;
        self.counters.history.push(HistoryRow {
            seed,
            epoch,
            lr: self.lr(done - 1),
            loss: loss_sum / images.max(1) as f64,
            top1: Some(accuracy.top1),
            top5: Some(accuracy.top5),
        });
        (self.counters.loss_sum, self.counters.images) = (0.0, 0);
        Ok(true)
    }

    /// Where a student breaks.
    fn place(&self, step: u64) -> String {
        let epoch = step / self.timetable.steps_per_epoch.max(1);
        format!("student seed {}, step {step} (epoch {epoch})", self.lessons.seed)
    }

    fn advice(&self) -> String {
        format!("lower evaluate.given.optimizer.lr, now {}", self.lessons.set.lr)
    }
}
