//! Tensors by PyTorch name: a network to a list, a list to a network.

use std::collections::BTreeMap;

use burn::tensor::Device;
use delt_architectures::StateTensor;
use delt_formats::{Architecture, NamedTensor, TensorValues};

use crate::error::{NetworkError, read};
use crate::layers::BatchNorm;
use crate::network::{BnLayer, Network};
use crate::state_dict::{BATCH_COUNT, Entry, entries};

/// Names that a refusal lists.
const NAMES_SHOWN: usize = 5;

impl Network {
    /// All tensors under the names of PyTorch's `state_dict`, in forward order.
    ///
    /// # Errors
    ///
    /// Where the device does not give a tensor back.
    pub fn named_tensors(&self) -> Result<Vec<NamedTensor>, NetworkError> {
        let mut weights = self.weights().iter();
        let named = |entry: &Entry| match entry {
            Entry::Tensor(StateTensor { name, shape, .. }) => {
                let values = weights.next().expect("weights of every tensor").row();
                let values = TensorValues::F32(read(values, name)?);
                Ok(NamedTensor { name: name.clone(), shape: shape.clone(), values })
            }
            Entry::Constant(tensor) => Ok(tensor.clone()),
        };
        self.program().entries.iter().map(named).collect()
    }

    /// A value that is NaN or infinite, with the name of its tensor, if there is one.
    ///
    /// # Errors
    ///
    /// Where the device does not return the values.
    pub fn first_not_finite(&self) -> Result<Option<(String, f32)>, NetworkError> {
        for (weights, StateTensor { name, .. }) in self.weights().iter().zip(self.program().tensors()) {
            if let Some(value) = read(weights.row(), name)?.into_iter().find(|value| !value.is_finite()) {
                return Ok(Some((name.clone(), value)));
            }
        }
        Ok(None)
    }

    /// The batch normalization layers in forward order.
    pub fn bn_layers(&self) -> Vec<BnLayer> {
        let layer = |at: &usize| {
            let BatchNorm { running_mean, running_var, .. } = self.batch_norm(*at);
            let name = self.program().description.layers[*at].name.clone();
            BnLayer { name, running_mean: running_mean.inner(), running_var: running_var.inner() }
        };
        self.program().norms.iter().map(layer).collect()
    }

    /// Refuses tensors that are not those of a network, before anything is built.
    ///
    /// # Errors
    ///
    /// Where tensors are missing, unused or of another shape: the first of each are listed.
    pub fn check_named(
        architecture: &Architecture,
        classes: usize,
        size: usize,
        tensors: &[NamedTensor],
    ) -> Result<(), NetworkError> {
        let mut unused: BTreeMap<&str, &NamedTensor> =
            tensors.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
        let (mut missing, mut wrong_shape) = (Vec::new(), Vec::new());
        let entries = entries(&architecture.description(size, classes));
        for entry in &entries {
            let found = unused.remove(entry.name());
            let Entry::Tensor(StateTensor { name, shape, .. }) = entry else { continue };
            match found {
                None => missing.push(name.clone()),
                Some(found) if found.shape != *shape => {
                    wrong_shape.push(format!("{name}: {:?}, expected {shape:?}", found.shape));
                }
                Some(_) => {}
            }
        }
        let unused =
            unused.into_keys().filter(|name| !name.ends_with(BATCH_COUNT)).map(str::to_owned).collect();
        // e.g. `missing fc.bias, fc.weight; unused head.bias`
        let differences: Vec<String> =
            [("missing", missing), ("unused", unused), ("wrong shape", wrong_shape)]
                .into_iter()
                .filter(|(_, names)| !names.is_empty())
                .map(|(what, names)| format!("{what} {}", first_of(&names)))
                .collect();
        if differences.is_empty() {
            return Ok(());
        }
        let (architecture, differences) = (architecture.to_string(), differences.join("; "));
        Err(NetworkError::Mismatch { architecture, differences })
    }

    /// Builds a network from tensors under PyTorch's names.
    ///
    /// # Errors
    ///
    /// As [`Self::check_named`].
    pub fn from_named(
        architecture: &Architecture,
        classes: usize,
        size: usize,
        tensors: Vec<NamedTensor>,
        device: &Device,
    ) -> Result<Self, NetworkError> {
        if size >= architecture.least_size() {
            Self::check_named(architecture, classes, size, &tensors)?;
        }
        let mut values: BTreeMap<String, TensorValues> =
            tensors.into_iter().map(|tensor| (tensor.name, tensor.values)).collect();
        Self::build(architecture, classes, size, device, &mut |described| {
            Ok(match values.remove(&described.name) {
                Some(TensorValues::F32(values)) => values,
                Some(TensorValues::I64(values)) => values.into_iter().map(|value| value as f32).collect(),
                None => Vec::new(),
            })
        })
    }
}

/// The first names of a list, and how many more there are.
pub(crate) fn first_of(names: &[String]) -> String {
    let shown = names.len().min(NAMES_SHOWN);
    let more = names.len() - shown;
    let listed = names[..shown].join(", ");
    if more == 0 { listed } else { format!("{listed} and {more} more") }
}
