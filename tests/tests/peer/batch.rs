//! Twenty iterations of the batch-to-batch methods beside PyTorch's double backward in float64 (`bench/batch/iterate.py`): the same
//! first weights in each, all images in each batch, no augmentation; images and labels must come out the same.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use burn::tensor::{Tensor, TensorData};
use delt_augment::Draws;
use delt_formats::{NamedTensor, TensorValues, write_safetensors};
use delt_formula::formula_uniform;
use delt_matching::distribution::DistributionMatching;
use delt_matching::frepo::Frepo;
use delt_matching::gradient::GradientMatching;
use delt_matching::rat_bptt::RatBptt;
use delt_matching::rcig::Rcig;
use delt_matching::trajectory::{Experts, TrajectoryMatching};
use delt_matching::{ImageOptimizer, Matching, RealImages, Scene};
use delt_pipeline::config::image_optimizer::ImageOptimizer as Rule;
use delt_pipeline::config::method::{self, Method};
use delt_tangent::unrolled_sgd::Set;
use delt_tangent::{Activation, Form, Function, Norm, Start};
use delt_tests::{device, relative_error, values, workspace};
use delt_training::Floats;
use serde_json::json;

const ITERATIONS: u32 = 20;
const CLASSES: usize = 4;
const SIDE: usize = 16;
/// Synthetic images of a class, and real ones.
const IMAGES: [usize; 2] = [2, 6];

/// A Python with PyTorch; `None`, with the reason printed, where there is none.
fn python() -> Option<PathBuf> {
    let made = || Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("torch-venv").join("bin/python");
    let python = std::env::var_os("DELT_TORCH_PYTHON").map_or_else(made, PathBuf::from);
    let has_torch = Command::new(&python).args(["-c", "import numpy, torch"]).output();
    if has_torch.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    let reason = "has no PyTorch; set DELT_TORCH_PYTHON, or `make torch-venv` makes one";
    let _ = writeln!(std::io::stderr(), "skipped: {} {reason}", python.display());
    None
}

/// Without gates that rounding decides, and smooth enough that iterations do not raise it: with β = 20 PyTorch's own float32 is up
/// to 2e-3 from its float64.
const SMOOTH: Activation = Activation::Softplus { beta: 2.0 };

/// Images of so many of each class: a pattern of the class, and noise. Under another prefix rounding may decide a gate of ReLU
/// otherwise than float64 does, and images part by up to percents from there on, in PyTorch's own float32 too.
fn images(name: &str, per_class: usize) -> Vec<f32> {
    let count = 3 * SIDE * SIDE;
    let image = |at: usize| {
        let pattern = formula_uniform("peer/2/", &format!("class.{}", at / per_class), count);
        let noise = formula_uniform("peer/2/", &format!("{name}.{at}"), count);
        pattern.into_iter().zip(noise).map(|(pattern, noise)| (pattern + noise) as f32)
    };
    (0..CLASSES * per_class).flat_map(image).collect()
}

fn labels(per_class: usize) -> Vec<u32> {
    (0..CLASSES * per_class).map(|at| (at / per_class) as u32).collect()
}

/// A network as the method is published with it, narrower.
fn scene(method: Method, activation: Activation) -> Scene {
    let (norm, norm_before_conv) = match method {
        Method::Frepo(_) => (Norm::Batch, true),
        Method::Rcig(_) => (Norm::None, false),
        _ => (Norm::Instance, false),
    };
    let form = Form { widths: vec![8; 3], norm, norm_before_conv, activation, size: SIDE, classes: CLASSES };
    let values = Floats::of(&images("real", IMAGES[1]), 3 * SIDE * SIDE).expect("in memory");
    let real = RealImages::floats(values, labels(IMAGES[1]), CLASSES, SIDE, &device());
    Scene {
        function: Function::new(form, &device()),
        real: Arc::new(real),
        labels: labels(IMAGES[0]),
        strategies: Vec::new(),
        draws: Draws::new(7),
    }
}

/// Vectors under names, for the peer.
type Vectors = Arc<Mutex<Vec<NamedTensor>>>;

fn floats(name: &str, shape: &[usize], values: Vec<f32>) -> NamedTensor {
    NamedTensor { name: name.to_owned(), shape: shape.to_vec(), values: TensorValues::F32(values) }
}

/// An expert whose epochs are drawn anew whenever they are asked for, start and target in turns, and handed over.
fn expert(scene: &Scene, kept: &Vectors) -> Box<Experts> {
    let (function, draws, kept) = (scene.function.clone(), scene.draws, kept.clone());
    Box::new(move |_, epoch| {
        let mut kept = kept.lock().unwrap();
        let iteration = kept.len() as u64 / 2;
        let start = values(function.initialize(Start::Torch, &draws, "expert", iteration, 0));
        // the expert has moved a little
        let moves = formula_uniform("peer/2/", &format!("expert.{iteration}"), start.len());
        let share = 0.02 * f64::from(epoch);
        let moved = start.iter().zip(moves).map(|(start, u)| start + (share * u) as f32);
        let moved: Vec<f32> = moved.collect();
        let name = if epoch == 0 { "start" } else { "target" };
        kept.push(floats(&format!("{name}.{iteration}"), &[moved.len()], moved.clone()));
        Ok(moved)
    })
}

