//! Trajectory matching (MTT, Cazenavette et al., CVPR 2022): N steps of SGD on the synthetic images from a point of an expert's
//! way are to end where the expert was M epochs later. L = ‖θ_N − θ*‖² / ‖θ₀ − θ*‖².
//!
//! The gradient is exact and its memory that of one step, however many there are ([`delt_tangent::unrolled_sgd`]). With
//! `curvature: false` the way is held constant, as the published code of TESLA (Cui et al., ICML 2023) does: a third cheaper,
//! and another gradient.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use burn::tensor::activation::softmax;
use delt_formats::experts::tensor_name;
use delt_formats::{NamedTensor, read_safetensors};
use delt_pipeline::config::method::TrajectoryMatching as Config;
use delt_tangent::unrolled_sgd::{self, InnerBatch, Set};
use delt_tangent::{Function, Norms, dot};
use rand::RngExt;

use crate::MatchingError;
use crate::matching::{Found, Learned, Matching, Scene, finite};
use crate::stored::{kept_numbers, numbers};

/// The weights of an expert after an epoch, in forward order; where they come from is another's concern.
pub type Experts = dyn Fn(u32, u32) -> Result<Vec<f32>, MatchingError> + Send;

/// Reads weights of experts, one file each, when they are first asked for; they then stay in memory.
pub fn read_experts(files: Vec<PathBuf>, function: Function) -> Box<Experts> {
    let read: Mutex<Vec<Option<Vec<Vec<f32>>>>> = Mutex::new(vec![None; files.len()]);
    Box::new(move |expert, epoch| {
        let (path, mut read) = (&files[expert as usize], read.lock().unwrap_or_else(PoisonError::into_inner));
        let epochs = match &mut read[expert as usize] {
            Some(epochs) => epochs,
            empty => empty.insert(read_expert(path, &function)?),
        };
        let problem = || format!("holds {} epochs, expected epoch {epoch}", epochs.len());
        let weights = epochs.get(epoch as usize).cloned();
        weights.ok_or_else(|| MatchingError::Expert { path: path.clone(), problem: problem() })
    })
}

/// The weights of an expert before its first epoch and after each, in forward order.
fn read_expert(path: &Path, function: &Function) -> Result<Vec<Vec<f32>>, MatchingError> {
    let (tensors, _) = read_safetensors(path)?;
    let mut epochs = Vec::new();
    loop {
        let prefix = tensor_name(epochs.len() as u32, "");
        let of_epoch = tensors.iter().filter_map(|tensor| {
            Some(NamedTensor { name: tensor.name.strip_prefix(&prefix)?.to_owned(), ..tensor.clone() })
        });
        let of_epoch: Vec<NamedTensor> = of_epoch.collect();
        if of_epoch.is_empty() {
            return Ok(epochs);
        }
        let missing = |name| {
            let problem = format!("no tensor `{prefix}{name}` of the network's shape");
            MatchingError::Expert { path: path.to_owned(), problem }
        };
        epochs.push(function.values_of(&of_epoch).map_err(missing)?);
    }
}

/// The method, with the learned learning rate.
pub struct TrajectoryMatching {
    scene: Scene,
    config: Config,
    experts: Box<Experts>,
    /// How many experts there are.
    count: u32,
    lr: f64,
    lr_momentum: f64,
    lr_gradient: f64,
}

impl TrajectoryMatching {
    /// Before the first iteration.
    pub fn new(scene: Scene, config: Config, experts: Box<Experts>, count: u32) -> Self {
        Self { scene, config, experts, count, lr: config.lr, lr_momentum: 0.0, lr_gradient: 0.0 }
    }

    /// Batches of all steps: chunks of a permutation, drawn anew when it is used up.
    fn batches(&self, iteration: u32) -> Vec<InnerBatch> {
        let size = self.config.batch.map_or(self.scene.labels.len(), |batch| batch as usize);
        let mut batches = Vec::new();
        let mut pass = 0;
        while batches.len() < self.config.steps as usize {
            batches.extend(self.scene.epoch("inner-training", iteration.into(), pass, size));
            pass += 1;
        }
        batches.truncate(self.config.steps as usize);
        batches
    }
}

impl Matching for TrajectoryMatching {
    fn gradients(&mut self, set: &Set, iteration: u32) -> Result<Found, MatchingError> {
        let (scene, config) = (&self.scene, self.config);
        let mut rng = scene.draws.stream("expert", iteration.into(), 0);
        let expert = rng.random_range(0..self.count);
        let epoch = rng.random_range(0..config.max_start_epoch);
        let start = scene.function.vector((self.experts)(expert, epoch)?);
        let target = scene.function.vector((self.experts)(expert, epoch + config.expert_epochs)?);
        let labeled = config.expert_labels.then(|| {
            let weights = scene.function.weights(&target);
            let targets = softmax(scene.function.forward(&weights, set.images.clone(), Norms::Own).logits, 1);
            Set { images: set.images.clone(), targets }
        });
        let set = labeled.as_ref().unwrap_or(set);
        let batches = self.batches(iteration);
        let path = unrolled_sgd::train(&scene.function, start.clone(), set, &batches, self.lr);
        let apart = path.weights[batches.len()].clone() - target.clone();
        let way = start - target;
        let way = finite("the expert's way", dot(&way, &way))?;
        let loss = finite("the loss", dot(&apart, &apart))? / way;
        let how = (self.lr, config.curvature, !config.expert_labels);
        let lambda = apart * (2.0 / way);
        let found = unrolled_sgd::backward(&scene.function, &path, set, &batches, how, lambda);
        self.lr_gradient = finite("the gradient of the learning rate", found.lr)?;
        let targets = (!config.expert_labels).then_some(found.set.targets);
        Ok(Found { losses: [loss, self.lr], images: found.set.images, targets })
    }

    /// Moves the learning rate.
    fn after(&mut self, _: &Set, _: u32) -> Result<(), MatchingError> {
        self.lr_momentum = self.config.lr_step.momentum * self.lr_momentum + self.lr_gradient;
        self.lr -= self.config.lr_step.lr * self.lr_momentum;
        if self.lr > 0.0 && self.lr.is_finite() { Ok(()) } else { Err(MatchingError::LearnedLr(self.lr)) }
    }

    fn learned(&self) -> Learned {
        Learned { lr: Some(self.lr), ..Learned::default() }
    }

    fn save(&self) -> Result<Vec<NamedTensor>, MatchingError> {
        Ok(vec![numbers("learned_lr", &[self.lr, self.lr_momentum])])
    }

    fn restore(&mut self, tensors: &[NamedTensor]) -> Result<(), MatchingError> {
        [self.lr, self.lr_momentum] = kept_numbers(tensors, "learned_lr")?;
        Ok(())
    }
}
