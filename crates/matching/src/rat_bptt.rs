//! RaT-BPTT (Feng, Vedantam and Kempe, ICLR 2024): the loss of real images after a training by Adam on the synthetic ones, through
//! whose last steps, a window at a random place, is differentiated.

use burn::tensor::{Tensor, TensorData};
use delt_formats::NamedTensor;
use delt_pipeline::config::method::{InnerAdam, RatBptt as Config};
use delt_tangent::unrolled_adam::{self, Adam};
use delt_tangent::unrolled_sgd::{InnerBatch, Set};
use delt_tangent::{Norms, Start, cross_entropy};
use rand::RngExt;
use rand::seq::index;

use crate::MatchingError;
use crate::distribution::norm;
use crate::matching::{Found, Matching, Scene, finite};
use crate::stored::{kept_numbers, numbers};

/// Real images of a part of the outer batch, which is summed: bounds the activations in memory.
const PART: usize = 500;

/// The method, with the moving average of its gradient's norm.
#[derive(Debug)]
pub struct RatBptt {
    scene: Scene,
    config: Config,
    /// 0 before the first iteration.
    mean_norm: f64,
    found_norm: f64,
}

impl RatBptt {
    /// Before the first iteration.
    pub fn new(scene: Scene, config: Config) -> Self {
        Self { scene, config, mean_norm: 0.0, found_norm: 0.0 }
    }

    fn adam(&self) -> Adam {
        let InnerAdam { lr, beta_1, beta_2, epsilon } = self.config.inner;
        Adam { lr, beta_1, beta_2, epsilon }
    }

    /// Steps of the inner training, the same in a pass over the real images.
    fn steps(&self, iteration: u32) -> u32 {
        let Config { steps, window, window_at_end, .. } = self.config;
        if window_at_end {
            steps
        } else {
            let pass = u64::from(iteration) / self.scene.real.batches(self.config.real_batch as usize) as u64;
            self.scene.draws.stream("window", pass, 0).random_range(window..=steps)
        }
    }

    /// The batch of an inner step: some images of some classes.
    fn batch(&self, iteration: u32, step: u32) -> InnerBatch {
        let scene = &self.scene;
        let mut rng = scene.draws.stream("inner-batch", iteration.into(), step.into());
        let mut classes = scene.classes();
        if let Some(count) = self.config.classes {
            let chosen = index::sample(&mut rng, classes.len(), classes.len().min(count as usize));
            let mut chosen = chosen.into_vec();
            chosen.sort_unstable();
            classes = chosen.into_iter().map(|at| classes[at].clone()).collect();
        }
        let mut rows = Vec::new();
        for (_, of_class) in classes {
            let count = self.config.images_per_class.map_or(of_class.len(), |count| count as usize);
            let chosen = index::sample(&mut rng, of_class.len(), count.min(of_class.len()));
            let mut chosen = chosen.into_vec();
            chosen.sort_unstable();
            rows.extend(chosen.into_iter().map(|at| of_class[at]));
        }
        let view = scene.view("inner-view", iteration.into(), step.into(), rows.len());
        InnerBatch { rows, view }
    }

    /// Mean cross-entropy of real images, and its gradient on the weights.
    fn outer(&self, theta: &Tensor<1>, iteration: u32) -> Result<(f64, Tensor<1>), MatchingError> {
        let scene = &self.scene;
        let batch = scene.real_batch(self.config.real_batch, iteration);
        let (mut loss, mut gradient) = (0.0, theta.zeros_like());
        for (part, rows) in batch.chunks(PART).enumerate() {
            let view = scene.view("real-view", iteration.into(), part as u64, rows.len());
            let targets = scene.one_hot(&scene.real.labels(rows));
            let images = view(scene.real.images(rows)?);
            let of = |logits| cross_entropy(logits, targets);
            let found = scene.function.gradient_of(theta, images, Norms::Own, of);
            let share = rows.len() as f64 / batch.len() as f64;
            loss += finite("the loss of real images", found.loss)? * share;
            gradient = gradient + found.weights * share;
        }
        Ok((loss, gradient))
    }
}

impl Matching for RatBptt {
    fn gradients(&mut self, set: &Set, iteration: u32) -> Result<Found, MatchingError> {
        let (scene, adam) = (&self.scene, self.adam());
        let steps = self.steps(iteration);
        let start =
            scene.function.initialize(Start::Torch, &scene.draws, "matching-network", iteration.into(), 0);
        let batches: Vec<InnerBatch> = (0..steps).map(|step| self.batch(iteration, step)).collect();
        let window = self.config.window as usize;
        let path = unrolled_adam::train(&scene.function, start, set, &batches, &adam, window);
        let (loss, lambda) = self.outer(&path.end.weights, iteration)?;
        let found = unrolled_adam::backward(&scene.function, &path, set, &batches, &adam, (lambda, true));
        let found_norm = finite("the norm of the gradient", norm(&found.images))?;
        let most = self.config.clip.factor * self.mean_norm;
        let share = if self.mean_norm > 0.0 && found_norm > most { most / found_norm } else { 1.0 };
        self.found_norm = found_norm * share;
        let losses = [loss, found_norm];
        Ok(Found { losses, images: found.images * share, targets: Some(found.targets * share) })
    }

    fn after(&mut self, _: &Set, _: u32) -> Result<(), MatchingError> {
        let decay = if self.mean_norm > 0.0 { self.config.clip.decay } else { 0.0 };
        self.mean_norm = decay * self.mean_norm + (1.0 - decay) * self.found_norm;
        Ok(())
    }

    /// Targets are not negative.
    fn allowed(&self, targets: Tensor<2>) -> Tensor<2> {
        targets.clamp_min(0.0)
    }

    fn save(&self) -> Result<Vec<NamedTensor>, MatchingError> {
        Ok(vec![numbers("mean_norm", &[self.mean_norm])])
    }

    fn restore(&mut self, tensors: &[NamedTensor]) -> Result<(), MatchingError> {
        [self.mean_norm] = kept_numbers(tensors, "mean_norm")?;
        Ok(())
    }
}

/// Normal noise, each image scaled to unit length: what RaT-BPTT starts from.
pub fn unit_noise(values: Vec<f32>, shape: [usize; 4]) -> TensorData {
    let count = shape[1..].iter().product::<usize>();
    let scaled = values.chunks(count).flat_map(|image| {
        let length = image.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
        image.iter().map(move |value| (f64::from(*value) / length) as f32)
    });
    TensorData::new(scaled.collect::<Vec<f32>>(), shape)
}
