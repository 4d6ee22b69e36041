//! Training resumed from a checkpoint gives the bytes of training that was never stopped.

use burn::module::Module;
use burn::optim::ModuleOptimizer;
use burn::tensor::{Device, Int, Tensor, TensorData};
use delt_formats::{Architecture, NamedTensor, TensorValues};
use delt_formula::formula_uniform;
use delt_networks::Network;
use delt_pipeline::config::teacher::Optimizer;
use delt_training::losses::cross_entropy;
use delt_training::{TrainingState, module_optimizer, training_step};

const CLASSES: usize = 4;
const SIZE: usize = 8;
const STEPS: u64 = 4;

fn architecture() -> Architecture {
    Architecture::convnet(2, 8)
}

fn train(
    mut network: Network,
    optimizer: &mut ModuleOptimizer,
    steps: std::ops::Range<u64>,
    device: &Device,
) -> Network {
    for step in steps {
        let pixels = formula_uniform("resume/", &format!("x{step}"), 8 * 3 * SIZE * SIZE);
        let pixels: Vec<f32> = pixels.into_iter().map(|u| u as f32).collect();
        let images = Tensor::from_data(TensorData::new(pixels, [8, 3, SIZE, SIZE]), device);
        let labels: Vec<i32> = (0..8).map(|image| (image + step as i32) % CLASSES as i32).collect();
        let labels = Tensor::<1, Int>::from_data(TensorData::new(labels, [8]), device);
        let loss = |logits| cross_entropy(logits, labels, 0.1);
        network = training_step(network, optimizer, 0.05, 0.1, images, loss).0;
    }
    network
}

fn check(recipe: &Optimizer) {
    let device = Device::flex().autodiff();
    let start =
        || Network::initialize(&architecture(), CLASSES, SIZE, 7, &device).expect("the network is built");
    let tensors = |network: &Network| -> Vec<NamedTensor> { network.named_tensors().expect("readable") };

    let network = start();
    let mut optimizer = module_optimizer(recipe, &network);
    let uninterrupted = tensors(&train(network, &mut optimizer, 0..STEPS, &device));

    let dir = tempfile::tempdir().expect("a folder");
    let checkpoint = TrainingState::new(dir.path());
    let load = || {
        checkpoint
            .load::<u64>(&architecture(), CLASSES, SIZE, &device, |network| module_optimizer(recipe, network))
            .expect("readable")
    };
    assert!(load().is_none());
    let network = start();
    let mut optimizer = module_optimizer(recipe, &network);
    let half = train(network, &mut optimizer, 0..STEPS / 2, &device);
    checkpoint.save(&half, None, &optimizer, &0_u64).expect("saved");
    checkpoint.save(&half, None, &optimizer, &(STEPS / 2)).expect("saved again, in place of the first");
    let (network, mut optimizer, done) = load().expect("a checkpoint");
    assert_eq!(done, STEPS / 2);
    let resumed = tensors(&train(network, &mut optimizer, done..STEPS, &device));

    assert_eq!(resumed, uninterrupted);
    assert_ne!(resumed, tensors(&start()));
}

#[test]
fn resumed_adamw_equals_uninterrupted() {
    check(&Optimizer::Adamw { lr: 0.05, beta_1: 0.9, beta_2: 0.999, epsilon: 1e-8, weight_decay: 0.01 });
}

#[test]
fn resumed_sgd_equals_uninterrupted() {
    check(&Optimizer::Sgd { lr: 0.05, momentum: 0.9, nesterov: true, weight_decay: 5e-4 });
}

#[test]
fn an_average_follows_all_tensors_and_comes_back_with_its_checkpoint() {
    let device = Device::flex().autodiff();
    let recipe = Optimizer::Sgd { lr: 0.05, momentum: 0.9, nesterov: true, weight_decay: 5e-4 };
    let start =
        Network::initialize(&architecture(), CLASSES, SIZE, 7, &device).expect("the network is built");
    let mut optimizer = module_optimizer(&recipe, &start);
    let average = start.clone().valid();
    let network = train(start.clone(), &mut optimizer, 0..2, &device);
    let average = average.averaged_with(&network, 0.75);
    let floats = |network: &Network| {
        let tensors = network.named_tensors().expect("readable").into_iter();
        let floats = tensors.filter_map(|tensor| match tensor.values {
            TensorValues::F32(values) => Some((tensor.name, values)),
            TensorValues::I64(_) => None,
        });
        floats.collect::<Vec<_>>()
    };
    let mut moved = 0;
    for ((start, end), average) in floats(&start).into_iter().zip(floats(&network)).zip(floats(&average)) {
        for ((start, end), found) in start.1.iter().zip(&end.1).zip(&average.1) {
            assert!((found - (0.75 * start + 0.25 * end)).abs() < 1e-6, "{}", average.0);
        }
        moved += usize::from(start.0.ends_with("running_var") && start.1 != average.1);
    }
    assert_eq!(moved, 2, "running statistics are averaged too");

    let dir = tempfile::tempdir().expect("a folder");
    let checkpoint = TrainingState::new(dir.path());
    let build = |tensors| Network::from_named(&architecture(), CLASSES, SIZE, tensors, &Device::flex());
    let load = || checkpoint.load_average(build).expect("readable");
    checkpoint.save(&network, None, &optimizer, &0_u64).expect("saved");
    assert!(load().is_none());
    checkpoint.save(&network, Some(&average), &optimizer, &1_u64).expect("saved");
    assert_eq!(floats(&load().expect("an average")), floats(&average));
}
