//! What the files `networks/NAME` pin of a network, whatever its architecture: names, shapes and counts; evaluation mode with
//! the gradient on the pixels; training mode with the gradient on the weights and one step; how new weights start.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Gradients, Tensor, TensorData};
use delt_formats::{Architecture, NamedTensor, TensorValues};
use delt_formula::{by_formula, formula_uniform};
use delt_networks::{FrozenNetwork, Network};
use delt_pipeline::config::teacher::Optimizer;
use delt_tests::{
    Tensors, assert_close, device, integers, json, number, record, relative_error, tensors, values,
};
use delt_training::losses::{class_indices, cross_entropy};
use delt_training::{module_optimizer, training_step};
use serde_json::Value;

use crate::every_network::STARTS_OTHERWISE;

const FORWARD_TOLERANCE: f64 = 2e-5;
const GRADIENT_TOLERANCE: f64 = 1e-3;
const TRAINING_TOLERANCE: f64 = 1e-4;
const WEIGHT_GRADIENT_TOLERANCE: f64 = 1e-2;
/// Of the loss before it: the first step of Adam is the sign of every gradient.
const STEP_TOLERANCE: f64 = 2e-3;
/// PyTorch's default of batch normalization.
const BN_MOMENTUM: f64 = 0.1;

/// The gradients on the images: of the loss of recovery, and of cross-entropy alone.
const GRADIENTS: [&str; 2] = ["grad", "grad_ce"];
/// Where a value is on the other side of a ReLU's edge.
const EDGE_TOLERANCE: f64 = 2e-2;

/// How far PyTorch's own f32 is from its f64 where the files are of f32 and do not say: measured for the networks whose last maps
/// have four positions, of which batch statistics are taken.
const MEASURED: [(&str, &str, f64); 6] = [
    ("resnet50", "loss_after", 2.0e-3),
    ("resnet50_small", "loss_after", 9.2e-4),
    ("resnet101", "train_logits", 2.0e-4),
    ("resnet101", "loss_after", 2.1e-2),
    ("resnet101_small", "train_logits", 5.2e-5),
    ("resnet101_small", "loss_after", 3.8e-2),
];

/// What is in a `state_dict` and not trained.
const BUFFERS: [&str; 4] =
    [".running_", ".num_batches_tracked", ".relative_position_index", ".relative_coords_table"];

/// Networks whose modules do not stand in forward order in PyTorch's `state_dict`.
const OTHER_ORDER: [&str; 3] = ["swin_t", "swin_v2_t", "swin_v2_t_224px"];

/// All figures of `networks/NAME` against this architecture.
pub(crate) fn check(name: &str, architecture: Architecture) {
    let Some(figures) = Figures::read(name, architecture) else { return };
    figures.check_structure();
    if !STARTS_OTHERWISE.contains(&name) {
        figures.check_start();
    }
    let fused = figures.check_evaluation("fused", |network| network);
    let plain = figures.check_evaluation("plain", FrozenNetwork::without_fusion);
    figures.check_gradients(fused, plain);
    figures.check_training("fused", |network, x| network.forward_train(x).0);
    figures.check_training("plain", |network, x| network.forward_train_plain(x).0);
    figures.check_step();
}

struct Figures {
    name: String,
    architecture: Architecture,
    prefix: String,
    scalars: Value,
    golden: Tensors,
}

impl Figures {
    fn read(name: &str, architecture: Architecture) -> Option<Self> {
        let file = format!("networks/{name}");
        let (meta, scalars, golden) = (json("networks/meta")?, json(&file)?, tensors(&file)?);
        let prefix = meta["weights_prefix"].as_str().unwrap().to_owned();
        Some(Self { name: name.to_owned(), architecture, prefix, scalars, golden })
    }

    fn size(&self) -> usize {
        self.whole("size")
    }

    fn classes(&self) -> usize {
        self.whole("classes")
    }

    fn whole(&self, key: &str) -> usize {
        self.scalars[key].as_u64().unwrap() as usize
    }

    fn close(&self, what: &str, ours: &[f32], expected: &[f32], tolerance: f64) {
        assert_close(&format!("{}, {what}", self.name), ours, expected, tolerance);
    }

    /// How far PyTorch's own f32 is from its f64.
    fn distance(&self, key: &str) -> f64 {
        let measured = MEASURED.iter().find(|(name, of, _)| (*name, *of) == (self.name.as_str(), key));
        let stated = self.scalars["float32_distance"].get(key).map(number);
        stated.or(measured.map(|row| row.2)).unwrap_or(0.0)
    }

