//! A small recovery: what the options mean in numbers, and that stopping changes nothing.

mod checkpoints;
mod health;
mod options;
mod residual;

use burn::tensor::Device;
use delt_augment::draws::Draws;
use delt_formats::{Architecture, Normalization};
use delt_networks::{FrozenNetwork, Network};
use delt_pipeline::config::synthesize::Synthesize;
use delt_pipeline::early_late::{BatchSchedule, EarlyLate};
use delt_synthesize::recover::RecoveryTeacher;

const SIZE: usize = 8;

/// Six iterations in three rounds of two.
fn settings() -> Synthesize {
    Synthesize {
        max_iterations: 6,
        round_iterations: 2,
        batch: 8,
        lr: 0.1,
        min_crop_scale: 0.5,
        jitter: 1,
        ..Synthesize::published()
    }
}

/// Two classes of four images each.
fn batches(config: &Synthesize) -> Vec<BatchSchedule> {
    EarlyLate::new(config, 4, 0..2, &Draws::new(0)).batches
}

fn network(device: &Device) -> FrozenNetwork {
    let architecture = Architecture::convnet(2, 4);
    let network = Network::initialize(&architecture, 2, SIZE, 3, device).expect("the network is built");
    FrozenNetwork::new(network, device)
}

fn teacher(device: &Device) -> RecoveryTeacher {
    let constants = Normalization { mean: [0.5; 3], std: [0.25; 3] };
    RecoveryTeacher::new(network(device), &constants, device)
}
