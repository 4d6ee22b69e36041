//! PyTorch's files: a zip archive, nothing compressed, of a pickle and the bytes of each tensor.
//!
//! ```text
//! NAME/data.pkl            the value, as a pickle of protocol 2; tensors refer to their bytes by number
//! NAME/byteorder           little
//! NAME/data/0 ...          bytes of each tensor, aligned so that they can be mapped
//! NAME/version             3
//! ```
//!
//! Tensors are written as they come, so that a file may be larger than memory. Equal values give equal bytes.

mod pickle;

use std::io::{self, BufWriter, Write};
use std::path::Path;

use zip::write::{FileOptions, SimpleFileOptions};
use zip::{CompressionMethod, ZipWriter};

/// Where the bytes of tensors begin: at multiples of so many bytes, as in PyTorch's own files.
const ALIGNMENT: u16 = 64;
/// From here on sizes do not fit into the old fields of a zip archive; a little early.
const LARGE: u64 = 0xf000_0000;

/// What a file holds.
#[derive(Debug)]
pub enum Value<'a> {
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Value<'a>>),
    /// A dictionary, in this order.
    Dict(Vec<(String, Value<'a>)>),
    /// A `state_dict` that says of which version its module is, which some modules ask for.
    StateDict {
        /// Tensors by name, in this order.
        members: Vec<(String, Value<'a>)>,
        /// The module's `_version`.
        version: i64,
    },
    /// A tensor.
    Tensor(Tensor<'a>),
}

/// The type of a tensor's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    /// 32-bit floats.
    F32,
    /// Half precision.
    F16,
    /// 64-bit integers.
    I64,
    /// Bytes.
    U8,
    /// Bytes that are 0 or 1.
    Bool,
}

/// A dense tensor on the CPU.
pub struct Tensor<'a> {
    dtype: Dtype,
    shape: Vec<usize>,
    write: WriteBytes<'a>,
}

/// Writes the bytes of a tensor: little-endian, the last dimension fastest.
type WriteBytes<'a> = Box<dyn FnOnce(&mut dyn Write) -> io::Result<()> + 'a>;

/// A file that cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum PthError {
    /// The disk, or whatever gives the bytes of a tensor.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The archive.
    #[error("the archive cannot be written")]
    Zip(#[from] zip::result::ZipError),
    /// The bytes of a tensor do not fill its shape.
    #[error("a tensor of shape {shape:?} has {found} bytes, expected {expected}")]
    Size {
        /// Its shape.
        shape: Vec<usize>,
        /// Bytes that came.
        found: u64,
        /// Bytes of the shape.
        expected: u64,
    },
}

impl Dtype {
    /// Bytes of one number.
    pub fn bytes(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
            Self::I64 => 8,
            Self::U8 | Self::Bool => 1,
        }
    }
}

impl std::fmt::Debug for Tensor<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tensor({:?}, {:?})", self.dtype, self.shape)
    }
}

impl<'a> Tensor<'a> {
    /// A tensor whose bytes are asked for when the file is written: little-endian, the last dimension fastest.
    pub fn new(
        dtype: Dtype,
        shape: impl Into<Vec<usize>>,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()> + 'a,
    ) -> Self {
        Self { dtype, shape: shape.into(), write: Box::new(write) }
    }

    /// A tensor of 32-bit floats.
    pub fn f32(shape: impl Into<Vec<usize>>, values: &'a [f32]) -> Self {
        Self::new(Dtype::F32, shape, |out| {
            values.iter().try_for_each(|value| out.write_all(&value.to_le_bytes()))
        })
    }

    /// A tensor of 64-bit integers.
    pub fn i64(shape: impl Into<Vec<usize>>, values: &'a [i64]) -> Self {
        Self::new(Dtype::I64, shape, |out| {
            values.iter().try_for_each(|value| out.write_all(&value.to_le_bytes()))
        })
    }

    fn bytes(&self) -> u64 {
        self.shape.iter().map(|side| *side as u64).product::<u64>() * self.dtype.bytes()
    }
}

