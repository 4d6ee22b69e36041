//! Reading weights made elsewhere: `.safetensors`, and `.pth` files of PyTorch, zip and legacy, without running any
//! pickled code.
//!
//! The reader of `.pth` is `pytorch-reader`. What a file claims is compared with the file before the reader is asked for it:
//! a hostile file of a few kilobytes can claim anything.

use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use pytorch_reader::{DType, PickleValue, PytorchError, PytorchReader, Tensor};
use thiserror::Error;
use zip::ZipArchive;
use zip::result::ZipError;

use crate::error::FormatError;
use crate::foreign::guarded;
use crate::pickle_scan;
use crate::tensors::{NamedTensor, TensorValues, read_safetensors};

/// Keys under which training scripts put the weights, in the order they are tried.
const WEIGHT_KEYS: [&str; 5] = ["state_dict", "model_state_dict", "model", "network", "net"];
/// What `torch.nn.DataParallel` puts before every name.
const DATA_PARALLEL: &str = "module.";

/// How often a file's bytes may be used by its tensors, or by the entries of its zip archive: tied weights share theirs.
const MOST_USES: u64 = 4;
/// The largest networks' tensors have five dimensions.
const MOST_DIMENSIONS: usize = 16;
/// Where a tar archive says that it is one, as the checkpoints of PyTorch before 0.1.10 (2017) were.
const TAR_MARK: (usize, &[u8]) = (257, b"ustar");

