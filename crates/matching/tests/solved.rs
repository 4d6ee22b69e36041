//! FRePo and RCIG over some iterations of a small problem.

#![expect(clippy::unwrap_used, reason = "what fails fails its test")]

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use delt_augment::draws::{Draws, standard_normal};
use delt_formats::{NamedTensor, TensorValues};
use delt_matching::frepo::Frepo;
use delt_matching::rcig::Rcig;
use delt_matching::{ImageOptimizer, Matching, RealImages, Scene};
use delt_pipeline::config::image_optimizer::ImageOptimizer as Rule;
use delt_pipeline::config::method::{Frepo as FrepoConfig, LogTemperature, LrControl, Rcig as RcigConfig};
use delt_tangent::unrolled_sgd::Set;
use delt_tangent::{Activation, Form, Function, Norm};
use delt_training::Floats;

const SIDE: usize = 8;
const PIXELS: usize = 3 * SIDE * SIDE;
const CLASSES: usize = 3;
const LAMB: Rule = Rule::Lamb { lr: 0.02, beta_1: 0.9, beta_2: 0.999, epsilon: 1e-6, final_share: None };
const BELIEF: Rule = Rule::Adabelief {
    lr: 0.02,
    beta_1: 0.9,
    beta_2: 0.999,
    epsilon: 1e-16,
    epsilon_root: 1e-16,
    final_share: None,
};
const FREPO: FrepoConfig = FrepoConfig {
    real_batch: 30,
    ridge: 1e-6,
    pool: 2,
    pool_spacing: 2,
    pool_steps: 4,
    network_lr: 3e-4,
    train_batch: 4,
    bn_momentum: 0.9,
    mirror: true,
};
const RCIG: RcigConfig = RcigConfig {
    real_batch: 30,
    l2: 5e-4,
    inner_steps: 4,
    inverse_steps: 4,
    inner_lr: 1e-3,
    inverse_lr: 1e-3,
    lr_control: LrControl {
        raise: 1.2,
        retreat: 0.7,
        every: 3,
        diverged: 0.29,
        lower: 0.9,
        fell: 0.7,
        higher: 1.05,
    },
    pool: 2,
    pool_steps: 6,
    network_steps: 3,
    network_lr: 5e-5,
    softplus: Some(60.0),
    mirror: true,
    log_temperature: LogTemperature { start: 0.0, lr: 0.03 },
    partial: None,
    ema: Some(0.9),
};

/// Images of a class are a pattern of their class with noise.
fn images(per_class: usize, seed: u64, noise: f32) -> Vec<f32> {
    let draw = |purpose, a, b| standard_normal(Draws::new(seed).stream(purpose, a, b)).take(PIXELS);
    let image = |at: usize| {
        let class = (at / per_class) as u64;
        let pattern = standard_normal(Draws::new(1).stream("pattern", class, 0)).take(PIXELS);
        pattern.zip(draw("noise", at as u64, 0)).map(move |(pattern, value)| pattern * 0.5 + noise * value)
    };
    (0..per_class * CLASSES).flat_map(image).collect()
}

fn labels(per_class: usize) -> Vec<u32> {
    (0..per_class * CLASSES).map(|at| (at / per_class) as u32).collect()
}

fn scene(norm: Norm, activation: Activation, seed: u64) -> Scene {
    let device = Device::flex();
    let form = Form {
        widths: vec![4, 8],
        norm,
        norm_before_conv: norm == Norm::Batch,
        activation,
        size: SIDE,
        classes: CLASSES,
    };
    let values = Floats::of(&images(20, 2, 0.7), 3 * SIDE * SIDE).expect("in memory");
    let real = RealImages::floats(values, labels(20), CLASSES, SIDE, &device);
    Scene {
        function: Function::new(form, &device),
        real: Arc::new(real),
        labels: labels(2),
        strategies: Vec::new(),
        draws: Draws::new(seed),
    }
}

/// A method with what moves its set.
struct Run {
    method: Box<dyn Matching>,
    set: Set,
    images: ImageOptimizer<4>,
    targets: ImageOptimizer<2>,
    rule: Rule,
}

impl Run {
    fn new(scene: Scene, rule: Rule, method: impl FnOnce(Scene) -> Box<dyn Matching>) -> Self {
        let device = Device::flex();
        let n = scene.labels.len();
        let images = TensorData::new(images(2, 3, 1.0), [n, 3, SIDE, SIDE]);
        let targets = scene.one_hot(&scene.labels) - 1.0 / CLASSES as f64;
        let set = Set { images: Tensor::from_data(images, &device), targets };
        Self {
            images: ImageOptimizer::new(rule, &set.images),
            targets: ImageOptimizer::new(rule, &set.targets),
            method: method(scene),
            set,
            rule,
        }
    }

