//! Training resumed from a checkpoint gives the bytes of training that was never stopped.

use burn::optim::ModuleOptimizer;
use burn::tensor::{Device, Int, Tensor, TensorData};
use delt_formats::{Architecture, NamedTensor};
use delt_harness::config::teacher::Optimizer;
use delt_networks::Network;
use delt_networks::formula::formula_uniform;
use delt_training::losses::cross_entropy;
use delt_training::{Checkpoint, module_optimizer, training_step};

const CLASSES: usize = 4;
const SIZE: usize = 8;
const STEPS: u64 = 4;

fn architecture() -> Architecture {
    Architecture::ConvNet { depth: 2, width: 8 }
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
    let checkpoint = Checkpoint::new(dir.path());
    let load = || {
        checkpoint
            .load::<u64>(&architecture(), CLASSES, SIZE, &device, |network| module_optimizer(recipe, network))
            .expect("readable")
    };
    assert!(load().is_none());
    let network = start();
    let mut optimizer = module_optimizer(recipe, &network);
    let half = train(network, &mut optimizer, 0..STEPS / 2, &device);
    checkpoint.save(&half, &optimizer, &0_u64).expect("saved");
    checkpoint.save(&half, &optimizer, &(STEPS / 2)).expect("saved again, in place of the first");
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
