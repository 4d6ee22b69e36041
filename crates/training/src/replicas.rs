//! Data-parallel training: one step over replicas of a network, on one device or several.

use std::convert::Infallible;

use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Tensor};
use delt_networks::{BatchStatistics, Network};

use crate::side_by_side::side_by_side;
use crate::step::{Drops, StepLoss};

/// The part of a batch that one replica sees.
pub struct Part<L> {
    /// `[n, 3, size, size]`, on the replica's autodiff device.
    pub images: Tensor<4>,
    /// Mean loss of the part's logits `[n, classes]`, a tensor `[1]` on the same device.
    pub loss: L,
    /// Its dropout and stochastic depth, where there is any.
    pub drops: Option<Drops>,
}

/// Sizes of the parts of a batch of `images`, the larger ones first. A part holds two images at least, since BatchNorm has no
/// variance of one value: the last batch of an epoch may give fewer parts than `replicas`.
pub fn part_sizes(images: usize, replicas: usize) -> Vec<usize> {
    let parts = replicas.min(images / 2).max(1);
    (0..parts).map(|part| images / parts + usize::from(part < images % parts)).collect()
}

/// Moves `network` by one step over all parts, as PyTorch's DistributedDataParallel does: every replica has BatchNorm
/// statistics of its own, gradients are averaged by images. Running statistics move by the replicas' average, where PyTorch
/// keeps those of the first.
///
/// Part i is computed on device `i % devices`, devices side by side, parts of one device one after the other; sums run in the
/// order of the parts. So the result does not depend on the number of devices, where these compute alike.
///
/// The network is on the first of `devices`, all of them autodiff devices of one backend; it returns there with the mean loss
/// of the batch before the step.
pub fn data_parallel_step<L>(
    network: Network,
    optimizer: &mut ModuleOptimizer,
    lr: f64,
    bn_momentum: f64,
    devices: &[Device],
    parts: Vec<Part<L>>,
) -> (Network, StepLoss)
where
    L: FnOnce(Tensor<2>) -> Tensor<1> + Send,
{
    let images: usize = parts.iter().map(|part| part.images.dims()[0]).sum();
    let main = devices[0].clone().inner();
    let replicas = match devices {
        [_] => vec![network.clone()],
        _ => devices.iter().map(|device| network.clone().fork(device)).collect(),
    };
    let Ok(passes) = side_by_side(replicas, parts, |replica, part| {
        Ok::<_, Infallible>(pass(replica, part, images, &main))
    });
    let mut gradients = GradientsAccumulator::new();
    let accumulated = passes.into_iter().map(|(loss, found, statistics)| {
        gradients.accumulate(&network, found);
        (loss, statistics)
    });
    let sums = accumulated.reduce(|(loss, sums), (more, others)| (loss + more, add(sums, others)));
    let (loss, statistics) = sums.expect("a batch has a part");
    let network = optimizer.step(lr, network, gradients.grads()).update_running(&statistics, bn_momentum);
    (network, StepLoss(loss))
}

/// Loss, gradients and statistics of a part, on the network's device and weighted by its share of the batch.
fn pass<L: FnOnce(Tensor<2>) -> Tensor<1>>(
    replica: &Network,
    part: Part<L>,
    images: usize,
    main: &Device,
) -> (Tensor<1>, GradientsParams, Vec<BatchStatistics>) {
    let share = part.images.dims()[0] as f64 / images as f64;
    let (logits, statistics) = Drops::forward(part.drops, replica, part.images);
    let loss = (part.loss)(logits) * share;
    let value = loss.clone().inner().to_device(main);
    let gradients = GradientsParams::from_grads(loss.backward(), replica).to_device(main, replica);
    let weighted = |tensor: Tensor<1>| tensor.to_device(main) * share;
    let statistics = statistics
        .into_iter()
        .map(|layer| BatchStatistics {
            mean: weighted(layer.mean),
            variance_unbiased: weighted(layer.variance_unbiased),
        })
        .collect();
    (value, gradients, statistics)
}

fn add(sums: Vec<BatchStatistics>, more: Vec<BatchStatistics>) -> Vec<BatchStatistics> {
    let add = |(sum, more): (BatchStatistics, BatchStatistics)| BatchStatistics {
        mean: sum.mean + more.mean,
        variance_unbiased: sum.variance_unbiased + more.variance_unbiased,
    };
    sums.into_iter().zip(more).map(add).collect()
}
