//! Steps with dropout.

use burn::tensor::{Device, Int, Tensor, TensorData};
use delt_augment::draws::Draws;
use delt_formats::Architecture;
use delt_formula::formula_uniform;
use delt_networks::Network;
use delt_pipeline::config::teacher::Optimizer;
use delt_training::losses::cross_entropy;
use delt_training::{Drops, dropping_step, module_optimizer};

const SIZE: usize = 32;

#[test]
fn what_a_step_drops_follows_from_seed_and_step() {
    let device = Device::flex().autodiff();
    let values = formula_uniform("drops/", "x", 2 * 3 * SIZE * SIZE).into_iter().map(|u| u as f32).collect();
    let images = Tensor::<4>::from_data(TensorData::new(values, [2, 3, SIZE, SIZE]), &device);
    let labels = Tensor::<1, Int>::from_data(TensorData::new(vec![0, 1], [2]), &device);
    let recipe = Optimizer::Sgd { lr: 0.05, momentum: 0.0, nesterov: false, weight_decay: 0.0 };
    let network = Network::initialize(&Architecture::MobilenetV2 {}, 2, SIZE, 7, &device).expect("a network");
    let loss = |drops: Option<(u64, u64)>| {
        let mut optimizer = module_optimizer(&recipe, &network);
        let drops = drops.map(|(seed, step)| Drops { draws: Draws::new(seed), step, before: 0 });
        let (images, labels) = (images.clone(), labels.clone());
        let loss = |logits| cross_entropy(logits, labels, 0.0);
        dropping_step(network.clone(), &mut optimizer, 0.05, 0.1, images, drops, loss)
            .1
            .read()
            .expect("a loss")
    };
    let first = loss(Some((1, 0)));
    assert_eq!(first, loss(Some((1, 0))));
    for other in [Some((1, 1)), Some((2, 0)), None] {
        assert_ne!(first, loss(other), "{other:?}");
    }
}
