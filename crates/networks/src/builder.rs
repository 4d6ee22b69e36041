//! Makes the layers of a network on a device, with shapes and windows from its description.

use burn::module::{Param, ParamId};
use burn::tensor::{Device, Tensor, TensorData};
use delt_architectures::{Convolution, Description, Layer, Operation, StateTensor};

use crate::error::NetworkError;

/// Gives the values of a tensor.
pub type Fill<'a> = dyn FnMut(&StateTensor) -> Result<Vec<f32>, NetworkError> + 'a;

/// Makes the described layers on one device, asking `fill` for every tensor. A name that the description does not have is
/// an error of this program, which `tests/described.rs` would find.
pub(crate) struct Builder<'a> {
    /// The network.
    pub(crate) description: Description,
    /// Where the tensors are made.
    pub(crate) device: &'a Device,
    /// Where their values come from.
    pub(crate) fill: &'a mut Fill<'a>,
}

impl Builder<'_> {
    /// Whether there is a layer of this name, or one whose name begins with it.
    pub(crate) fn has(&self, name: &str) -> bool {
        let is_below = |rest: &str| rest.is_empty() || rest.starts_with('.');
        self.description.layers.iter().any(|layer| layer.name.strip_prefix(name).is_some_and(is_below))
    }

    /// What is known of a layer.
    pub(crate) fn layer(&self, name: &str) -> &Layer {
        let found = self.description.layers.iter().find(|layer| layer.name == name);
        found.unwrap_or_else(|| panic!("internal error: no layer `{name}` is described"))
    }

    /// How the convolution of this name sees its input.
    pub(crate) fn convolution(&self, name: &str) -> Convolution {
        match self.layer(name).operation {
            Operation::Convolution(convolution) => convolution,
            other => panic!("internal error: `{name}` is described as {other:?}, not as a convolution"),
        }
    }

    /// `name.0`, `name.1` and so on, as many as there are.
    pub(crate) fn list<T>(
        &mut self,
        name: &str,
        build: impl Fn(&mut Self, &str) -> Result<T, NetworkError>,
    ) -> Result<Vec<T>, NetworkError> {
        let mut built = Vec::new();
        loop {
            let name = format!("{name}.{}", built.len());
            if !self.has(&name) {
                return Ok(built);
            }
            built.push(build(self, &name)?);
        }
    }

    /// A parameter whose id follows from its name, so that optimizer records written by one process fit the next.
    pub(crate) fn tensor<const D: usize>(&mut self, name: &str) -> Result<Param<Tensor<D>>, NetworkError> {
        let described = self.description.tensors().find(|tensor| tensor.name == name);
        let described =
            described.unwrap_or_else(|| panic!("internal error: no tensor `{name}` is described"));
        let values = (self.fill)(described)?;
        if values.len() != described.count() {
            return Err(NetworkError::WrongLength {
                name: name.to_owned(),
                shape: described.shape.clone(),
                found: values.len(),
                expected: described.count(),
            });
        }
        let tensor = Tensor::from_data(TensorData::new(values, described.shape.clone()), self.device);
        let id = ParamId::from(fnv1a64(name.as_bytes()));
        Ok(Param::initialized(id, tensor).set_require_grad(described.is_trained))
    }
}

/// The 64-bit FNV-1a hash.
fn fnv1a64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_fnv1a() {
        // published test vectors of FNV-1a
        assert_eq!(fnv1a64(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a64(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
