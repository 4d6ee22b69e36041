//! Tensors to a checkpoint and back.

use burn::tensor::Tensor;
use delt_formats::{NamedTensor, TensorValues};
use delt_tangent::Function;

use crate::MatchingError;

/// A tensor under a name.
///
/// # Errors
/// What the device reports.
pub fn floats<const D: usize>(name: &str, tensor: &Tensor<D>) -> Result<NamedTensor, MatchingError> {
    let values = tensor.clone().try_into_vec_as::<f32>();
    let values = values.map_err(|source| MatchingError::Read { what: name.to_owned(), source })?;
    Ok(NamedTensor {
        name: name.to_owned(),
        shape: tensor.dims().to_vec(),
        values: TensorValues::F32(values),
    })
}

/// Numbers in full precision under a name: their bits.
pub fn numbers(name: &str, values: &[f64]) -> NamedTensor {
    let bits = values.iter().map(|value| value.to_bits() as i64).collect();
    NamedTensor { name: name.to_owned(), shape: vec![values.len()], values: TensorValues::I64(bits) }
}

/// The values of a tensor of floats.
///
/// # Errors
/// A tensor that is absent or holds another number of values.
pub fn values<'a>(tensors: &'a [NamedTensor], name: &str, count: usize) -> Result<&'a [f32], MatchingError> {
    match tensors.iter().find(|tensor| tensor.name == name).map(|tensor| &tensor.values) {
        Some(TensorValues::F32(values)) if values.len() == count => Ok(values),
        _ => Err(absent(name, &format!("{count} floats"))),
    }
}

/// A vector of weights.
///
/// # Errors
/// As [`values`].
pub fn vector(tensors: &[NamedTensor], name: &str, of: &Function) -> Result<Tensor<1>, MatchingError> {
    Ok(of.vector(values(tensors, name, of.parameters())?.to_vec()))
}

/// What [`numbers`] kept.
///
/// # Errors
/// As [`values`].
pub fn kept_numbers<const N: usize>(tensors: &[NamedTensor], name: &str) -> Result<[f64; N], MatchingError> {
    match tensors.iter().find(|tensor| tensor.name == name).map(|tensor| &tensor.values) {
        Some(TensorValues::I64(bits)) if bits.len() == N => {
            Ok(std::array::from_fn(|at| f64::from_bits(bits[at] as u64)))
        }
        _ => Err(absent(name, &format!("{N} numbers"))),
    }
}

fn absent(name: &str, expected: &str) -> MatchingError {
    MatchingError::State { found: format!("no tensor `{name}` of them"), expected: expected.to_owned() }
}