    /// A figure of the JSON or of the tensors, no further away than `tolerance` and ten times what PyTorch's own f32 is.
    fn meets(&self, what: &str, key: &str, ours: &[f32], tolerance: f64) {
        let distance = self.distance(key);
        let found = [&self.scalars[key], &self.scalars["train"][key]].into_iter().find_map(Value::as_f64);
        let expected = found.map_or_else(|| self.golden.values(key), |number| vec![number as f32]);
        self.close(&format!("{what}: {key}"), ours, &expected, tolerance.max(10.0 * distance));
    }

    fn network(&self, device: &Device) -> Network {
        let fill = &mut by_formula(&self.prefix);
        Network::build(&self.architecture, self.classes(), self.size(), device, fill).unwrap()
    }

    /// Images by formula under the name that stands in the file.
    fn images(&self, name: &Value, count: usize, device: &Device) -> Tensor<4> {
        let shape = [count, 3, self.size(), self.size()];
        let drawn = formula_uniform(&self.prefix, name.as_str().unwrap(), shape.iter().product());
        let drawn: Vec<f32> = drawn.into_iter().map(|u| (2.0 * u) as f32).collect();
        Tensor::from_data(TensorData::new(drawn, shape), device)
    }

    fn check_structure(&self) {
        let description = |classes| self.architecture.description(self.size(), classes);
        let [own, thousand] = [self.classes(), 1000].map(|classes| description(classes).parameters());
        assert_eq!(own, self.whole("parameters"));
        assert_eq!(thousand, self.whole("parameters_1000_classes"));
        let of_a_class = description(self.classes() + 1).parameters() - own;
        assert_eq!(of_a_class, self.whole("parameters_per_class"));
        for (side, expected) in self.scalars["mega_multiply_adds"].as_object().unwrap() {
            let description = self.architecture.description(side.parse().unwrap(), self.classes());
            let (ours, expected) = (description.multiplications() / 1e6, number(expected));
            assert!((ours - expected).abs() < 0.051, "{}: {ours} million, expected {expected}", self.name);
        }
        let network = self.network(&device());
        let named = |NamedTensor { name, shape, .. }: NamedTensor| serde_json::json!([name, shape]);
        let mut ours: Vec<Value> = network.named_tensors().unwrap().into_iter().map(named).collect();
        let mut theirs = self.scalars["state_dict"].as_array().unwrap().clone();
        if OTHER_ORDER.contains(&self.name.as_str()) {
            for names in [&mut ours, &mut theirs] {
                names.sort_by_key(|pair| pair[0].as_str().unwrap().to_owned());
            }
        }
        assert_eq!(ours, theirs, "{}", self.name);
        let layers: Vec<String> = network.bn_layers().into_iter().map(|layer| layer.name).collect();
        assert_eq!(serde_json::json!(layers), self.scalars["bn_layers"], "{}", self.name);
    }

    /// One draw of ours against one of PyTorch's.
    fn check_start(&self) {
        let network = Network::initialize(&self.architecture, self.classes(), self.size(), 0, &device());
        let (means, stds) = (self.golden.values("init_mean"), self.golden.values("init_std"));
        let mut expected: BTreeMap<_, _> =
            self.trained().into_iter().zip(means.into_iter().zip(stds)).collect();
        for NamedTensor { name, values, .. } in network.unwrap().named_tensors().unwrap() {
            let TensorValues::F32(values) = values else { continue };
            let Some((mean, std)) = expected.remove(&name) else { continue };
            let (n, what) = (values.len() as f64, format!("{}, start of {name}", self.name));
            let our_mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
            let squares = values.iter().map(|v| (f64::from(*v) - our_mean).powi(2)).sum::<f64>();
            let our_std = (squares / n).sqrt();
            let (mean, std) = (f64::from(mean), f64::from(std));
            let share = (5.0 / (2.0 * n).sqrt()).max(0.02);
            let is_alike = (our_std - std).abs() <= share * std;
            assert!(is_alike, "{what}: standard deviation {our_std}, expected {std}");
            let is_alike = (our_mean - mean).abs() <= 5.0 * std * (2.0 / n).sqrt();
            assert!(is_alike, "{what}: mean {our_mean}, expected {mean}");
        }
        assert!(expected.is_empty(), "{}: {expected:?}", self.name);
    }