/// What the one network of a pool starts from, for the peer.
fn first_of_pool(scene: &Scene, kept: &Vectors) {
    let weights = scene.function.initialize(Start::LeCun, &scene.draws, "pool-network", 0, 0);
    kept.lock().unwrap().push(floats("start.0", &[scene.function.parameters()], values(weights)));
}

/// What each iteration's network starts from, for the peer, as the methods draw it.
fn first_weights(scene: &Scene, every: u32, kept: &Vectors) {
    for network in 0..ITERATIONS.div_ceil(every) {
        let weights =
            scene.function.initialize(Start::Torch, &scene.draws, "matching-network", network.into(), 0);
        let name = format!("start.{}", network * every);
        kept.lock().unwrap().push(floats(&name, &[scene.function.parameters()], values(weights)));
    }
}

fn start(method: Method, rule: Rule, scene: Scene, kept: &Vectors) -> Box<dyn Matching> {
    match method {
        Method::DistributionMatching(config) => {
            first_weights(&scene, 1, kept);
            Box::new(DistributionMatching::new(scene, config))
        }
        Method::GradientMatching(config) => {
            first_weights(&scene, config.outer, kept);
            Box::new(GradientMatching::new(scene, config))
        }
        Method::TrajectoryMatching(config) => {
            let experts = expert(&scene, kept);
            Box::new(TrajectoryMatching::new(scene, config, experts, 1))
        }
        Method::RatBptt(config) => {
            first_weights(&scene, 1, kept);
            Box::new(RatBptt::new(scene, config))
        }
        Method::Frepo(config) => {
            first_of_pool(&scene, kept);
            Box::new(Frepo::new(scene, config))
        }
        Method::Rcig(config) => {
            first_of_pool(&scene, kept);
            Box::new(Rcig::new(scene, config, rule))
        }
        other => panic!("{} is not here", other.title()),
    }
}

/// Runs both: the images must end within a thousandth of PyTorch's, having moved by far more.
#[track_caller]
fn compare(method: Method, rule: Rule, activation: Activation) {
    let Some(python) = python() else { return };
    let (kept, scene) = (Vectors::default(), scene(method, activation));
    let mut matching = start(method, rule, scene.clone(), &kept);
    let shape = [CLASSES * IMAGES[0], 3, SIDE, SIDE];
    let first = images("synthetic", IMAGES[0]);
    let tensor = Tensor::from_data(TensorData::new(first.clone(), shape), &device());
    let mut targets = scene.one_hot(&scene.labels);
    let learns_labels = matches!(method, Method::Frepo(_) | Method::Rcig(_));
    if learns_labels {
        targets = targets - 1.0 / CLASSES as f64;
    }
    let first_targets = values(targets.clone());
    let mut set = Set { images: tensor, targets };
    let mut optimizer = ImageOptimizer::new(rule, &set.images);
    let mut of_targets = ImageOptimizer::new(rule, &set.targets);
    for iteration in 0..ITERATIONS {
        let found = matching.gradients(&set, iteration).unwrap();
        set.images = optimizer.step(set.images.clone(), found.images, rule.lr());
        if let Some(gradient) = found.targets.filter(|_| learns_labels) {
            set.targets = of_targets.step(set.targets.clone(), gradient, rule.lr());
        }
        matching.after(&set, iteration).unwrap();
    }
    let ours = [values(set.images), values(set.targets)];

    let folder = tempfile::tempdir().unwrap();
    let real = [CLASSES * IMAGES[1], 3, SIDE, SIDE];
    let one_hot = |per_class: usize| values(scene.one_hot(&labels(per_class)));
    kept.lock().unwrap().extend([
        floats("images", &shape, first.clone()),
        floats("targets", &[shape[0], CLASSES], first_targets.clone()),
        floats("real", &real, images("real", IMAGES[1])),
        floats("real_targets", &[real[0], CLASSES], one_hot(IMAGES[1])),
    ]);
    write_safetensors(folder.path().join("job.safetensors"), &kept.lock().unwrap(), None).unwrap();
    let beta = if let Activation::Softplus { beta } = activation { Some(beta) } else { None };
    let Form { norm, norm_before_conv, .. } = scene.function.form;
    let norm = format!("{norm:?}").to_lowercase();
    let net = json!({"depth": 3, "width": 8, "size": SIDE, "classes": CLASSES, "norm": norm,
        "norm_before_conv": norm_before_conv, "doubling": false, "softplus_beta": beta});
    let job = json!({"config": method, "image_optimizer": rule, "iterations": ITERATIONS, "net": net});
    std::fs::write(folder.path().join("job.json"), job.to_string()).unwrap();
    let script = workspace().join("bench/batch/iterate.py");
    let mut command = Command::new(python);
    command.arg(script).arg(folder.path()).env("PYTHONDONTWRITEBYTECODE", "1").env("OMP_NUM_THREADS", "1");
    assert!(command.status().unwrap().success(), "the peer failed");
    for (what, ours, first) in [("images", &ours[0], &first), ("targets", &ours[1], &first_targets)] {
        let bytes = std::fs::read(folder.path().join(format!("{what}.f32"))).unwrap();
        let theirs: Vec<f32> = bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        let (error, moved) = (relative_error(ours, &theirs), relative_error(&theirs, first));
        let case = format!("{}, {activation:?}: {what}", method.title());
        eprintln!("{case} moved by {moved:.3}, {error:.1e} from PyTorch");
        assert!(what == "targets" || moved > 0.05, "{case} moved by {moved} only");
        assert!(error < 1e-3, "{case} are {error} from PyTorch");
    }
}

