//! RCIG (Loo, Hasani, Lechner and Rus, ICML 2023): implicit gradients through an inner problem made convex.
//!
//! A network of a pool is linear in a tangent of its weights and solves its last layer ([`problem`]). The loss of real images after a
//! training of the tangent depends on the images directly, and through where that training ends: the latter by the inverse of
//! its second derivatives, which are constant.

mod cross_entropy;
mod partial;
pub mod problem;
mod rates;

use burn::tensor::Tensor;
use delt_formats::NamedTensor;
use delt_pipeline::config::image_optimizer::ImageOptimizer as OptimizerRule;
use delt_pipeline::config::method::Rcig as Config;
use delt_tangent::total;
use delt_tangent::unrolled_sgd::{Set, SetGradient};
use rand::RngExt;

pub use partial::Partial;

use crate::distribution::norm;
use crate::matching::{Found, Learned, Matching, Scene, finite, number};
use crate::pool::{Pool, Rule};
use crate::regression::{margin, matrix, mirrored_set, tensor};
use crate::stored::{floats, kept_numbers, numbers, values};
use crate::{ImageOptimizer, MatchingError};
use problem::Problem;
use rates::{Course, Rates, search};

/// Share of a batch in the running statistics of the pool's networks, where they have any, as published for those with batch
/// normalization.
const BATCH_SHARE: f64 = 0.9;

/// The method, with its pool and all that is learned.
#[derive(Debug)]
pub struct Rcig {
    scene: Scene,
    config: Config,
    pool: Pool,
    /// None before the first iteration.
    rates: Option<Rates>,
    /// κ, `[1]`.
    log_temperature: Tensor<1>,
    log_temperature_gradient: f64,
    optimizer: ImageOptimizer<1>,
    /// Sums of the moving average, and how many sets it has seen.
    average: Option<(Set, u32)>,
}

impl Rcig {
    /// Before the first iteration; κ is moved by an optimizer of this kind.
    pub fn new(scene: Scene, config: Config, rule: OptimizerRule) -> Self {
        let pool = Pool::new(scene.function.clone(), scene.draws, config.pool, 0);
        let log_temperature = Tensor::<1>::zeros([1], scene.function.device()) + config.log_temperature.start;
        let optimizer = ImageOptimizer::new(rule, &log_temperature);
        Self {
            scene,
            config,
            pool,
            rates: None,
            log_temperature,
            log_temperature_gradient: 0.0,
            optimizer,
            average: None,
        }
    }
}

impl Matching for Rcig {
    fn gradients(&mut self, set: &Set, iteration: u32) -> Result<Found, MatchingError> {
        let network = self.pool.network(self.pool.place(iteration));
        let (scene, config) = (&self.scene, &self.config);
        let images = scene.labels.len() * if config.mirror { 2 } else { 1 };
        let partial = Partial::of(config.partial, images, &scene.draws, iteration);
        let at = (&network.state.weights, network.norms(&scene.function));
        let mut problem = Problem::new(&scene.function, at, set, (config.l2, config.mirror), partial)?;
        let (inner_steps, control) = (config.inner_steps, &config.lr_control);
        let inner = match self.rates {
            Some(rates) => rates.inner,
            None => search(config.inner_lr, control, |lr| Ok(problem.fit(lr, inner_steps)?.1))?,
        };
        let (tau, losses) = problem.fit(inner, inner_steps)?;
        let (alpha, inner_loss) = problem.at(&tau)?;
        let inner_loss = number("the inner loss", inner_loss)?;

        let rows = scene.real_batch(config.real_batch, iteration);
        let real = (&scene.real.images(&rows)?, &*scene.real.labels(&rows));
        let kappa = finite("the logarithm of the temperature", self.log_temperature.clone())?;
        let outer = problem.outer((&tau, &alpha), real, kappa)?;
        let loss = number("the loss of real images", outer.loss)?;

        let steps = config.inverse_steps;
        let mut rates = match self.rates {
            Some(rates) => rates,
            None => {
                let losses = |lr| Ok(problem.inverse(&outer.tau, lr, steps)?.1);
                let inverse = search(config.inverse_lr, control, losses)?;
                Rates { inner, inverse, fell: 0, diverged: 0, seen: 0 }
            }
        };
        let (v, _) = problem.inverse(&outer.tau, rates.inverse, steps)?;
        rates.see(Course::of(&losses), iteration, control);
        self.rates = Some(rates);
        self.log_temperature_gradient = outer.log_temperature;

        let mut direct = problem.direct((&tau, &alpha), &outer);
        let most = 0.5 / scene.function.form.classes as f64;
        let (_, of_margin) = margin(&matrix(&set.targets, "labels")?, most);
        direct.targets = direct.targets + tensor(&of_margin, &scene.function);
        let found = joined(direct, problem.implicit((&tau, &alpha), &v)?)?;
        Ok(Found { losses: [loss, inner_loss], images: found.images, targets: Some(found.targets) })
    }