    /// Names of what is trained, in PyTorch's order.
    fn trained(&self) -> Vec<String> {
        let names =
            self.scalars["state_dict"].as_array().unwrap().iter().map(|pair| pair[0].as_str().unwrap());
        let is_trained = |name: &&str| !BUFFERS.iter().any(|buffer| name.contains(buffer));
        names.filter(is_trained).map(str::to_owned).collect()
    }

    /// Returns how far the gradients of [`GRADIENTS`] are off.
    fn check_evaluation(&self, what: &str, make: impl Fn(FrozenNetwork) -> FrozenNetwork) -> [f64; 2] {
        let device = device();
        let network = make(FrozenNetwork::new(self.network(&device), &device));
        let targets = integers(&self.scalars["targets"]);
        let count = targets.len();
        let labels = class_indices(targets, &device);
        let leaf = || self.images(&self.scalars["images"], count, &device).autodiff().require_grad();
        let meets = |key, ours: Tensor<1>, tolerance| self.meets(what, key, &values(ours), tolerance);
        let pixels = self.images(&self.scalars["images"], count, &device);
        let first: Vec<f32> = values(pixels.clone()).into_iter().take(4).collect();
        let expected: Vec<f32> = serde_json::from_value(self.scalars["first_images"].clone()).unwrap();
        self.close("images by formula", &first, &expected, 1e-6);
        meets("logits", network.forward(pixels).flatten(0, 1), FORWARD_TOLERANCE);

        let x = leaf();
        let (logits, terms) = network.forward_with_bn_terms(x.clone());
        meets("logits", logits.clone().inner().flatten(0, 1), FORWARD_TOLERANCE);
        let ce = cross_entropy(logits, labels.clone(), 0.0);
        meets("ce", ce.clone().inner(), FORWARD_TOLERANCE);
        let mut loss = ce;
        if !terms.is_empty() {
            let plain = terms.iter().map(|term| term.clone().inner()).collect();
            meets("bn_terms", Tensor::cat(plain, 0), FORWARD_TOLERANCE);
        }
        for (layer, term) in terms.into_iter().enumerate() {
            let weight = if layer == 0 { number(&self.scalars["first_bn_multiplier"]) } else { 1.0 };
            loss = loss + term.mul_scalar(weight * number(&self.scalars["r_bn"]));
        }
        meets("loss", loss.clone().inner(), FORWARD_TOLERANCE);
        let of_loss = self.gradient_error(what, GRADIENTS[0], x, loss);

        let x = leaf();
        let ce = cross_entropy(network.forward(x.clone()), labels, 0.0);
        [of_loss, self.gradient_error(what, GRADIENTS[1], x, ce)]
    }

    /// Of the gradient on the images: every so many values of it, and the norm of all.
    fn gradient_error(&self, what: &str, key: &str, x: Tensor<4>, loss: Tensor<1>) -> f64 {
        let gradient = values(x.grad(&loss.backward()).unwrap());
        let strided: Vec<f32> =
            gradient.iter().copied().step_by(self.whole(&format!("{key}_stride"))).collect();
        let error = relative_error(&strided, &self.golden.values(key));
        record::say(format_args!("{}, {what}: {key}: relative error {error:.1e}", self.name));
        let expected = number(&self.scalars[format!("{key}_norm")]);
        error.max((f64::from(norm(&gradient)) / expected - 1.0).abs())
    }

    /// Two ways that round differently: one of them meets the figures. The other may have a value on the other side of a ReLU's
    /// edge, which changes the gradient of all that it depends on.
    fn check_gradients(&self, fused: [f64; 2], plain: [f64; 2]) {
        for (key, (fused, plain)) in GRADIENTS.into_iter().zip(fused.into_iter().zip(plain)) {
            let allowed = GRADIENT_TOLERANCE.max(10.0 * self.distance(key));
            let what =
                format!("{}: {key} is off by {fused} fused and {plain} plain, allowed {allowed}", self.name);
            assert!(fused.min(plain) < allowed && fused.max(plain) < allowed.max(EDGE_TOLERANCE), "{what}");
        }
    }

    /// The images of training mode, and what they are.
    fn training(&self, device: &Device) -> (Tensor<4>, Vec<u32>) {
        let train = &self.scalars["train"];
        let targets = integers(&train["targets"]);
        (self.images(&train["images"], targets.len(), device), targets)
    }