/// Writes a value to a file, which `torch.load(path, weights_only=True)` gives back.
///
/// # Errors
///
/// A file that cannot be written, or a tensor whose bytes do not fill its shape.
pub fn write(path: &Path, value: Value<'_>) -> Result<(), PthError> {
    // the archive's folder is called as the file is, as PyTorch does it
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let mut tensors = Vec::new();
    let pickle = pickle::of(value, &mut tensors);
    let mut archive = Archive { zip: ZipWriter::new(BufWriter::new(fs_err::File::create(path)?)), name };
    archive.add("data.pkl", pickle.len() as u64, |out| out.write_all(&pickle))?;
    archive.add("byteorder", 0, |out| out.write_all(b"little"))?;
    for (index, tensor) in tensors.into_iter().enumerate() {
        archive.add_tensor(index, tensor)?;
    }
    archive.add("version", 0, |out| out.write_all(b"3\n"))?;
    // not synced: labels are written as thousands of small files
    archive.zip.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
    Ok(())
}

struct Archive {
    zip: ZipWriter<BufWriter<fs_err::File>>,
    name: String,
}

impl Archive {
    /// Adds a record of about so many bytes.
    fn add(
        &mut self,
        record: &str,
        bytes: u64,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), PthError> {
        let options: SimpleFileOptions = FileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .with_alignment(ALIGNMENT)
            .large_file(bytes > LARGE);
        self.zip.start_file(format!("{}/{record}", self.name), options)?;
        Ok(write(&mut self.zip)?)
    }

    fn add_tensor(&mut self, index: usize, tensor: Tensor<'_>) -> Result<(), PthError> {
        let expected = tensor.bytes();
        let Tensor { shape, write, .. } = tensor;
        let mut found = 0;
        self.add(&format!("data/{index}"), expected, |out| {
            let mut counted = Counted { out, bytes: 0 };
            write(&mut counted)?;
            found = counted.bytes;
            Ok(())
        })?;
        if found == expected { Ok(()) } else { Err(PthError::Size { shape, found, expected }) }
    }
}

/// Counts what is written.
struct Counted<'a> {
    out: &'a mut dyn Write,
    bytes: u64,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use pytorch_reader::PytorchReader;

    use super::*;

    #[test]
    fn a_reader_finds_every_value_and_tensors_lie_aligned() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("values.pt");
        let floats: Vec<f32> = (0..6).map(|i| i as f32 / 4.0).collect();
        let value = || {
            Value::Dict(vec![
                ("weight".into(), Value::Tensor(Tensor::f32([2, 3], &floats))),
                ("count".into(), Value::Tensor(Tensor::i64([], &[7]))),
            ])
        };
        write(&path, value()).unwrap();
        let read = PytorchReader::new(&path).unwrap();
        let (weight, count) = (read.get("weight").unwrap(), read.get("count").unwrap());
        let data: Vec<u8> = floats.iter().flat_map(|value| value.to_le_bytes()).collect();
        assert_eq!((weight.shape(), weight.read().unwrap()), ([2, 3].as_slice(), data.clone()));
        assert_eq!((count.shape(), count.read().unwrap()), ([].as_slice(), 7_i64.to_le_bytes().to_vec()));
        let bytes = fs_err::read(&path).unwrap();
        write(&path, value()).unwrap();
        assert_eq!(bytes, fs_err::read(&path).unwrap(), "equal values, equal bytes");
        let start = bytes.windows(data.len()).position(|window| window == data).unwrap();
        assert_eq!(start % usize::from(ALIGNMENT), 0);
    }

    #[test]
    fn a_tensor_that_its_bytes_do_not_fill_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let error =
            write(&folder.path().join("x.pt"), Value::Tensor(Tensor::f32([2, 2], &[1.0]))).unwrap_err();
        assert_eq!(error.to_string(), "a tensor of shape [2, 2] has 4 bytes, expected 16");
    }
}
