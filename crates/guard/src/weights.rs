//! Reading external weights: `.safetensors`, and `.pth` files of PyTorch, zip and legacy, without running any
//! pickled code.
//!
//! The reader of `.pth` is `pytorch-reader`. What a file claims is compared with the file before the reader is asked for it.

use std::path::{Path, PathBuf};

use delt_formats::error::FormatError;
use delt_formats::tensors::{NamedTensor, TensorValues, read_safetensors};
use half::{bf16, f16};
use pytorch_reader::{DType, PickleValue, PytorchError, PytorchReader};
use tempfile::NamedTempFile;
use thiserror::Error;
use zip::result::ZipError;

use crate::claims::{check_claims, check_tensors};
use crate::foreign::guarded;
use crate::tensor_file::with_beginning;

/// Keys that a refusal lists.
const KEYS_SHOWN: usize = 5;

/// What is wrong with external weights.
#[derive(Debug, Error)]
pub enum WeightsError {
    /// It could not be read.
    #[error("{}: not readable as a PyTorch checkpoint; save it again with torch.save(model.state_dict(), …)", path.display())]
    PyTorch {
        /// The file.
        path: PathBuf,
        /// What the reader said.
        #[source]
        source: PytorchError,
    },
    /// Its zip archive could not be read.
    #[error("{}: not readable as a PyTorch checkpoint; download it again, or save it again with torch.save(model.state_dict(), …)", path.display())]
    Zip {
        /// The file.
        path: PathBuf,
        /// What the reader said.
        #[source]
        source: ZipError,
    },
    /// It asks for more than it holds.
    #[error("{}: {claim} in a file of {bytes} bytes; if you trust it, save it again with torch.save(model.state_dict(), …)", path.display())]
    Claims {
        /// The file.
        path: PathBuf,
        /// What it claims, and what was expected.
        claim: String,
        /// Its size.
        bytes: u64,
    },
    /// It is older than what is read.
    #[error("{}: is a tar archive, as PyTorch before 0.1.10 saved; load it and save it again with torch.save(model.state_dict(), …)", path.display())]
    Tar {
        /// The file.
        path: PathBuf,
    },
    /// A tensor inside it could not be read.
    #[error("{}: tensor `{name}` could not be read; download the file again", path.display())]
    TensorBytes {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// It holds a program and not the weights alone.
    #[error("{}: is {program}, which is code with weights; load it in Python and save the weights alone: {load}", path.display())]
    Program {
        /// The file.
        path: PathBuf,
        /// What it is.
        program: &'static str,
        /// How to come to the weights.
        load: &'static str,
    },
    /// It holds no tensors.
    #[error("{}: no tensors in it, its keys are {}; save the weights with torch.save(model.state_dict(), …)", path.display(), first_keys(keys))]
    NoTensors {
        /// The file.
        path: PathBuf,
        /// Keys that the file has.
        keys: Vec<String>,
    },
    /// It cannot be opened, or its safetensors are none.
    #[error(transparent)]
    Format(#[from] FormatError),
}

impl WeightsError {
    /// The same complaint about another file: the one that a copy was made of.
    pub(crate) fn of_file(mut self, file: &Path) -> Self {
        match &mut self {
            Self::PyTorch { path, .. }
            | Self::Zip { path, .. }
            | Self::Claims { path, .. }
            | Self::Tar { path }
            | Self::TensorBytes { path, .. }
            | Self::Program { path, .. }
            | Self::NoTensors { path, .. } => file.clone_into(path),
            Self::Format(_) => {}
        }
        self
    }
}

/// Reads all tensors of a file, sorted by name; those of nested dictionaries are called by all keys with dots between.
///
/// A file ending in `.safetensors` is read as such, any other as PyTorch's.
///
/// # Errors
///
/// Where the file cannot be read, or holds no tensors.
pub fn read_weights(path: &Path) -> Result<Vec<NamedTensor>, WeightsError> {
    let is_safetensors = path.extension().is_some_and(|extension| extension == "safetensors");
    let mut tensors = if is_safetensors { read_safetensors(path)?.0 } else { read_pytorch(path)? };
    if tensors.is_empty() {
        return Err(WeightsError::NoTensors { path: path.to_owned(), keys: Vec::new() });
    }
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(tensors)
}

/// At most five keys, and how many more there are.
fn first_keys(keys: &[String]) -> String {
    match (keys, keys.len().saturating_sub(KEYS_SHOWN)) {
        ([], _) => "none".to_owned(),
        (keys, 0) => keys.join(", "),
        (keys, more) => format!("{} and {more} more", keys[..KEYS_SHOWN].join(", ")),
    }
}

fn read_pytorch(path: &Path) -> Result<Vec<NamedTensor>, WeightsError> {
    let unreadable = |source: PytorchError| WeightsError::PyTorch { path: path.to_owned(), source };
    let bytes = check_claims(path)?;
    let broken_archive = |source| WeightsError::Zip { path: path.to_owned(), source };
    let copy = with_beginning(path).map_err(broken_archive)?;
    let file = copy.as_ref().map_or(path, NamedTempFile::path);
    let broken = |said| Err(PytorchError::InvalidFormat(said));
    let reader = guarded(|| PytorchReader::new(file)).unwrap_or_else(broken).map_err(unreadable)?;
    if reader.is_empty()
        && let Ok(PickleValue::Dict(entries)) = PytorchReader::read_pickle_data(file, None)
    {
        let mut keys: Vec<String> = entries.into_keys().collect();
        keys.sort();
        return Err(WeightsError::NoTensors { path: path.to_owned(), keys });
    }
    check_tensors(path, bytes, reader.tensors().values())?;
    reader
        .into_tensors()
        .into_iter()
        .map(|(name, tensor)| {
            let broken = |said| Err(std::io::Error::other(said));
            let read = guarded(|| tensor.read()).unwrap_or_else(broken);
            let bytes = read.map_err(|source| WeightsError::TensorBytes {
                path: path.to_owned(),
                name: name.clone(),
                source,
            })?;
            Ok(NamedTensor { name, shape: tensor.shape().to_vec(), values: decode(tensor.dtype(), &bytes) })
        })
        .collect()
}

/// Native-endian bytes as numbers: every float as `f32`, every integer as `i64`.
fn decode(dtype: DType, bytes: &[u8]) -> TensorValues {
    fn each<const N: usize, T>(bytes: &[u8], number: impl Fn([u8; N]) -> T) -> Vec<T> {
        bytes.as_chunks::<N>().0.iter().map(|chunk| number(*chunk)).collect()
    }
    match dtype {
        DType::F64 => TensorValues::F32(each(bytes, |b| f64::from_ne_bytes(b) as f32)),
        DType::F32 => TensorValues::F32(each(bytes, f32::from_ne_bytes)),
        DType::F16 => TensorValues::F32(each(bytes, |b| f16::from_ne_bytes(b).to_f32())),
        DType::BF16 => TensorValues::F32(each(bytes, |b| bf16::from_ne_bytes(b).to_f32())),
        DType::I64 => TensorValues::I64(each(bytes, i64::from_ne_bytes)),
        DType::U64 => TensorValues::I64(each(bytes, |b| u64::from_ne_bytes(b) as i64)),
        DType::I32 => TensorValues::I64(each(bytes, |b| i64::from(i32::from_ne_bytes(b)))),
        DType::U32 => TensorValues::I64(each(bytes, |b| i64::from(u32::from_ne_bytes(b)))),
        DType::I16 => TensorValues::I64(each(bytes, |b| i64::from(i16::from_ne_bytes(b)))),
        DType::U16 => TensorValues::I64(each(bytes, |b| i64::from(u16::from_ne_bytes(b)))),
        DType::I8 => TensorValues::I64(each(bytes, |b| i64::from(i8::from_ne_bytes(b)))),
        DType::U8 | DType::Bool => TensorValues::I64(each(bytes, |b: [u8; 1]| i64::from(b[0]))),
    }
}
