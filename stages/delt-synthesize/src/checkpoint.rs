//! What a synthesis that was stopped goes on from: finished batches, and the state inside the current one.

use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result, anyhow, ensure};
use delt_formats::synthetic::COURSE_FILE;
use delt_formats::{NamedTensor, RgbImage, TensorValues, read_safetensors, sealed, write_safetensors};
use delt_matching::stored::kept_numbers;
use delt_networks::LayerStatistics;

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
    /// A file that cannot be read, or has changed since it was written.
    pub fn read(path: &Path) -> Result<Self> {
        let read = sealed::verify(path).and_then(|()| read_safetensors(path));
        let (tensors, _) = read.with_context(|| {
            let path = path.display();
            format!("{path}: the checkpoint cannot be read; delete the file to start the batch again")
        })?;
        Ok(Self { path: path.to_path_buf(), tensors })
    }

    /// Shape and values of a tensor of floats.
    ///
    /// # Errors
    /// [`Self::misfit`].
    pub fn floats(&self, name: &str) -> Result<(Vec<usize>, Vec<f32>)> {
        match self.tensors.iter().find(|t| t.name == name).map(|t| (&t.values, &t.shape)) {
            Some((TensorValues::F32(values), shape)) => Ok((shape.clone(), values.clone())),
            _ => Err(self.misfit(name)),
        }
    }

    /// Values of a tensor of integers.
    ///
    /// # Errors
    /// [`Self::misfit`].
    pub fn integers(&self, name: &str) -> Result<&[i64]> {
        match self.tensors.iter().find(|t| t.name == name).map(|t| &t.values) {
            Some(TensorValues::I64(values)) => Ok(values),
            _ => Err(self.misfit(name)),
        }
    }

    /// A number that [`delt_matching::stored::numbers`] kept, where it is there.
    ///
    /// # Errors
    /// [`Self::misfit`].
    pub fn number(&self, name: &str) -> Result<Option<f64>> {
        if !self.tensors.iter().any(|tensor| tensor.name == name) {
            return Ok(None);
        }
        let [number] = kept_numbers(&self.tensors, name).map_err(|_| self.misfit(name))?;
        Ok(Some(number))
    }

    /// All tensors.
    pub fn tensors(&self) -> &[NamedTensor] {
        &self.tensors
    }

    /// The tensors whose names begin with a prefix, without it.
    pub(crate) fn below(&self, prefix: &str) -> Self {
        let own = self.tensors.iter().filter_map(|tensor| {
            Some(NamedTensor { name: tensor.name.strip_prefix(prefix)?.to_owned(), ..tensor.clone() })
        });
        Self { path: self.path.clone(), tensors: own.collect() }
    }

    /// A tensor that is absent or has another shape than the schedule asks for.
    pub fn misfit(&self, name: &str) -> Error {
        let path = self.path.display();
        anyhow!(
            "{path}: tensor `{name}` is missing or has another shape; delete the file to start the batch again"
        )
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
    /// As [`Self::keep_state`].
    pub fn keep_finished(&self, unit: u64, tensors: &[NamedTensor]) -> Result<()> {
        write(&self.folder.join(finished_file(unit)), tensors)?;
        let state = self.state_path(unit);
        sealed::remove(&state).with_context(|| cannot_be_written(&state))
    }

    /// Whether a unit is finished.
    pub fn has_finished(&self, unit: u64) -> bool {
        self.folder.join(finished_file(unit)).exists()
    }

    /// Saves the state inside a unit.
    ///
    /// # Errors
    /// A file that cannot be written; values that are NaN or infinite, in whose place the state before stays.
    pub fn keep_state(&self, unit: u64, tensors: &[NamedTensor]) -> Result<()> {
        write(&self.state_path(unit), tensors)
    }

    /// Shows the course of a unit, where it has one: `course.png` beside the states.
    ///
    /// # Errors
    /// As [`Self::keep_state`].
    pub fn show(&self, course: &RgbImage) -> Result<()> {
        if course.rgb.is_empty() {
            return Ok(());
        }
        let path = self.folder.join(COURSE_FILE);
        fs_err::write(&path, course.encode_png()?).with_context(|| cannot_be_written(&path))
    }

    /// The state inside a unit, where there is one.
    ///
    /// # Errors
    /// As [`Kept::read`].
    pub fn state(&self, unit: u64) -> Result<Option<Kept>> {
        let path = self.state_path(unit);
        path.exists().then(|| Kept::read(&path)).transpose()
    }

    /// The statistics kept under a name, or those that `measure` finds, which are kept then: going through the real images
    /// takes minutes.
    ///
    /// # Errors
    /// What `measure` reports; a file that cannot be written or read.
    pub fn statistics(
        &self,
        name: &str,
        measure: impl FnOnce() -> Result<Vec<LayerStatistics>>,
    ) -> Result<Vec<LayerStatistics>> {
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
        let floats = |at: usize, part: &str| kept.floats(&format!("{at}.{part}"));
        let layer =
            |at| Ok(LayerStatistics { mean: floats(at, "mean")?.1, variance: floats(at, "variance")?.1 });
        (0..kept.tensors.len() / 2).map(layer).collect()
    }
}

/// Writes beside the target, waits until it is on disk, then renames: a kill never leaves half a checkpoint.
fn write(path: &Path, tensors: &[NamedTensor]) -> Result<()> {
    for NamedTensor { name, values, .. } in tensors {
        let TensorValues::F32(values) = values else { continue };
        ensure!(
            values.iter().all(|value| value.is_finite()),
            "{}: `{name}` would hold values that are NaN or infinite, so the previous checkpoint stays; lower synthesize.lr",
            path.display()
        );
    }
    let beside = path.with_extension("writing");
    let written = write_safetensors(&beside, tensors, None).and_then(|()| sealed::seal(&beside, path));
    written.with_context(|| cannot_be_written(path))
}

fn cannot_be_written(path: &Path) -> String {
    format!(
        "{}: the checkpoint cannot be written; check free space and permissions there, and run the stage again to resume",
        path.display()
    )
}
