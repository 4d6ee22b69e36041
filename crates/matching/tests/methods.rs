//! Every method on a toy: it lowers its own loss, a resumed run is an uninterrupted one, seeds differ, and NaN stops it.

#![expect(clippy::unwrap_used, reason = "a failed step fails its test")]

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use delt_augment::draws::{Draws, standard_normal};
use delt_augment::dsa::Strategy;
use delt_formats::NamedTensor;
use delt_matching::distribution::DistributionMatching;
use delt_matching::gradient::GradientMatching;
use delt_matching::rat_bptt::RatBptt;
use delt_matching::trajectory::TrajectoryMatching;
use delt_matching::{ImageOptimizer, Matching, MatchingError, RealImages, Scene};
use delt_pipeline::config::image_optimizer::ImageOptimizer as Rule;
use delt_pipeline::config::method;
use delt_tangent::unrolled_sgd::Set;
use delt_tangent::{Activation, Form, Function, Norm, Norms, Start};
use delt_training::Floats;

const SIDE: usize = 8;
const CLASSES: usize = 3;
const METHODS: [&str; 5] = ["dm", "dsa", "mtt", "tesla", "rat-bptt"];

/// Noise around an image of each class.
fn image(draws: &Draws, class: u32, index: u64) -> Vec<f32> {
    let values =
        |purpose, index| standard_normal(draws.stream(purpose, class.into(), index)).take(3 * SIDE * SIDE);
    values("class", 0).zip(values("image", index)).map(|(class, own)| class + 0.3 * own).collect()
}

fn scene(seed: u64) -> Scene {
    let form = Form {
        widths: vec![4, 4],
        norm: Norm::Instance,
        norm_before_conv: false,
        activation: Activation::Relu,
        size: SIDE,
        classes: CLASSES,
    };
    let data = Draws::new(1);
    let labels: Vec<u32> = (0..60).map(|row| row % CLASSES as u32).collect();
    let values: Vec<f32> = (0..60).flat_map(|row| image(&data, row % CLASSES as u32, row.into())).collect();
    let values = Floats::of(&values, 3 * SIDE * SIDE).expect("in memory");
    let device = Device::flex();
    Scene {
        function: Function::new(form, &device),
        real: Arc::new(RealImages::floats(values, labels, CLASSES, SIDE, &device)),
        labels: vec![0, 0, 1, 1, 2, 2],
        strategies: vec![Strategy::Crop, Strategy::Color, Strategy::Rotate],
        draws: Draws::new(seed),
    }
}

/// Weights of a network before and after some epochs on the real images.
fn expert(scene: &Scene, expert: u32, epoch: u32) -> Vec<f32> {
    let rows: Vec<usize> = (0..scene.real.len()).collect();
    let targets = scene.one_hot(&scene.real.labels(&rows));
    let mut theta = scene.function.initialize(Start::Torch, &scene.draws, "expert", expert.into(), 0);
    for _ in 0..epoch * 5 {
        let images = scene.real.images(&rows).unwrap();
        let found = scene.function.gradient(&theta, images, targets.clone(), Norms::Own);
        theta = theta - found.weights * 0.1;
    }
    theta.try_into_vec_as().unwrap()
}

fn open(name: &str, scene: Scene) -> Box<dyn Matching> {
    match name {
        "dm" => {
            let config = method::DistributionMatching { real_batch: 8 };
            Box::new(DistributionMatching::new(scene, config))
        }
        "dsa" => {
            let config = method::GradientMatching {
                real_batch: 8,
                outer: 3,
                inner_epochs: 2,
                network_lr: 0.05,
                network_batch: 4,
                statistics_batch: None,
            };
            Box::new(GradientMatching::new(scene, config))
        }
        "mtt" | "tesla" => {
            let config = method::TrajectoryMatching {
                steps: 5,
                expert_epochs: 1,
                max_start_epoch: 2,
                lr: 0.05,
                lr_step: method::LrStep { lr: 1e-4, momentum: 0.5 },
                batch: Some(4),
                curvature: name == "mtt",
                expert_labels: false,
            };
            let of = scene.clone();
            let experts = Box::new(move |which, epoch| Ok(expert(&of, which, epoch)));
            Box::new(TrajectoryMatching::new(scene, config, experts, 2))
        }
        _ => {
            let config = method::RatBptt {
                inner: method::InnerAdam { lr: 0.01, beta_1: 0.9, beta_2: 0.999, epsilon: 1e-8 },
                window: 3,
                steps: 8,
                window_at_end: false,
                real_batch: 20,
                images_per_class: Some(1),
                classes: None,
                clip: method::Clip { factor: 2.0, decay: 0.9 },
            };
            Box::new(RatBptt::new(scene, config))
        }
    }
}

