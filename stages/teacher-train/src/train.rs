//! The training loop: hard labels, augmented images, one learning rate per step, a checkpoint per epoch.

use std::path::Path;

use anyhow::{Error, Result, anyhow, ensure};
use burn::module::Module;
use burn::optim::ModuleOptimizer;
use burn::tensor::Device;
use delt_augment::draws::Draws;
use delt_formats::history::HistoryRow;
use delt_formats::teacher::{Architecture, Normalization};
use delt_harness::progress::Progress;
use delt_networks::Network;
use delt_pipeline::config::teacher::{Replicas, TrainRecipe};
use delt_training::losses::{class_indices, cross_entropy};
use delt_training::schedule::train_factor;
use delt_training::training_state::kept;
use delt_training::{
    Drops, ImageSet, Part, StepLoss, TrainingState, ahead, data_parallel_step, dropping_step,
    module_optimizer, part_sizes, test_accuracy,
};

use crate::batches::Batches;

/// A test set of at most so many images is tested after every epoch, a larger one every [`TEST_EVERY`] epochs; the last
/// epoch always.
const SMALL_TEST_IMAGES: usize = 2000;

/// Epochs between two tests on a larger set.
const TEST_EVERY: u32 = 5;

/// Images of a forward pass in a test.
pub const TEST_BATCH: usize = 200;

/// All that a trained network depends on.
#[derive(Debug)]
pub struct Training<'a> {
    /// The network.
    pub architecture: &'a Architecture,
    /// Optimizer, schedule, augmentation.
    pub recipe: &'a TrainRecipe,
    /// Training images.
    pub train: &'a ImageSet,
    /// Test images.
    pub test: &'a ImageSet,
    /// How images are normalized.
    pub normalization: &'a Normalization,
    /// Number of classes.
    pub classes: usize,
    /// Seed of the first weights, of order and of augmentation.
    pub seed: u64,
    /// Where to train, without autodiff: the first of them, and the replicas of the recipe on all.
    pub devices: &'a [Device],
}

/// Training between two epochs.
pub struct State {
    network: Network,
    optimizer: ModuleOptimizer,
    history: Vec<HistoryRow>,
    checkpoint: TrainingState,
}

impl State {
    /// Whole epochs trained so far.
    pub fn epochs_done(&self) -> u32 {
        self.history.len() as u32
    }
}

/// A trained network.
#[derive(Debug)]
pub struct Trained {
    /// The network, outside any graph.
    pub network: Network,
    /// One row per epoch; the last one is tested.
    pub history: Vec<HistoryRow>,
}