    /// Moves κ and the average, and trains the network on the images.
    fn after(&mut self, set: &Set, iteration: u32) -> Result<(), MatchingError> {
        let gradient = self.log_temperature.zeros_like() + self.log_temperature_gradient;
        let kappa = self.log_temperature.clone();
        self.log_temperature = self.optimizer.step(kappa, gradient, self.config.log_temperature.lr);
        if let Some(decay) = self.config.ema {
            self.average = Some(averaged(self.average.take(), set, decay));
        }
        let place = self.pool.place(iteration);
        let mut rng = self.scene.draws.stream("pool-steps", iteration.into(), 0);
        let set = mirrored_set(set, self.config.mirror);
        let divisor = self.scene.function.form.classes as f64;
        let rule = Rule { lr: self.config.network_lr, divisor, batch_share: BATCH_SHARE };
        for _ in 0..rng.random_range(1..=self.config.network_steps) {
            self.pool.train(place, set.clone(), rule);
        }
        if self.pool.age(place) >= self.config.pool_steps {
            self.pool.replace(place);
        }
        Ok(())
    }

    fn result(&self, set: &Set) -> Set {
        let (Some(decay), Some((sums, seen))) = (self.config.ema, &self.average) else { return set.clone() };
        let share = 1.0 - decay.powi((*seen).min(i32::MAX as u32) as i32);
        Set { images: sums.images.clone() / share, targets: sums.targets.clone() / share }
    }

    fn learned(&self) -> Learned {
        let value = self.log_temperature.clone().try_into_scalar::<f32>().ok();
        Learned { log_temperature: value.map(f64::from), ..Learned::default() }
    }

    fn save(&self) -> Result<Vec<NamedTensor>, MatchingError> {
        let mut tensors = self.pool.save()?;
        tensors.push(floats("log_temperature", &self.log_temperature)?);
        tensors.extend(self.optimizer.state("log_temperature_optimizer")?);
        if let Some(Rates { inner, inverse, fell, diverged, seen }) = self.rates {
            let counts = [fell, diverged, seen].map(f64::from);
            tensors.push(numbers("rates", &[inner, inverse, counts[0], counts[1], counts[2]]));
        }
        if let Some((sums, seen)) = &self.average {
            tensors.push(numbers("average", &[f64::from(*seen)]));
            tensors.push(floats("average.images", &sums.images)?);
            tensors.push(floats("average.targets", &sums.targets)?);
        }
        Ok(tensors)
    }

    fn restore(&mut self, tensors: &[NamedTensor]) -> Result<(), MatchingError> {
        self.pool.restore(tensors)?;
        let device = self.scene.function.device().clone();
        let kappa = values(tensors, "log_temperature", 1)?;
        self.log_temperature = Tensor::from_data(kappa, &device);
        self.optimizer.restore("log_temperature_optimizer", tensors)?;
        let is_kept = |name: &str| tensors.iter().any(|tensor| tensor.name == name);
        self.rates = None;
        if is_kept("rates") {
            let [inner, inverse, fell, diverged, seen] = kept_numbers(tensors, "rates")?;
            let [fell, diverged, seen] = [fell, diverged, seen].map(|count| count as u32);
            self.rates = Some(Rates { inner, inverse, fell, diverged, seen });
        }
        self.average = None;
        if is_kept("average") {
            let [seen] = kept_numbers(tensors, "average")?;
            let (n, side, classes) =
                (self.scene.labels.len(), self.scene.side(), self.scene.function.form.classes);
            let images = values(tensors, "average.images", n * 3 * side * side)?;
            let targets = values(tensors, "average.targets", n * classes)?;
            let images = Tensor::<1>::from_data(images, &device).reshape([n, 3, side, side]);
            let targets = Tensor::<1>::from_data(targets, &device).reshape([n, classes]);
            self.average = Some((Set { images, targets }, seen as u32));
        }
        Ok(())
    }
}

/// The sum of direct and implicit gradient, the latter no longer than the former.
fn joined(direct: SetGradient, implicit: SetGradient) -> Result<SetGradient, MatchingError> {
    let share = |what: &str, direct: Tensor<1>, implicit: Tensor<1>| {
        let direct = finite(&format!("the norm of the direct gradient on {what}"), direct)?;
        let implicit = finite(&format!("the norm of the implicit gradient on {what}"), implicit)?;
        Ok::<f64, MatchingError>(if implicit > direct { direct / implicit } else { 1.0 })
    };
    let of_images = share("images", norm(&direct.images), norm(&implicit.images))?;
    let length = |targets: &Tensor<2>| total(targets.clone().square()).sqrt();
    let of_targets = share("labels", length(&direct.targets), length(&implicit.targets))?;
    Ok(SetGradient {
        images: direct.images + implicit.images * of_images,
        targets: direct.targets + implicit.targets * of_targets,
    })
}

/// Sums of the moving average after one more set.
fn averaged(sums: Option<(Set, u32)>, set: &Set, decay: f64) -> (Set, u32) {
    let new =
        Set { images: set.images.clone() * (1.0 - decay), targets: set.targets.clone() * (1.0 - decay) };
    let Some((sums, seen)) = sums else { return (new, 1) };
    let set = Set { images: sums.images * decay + new.images, targets: sums.targets * decay + new.targets };
    (set, seen + 1)
}
