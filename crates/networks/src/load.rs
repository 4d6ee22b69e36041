//! A network from the weights file of a teacher artifact.

use std::path::Path;

use burn::tensor::Device;
use delt_formats::{TeacherFacts, read_safetensors};

use crate::error::NetworkError;
use crate::frozen::FrozenNetwork;
use crate::network::Network;

impl FrozenNetwork {
    /// Reads `weights.safetensors`.
    ///
    /// # Errors
    /// A file that cannot be read, or tensors that are missing, unused or of another shape.
    pub fn load(
        facts: &TeacherFacts,
        classes: usize,
        path: &Path,
        device: &Device,
    ) -> Result<Self, NetworkError> {
        let (tensors, _) = read_safetensors(path)?;
        let network =
            Network::from_named(&facts.architecture, classes, facts.size as usize, tensors, device)?;
        Ok(Self::new(network, device))
    }
}
