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

/// Names that a refusal lists.
const NAMES_SHOWN: usize = 5;

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
        for StateTensor { name, shape, .. } in architecture.description(size, classes).tensors() {
            match unused.remove(name.as_str()) {
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