/// A method with what it moves.
struct Run {
    method: Box<dyn Matching>,
    set: Set,
    optimizer: ImageOptimizer<4>,
    lr: f64,
    losses: Vec<f64>,
}

impl Run {
    fn new(name: &str, seed: u64) -> Self {
        let scene = scene(seed);
        let noise = standard_normal(Draws::new(5).stream("start", 0, 0)).take(6 * 3 * SIDE * SIDE).collect();
        let images =
            Tensor::from_data(TensorData::new::<f32, _>(noise, [6, 3, SIDE, SIDE]), scene.function.device());
        let rule = match name {
            "rat-bptt" => {
                Rule::Adam { lr: 0.03, beta_1: 0.9, beta_2: 0.999, epsilon: 1e-8, final_share: None }
            }
            "mtt" | "tesla" => Rule::Sgd { lr: 20.0, momentum: 0.5, final_share: None },
            "dm" => Rule::Sgd { lr: 1.0, momentum: 0.5, final_share: None },
            _ => Rule::Sgd { lr: 0.1, momentum: 0.5, final_share: None },
        };
        let optimizer = ImageOptimizer::new(rule, &images);
        let set = Set { targets: scene.one_hot(&scene.labels), images };
        Self { method: open(name, scene), set, optimizer, lr: rule.lr(), losses: Vec::new() }
    }

    fn step(&mut self, iteration: u32) -> Result<(), MatchingError> {
        let found = self.method.gradients(&self.set, iteration)?;
        self.set.images = self.optimizer.step(self.set.images.clone(), found.images, self.lr);
        self.losses.push(found.losses[0]);
        self.method.after(&self.set, iteration)
    }

    fn images(&self) -> Vec<f32> {
        self.set.images.clone().try_into_vec_as().unwrap()
    }
}

#[test]
fn a_run_that_is_stopped_anywhere_gives_the_images_of_one_that_is_not() {
    for name in METHODS {
        let mut whole = Run::new(name, 3);
        (0..7).for_each(|iteration| whole.step(iteration).unwrap());
        let mut other = Run::new(name, 4);
        (0..7).for_each(|iteration| other.step(iteration).unwrap());
        assert_ne!(whole.images(), other.images(), "{name}: another seed");
        for stop in [1, 2, 3, 5] {
            let mut first = Run::new(name, 3);
            (0..stop).for_each(|iteration| first.step(iteration).unwrap());
            let kept: Vec<NamedTensor> = first.method.save().unwrap();
            let optimizer = first.optimizer.state("optimizer").unwrap();
            let mut second = Run::new(name, 3);
            second.set = first.set;
            second.method.restore(&kept).unwrap();
            second.optimizer.restore("optimizer", &optimizer).unwrap();
            (stop..7).for_each(|iteration| second.step(iteration).unwrap());
            assert_eq!(whole.images(), second.images(), "{name}, stopped after {stop}");
        }
    }
}

#[test]
fn every_method_lowers_its_own_loss() {
    for name in METHODS {
        let mut run = Run::new(name, 3);
        (0..60).for_each(|iteration| run.step(iteration).unwrap());
        let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
        let (first, last) = (mean(&run.losses[..10]), mean(&run.losses[50..]));
        assert!(last < 0.9 * first, "{name}: {first} to {last}");
    }
}

#[test]
fn a_value_that_is_not_finite_stops_a_method_with_its_name() {
    for name in METHODS {
        let mut run = Run::new(name, 3);
        run.set.images = run.set.images.clone() * f32::NAN;
        let refused = run.step(0).expect_err(name).to_string();
        assert!(refused.contains(" is NaN"), "{name}: {refused}");
    }
}
