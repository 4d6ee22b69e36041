//! Data-parallel steps against plain ones.

use burn::optim::ModuleOptimizer;
use burn::tensor::{Device, Int, Tensor, TensorData};
use delt_augment::draws::Draws;
use delt_formats::{Architecture, NamedTensor, TensorValues};
use delt_formula::formula_uniform;
use delt_networks::Network;
use delt_pipeline::config::teacher::Optimizer;
use delt_training::losses::cross_entropy;
use delt_training::{Drops, Part, data_parallel_step, module_optimizer, part_sizes, training_step};

const CLASSES: usize = 4;
const SIZE: usize = 8;
const RECIPE: Optimizer = Optimizer::Sgd { lr: 0.05, momentum: 0.9, nesterov: true, weight_decay: 0.01 };

fn start(device: &Device) -> (Network, ModuleOptimizer) {
    let architecture = Architecture::convnet(2, 8);
    let network = Network::initialize(&architecture, CLASSES, SIZE, 7, device).expect("the network is built");
    let optimizer = module_optimizer(&RECIPE, &network);
    (network, optimizer)
}

/// Images `at .. at + images` of a step and their loss.
fn part(
    step: usize,
    at: usize,
    images: usize,
    device: &Device,
) -> Part<impl FnOnce(Tensor<2>) -> Tensor<1> + Send> {
    let values = 3 * SIZE * SIZE;
    let pixels: Vec<f32> = (at..at + images)
        .flat_map(|image| formula_uniform("replicas/", &format!("x{step}-{image}"), values))
        .map(|u| u as f32)
        .collect();
    let labels: Vec<i32> = (at..at + images).map(|image| ((image + step) % CLASSES) as i32).collect();
    let labels = Tensor::<1, Int>::from_data(TensorData::new(labels, [images]), device);
    Part {
        images: Tensor::from_data(TensorData::new(pixels, [images, 3, SIZE, SIZE]), device),
        loss: move |logits| cross_entropy(logits, labels, 0.1),
        drops: None,
    }
}

fn values(network: &Network) -> Vec<f32> {
    let values = |tensor: NamedTensor| match tensor.values {
        TensorValues::F32(values) => values,
        TensorValues::I64(_) => Vec::new(), // PyTorch's counters of batches
    };
    network.named_tensors().expect("readable").into_iter().flat_map(values).collect()
}

/// Replicas that all see the same six images move as one network that sees them: mean gradients, statistics and loss of the
/// parts are those of each.
#[test]
fn replicas_of_the_same_images_move_like_one_network() {
    let device = Device::flex().autodiff();
    let (mut plain, mut plain_optimizer) = start(&device);
    let (mut parallel, mut parallel_optimizer) = start(&device);
    for step in 0..3 {
        let Part { images, loss, .. } = part(step, 0, 6, &device);
        let (moved, one) = training_step(plain, &mut plain_optimizer, 0.05, 0.1, images, loss);
        plain = moved;
        let parts = (0..3).map(|_| part(step, 0, 6, &device)).collect();
        let devices = [device.clone(), device.clone()];
        let (moved, mean) = data_parallel_step(parallel, &mut parallel_optimizer, 0.05, 0.1, &devices, parts);
        parallel = moved;
        let (one, mean) = (one.read().expect("a loss"), mean.read().expect("a loss"));
        assert!((one - mean).abs() < 1e-6, "step {step}: {one} {mean}");
    }
    let (plain, parallel) = (values(&plain), values(&parallel));
    let apart = plain.iter().zip(&parallel).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert_eq!(plain.len(), parallel.len());
    assert!(apart < 1e-5, "{apart}");
}

/// Parts of unlike size count by their images.
#[test]
fn a_loss_is_the_mean_over_images_and_not_over_parts() {
    let device = Device::flex().autodiff();
    let of = |at, images| {
        let (network, mut optimizer) = start(&device);
        let Part { images, loss, .. } = part(0, at, images, &device);
        training_step(network, &mut optimizer, 0.05, 0.1, images, loss).1.read().expect("a loss")
    };
    let (network, mut optimizer) = start(&device);
    let parts = vec![part(0, 0, 5, &device), part(0, 5, 2, &device)];
    let devices = [device.clone()];
    let (_, loss) = data_parallel_step(network, &mut optimizer, 0.05, 0.1, &devices, parts);
    let expected = (5.0 * of(0, 5) + 2.0 * of(5, 2)) / 7.0;
    let found = loss.read().expect("a loss");
    assert!((found - expected).abs() < 1e-6, "{found} {expected}");
}

#[test]
fn parts_hold_two_images_at_least() {
    assert_eq!(part_sizes(16, 4), [4, 4, 4, 4]);
    assert_eq!(part_sizes(18, 4), [5, 5, 4, 4]);
    assert_eq!(part_sizes(5, 4), [3, 2]);
    assert_eq!(part_sizes(3, 4), [3]);
    assert_eq!(part_sizes(2, 1), [2]);
}

/// Without BatchNorm, parts of a batch are the batch: also what they drop.
#[test]
fn replicas_drop_what_one_network_would() {
    let device = Device::flex().autodiff();
    let architecture = Architecture::Alexnet {};
    let size = architecture.least_size();
    let network =
        Network::initialize(&architecture, CLASSES, size, 7, &device).expect("the network is built");
    let values = formula_uniform("replicas/", "dropped", 5 * 3 * size * size);
    let pixels = Tensor::<4>::from_data(
        TensorData::new(values.into_iter().map(|u| u as f32).collect(), [5, 3, size, size]),
        &device,
    );
    let loss_in = |sizes: &[usize], step| {
        let mut optimizer = module_optimizer(&RECIPE, &network);
        let mut before = 0;
        let parts = sizes.iter().map(|images| {
            let labels = (before..before + images).map(|image| (image % CLASSES) as i32).collect();
            let labels = Tensor::<1, Int>::from_data(TensorData::new(labels, [*images]), &device);
            let drops = Some(Drops { draws: Draws::new(3), step, before });
            let images = pixels.clone().narrow(0, before, *images);
            before += images.dims()[0];
            Part { images, loss: move |logits| cross_entropy(logits, labels, 0.0), drops }
        });
        let (parts, devices) = (parts.collect(), [device.clone()]);
        data_parallel_step(network.clone(), &mut optimizer, 0.05, 0.1, &devices, parts)
            .1
            .read()
            .expect("a loss")
    };
    let whole = loss_in(&[5], 0);
    assert!((loss_in(&[3, 2], 0) - whole).abs() < 1e-5 * whole);
    assert!((loss_in(&[5], 1) - whole).abs() > 1e-3 * whole);
}
