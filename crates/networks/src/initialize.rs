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

fn draw(start: Start, rng: &mut impl RngExt) -> f32 {
    match start {
        Start::Constant(value) => value,
        Start::Uniform(bound) => ((rng.random::<f64>() * 2.0 - 1.0) * bound) as f32,
        Start::Normal(std) => (rng.sample::<f64, _>(StandardNormal) * std) as f32,
    }
}
