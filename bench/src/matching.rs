//! An outer iteration of each batch-to-batch method on the network that it is published with, as `delt-synthesize` runs it:
//! gradients, the step of the images, and what moves after. `bench/batch/works.py` does the same in PyTorch.

use std::sync::Arc;

use anyhow::{Context, Result};
use burn::tensor::{Device, Tensor, TensorData};
use delt_augment::Draws;
use delt_augment::dsa::Strategy;
use delt_formats::{Architecture, Norm};
use delt_formula::formula_uniform;
use delt_matching::distribution::DistributionMatching;
use delt_matching::frepo::Frepo;
use delt_matching::gradient::GradientMatching;
use delt_matching::rat_bptt::RatBptt;
use delt_matching::rcig::Rcig;
use delt_matching::trajectory::{Experts, TrajectoryMatching};
use delt_matching::{ImageOptimizer, Matching, RealImages, Scene};
use delt_networks::on_worker;
use delt_pipeline::config::image_optimizer::ImageOptimizer as Rule;
use delt_pipeline::config::method;
use delt_tangent::unrolled_sgd::Set;
use delt_tangent::{Activation, Form, Function, Start};
use delt_training::Floats;

use crate::compute::{Case, Job};

/// DSA's strategies, as published for CIFAR.
const STRATEGIES: [Strategy; 6] =
    [Strategy::Color, Strategy::Crop, Strategy::Cutout, Strategy::Flip, Strategy::Scale, Strategy::Rotate];

/// A method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Dm,
    Dsa,
    /// With curvature; without it TESLA.
    Trajectory(bool),
    RatBptt,
    Frepo,
    Rcig,
}

/// Each method by name, with the network that it is published with and its synthetic images.
const KINDS: [(Kind, &str, &str, usize); 7] = [
    (Kind::Dm, "dm", "convnet3", 100),
    (Kind::Dsa, "dsa", "convnet3", 10),
    (Kind::Trajectory(true), "mtt", "convnet3", 10),
    (Kind::Trajectory(false), "tesla", "convnet3", 10),
    (Kind::RatBptt, "rat-bptt", "convnet3", 10),
    (Kind::Frepo, "frepo", "conv", 10),
    (Kind::Rcig, "rcig", "conv", 10),
];

impl Kind {
    /// Real images of an iteration.
    fn real(self) -> usize {
        match self {
            Self::Dm | Self::Dsa => 640,
            Self::Trajectory(_) => 0,
            Self::RatBptt => 500,
            Self::Frepo => 512,
            Self::Rcig => 256,
        }
    }

    /// How images are moved, and labels where they are learned.
    fn rule(self) -> Rule {
        let (lr, beta_1, beta_2, final_share) = (1e-3, 0.9, 0.999, None);
        match self {
            Self::RatBptt => Rule::Adam { lr, beta_1, beta_2, epsilon: 1e-8, final_share },
            Self::Frepo => Rule::Lamb { lr, beta_1, beta_2, epsilon: 1e-6, final_share },
            Self::Rcig => {
                let (epsilon, epsilon_root) = (1e-16, 1e-16);
                Rule::Adabelief { lr, beta_1, beta_2, epsilon, epsilon_root, final_share }
            }
            _ => Rule::Sgd { lr: 0.1, momentum: 0.5, final_share },
        }
    }

    /// Whether labels are learned.
    fn learns_labels(self) -> bool {
        matches!(self, Self::Frepo | Self::Rcig)
    }

    fn form(self, case: &Case) -> Result<Form> {
        let (norm, norm_before_conv, activation) = match self {
            Self::Frepo => (Norm::Batch, true, Activation::Relu),
            Self::Rcig => (Norm::None, false, Activation::Softplus { beta: 60.0 }),
            _ => (Norm::Instance, false, Activation::Relu),
        };
        let doubling = case.network == "conv";
        let architecture = Architecture::ConvNet { depth: 3, width: 128, norm, norm_before_conv, doubling };
        let form = Form::of(&architecture, activation, case.size as usize, case.classes as usize);
        form.context("no derivative of the network is known")
    }

    fn strategies(self) -> Vec<Strategy> {
        match self {
            Self::RatBptt => vec![Strategy::Flip, Strategy::Rotate],
            Self::Frepo | Self::Rcig => Vec::new(),
            _ => STRATEGIES.to_vec(),
        }
    }
}

/// Name and case of each method.
pub(crate) fn all() -> impl Iterator<Item = (Kind, &'static str, Case)> {
    let case = |network, batch| Case { network, size: 32, batch, classes: 10 };
    KINDS.into_iter().map(move |(kind, name, network, batch)| (kind, name, case(network, batch)))
}

