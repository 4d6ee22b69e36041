//! What a synthesis that was stopped goes on from: finished batches, and the state inside the current one.

use std::path::{Path, PathBuf};

use delt_formats::{FormatError, NamedTensor, TensorValues, read_safetensors, sealed, write_safetensors};
use delt_networks::LayerStatistics;

/// A checkpoint that cannot be written or does not fit.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file cannot be read.
    #[error("{path}: the checkpoint cannot be read; delete the file to start the batch again", path = .path.display())]
    Read {
        /// The checkpoint.
        path: PathBuf,
        /// Why.
        source: FormatError,
    },
    /// The file cannot be written.
    #[error(
        "{path}: the checkpoint cannot be written; check free space and permissions there, and run the stage again to resume",
        path = .path.display()
    )]
    Write {
        /// The checkpoint.
        path: PathBuf,
        /// Why.
        source: FormatError,
    },
    /// A state that is not worth keeping.
    #[error(
        "{path}: `{name}` would hold values that are NaN or infinite, so the previous checkpoint stays; lower synthesize.lr",
        path = .path.display()
    )]
    NotFinite {
        /// The checkpoint.
        path: PathBuf,
        /// Which tensor.
        name: String,
    },
    /// A tensor is absent or has another shape than the schedule asks for.
    #[error("{path}: tensor `{name}` is missing or has another shape; delete the file to start the batch again", path = .path.display())]
    Tensor {
        /// The checkpoint.
        path: PathBuf,
        /// Which tensor.
        name: String,
    },
}

/// What a checkpoint file holds.
#[derive(Debug)]
pub struct Kept {
    path: PathBuf,
    tensors: Vec<NamedTensor>,
}

impl Kept {
    /// Reads a file of [`Checkpoints`].
    ///
    /// # Errors
    /// [`CheckpointError::Read`].
    pub fn read(path: &Path) -> Result<Self, CheckpointError> {
        match sealed::verify(path).and_then(|()| read_safetensors(path)) {
            Ok((tensors, _)) => Ok(Self { path: path.to_path_buf(), tensors }),
            Err(source) => Err(CheckpointError::Read { path: path.to_path_buf(), source }),
        }
    }

    /// Shape and values of a tensor of floats.
    ///
    /// # Errors
    /// [`CheckpointError::Tensor`].
    pub fn floats(&self, name: &str) -> Result<(Vec<usize>, Vec<f32>), CheckpointError> {
        match self.tensors.iter().find(|t| t.name == name).map(|t| (&t.values, &t.shape)) {
            Some((TensorValues::F32(values), shape)) => Ok((shape.clone(), values.clone())),
            _ => Err(self.misfit(name)),
        }
    }

    /// Values of a tensor of integers.
    ///
    /// # Errors
    /// [`CheckpointError::Tensor`].
    pub fn integers(&self, name: &str) -> Result<&[i64], CheckpointError> {
        match self.tensors.iter().find(|t| t.name == name).map(|t| &t.values) {
            Some(TensorValues::I64(values)) => Ok(values),
            _ => Err(self.misfit(name)),
        }
    }

    /// How many tensors there are.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// A tensor that is absent or has another shape than asked for.
    pub fn misfit(&self, name: &str) -> CheckpointError {
        CheckpointError::Tensor { path: self.path.clone(), name: name.to_owned() }
    }

    /// The tensors whose names begin with a prefix, without it.
    pub(crate) fn below(&self, prefix: &str) -> Self {
        let own = self.tensors.iter().filter_map(|tensor| {
            Some(NamedTensor { name: tensor.name.strip_prefix(prefix)?.to_owned(), ..tensor.clone() })
        });
        Self { path: self.path.clone(), tensors: own.collect() }
    }
}

/// A tensor of floats for a checkpoint.
pub fn float(name: &str, shape: Vec<usize>, values: Vec<f32>) -> NamedTensor {
    NamedTensor { name: name.to_owned(), shape, values: TensorValues::F32(values) }
}

/// The file of a finished unit.
pub fn finished_file(unit: u64) -> String {
    format!("batch-{unit:05}-finished.safetensors")
}

