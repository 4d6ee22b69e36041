//! Which channels a network can do without: by the scales of batch normalization (network slimming, Liu et al., 2017) or by the
//! magnitude of their filters (Li et al., 2017).

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor};
use delt_architectures::{Description, kept_channels};
use delt_formats::{NamedTensor, TensorValues};

use crate::error::{NetworkError, read};
use crate::network::Network;

/// By what the channels to remove are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Importance {
    /// The absolute scale that batch normalization gives a channel: those of all layers are compared.
    Scale,
    /// The sum of the absolute weights of a channel's filter: each layer loses the same share.
    Magnitude,
}

impl Network {
    /// The graph that the tensors are the weights of.
    pub fn description(&self) -> &Description {
        &self.program().description
    }

    /// Sum of the absolute scales of all batch normalization that can lose channels, `[1]`, in the graph of a network that is
    /// trained; none where there is no such layer.
    pub fn scales_l1(&self) -> Option<Tensor<1>> {
        let sums = self.description().prunable().into_iter().map(|at| self.scales(at).abs().sum());
        sums.reduce(|sum, layer| sum + layer)
    }

    /// The network without the given share of these channels, the least important ones, on `device`.
    ///
    /// # Errors
    ///
    /// Where the device does not give the tensors back.
    pub fn narrowed(&self, share: f64, by: Importance, device: &Device) -> Result<Self, NetworkError> {
        let description = self.description();
        let norms = description.prunable();
        let mut values = by_name(self.named_tensors()?);
        let scales = |at: &usize| read(self.scales(*at).inner(), &description.layers[*at].name);
        let magnitudes = |at: &usize| {
            let filters = &description.layers[description.layers[*at].reads[0]].tensors[0];
            let weights = &values[&filters.name];
            let sum =
                |filter: &[f32]| filter.iter().map(|weight| f64::from(weight.abs())).sum::<f64>() as f32;
            weights.chunks(weights.len() / filters.shape[0]).map(sum).collect::<Vec<f32>>()
        };
        let kept = match by {
            Importance::Scale => {
                kept_channels(&norms.iter().map(scales).collect::<Result<Vec<_>, _>>()?, share)
            }
            Importance::Magnitude => {
                norms.iter().flat_map(|at| kept_channels(&[magnitudes(at)], share)).collect()
            }
        };
        let narrow = description.narrowed(&norms.into_iter().zip(kept).collect());
        let shapes: BTreeMap<&str, &[usize]> =
            description.tensors().map(|tensor| (tensor.name.as_str(), tensor.shape.as_slice())).collect();
        Self::described(narrow.description, device, &mut |tensor| {
            let whole = values.remove(&tensor.name).unwrap_or_default();
            Ok(match narrow.kept.get(&tensor.name) {
                Some([outer, inner]) => picked(&whole, shapes[tensor.name.as_str()], outer, inner),
                None => whole,
            })
        })
    }

    /// A network of the same layers, which may be narrower than its architecture says, with these tensors.
    ///
    /// # Errors
    ///
    /// Where a tensor is missing or of another size.
    pub fn with_named(&self, tensors: Vec<NamedTensor>, device: &Device) -> Result<Self, NetworkError> {
        let mut values = by_name(tensors);
        Self::described(self.description().clone(), device, &mut |tensor| {
            Ok(values.remove(&tensor.name).unwrap_or_default())
        })
    }

    fn scales(&self, norm: usize) -> Tensor<1> {
        self.weights()[self.program().places[norm][0]].one()
    }
}

fn by_name(tensors: Vec<NamedTensor>) -> BTreeMap<String, Vec<f32>> {
    let values = tensors.into_iter().filter_map(|tensor| match tensor.values {
        TensorValues::F32(values) => Some((tensor.name, values)),
        TensorValues::I64(_) => None,
    });
    values.collect()
}

/// The values at these places along the first dimension and, where there are several, the second.
fn picked(values: &[f32], shape: &[usize], outer: &[usize], inner: &[usize]) -> Vec<f32> {
    let Some(columns) = shape.get(1) else { return outer.iter().map(|at| values[*at]).collect() };
    let block: usize = shape[2..].iter().product();
    let places =
        outer.iter().flat_map(|row| inner.iter().map(move |column| (row * columns + column) * block));
    places.flat_map(|at| &values[at..at + block]).copied().collect()
}
