//! Tensors by PyTorch name: a network to a list, a list to a network.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor, TensorReadError};
use delt_architectures::StateTensor;
use delt_formats::{Architecture, NamedTensor, TensorValues};

use crate::error::NetworkError;
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
        let mut failure = None;
        walk(self, &mut |name, tensor| match tensor.values() {
            Ok(values) => {
                let layer = name.strip_suffix(".running_var").map(str::to_owned);
                tensors.push(NamedTensor { name, shape: tensor.shape(), values: TensorValues::F32(values) });
                if let Some(layer) = layer {
                    let name = format!("{layer}.{BATCH_COUNT}");
                    tensors.push(NamedTensor { name, shape: Vec::new(), values: TensorValues::I64(vec![0]) });
                }
            }
            Err(source) => failure = Some(NetworkError::Read { name, source }),
        });
        match failure {
            Some(error) => Err(error),
            None => Ok(tensors),
        }
    }

    /// A value that is NaN or infinite, with the name of its tensor, if there is one.
    ///
    /// # Errors
    ///
    /// Where the device does not return the values.
    pub fn first_not_finite(&self) -> Result<Option<(String, f32)>, NetworkError> {
        Ok(self.named_tensors()?.into_iter().find_map(|tensor| match &tensor.values {
            TensorValues::F32(values) => {
                values.iter().find(|value| !value.is_finite()).map(|value| (tensor.name.clone(), *value))
            }
            TensorValues::I64(_) => None,
        }))
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
            let values = match unused.remove(name) {
                None => {
                    missing.push(name.clone());
                    None
                }
                Some(tensor) if tensor.shape != *shape => {
                    wrong_shape.push(format!("{name}: {:?}, expected {shape:?}", tensor.shape));
                    None
                }
                Some(tensor) => Some(match tensor.values {
                    TensorValues::F32(values) => values,
                    TensorValues::I64(values) => values.into_iter().map(|value| value as f32).collect(),
                }),
            };
            Ok(values.unwrap_or_else(|| vec![0.0; described.count()]))
        })?;
        let unused: Vec<String> = unused.into_keys().filter(|name| !name.ends_with(BATCH_COUNT)).collect();
        if missing.is_empty() && unused.is_empty() && wrong_shape.is_empty() {
            Ok(network)
        } else {
            Err(NetworkError::Mismatch {
                architecture: architecture.to_string(),
                missing,
                unused,
                wrong_shape,
            })
        }
    }
}

/// All tensors in forward order, each as one row outside any graph.
pub(crate) fn rows(network: &Network) -> Vec<Tensor<1>> {
    let mut rows = Vec::new();
    walk(network, &mut |_, tensor| rows.push(tensor.flat()));
    rows
}

/// The batch normalization layers in forward order.
pub(crate) fn bn_layers(network: &Network) -> Vec<BnLayer> {
    let mut means = Vec::new();
    let mut layers = Vec::new();
    walk(network, &mut |name, tensor| {
        if name.ends_with(".running_mean") {
            means.push(tensor.flat());
        } else if let Some(layer) = name.strip_suffix(".running_var")
            && let Some(running_mean) = means.pop()
        {
            layers.push(BnLayer { name: layer.to_owned(), running_mean, running_var: tensor.flat() });
        }
    });
    layers
}

/// A tensor of any rank, as the visitor meets it.
trait AnyRank {
    fn shape(&self) -> Vec<usize>;
    fn values(&self) -> Result<Vec<f32>, TensorReadError>;
    /// As one row, outside any graph.
    fn flat(&self) -> Tensor<1>;
}

impl<const D: usize> AnyRank for Tensor<D> {
    fn shape(&self) -> Vec<usize> {
        self.dims().to_vec()
    }

    fn values(&self) -> Result<Vec<f32>, TensorReadError> {
        self.try_to_vec_as::<f32>()
    }

    fn flat(&self) -> Tensor<1> {
        let length = self.dims().iter().product::<usize>();
        self.clone().inner().reshape([length])
    }
}

/// Calls `see` with every tensor and its PyTorch name, in forward order.
fn walk(network: &Network, see: &mut dyn FnMut(String, &dyn AnyRank)) {
    network.visit(&mut Walk { path: Vec::new(), see });
}

struct Walk<'a> {
    path: Vec<String>,
    see: &'a mut dyn FnMut(String, &dyn AnyRank),
}

/// Burn enters an enum by the name of its variant, which PyTorch's names do not have.
fn is_variant(container_type: &str) -> bool {
    container_type.starts_with("Enum:")
}

impl ModuleVisitor for Walk<'_> {
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
        (self.see)(self.path.join("."), &param.val());
    }
}
