//! What a synthesis that was stopped goes on from: finished batches, and the state inside the current one.

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use delt_formats::TraceRow;
use delt_formats::{FormatError, NamedTensor, TensorValues, read_safetensors, sealed, write_safetensors};
use delt_networks::LayerStatistics;

use crate::early_late::BatchSchedule;
use crate::recover::{LrOf, RecoverError, Recovery, values};

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
        "{path}: the checkpoint cannot be written; see to space and permissions there, and run the stage again to go on",
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
        "{path}: `{name}` would hold values that are no numbers, so the checkpoint before stays; lower synthesize.lr",
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
    /// Values could not be read from the device.
    #[error(transparent)]
    Device(#[from] RecoverError),
}

/// The end of a batch: its images in batch order and its losses.
#[derive(Debug, Clone, PartialEq)]
pub struct FinishedBatch {
    /// CHW, normalised, in batch order.
    pub images: Vec<f32>,
    /// One row per iteration.
    pub trace: Vec<TraceRow>,
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

    fn finished_path(&self, batch: u32) -> PathBuf {
        self.folder.join(finished_file(batch))
    }

    fn state_path(&self, batch: u32) -> PathBuf {
        self.folder.join(format!("batch-{batch:05}-state.safetensors"))
    }

    /// Keeps a finished batch and drops its inner state.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn keep_finished(&self, batch: u32, finished: &FinishedBatch) -> Result<(), CheckpointError> {
        let mut tensors = trace_tensors(&finished.trace);
        tensors.push(float("images", vec![finished.images.len()], finished.images.clone()));
        write(&self.finished_path(batch), &tensors)?;
        let state = self.state_path(batch);
        sealed::remove(&state).map_err(|source| CheckpointError::Write { path: state, source })
    }

    /// Whether a batch is finished.
    pub fn has_finished(&self, batch: u32) -> bool {
        self.finished_path(batch).exists()
    }

    /// A finished batch.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn finished(
        &self,
        schedule: &BatchSchedule,
        lr_of: LrOf<'_>,
    ) -> Result<FinishedBatch, CheckpointError> {
        read_finished(&self.finished_path(schedule.batch), schedule, lr_of)
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
        let tensors = read(&path)?;
        let values = |name: String| floats(&tensors, &name, &path).map(|(_, values)| values);
        let layers = (0..tensors.len() / 2).map(|at| -> Result<_, CheckpointError> {
            let (mean, variance) = (values(format!("{at}.mean"))?, values(format!("{at}.variance"))?);
            Ok(LayerStatistics { mean, variance })
        });
        Ok(layers.collect::<Result<_, _>>()?)
    }

    /// Keeps the state inside a batch, whose losses have all been read.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn keep_state(&self, batch: u32, recovery: &Recovery) -> Result<(), CheckpointError> {
        let mut tensors = trace_tensors(&recovery.trace);
        let shape = recovery.active.dims().to_vec();
        tensors.push(float("pixels", shape.clone(), values(recovery.active.clone())?));
        tensors.push(float("first_moment", shape.clone(), values(recovery.adam.first.clone())?));
        tensors.push(float("second_moment", shape.clone(), values(recovery.adam.second.clone())?));
        let steps = recovery.adam.steps.iter().map(|s| i64::from(*s)).collect();
        tensors.push(NamedTensor {
            name: "steps".into(),
            shape: vec![shape[0]],
            values: TensorValues::I64(steps),
        });
        write(&self.state_path(batch), &tensors)
    }

    /// Goes on from the state inside a batch, where there is one.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn restore(
        &self,
        batch: u32,
        recovery: &mut Recovery,
        lr_of: LrOf<'_>,
        device: &Device,
    ) -> Result<(), CheckpointError> {
        let path = self.state_path(batch);
        if !path.exists() {
            return Ok(());
        }
        let tensors = read(&path)?;
        let load = |name: &str| -> Result<Tensor<4>, CheckpointError> {
            let (shape, values) = floats(&tensors, name, &path)?;
            let shape: [usize; 4] = shape
                .try_into()
                .map_err(|_| CheckpointError::Tensor { path: path.clone(), name: name.to_owned() })?;
            Ok(Tensor::from_data(TensorData::new(values, shape), device))
        };
        let steps: Option<Vec<u32>> = tensors.iter().find_map(|t| match (&t.values, t.name.as_str()) {
            (TensorValues::I64(steps), "steps") => Some(steps.iter().map(|s| *s as u32).collect()),
            _ => None,
        });
        let steps =
            steps.ok_or_else(|| CheckpointError::Tensor { path: path.clone(), name: "steps".into() })?;
        let trace = trace_rows(&tensors, batch, lr_of, &path)?;
        let joined = recovery.images_joined_at(trace.len() as u32);
        let [_, channels, height, width] = recovery.active.dims();
        let shape = [joined, channels, height, width];
        for name in ["pixels", "first_moment", "second_moment"] {
            if floats(&tensors, name, &path)?.0 != shape {
                return Err(CheckpointError::Tensor { path, name: name.to_owned() });
            }
        }
        if steps.len() != joined {
            return Err(CheckpointError::Tensor { path, name: "steps".into() });
        }
        recovery.restore(load("pixels")?, load("first_moment")?, load("second_moment")?, steps, trace);
        Ok(())
    }
}