const fn sgd(lr: f64) -> Rule {
    Rule::Sgd { lr, momentum: 0.5, final_share: None }
}

#[test]
fn distribution_matching_moves_images_as_pytorch_does() {
    let method = method::DistributionMatching { real_batch: 100 };
    for activation in [Activation::Relu, SMOOTH] {
        compare(Method::DistributionMatching(method), sgd(1.0), activation);
    }
}

#[test]
fn gradient_matching_moves_images_as_pytorch_does() {
    let method = method::GradientMatching {
        real_batch: 100,
        outer: 4,
        inner_epochs: 3,
        network_lr: 0.05,
        network_batch: 100,
        statistics_batch: None,
    };
    for activation in [Activation::Relu, SMOOTH] {
        compare(Method::GradientMatching(method), sgd(0.1), activation);
    }
}

#[test]
fn trajectory_matching_moves_images_as_pytorch_does_with_and_without_curvature() {
    for curvature in [true, false] {
        let method = method::TrajectoryMatching {
            steps: 5,
            expert_epochs: 1,
            max_start_epoch: 1,
            lr: 0.05,
            lr_step: method::LrStep { lr: 1e-6, momentum: 0.5 },
            batch: None,
            curvature,
            expert_labels: false,
        };
        for activation in [Activation::Relu, SMOOTH] {
            compare(Method::TrajectoryMatching(method), sgd(10.0), activation);
        }
    }
}

#[test]
fn rat_bptt_moves_images_as_pytorch_does() {
    let method = method::RatBptt {
        inner: method::InnerAdam { lr: 0.01, beta_1: 0.9, beta_2: 0.999, epsilon: 1e-8 },
        window: 4,
        steps: 8,
        window_at_end: true,
        real_batch: 24,
        images_per_class: None,
        classes: None,
        clip: method::Clip { factor: 2.0, decay: 0.9 },
    };
    // under ReLU PyTorch's own float32 ends 8e-3 to 7e-2 from its float64 in four of six draws
    compare(Method::RatBptt(method), adam(0.02), SMOOTH);
}

const fn adam(lr: f64) -> Rule {
    Rule::Adam { lr, beta_1: 0.9, beta_2: 0.999, epsilon: 1e-8, final_share: None }
}

#[test]
fn frepo_moves_images_and_labels_as_pytorch_does() {
    let method = method::Frepo {
        real_batch: 100,
        ridge: 1e-6,
        pool: 1,
        pool_spacing: 0,
        pool_steps: 100,
        network_lr: 3e-3,
        train_batch: 100,
        bn_momentum: 0.9,
        mirror: true,
    };
    compare(Method::Frepo(method), adam(0.01), SMOOTH);
}

#[test]
fn rcig_moves_images_and_labels_as_pytorch_does() {
    let method = method::Rcig {
        real_batch: 100,
        l2: 5e-4,
        inner_steps: 6,
        inverse_steps: 6,
        inner_lr: 1e-4,
        inverse_lr: 1e-4,
        lr_control: method::LrControl {
            raise: 2.0,
            retreat: 0.4,
            every: 8,
            diverged: 0.29,
            lower: 0.9,
            fell: 0.7,
            higher: 1.05,
        },
        pool: 1,
        pool_steps: 100,
        network_steps: 1,
        network_lr: 1e-3,
        softplus: None,
        mirror: true,
        log_temperature: method::LogTemperature { start: 0.0, lr: 0.03 },
        partial: None,
        ema: None,
    };
    compare(Method::Rcig(method), adam(0.01), SMOOTH);
}
