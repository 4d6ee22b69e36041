//! Weights of a network that is to be trained, drawn on the host from the seed and the tensor's name.

use burn::tensor::Device;
use delt_architectures::Start;
use delt_augment::draws::Draws;
use delt_formats::Architecture;
use rand::RngExt;
use rand_distr::StandardNormal;

use crate::error::NetworkError;
use crate::network::Network;

impl Network {
    /// A new network, each tensor drawn as its description says.
    ///
    /// # Errors
    ///
    /// Where the images are too small.
    pub fn initialize(
        architecture: &Architecture,
        classes: usize,
        size: usize,
        seed: u64,
        device: &Device,
    ) -> Result<Self, NetworkError> {
        let draws = Draws::new(seed);
        Self::build(architecture, classes, size, device, &mut |tensor| {
            let mut rng = draws.stream(&format!("initialize {}", tensor.name), 0, 0);
            Ok((0..tensor.count()).map(|_| draw(tensor.start, &mut rng)).collect())
        })
    }
}

/// Standard deviation of normal numbers cut at two standard deviations.
const TRUNCATED_STD: f64 = 0.879_625_661_034_239_8;

impl Network {
    /// As [`Self::initialize`], but weights have variance 1/fan-in, normal and cut at two standard deviations, and biases are 0 (LeCun;
    /// FRePo, RCIG).
    ///
    /// # Errors
    ///
    /// As [`Self::initialize`].
    pub fn initialize_lecun(
        architecture: &Architecture,
        classes: usize,
        size: usize,
        seed: u64,
        device: &Device,
    ) -> Result<Self, NetworkError> {
        let draws = Draws::new(seed);
        Self::build(architecture, classes, size, device, &mut |tensor| {
            let mut rng = draws.stream(&format!("initialize lecun {}", tensor.name), 0, 0);
            let fan_in: usize = tensor.shape.iter().skip(1).product();
            let std = 1.0 / (fan_in as f64).sqrt() / TRUNCATED_STD;
            let value = |_| match tensor.start {
                Start::Constant(value) => value,
                _ if tensor.shape.len() < 2 => 0.0,
                _ => (truncated_normal(&mut rng) * std) as f32,
            };
            Ok((0..tensor.count()).map(value).collect())
        })
    }
}

fn truncated_normal(rng: &mut impl RngExt) -> f64 {
    loop {
        let value: f64 = rng.sample(StandardNormal);
        if value.abs() <= 2.0 {
            return value;
        }
    }
}

fn draw(start: Start, rng: &mut impl RngExt) -> f32 {
    match start {
        Start::Constant(value) => value,
        Start::Uniform(bound) => ((rng.random::<f64>() * 2.0 - 1.0) * bound) as f32,
        Start::Normal(std) => (rng.sample::<f64, _>(StandardNormal) * std) as f32,
    }
}

#[cfg(test)]
mod tests {
    use delt_formats::TensorValues;

    use super::*;

    #[test]
    fn lecun_weights_have_the_variance_of_their_fan_in_and_biases_are_zero() {
        let architecture = Architecture::convnet(2, 32);
        let network = Network::initialize_lecun(&architecture, 10, 8, 3, &Device::flex()).expect("built");
        for tensor in network.named_tensors().expect("named") {
            let TensorValues::F32(values) = &tensor.values else { continue };
            let is_norm = tensor.name.contains(".norm.");
            let square =
                values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>() / values.len() as f64;
            if tensor.name.ends_with("weight") && !is_norm {
                let fan_in: usize = tensor.shape[1..].iter().product();
                assert!((square * fan_in as f64 - 1.0).abs() < 0.1, "{}: {square}", tensor.name);
            } else if !is_norm {
                assert_eq!(square, 0.0, "{}", tensor.name);
            }
        }
    }
}
