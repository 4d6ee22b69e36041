//! A network from the weights file of a teacher artifact.

use std::path::Path;

use burn::tensor::Device;
use delt_formats::{Architecture, read_safetensors};

use crate::error::NetworkError;
use crate::frozen::FrozenNetwork;
use crate::network::Network;

impl FrozenNetwork {
    /// Reads `weights.safetensors`.
    ///
    /// # Errors
    /// A file that cannot be read, or tensors that are missing, unused or of another shape.
    pub fn load(
        architecture: &Architecture,
        classes: usize,
        size: usize,
        path: &Path,
        device: &Device,
    ) -> Result<Self, NetworkError> {
        let (tensors, _) = read_safetensors(path)?;
        Ok(Self::new(Network::from_named(architecture, classes, size, tensors, device)?, device))
    }
}