impl Training<'_> {
    /// Images that pass through the network in training and testing: the total of the progress.
    pub fn images_ahead(&self) -> u64 {
        (0..self.recipe.epochs).map(|epoch| self.images_of(epoch)).sum()
    }

    fn images_of(&self, epoch: u32) -> u64 {
        let tested = if self.is_tested(epoch) { self.test.len() } else { 0 };
        (self.batches().images_shown() + tested) as u64
    }

    fn is_tested(&self, epoch: u32) -> bool {
        let done = epoch + 1;
        done == self.recipe.epochs || self.test.len() <= SMALL_TEST_IMAGES || done.is_multiple_of(TEST_EVERY)
    }

    /// Trains all epochs, from the checkpoint in `checkpoint_dir` where there is one: the result is the same.
    ///
    /// # Errors
    /// As [`Self::start`] and [`Self::train_epoch`]; the checkpoint of the last whole epoch stays.
    pub fn run(&self, checkpoint_dir: &Path, progress: &Progress) -> Result<Trained> {
        let mut state = self.start(checkpoint_dir)?;
        progress.resume_at((0..state.epochs_done()).map(|epoch| self.images_of(epoch)).sum());
        while state.epochs_done() < self.recipe.epochs {
            state = self.train_epoch(state, progress)?;
        }
        Ok(Trained { network: state.network.valid(), history: state.history })
    }

    /// The state to go on from: that of the checkpoint, or first weights drawn by the seed.
    ///
    /// # Errors
    /// Too few images to train on, or a checkpoint that cannot be read.
    pub fn start(&self, checkpoint_dir: &Path) -> Result<State> {
        ensure!(
            self.train.len() >= 2,
            "{} training images are too few; expected at least 2, see ingest.classes and ingest.max_train_per_class",
            self.train.len()
        );
        let device = self.devices[0].clone().autodiff();
        let checkpoint = TrainingState::new(checkpoint_dir);
        let optimizer_of = |network: &Network| module_optimizer(&self.recipe.optimizer, network);
        let size = self.train.size as usize;
        let saved = checkpoint.load(self.architecture, self.classes, size, &device, optimizer_of)?;
        if let Some((network, optimizer, history)) = saved {
            return Ok(State { network, optimizer, history, checkpoint });
        }
        let network = Network::initialize(self.architecture, self.classes, size, self.seed, &device)?;
        Ok(State { optimizer: optimizer_of(&network), network, history: Vec::new(), checkpoint })
    }

    /// Trains one epoch, tests where one is due, and keeps the checkpoint.
    ///
    /// # Errors
    /// A loss or a weight that is NaN or infinite, a test or a checkpoint that fails, an interrupt; the checkpoint of the epoch
    /// before stays.
    pub fn train_epoch(&self, state: State, progress: &Progress) -> Result<State> {
        let epoch = state.epochs_done();
        let State { mut network, mut optimizer, mut history, checkpoint } = state;
        let devices: Vec<Device> = self.devices.iter().map(|device| device.clone().autodiff()).collect();
        let batches = self.batches();
        let mut loss_sum = 0.0;
        let order = batches.order(epoch);
        let network = ahead(order.iter().map(|indices| batches.augmented(epoch, indices)), |augmented| {
            let mut account = |step: usize, loss: StepLoss| -> Result<()> {
                let loss = loss.read()?;
                ensure!(loss.is_finite(), self.not_finite(epoch, step, "the loss", loss));
                loss_sum += loss * order[step].len() as f64;
                progress.message(format!("epoch {}/{} loss {loss:.3}", epoch + 1, self.recipe.epochs));
                Ok(())
            };
            let mut before = None;
            for (step, (indices, augmented)) in order.iter().zip(augmented).enumerate() {
                let lr = self.lr(epoch, step);
                let drops = self.recipe.dropout.then(|| {
                    let (draws, step) = (Draws::new(self.seed), self.iteration(epoch, step));
                    Drops { draws, step, before: 0 }
                });
                let batch = (augmented?, indices.as_slice(), drops);
                let (moved, loss) = self.step(network, &mut optimizer, lr, batch, &devices);
                network = moved;
                if let Some((step, loss)) = before.replace((step, loss)) {
                    account(step, loss)?;
                }
                progress.advance(indices.len() as u64)?;
            }
            before.map_or(Ok(()), |(step, loss)| account(step, loss))?;
            anyhow::Ok(network)
        })?;
        // the last step of an epoch may break the weights without a loss that shows it
        if let Some((name, value)) = network.first_not_finite()? {
            let (step, what) = (batches.steps().saturating_sub(1), format!("a value of `{name}`"));
            return Err(self.not_finite(epoch, step, &what, value.into()));
        }
        let test = || {
            let (images, device) = (self.test, &self.devices[0]);
            test_accuracy(&network.valid(), images, self.normalization, TEST_BATCH, device, progress)
        };
        let accuracy = self.is_tested(epoch).then(test).transpose()?;
        history.push(HistoryRow {
            seed: self.seed,
            epoch,
            lr: self.lr(epoch, 0),
            loss: loss_sum / batches.images_shown() as f64,
            top1: accuracy.map(|accuracy| accuracy.top1),
            top5: accuracy.map(|accuracy| accuracy.top5),
        });
        checkpoint.save(&network, None, &optimizer, &history)?;
        Ok(State { network, optimizer, history, checkpoint })
    }

    fn step(
        &self,
        network: Network,
        optimizer: &mut ModuleOptimizer,
        lr: f64,
        (augmented, indices, drops): (Vec<f32>, &[usize], Option<Drops>),
        devices: &[Device],
    ) -> (Network, StepLoss) {
        let TrainRecipe { label_smoothing, replicas: Replicas(replicas), .. } = *self.recipe;
        let bn_momentum = self.architecture.bn_momentum(self.recipe.bn_momentum);
        let part_of = |augmented, indices: &[usize], device| {
            let labels = class_indices(indices.iter().map(|index| self.train.labels[*index]), device);
            let loss = move |logits| cross_entropy(logits, labels, label_smoothing);
            Part { images: self.train.on_device(augmented, device), loss, drops }
        };
        if replicas == 1 {
            let Part { images, loss, .. } = part_of(augmented, indices, &devices[0]);
            return dropping_step(network, optimizer, lr, bn_momentum, images, drops, loss);
        }
        let (mut values_left, mut rest, all) = (augmented.as_slice(), indices, indices);
        let values_of_image = augmented.len() / indices.len();
        let parts =
            part_sizes(indices.len(), replicas as usize).into_iter().enumerate().map(|(part, images)| {
                let (indices, values);
                (indices, rest) = rest.split_at(images);
                (values, values_left) = values_left.split_at(images * values_of_image);
                let part = part_of(values.to_vec(), indices, &devices[part % devices.len()]);
                let before = all.len() - rest.len() - images;
                Part { drops: drops.map(|drops| Drops { before, ..drops }), ..part }
            });
        let parts = parts.collect();
        data_parallel_step(network, optimizer, lr, bn_momentum, devices, parts)
    }

    fn batches(&self) -> Batches<'_> {
        let draws = Draws::new(self.seed);
        Batches { images: self.train, recipe: self.recipe, normalization: self.normalization, draws }
    }

    /// Learning rate of a step of an epoch.
    fn lr(&self, epoch: u32, step: usize) -> f64 {
        let steps = self.iteration(self.recipe.epochs, 0);
        self.recipe.optimizer.lr() * train_factor(&self.recipe.schedule, self.iteration(epoch, step), steps)
    }

    /// Steps before a step of an epoch.
    fn iteration(&self, epoch: u32, step: usize) -> u64 {
        u64::from(epoch) * self.batches().steps() as u64 + step as u64
    }

    /// Why training stops; `found` is a loss or a value of a weight.
    fn not_finite(&self, epoch: u32, batch: usize, what: &str, found: f64) -> Error {
        let iteration = self.iteration(epoch, batch);
        anyhow!(
            "epoch {epoch}, batch {batch}, iteration {iteration}: {what} is {found}; {}; lower teacher.train.optimizer.lr",
            kept(epoch)
        )
    }
}
