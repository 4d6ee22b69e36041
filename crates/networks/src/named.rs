//! Tensors by PyTorch name: a network to a list, a list to a network.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor};
use delt_architectures::StateTensor;
use delt_formats::{Architecture, NamedTensor, TensorValues};

use crate::error::{NetworkError, read};
use crate::network::{BnLayer, Network};

/// PyTorch counts the batches a normalization layer has seen under this name, and uses the count only where the momentum
/// is unset: written as 0, not read.
const BATCH_COUNT: &str = "num_batches_tracked";

impl Network {
    /// All tensors under the names of PyTorch's `state_dict`, in forward order.
    ///
    /// # Errors
    ///
    /// Where the device does not give a tensor back.
    pub fn named_tensors(&self) -> Result<Vec<NamedTensor>, NetworkError> {
        let mut tensors = Vec::new();
        for Row { name, shape, values } in rows(self) {
            let values = TensorValues::F32(read(values, &name)?);
            let counted = name.strip_suffix("running_var").map(|layer| format!("{layer}{BATCH_COUNT}"));
            tensors.push(NamedTensor { name, shape, values });
            if let Some(name) = counted {
                tensors.push(NamedTensor { name, shape: Vec::new(), values: TensorValues::I64(vec![0]) });
            }
        }
        Ok(tensors)
    }

    /// A value that is NaN or infinite, with the name of its tensor, if there is one.
    ///
    /// # Errors
    ///
    /// Where the device does not return the values.
    pub fn first_not_finite(&self) -> Result<Option<(String, f32)>, NetworkError> {
        for Row { name, values, .. } in rows(self) {
            if let Some(value) = read(values, &name)?.into_iter().find(|value| !value.is_finite()) {
                return Ok(Some((name, value)));
            }
        }
        Ok(None)
    }

    /// The batch normalization layers in forward order.
    pub fn bn_layers(&self) -> Vec<BnLayer> {
        let layer = |[mean, variance]: &[Row; 2]| {
            let name = mean.name.strip_suffix(".running_mean")?.to_owned();
            Some(BnLayer { name, running_mean: mean.values.clone(), running_var: variance.values.clone() })
        };
        rows(self).array_windows().filter_map(layer).collect()
    }

    /// Builds a network from tensors under PyTorch's names.
    ///
    /// # Errors
    ///
    /// Where tensors are missing, unused or of another shape: all of them are listed.
    pub fn from_named(
        architecture: &Architecture,
        classes: usize,
        size: usize,
        tensors: Vec<NamedTensor>,
        device: &Device,
    ) -> Result<Self, NetworkError> {
        let mut unused: BTreeMap<String, NamedTensor> =
            tensors.into_iter().map(|tensor| (tensor.name.clone(), tensor)).collect();
        let mut missing = Vec::new();
        let mut wrong_shape = Vec::new();
        let network = Self::build(architecture, classes, size, device, &mut |described| {
            let StateTensor { name, shape, .. } = described;
            match unused.remove(name) {
                Some(tensor) if tensor.shape == *shape => {
                    return Ok(match tensor.values {
                        TensorValues::F32(values) => values,
                        TensorValues::I64(values) => values.into_iter().map(|value| value as f32).collect(),
                    });
                }
                Some(tensor) => {
                    wrong_shape.push(format!("{name}: {:?}, expected {shape:?}", tensor.shape));
                }
                None => missing.push(name.clone()),
            }
            Ok(vec![0.0; described.count()])
        })?;
        let unused = unused.into_keys().filter(|name| !name.ends_with(BATCH_COUNT)).collect();
        // e.g. `missing fc.bias, fc.weight; unused head.bias`
        let differences: Vec<String> =
            [("missing", missing), ("unused", unused), ("wrong shape", wrong_shape)]
                .into_iter()
                .filter(|(_, names)| !names.is_empty())
                .map(|(what, names)| format!("{what} {}", names.join(", ")))
                .collect();
        if differences.is_empty() {
            return Ok(network);
        }
        let (architecture, differences) = (architecture.to_string(), differences.join("; "));
        Err(NetworkError::Mismatch { architecture, differences })
    }
}

/// A tensor of a network, as one row outside any graph.
pub(crate) struct Row {
    /// PyTorch's name.
    name: String,
    /// The shape that it has in the network.
    shape: Vec<usize>,
    /// `[product of the shape]`.
    pub(crate) values: Tensor<1>,
}

/// All tensors in forward order.
pub(crate) fn rows(network: &Network) -> Vec<Row> {
    let mut walk = Walk::default();
    network.visit(&mut walk);
    walk.rows
}

#[derive(Default)]
struct Walk {
    path: Vec<String>,
    rows: Vec<Row>,
}

/// Burn enters an enum by the name of its variant, which PyTorch's names do not have.
fn is_variant(container_type: &str) -> bool {
    container_type.starts_with("Enum:")
}

impl ModuleVisitor for Walk {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        if !is_variant(container_type) {
            self.path.push(name.to_owned());
        }
    }

    fn exit_module(&mut self, _name: &str, container_type: &str) {
        if !is_variant(container_type) {
            self.path.pop();
        }
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = param.val().inner();
        let shape = tensor.dims().to_vec();
        let values = tensor.reshape([shape.iter().product::<usize>()]);
        self.rows.push(Row { name: self.path.join("."), shape, values });
    }
}