/// The file of a finished batch.
pub fn finished_file(batch: u32) -> String {
    format!("batch-{batch:05}-finished.safetensors")
}

/// A finished batch from its file.
///
/// # Errors
/// [`CheckpointError`].
pub fn read_finished(
    path: &Path,
    schedule: &BatchSchedule,
    lr_of: LrOf<'_>,
) -> Result<FinishedBatch, CheckpointError> {
    let tensors = read(path)?;
    let absent = |name: &str| CheckpointError::Tensor { path: path.to_path_buf(), name: name.to_owned() };
    let images = floats(&tensors, "images", path)?.1;
    let trace = trace_rows(&tensors, schedule.batch, lr_of, path)?;
    let per_image = images.len() / schedule.labels.len().max(1);
    if per_image == 0 || images.len() != per_image * schedule.labels.len() {
        return Err(absent("images"));
    }
    if trace.len() != schedule.iterations as usize {
        return Err(absent("trace_ce"));
    }
    Ok(FinishedBatch { images, trace })
}

/// Iterations between two checkpoints inside a batch.
pub const CHECKPOINT_ITERATIONS: u32 = 100;

fn float(name: &str, shape: Vec<usize>, values: Vec<f32>) -> NamedTensor {
    NamedTensor { name: name.to_owned(), shape, values: TensorValues::F32(values) }
}

fn trace_tensors(trace: &[TraceRow]) -> Vec<NamedTensor> {
    let column =
        |name: &str, f: fn(&TraceRow) -> f32| float(name, vec![trace.len()], trace.iter().map(f).collect());
    vec![column("trace_ce", |row| row.ce), column("trace_bn", |row| row.bn)]
}

fn trace_rows(
    tensors: &[NamedTensor],
    batch: u32,
    lr_of: LrOf<'_>,
    path: &Path,
) -> Result<Vec<TraceRow>, CheckpointError> {
    let (ce, bn) = (floats(tensors, "trace_ce", path)?.1, floats(tensors, "trace_bn", path)?.1);
    let rows = ce.into_iter().zip(bn).zip(0..);
    Ok(rows
        .map(|((ce, bn), iteration)| TraceRow { batch, iteration, lr: lr_of(iteration), ce, bn })
        .collect())
}

fn floats(
    tensors: &[NamedTensor],
    name: &str,
    path: &Path,
) -> Result<(Vec<usize>, Vec<f32>), CheckpointError> {
    let found = tensors.iter().find(|t| t.name == name);
    match found.map(|t| (&t.values, &t.shape)) {
        Some((TensorValues::F32(values), shape)) => Ok((shape.clone(), values.clone())),
        _ => Err(CheckpointError::Tensor { path: path.to_path_buf(), name: name.to_owned() }),
    }
}

fn read(path: &Path) -> Result<Vec<NamedTensor>, CheckpointError> {
    match sealed::verify(path).and_then(|()| read_safetensors(path)) {
        Ok((tensors, _)) => Ok(tensors),
        Err(source) => Err(CheckpointError::Read { path: path.to_path_buf(), source }),
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