/// What is wrong with weights made elsewhere.
#[derive(Debug, Error)]
pub enum CheckpointError {
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
    #[error("{}: not readable as a PyTorch checkpoint; fetch it again, or save it again with torch.save(model.state_dict(), …)", path.display())]
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
    #[error("{}: tensor `{name}` could not be read; fetch the file again", path.display())]
    TensorBytes {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// It holds no tensors where they were looked for.
    #[error("{}: no tensors {place}; its top-level keys are {}: name the one that holds the weights", path.display(), keys.join(", "))]
    NoTensors {
        /// The file.
        path: PathBuf,
        /// Where was looked.
        place: String,
        /// Keys that the file has.
        keys: Vec<String>,
    },
    /// It cannot be opened, or its safetensors are none.
    #[error(transparent)]
    Format(#[from] FormatError),
}

/// Reads all tensors of a checkpoint, sorted by name.
///
/// A file ending in `.safetensors` is read as such, any other as PyTorch's. Without `top_level_key` the weights are found
/// under the usual keys (`state_dict`, `model`, …) or at the top; a leading `module.` is removed.
///
/// # Errors
///
/// Where the file cannot be read, or holds no tensors under the key.
pub fn read_checkpoint(
    path: &Path,
    top_level_key: Option<&str>,
) -> Result<Vec<NamedTensor>, CheckpointError> {
    let is_safetensors = path.extension().is_some_and(|extension| extension == "safetensors");
    let mut tensors = if is_safetensors { read_safetensors(path)?.0 } else { read_pytorch(path)? };
    let keys = top_level_keys(&tensors);
    if let Some(key) = top_level_key {
        keep_under(&mut tensors, key);
    } else {
        // checkpoints may nest them: state_dict → model
        while let Some(key) =
            WEIGHT_KEYS.iter().find(|key| tensors.iter().any(|tensor| is_under(&tensor.name, key)))
        {
            keep_under(&mut tensors, key);
        }
    }
    if tensors.is_empty() {
        let place = top_level_key.map_or_else(|| "in it".to_owned(), |key| format!("under `{key}`"));
        return Err(CheckpointError::NoTensors { path: path.to_owned(), place, keys });
    }
    if tensors.iter().all(|tensor| tensor.name.starts_with(DATA_PARALLEL)) {
        for tensor in &mut tensors {
            tensor.name.drain(..DATA_PARALLEL.len());
        }
    }
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(tensors)
}

fn is_under(name: &str, key: &str) -> bool {
    name.strip_prefix(key).is_some_and(|rest| rest.starts_with('.'))
}

fn keep_under(tensors: &mut Vec<NamedTensor>, key: &str) {
    tensors.retain(|tensor| is_under(&tensor.name, key));
    for tensor in tensors {
        tensor.name.drain(..=key.len());
    }
}

fn top_level_keys(tensors: &[NamedTensor]) -> Vec<String> {
    let mut keys: Vec<String> =
        tensors.iter().map(|tensor| tensor.name.split('.').next().unwrap_or_default().to_owned()).collect();
    keys.sort();
    keys.dedup();
    keys
}

fn read_pytorch(path: &Path) -> Result<Vec<NamedTensor>, CheckpointError> {
    let unreadable = |source: PytorchError| CheckpointError::PyTorch { path: path.to_owned(), source };
    let bytes = check_claims(path)?;
    let broken = |said| Err(PytorchError::InvalidFormat(said));
    let reader = guarded(|| PytorchReader::new(path)).unwrap_or_else(broken).map_err(unreadable)?;
    if reader.is_empty()
        && let Ok(PickleValue::Dict(entries)) = PytorchReader::read_pickle_data(path, None)
    {
        let mut keys: Vec<String> = entries.into_keys().collect();
        keys.sort();
        return Err(CheckpointError::NoTensors { path: path.to_owned(), place: "in it".to_owned(), keys });
    }
    check_tensors(path, bytes, reader.tensors().values())?;
    reader
        .into_tensors()
        .into_iter()
        .map(|(name, tensor)| {
            let broken = |said| Err(std::io::Error::other(said));
            let read = guarded(|| tensor.read()).unwrap_or_else(broken);
            let bytes = read.map_err(|source| CheckpointError::TensorBytes {
                path: path.to_owned(),
                name: name.clone(),
                source,
            })?;
            Ok(NamedTensor { name, shape: tensor.shape().to_vec(), values: decode(tensor.dtype(), &bytes) })
        })
        .collect()
}

/// Looks through the zip archive or the pickles of a file for what would take more memory than its size allows; gives its
/// size.
fn check_claims(path: &Path) -> Result<u64, CheckpointError> {
    let mut file = fs_err::File::open(path).map_err(FormatError::from)?;
    let bytes = file.metadata().map_err(FormatError::from)?.len();
    let mut head = Vec::new();
    let (mark_at, mark) = TAR_MARK;
    file.by_ref().take((mark_at + mark.len()) as u64).read_to_end(&mut head).map_err(FormatError::from)?;
    let claims = |claim| CheckpointError::Claims { path: path.to_owned(), claim, bytes };
    let asks_much = |asked: String| claims(format!("its pickle asks for too much ({asked})"));
    if !head.starts_with(b"PK") {
        if head.get(mark_at..) == Some(mark) {
            return Err(CheckpointError::Tar { path: path.to_owned() });
        }
        let file = fs_err::File::open(path).map_err(FormatError::from)?;
        let asked = pickle_scan::too_much(&mut BufReader::new(file)).map_err(FormatError::from)?;
        return asked.map_or(Ok(bytes), |asked| Err(asks_much(asked)));
    }
    let unreadable = |source| CheckpointError::Zip { path: path.to_owned(), source };
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(unreadable)?;
    let (mut unpacked, mut pickles) = (0_u64, Vec::new());
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).map_err(unreadable)?;
        unpacked = unpacked.saturating_add(entry.size());
        if entry.name_raw().ends_with(b"data.pkl") {
            pickles.push(index);
        }
    }
    if unpacked > bytes.saturating_mul(MOST_USES) {
        return Err(claims(format!(
            "its zip archive unpacks to {unpacked} bytes, expected at most {MOST_USES} times what there is"
        )));
    }
    for index in pickles {
        let entry = archive.by_index(index).map_err(unreadable)?;
        let mut pickle = BufReader::new(entry);
        let asked = pickle_scan::too_much(&mut pickle).map_err(|error| unreadable(error.into()))?;
        if let Some(asked) = asked {
            return Err(asks_much(asked));
        }
    }
    Ok(bytes)
}

/// Refuses tensors that are together larger than the file allows: one number, repeated, can be a tensor of any size.
fn check_tensors<'a>(
    path: &Path,
    bytes: u64,
    tensors: impl Iterator<Item = &'a Tensor>,
) -> Result<(), CheckpointError> {
    let claims = |claim| CheckpointError::Claims { path: path.to_owned(), claim, bytes };
    let mut used = 0_u64;
    for tensor in tensors {
        if tensor.shape().len() > MOST_DIMENSIONS {
            let claim = format!("tensor `{}` has {} dimensions", tensor.name, tensor.shape().len());
            return Err(claims(format!("{claim}, expected at most {MOST_DIMENSIONS},")));
        }
        used = used.saturating_add(tensor.byte_len() as u64);
    }
    if used > bytes.saturating_mul(MOST_USES) {
        return Err(claims(format!(
            "its tensors take {used} bytes, expected at most {MOST_USES} times what there is"
        )));
    }
    Ok(())
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
