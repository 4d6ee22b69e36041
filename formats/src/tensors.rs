//! Named tensors in safetensors files, with PyTorch's names and layout.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors, View};

use crate::error::{FormatError, Result};
use crate::provenance::{METADATA_KEY, Provenance};

/// A tensor with its name in PyTorch's `state_dict`.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedTensor {
    /// The name, e.g. `layer1.0.bn1.running_mean`.
    pub name: String,
    /// The shape; empty for a single number.
    pub shape: Vec<usize>,
    /// The values, last dimension fastest.
    pub values: TensorValues,
}

/// The values of a tensor. Floats of other widths are read as `F32`, integers and bool as `I64`.
#[derive(Clone, Debug, PartialEq)]
pub enum TensorValues {
    /// 32-bit floats.
    F32(Vec<f32>),
    /// 64-bit integers, e.g. `num_batches_tracked`.
    I64(Vec<i64>),
}

impl TensorValues {
    /// How many values there are.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::I64(values) => values.len(),
        }
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A tensor on its way into a file.
struct Stored<'a>(&'a NamedTensor);

impl View for Stored<'_> {
    fn dtype(&self) -> Dtype {
        match self.0.values {
            TensorValues::F32(_) => Dtype::F32,
            TensorValues::I64(_) => Dtype::I64,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.0.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned(match &self.0.values {
            TensorValues::F32(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            TensorValues::I64(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        })
    }

    fn data_len(&self) -> usize {
        self.0.values.len() * self.dtype().bitsize() / 8
    }
}

/// Writes tensors in an order that depends on their types and names only, so that equal tensors give equal bytes. With a
/// provenance, its canonical JSON stands in the metadata under `delt`.
///
/// # Errors
///
/// If a tensor's values do not fill its shape, or the file cannot be written.
pub fn write_safetensors(
    path: impl AsRef<Path>,
    tensors: &[NamedTensor],
    provenance: Option<&Provenance>,
) -> Result<()> {
    let path = path.as_ref();
    for NamedTensor { name, shape, values } in tensors {
        let expected: usize = shape.iter().product();
        if values.len() != expected {
            let found = values.len();
            let problem =
                format!("tensor `{name}` of shape {shape:?} has {found} values, expected {expected}");
            return Err(FormatError::unfit(path, problem));
        }
    }
    let metadata =
        provenance.map(|provenance| HashMap::from([(METADATA_KEY.to_owned(), provenance.to_metadata())]));
    let named = tensors.iter().map(|tensor| (tensor.name.as_str(), Stored(tensor)));
    let bytes = safetensors::serialize(named, metadata)
        .map_err(|source| FormatError::Safetensors { path: path.to_owned(), source })?;
    Ok(fs_err::write(path, bytes)?)
}

/// Reads all tensors, sorted by name, and the provenance if this project wrote the file.
///
/// # Errors
///
/// If the file is not safetensors, or holds tensors of a type that is neither float nor integer.
pub fn read_safetensors(path: impl AsRef<Path>) -> Result<(Vec<NamedTensor>, Option<Provenance>)> {
    let path = path.as_ref();
    let bytes = fs_err::read(path)?;
    let unreadable = |source| FormatError::Safetensors { path: path.to_owned(), source };
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(unreadable)?;
    let provenance = header.metadata().as_ref().and_then(|metadata| metadata.get(METADATA_KEY));
    let provenance = provenance.map(|text| Provenance::from_metadata(path, text)).transpose()?;
    let file = SafeTensors::deserialize(&bytes).map_err(unreadable)?;
    let mut tensors = Vec::with_capacity(file.len());
    for (name, tensor) in file.tensors() {
        let Some(values) = values_of(tensor.dtype(), tensor.data()) else {
            let problem = format!(
                "tensor `{name}` holds {:?}, expected a float of 16 to 64 bits, an integer or bool; convert it",
                tensor.dtype()
            );
            return Err(FormatError::unfit(path, problem));
        };
        tensors.push(NamedTensor { name, shape: tensor.shape().to_vec(), values });
    }
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    Ok((tensors, provenance))
}

fn values_of(dtype: Dtype, data: &[u8]) -> Option<TensorValues> {
    #[expect(clippy::cast_possible_truncation, reason = "weights stored as f64 are used as f32")]
    let narrow = |value: f64| value as f32;
    #[expect(clippy::cast_possible_wrap, reason = "PyTorch has no unsigned 64-bit counters above i64")]
    let signed = |value: u64| value as i64;
    Some(match dtype {
        Dtype::F32 => TensorValues::F32(numbers(data, f32::from_le_bytes)),
        Dtype::F64 => TensorValues::F32(numbers(data, |b| narrow(f64::from_le_bytes(b)))),
        Dtype::F16 => TensorValues::F32(numbers(data, |b| f16::from_le_bytes(b).to_f32())),
        Dtype::BF16 => TensorValues::F32(numbers(data, |b| bf16::from_le_bytes(b).to_f32())),
        Dtype::I64 => TensorValues::I64(numbers(data, i64::from_le_bytes)),
        Dtype::U64 => TensorValues::I64(numbers(data, |b| signed(u64::from_le_bytes(b)))),
        Dtype::I32 => TensorValues::I64(numbers(data, |b| i32::from_le_bytes(b).into())),
        Dtype::U32 => TensorValues::I64(numbers(data, |b| u32::from_le_bytes(b).into())),
        Dtype::I16 => TensorValues::I64(numbers(data, |b| i16::from_le_bytes(b).into())),
        Dtype::U16 => TensorValues::I64(numbers(data, |b| u16::from_le_bytes(b).into())),
        Dtype::I8 => TensorValues::I64(numbers(data, |b| i8::from_le_bytes(b).into())),
        Dtype::U8 | Dtype::BOOL => TensorValues::I64(numbers(data, |b| u8::from_le_bytes(b).into())),
        _ => return None,
    })
}

fn numbers<T, const N: usize>(data: &[u8], read: impl Fn([u8; N]) -> T) -> Vec<T> {
    let (chunks, _) = data.as_chunks::<N>();
    chunks.iter().map(|chunk| read(*chunk)).collect()
}