/// Has all that an iteration needs ready.
///
/// # Errors
/// A network whose derivatives are not known.
pub(crate) fn start(kind: Kind, case: &Case, device: &Device) -> Result<Job> {
    let (classes, side) = (case.classes as usize, case.size as usize);
    let pixels = |name, images: usize| -> Vec<f32> {
        let values = formula_uniform("bench/", name, images * 3 * side * side);
        values.into_iter().map(|u| 1.5 * u as f32).collect()
    };
    let labels_of = |images: usize| (0..images).map(|image| (image * classes / images) as u32).collect();
    let (real, labels): (usize, Vec<u32>) = (kind.real(), labels_of(case.batch));
    let values = Floats::of(&pixels("real", real), 3 * side * side)?;
    let scene = Scene {
        function: Function::new(kind.form(case)?, device),
        real: Arc::new(RealImages::floats(values, labels_of(real), classes, side, device)),
        labels: labels.clone(),
        strategies: kind.strategies(),
        draws: Draws::new(0),
    };
    let images = TensorData::new(pixels("synthetic", case.batch), [case.batch, 3, side, side]);
    let mut set = Set { images: Tensor::from_data(images, device), targets: scene.one_hot(&labels) };
    if kind.learns_labels() {
        set.targets = set.targets - 1.0 / classes as f64;
    }
    let rule = kind.rule();
    let mut optimizer = ImageOptimizer::new(rule, &set.images);
    let mut of_labels = kind.learns_labels().then(|| ImageOptimizer::new(rule, &set.targets));
    let (mut matching, mut iteration) = (matching(kind, scene)?, 0);
    let device = device.clone();
    let mut step = move || {
        let found = matching.gradients(&set, iteration)?;
        set.images = optimizer.step(set.images.clone(), found.images, rule.lr());
        if let (Some(optimizer), Some(gradient)) = (&mut of_labels, found.targets) {
            set.targets = optimizer.step(set.targets.clone(), gradient, rule.lr());
        }
        matching.after(&set, iteration)?;
        iteration += 1;
        Ok(())
    };
    Ok(Box::new(move || on_worker(&device, &mut step)))
}

fn matching(kind: Kind, scene: Scene) -> Result<Box<dyn Matching>> {
    let (real, classes) = (kind.real() as u32, scene.function.form.classes as u32);
    Ok(match kind {
        Kind::Dm => {
            let config = method::DistributionMatching { real_batch: real / classes };
            Box::new(DistributionMatching::new(scene, config))
        }
        Kind::Dsa => Box::new(GradientMatching::new(scene, dsa(real / classes))),
        Kind::Trajectory(curvature) => {
            let experts = experts(&scene)?;
            Box::new(TrajectoryMatching::new(scene, trajectory(curvature), experts, 1))
        }
        Kind::RatBptt => Box::new(RatBptt::new(scene, rat_bptt(real))),
        Kind::Frepo => Box::new(Frepo::new(scene, frepo(real))),
        Kind::Rcig => Box::new(Rcig::new(scene, rcig(real), kind.rule())),
    })
}

fn dsa(real_batch: u32) -> method::GradientMatching {
    method::GradientMatching {
        real_batch,
        outer: 1,
        inner_epochs: 1,
        network_lr: 0.01,
        network_batch: 256,
        statistics_batch: None,
    }
}

fn trajectory(curvature: bool) -> method::TrajectoryMatching {
    method::TrajectoryMatching {
        steps: 10,
        expert_epochs: 1,
        max_start_epoch: 1,
        lr: 0.01,
        lr_step: method::LrStep { lr: 1e-9, momentum: 0.5 },
        batch: None,
        curvature,
        expert_labels: false,
    }
}

fn rat_bptt(real_batch: u32) -> method::RatBptt {
    method::RatBptt {
        inner: method::InnerAdam { lr: 1e-3, beta_1: 0.9, beta_2: 0.999, epsilon: 1e-8 },
        window: 5,
        steps: 10,
        window_at_end: true,
        real_batch,
        images_per_class: None,
        classes: None,
        clip: method::Clip { factor: 2.0, decay: 0.9 },
    }
}

fn frepo(real_batch: u32) -> method::Frepo {
    method::Frepo {
        real_batch,
        ridge: 1e-6,
        pool: 1,
        pool_spacing: 0,
        pool_steps: 100,
        network_lr: 3e-4,
        train_batch: 1000,
        bn_momentum: 0.9,
        mirror: true,
    }
}

/// The learning rates are found in the first iteration, which is not counted.
fn rcig(real_batch: u32) -> method::Rcig {
    let (raise, retreat, every) = (2.0, 0.7, 1000);
    let (diverged, lower, fell, higher) = (0.29, 0.9, 0.7, 1.05);
    method::Rcig {
        real_batch,
        l2: 5e-4,
        inner_steps: 5,
        inverse_steps: 5,
        inner_lr: 1e-3,
        inverse_lr: 1e-3,
        lr_control: method::LrControl { raise, retreat, every, diverged, lower, fell, higher },
        pool: 1,
        pool_steps: 100,
        network_steps: 1,
        network_lr: 5e-5,
        softplus: Some(60.0),
        mirror: true,
        log_temperature: method::LogTemperature { start: 0.0, lr: 0.03 },
        partial: None,
        ema: None,
    }
}

/// Two epochs of an expert.
fn experts(scene: &Scene) -> Result<Box<Experts>> {
    let epoch = |epoch| {
        let weights = scene.function.initialize(Start::Torch, &scene.draws, "expert", 0, epoch);
        weights.try_into_vec_as::<f32>().context("weights")
    };
    let epochs = [epoch(0)?, epoch(1)?];
    Ok(Box::new(move |_, epoch| Ok(epochs[epoch as usize].clone())))
}