    fn check_training(&self, what: &str, forward: impl Fn(&Network, Tensor<4>) -> Tensor<2>) {
        let device = device().autodiff();
        let network = self.network(&device);
        let (images, targets) = self.training(&device);
        let logits = forward(&network, images);
        let meets = |key, ours: &[f32], tolerance| self.meets(what, key, ours, tolerance);
        meets("train_logits", &values(logits.clone().inner()), TRAINING_TOLERANCE);
        let gradients = cross_entropy(logits, class_indices(targets, &device), 0.0).backward();
        let mut norms = Norms { gradients: &gradients, norms: BTreeMap::new() };
        network.visit(&mut norms);
        let by_name: BTreeMap<_, _> = network
            .tensors()
            .filter_map(|(id, name, _)| Some((name, *norms.norms.get(&id.val())?)))
            .collect();
        let norms: Vec<f32> = self.trained().iter().map(|name| by_name[name.as_str()]).collect();
        meets("weight_grad_norms", &norms, WEIGHT_GRADIENT_TOLERANCE);
    }

    /// The step that students take.
    fn check_step(&self) {
        let device = device().autodiff();
        let network = self.network(&device);
        let (images, targets) = self.training(&device);
        let train = &self.scalars["train"];
        let lr = number(&train["lr"]);
        let recipe = Optimizer::Adamw {
            lr,
            beta_1: number(&train["betas"][0]),
            beta_2: number(&train["betas"][1]),
            epsilon: number(&train["epsilon"]),
            weight_decay: number(&train["weight_decay"]),
        };
        let mut optimizer = module_optimizer(&recipe, &network);
        let momentum = self.architecture.bn_momentum(BN_MOMENTUM);
        let loss = |logits| cross_entropy(logits, class_indices(targets.clone(), &device), 0.0);
        let (network, before) = training_step(network, &mut optimizer, lr, momentum, images.clone(), loss);
        self.meets("step", "loss_before", &[before.read().unwrap() as f32], TRAINING_TOLERANCE);
        let layers = network.bn_layers();
        if !layers.is_empty() {
            let running = layers.into_iter().flat_map(|layer| [layer.running_mean, layer.running_var]);
            let norms: Vec<f32> = running.map(|tensor| norm(&values(tensor))).collect();
            self.meets("step", "running_norms", &norms, TRAINING_TOLERANCE);
        }
        let after = values(loss(network.forward_train(images).0).inner())[0];
        let allowed = STEP_TOLERANCE.max(10.0 * self.distance("loss_after"));
        let apart = (f64::from(after) - number(&train["loss_after"])).abs() / number(&train["loss_before"]);
        assert!(apart < allowed, "{}: loss {after} after a step, off by {apart}", self.name);
    }
}

/// The norm of the gradient on each parameter by its id; 0 of a bias before a batch normalization, where a block that is one
/// operation computes none.
struct Norms<'a> {
    gradients: &'a Gradients,
    norms: BTreeMap<u64, f32>,
}

impl ModuleVisitor for Norms<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.val();
        if value.is_require_grad() {
            let norm = value.grad(self.gradients).map_or(0.0, |gradient| norm(&values(gradient)));
            self.norms.insert(param.id.val(), norm);
        }
    }
}

/// Euclidean norm.
fn norm(values: &[f32]) -> f32 {
    values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt() as f32
}

/// Weights under names of others are read as ours: the logits are those of the file.
pub(crate) fn check_import(name: &str, architecture: Architecture, origin: &str) {
    let Some(figures) = Figures::read(name, architecture) else { return };
    let layouts = architecture.layouts();
    let layout = layouts.iter().find(|layout| layout.origin.contains(origin)).unwrap();
    let device = device();
    let mut theirs = figures.network(&device).named_tensors().unwrap();
    for tensor in &mut theirs {
        tensor.name = (layout.name)(&tensor.name);
    }
    let read = delt_networks::checkpoint::find(&architecture, &theirs, None).unwrap().tensors;
    let network =
        Network::from_named(&architecture, figures.classes(), figures.size(), read, &device).unwrap();
    let network = FrozenNetwork::new(network, &device);
    let images = figures.images(&figures.scalars["images"], 2, &device);
    let error = relative_error(&values(network.forward(images)), &figures.golden.values("logits"));
    assert!(error < FORWARD_TOLERANCE, "{name}: imported, off by {error}");
}