/// Checkpoints of one synthesis in one folder.
#[derive(Debug)]
pub struct Checkpoints<'a> {
    folder: &'a Path,
}

impl<'a> Checkpoints<'a> {
    /// Checkpoints in `folder`, which exists.
    pub fn new(folder: &'a Path) -> Self {
        Self { folder }
    }

    fn state_path(&self, unit: u64) -> PathBuf {
        self.folder.join(format!("batch-{unit:05}-state.safetensors"))
    }

    /// Saves a finished unit and drops its inner state.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn keep_finished(&self, unit: u64, tensors: &[NamedTensor]) -> Result<(), CheckpointError> {
        write(&self.folder.join(finished_file(unit)), tensors)?;
        let state = self.state_path(unit);
        sealed::remove(&state).map_err(|source| CheckpointError::Write { path: state, source })
    }

    /// Whether a unit is finished.
    pub fn has_finished(&self, unit: u64) -> bool {
        self.folder.join(finished_file(unit)).exists()
    }

    /// A finished unit.
    ///
    /// # Errors
    /// [`CheckpointError::Read`].
    pub fn finished(&self, unit: u64) -> Result<Kept, CheckpointError> {
        Kept::read(&self.folder.join(finished_file(unit)))
    }

    /// Saves the state inside a unit.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn keep_state(&self, unit: u64, tensors: &[NamedTensor]) -> Result<(), CheckpointError> {
        write(&self.state_path(unit), tensors)
    }

    /// The state inside a unit, where there is one.
    ///
    /// # Errors
    /// [`CheckpointError::Read`].
    pub fn state(&self, unit: u64) -> Result<Option<Kept>, CheckpointError> {
        let path = self.state_path(unit);
        path.exists().then(|| Kept::read(&path)).transpose()
    }

    /// The statistics kept under a name, or those that `measure` finds, which are kept then: going through the real images
    /// takes minutes.
    ///
    /// # Errors
    /// What `measure` reports; [`CheckpointError`].
    pub fn statistics(
        &self,
        name: &str,
        measure: impl FnOnce() -> anyhow::Result<Vec<LayerStatistics>>,
    ) -> anyhow::Result<Vec<LayerStatistics>> {
        let path = self.folder.join(format!("{name}-statistics.safetensors"));
        if !path.exists() {
            let layers = measure()?;
            let tensors = layers.iter().zip(0..).flat_map(|(layer, at)| {
                let LayerStatistics { mean, variance } = layer.clone();
                [
                    float(&format!("{at}.mean"), vec![mean.len()], mean),
                    float(&format!("{at}.variance"), vec![variance.len()], variance),
                ]
            });
            write(&path, &tensors.collect::<Vec<_>>())?;
            return Ok(layers);
        }
        let kept = Kept::read(&path)?;
        let layers = (0..kept.len() / 2).map(|at| -> Result<_, CheckpointError> {
            let of = |part: &str| Ok(kept.floats(&format!("{at}.{part}"))?.1);
            Ok(LayerStatistics { mean: of("mean")?, variance: of("variance")? })
        });
        Ok(layers.collect::<Result<_, _>>()?)
    }
}

fn write(path: &Path, tensors: &[NamedTensor]) -> Result<(), CheckpointError> {
    let beside = path.with_extension("writing");
    for tensor in tensors {
        if let TensorValues::F32(values) = &tensor.values
            && !values.iter().all(|v| v.is_finite())
        {
            return Err(CheckpointError::NotFinite { path: path.to_path_buf(), name: tensor.name.clone() });
        }
    }
    replace(&beside, path, tensors)
        .map_err(|source| CheckpointError::Write { path: path.to_path_buf(), source })
}

/// Writes beside the target, waits until it is on disk, then renames: a kill never leaves half a checkpoint.
fn replace(beside: &Path, path: &Path, tensors: &[NamedTensor]) -> Result<(), FormatError> {
    write_safetensors(beside, tensors, None)?;
    sealed::seal(beside, path)
}