    fn frepo(config: FrepoConfig, seed: u64) -> Self {
        let scene = scene(Norm::Batch, Activation::Relu, seed);
        Self::new(scene, LAMB, |scene| Box::new(Frepo::new(scene, config)))
    }

    fn rcig(config: RcigConfig, seed: u64) -> Self {
        let scene = scene(Norm::None, Activation::Softplus { beta: 60.0 }, seed);
        Self::new(scene, BELIEF, |scene| Box::new(Rcig::new(scene, config, BELIEF)))
    }

    fn go(&mut self, iterations: std::ops::Range<u32>) -> Vec<[f64; 2]> {
        let mut step = |iteration| {
            let found = self.method.gradients(&self.set, iteration).unwrap();
            self.set.images = self.images.step(self.set.images.clone(), found.images, self.rule.lr());
            let targets = self.set.targets.clone();
            self.set.targets = self.targets.step(targets, found.targets.unwrap(), self.rule.lr());
            self.method.after(&self.set, iteration).unwrap();
            found.losses
        };
        iterations.map(&mut step).collect()
    }

    fn save(&self) -> (Set, Vec<NamedTensor>) {
        let mut state = self.method.save().unwrap();
        state.extend(self.images.state("images").unwrap());
        state.extend(self.targets.state("targets").unwrap());
        (self.set.clone(), state)
    }

    fn restore(&mut self, (set, state): (Set, Vec<NamedTensor>)) {
        self.set = set;
        self.method.restore(&state).unwrap();
        self.images.restore("images", &state).unwrap();
        self.targets.restore("targets", &state).unwrap();
    }

    /// All that there is at the end.
    fn end(&self) -> (Vec<f32>, Vec<NamedTensor>) {
        let Set { images, targets } = self.method.result(&self.set);
        let mut values = images.try_into_vec_as::<f32>().unwrap();
        values.extend(targets.try_into_vec_as::<f32>().unwrap());
        (values, self.save().1)
    }
}

/// Twelve iterations at once, and with a stop after the seventh.
fn assert_resumes(run: impl Fn(u64) -> Run) {
    let mut whole = run(5);
    let losses = whole.go(0..12);
    let mut begun = run(5);
    begun.go(0..7);
    let mut resumed = run(5);
    resumed.restore(begun.save());
    assert_eq!(resumed.go(7..12), losses[7..]);
    assert_eq!(resumed.end(), whole.end());
    let mut other = run(6);
    assert_ne!(other.go(0..1), losses[..1], "another seed, another network");
}

/// Mean of the first column.
fn mean(losses: &[[f64; 2]]) -> f64 {
    losses.iter().map(|losses| losses[0]).sum::<f64>() / losses.len() as f64
}

#[test]
fn a_resumed_frepo_run_equals_an_uninterrupted_one() {
    assert_resumes(|seed| Run::frepo(FREPO, seed));
}

#[test]
fn a_resumed_rcig_run_equals_an_uninterrupted_one() {
    assert_resumes(|seed| Run::rcig(RCIG, seed));
}

#[test]
fn losses_of_real_images_fall() {
    for mut run in [Run::frepo(FREPO, 1), Run::rcig(RCIG, 1)] {
        let losses = run.go(0..60);
        let [first, last] = [mean(&losses[..10]), mean(&losses[50..])];
        assert!(last < 0.9 * first, "{first} to {last}");
    }
}

#[test]
fn networks_past_their_age_make_room_for_new_ones() {
    let mut run = Run::frepo(FREPO, 1);
    run.go(0..40);
    let state = run.save().1;
    let drawn = state.iter().find(|tensor| tensor.name == "pool.drawn").unwrap();
    let TensorValues::I64(bits) = &drawn.values else { panic!("numbers") };
    // five steps of each, and an iteration in which it is replaced
    let drawn = f64::from_bits(bits[0] as u64);
    assert!((6.0..=10.0).contains(&drawn), "{drawn} networks");
}

#[test]
fn partial_passes_go_through_some_images_and_all_of_them_are_all() {
    let mut whole = Run::rcig(RCIG, 1);
    let mut all = Run::rcig(RcigConfig { partial: Some(12), ..RCIG }, 1);
    assert_eq!((whole.go(0..2), whole.end()), (all.go(0..2), all.end()));
    let mut some = Run::rcig(RcigConfig { partial: Some(5), ..RCIG }, 1);
    assert!(some.go(0..2).iter().flatten().all(|loss| loss.is_finite()));
    assert_ne!(some.end(), all.end());
}
