//! How fast a device is, measured on one training step.

use std::time::Instant;

use burn::tensor::{Device, Int, Tensor};
use delt_formats::Architecture;
use delt_networks::Network;
use delt_pipeline::cost::TRAINING_PASSES;

use crate::error::TrainingError;
use crate::losses::cross_entropy;
use crate::step::read;

/// Images of the step.
const PICTURES: usize = 16;

/// Floating-point operations per second of a network's training step on gray images; the step before it, which fills
/// caches and allocators, does not count.
///
/// # Errors
///
/// Where the images are too small, or the device does not return the loss.
pub fn flops_per_second(
    architecture: &Architecture,
    size: u32,
    classes: usize,
    device: &Device,
) -> Result<f64, TrainingError> {
    let device = device.clone().autodiff();
    let side = size as usize;
    let network = Network::initialize(architecture, classes, side, 0, &device)?;
    let step = || {
        let started = Instant::now();
        let (logits, _) = network.forward_train(Tensor::zeros([PICTURES, 3, side, side], &device));
        let labels = Tensor::<1, Int>::zeros([PICTURES], &device);
        let loss = cross_entropy(logits, labels, 0.0);
        let value = loss.clone().inner();
        drop(loss.backward());
        read(value, "the loss of a measured step")?;
        Ok::<_, TrainingError>(started.elapsed().as_secs_f64())
    };
    step()?;
    let flops = TRAINING_PASSES * architecture.forward_flops(side, classes) * PICTURES as f64;
    Ok(flops / step()?.max(1e-9))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_makes_more_than_a_million_and_less_than_a_quadrillion_a_second() {
        let network = Architecture::convnet(2, 16);
        let speed = flops_per_second(&network, 16, 10, &Device::flex()).expect("measured");
        assert!((1e6..1e15).contains(&speed), "{speed}");
    }
}
