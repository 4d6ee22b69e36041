//! What experts that were stopped go on from: the weights after each epoch, and finished experts.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use burn::tensor::Tensor;
use delt_formats::experts::tensor_name;
use delt_formats::{NamedTensor, TensorValues, read_safetensors, sealed, write_safetensors};
use delt_tangent::Function;

use crate::experts::values;

/// How the name of a finished expert's file ends.
pub const FINISHED: &str = "-finished.safetensors";

/// Beside the weights of a finished expert: how many test images it was right on.
const RIGHT: &str = "right";

/// Files of experts in one folder.
#[derive(Debug)]
pub struct ExpertFiles<'a> {
    /// The folder, which exists.
    pub folder: &'a Path,
    /// Whose weights they hold.
    pub function: &'a Function,
}

/// The file of a finished expert.
pub fn finished_file(expert: u64) -> String {
    format!("expert-{expert:03}{FINISHED}")
}

impl ExpertFiles<'_> {
    /// Whether an expert is finished.
    pub fn has_finished(&self, expert: u32) -> bool {
        self.folder.join(finished_file(expert.into())).exists()
    }

    fn epoch_path(&self, expert: u32, epoch: u32) -> PathBuf {
        self.folder.join(format!("expert-{expert:03}-epoch-{epoch:05}.safetensors"))
    }

    /// The last epoch before which all are kept, from 0, with the weights after it; nothing where there is none.
    ///
    /// # Errors
    /// A file that cannot be read, or has changed since it was written.
    pub fn latest(&self, expert: u32) -> Result<Option<(u32, Tensor<1>)>> {
        let there = (0..).take_while(|epoch| self.epoch_path(expert, *epoch).exists()).last();
        let Some(epoch) = there else { return Ok(None) };
        let path = self.epoch_path(expert, epoch);
        let values = self.function.values_of(&read(&path)?).map_err(|name| misfit(&path, &name))?;
        Ok(Some((epoch, self.function.vector(values))))
    }

    /// Keeps the weights after an epoch; 0 is before the first.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn keep(&self, expert: u32, epoch: u32, theta: &Tensor<1>) -> Result<()> {
        write(&self.epoch_path(expert, epoch), &self.function.named(&values(theta.clone())?))
    }

    /// Joins all epochs to a finished expert, and drops their files.
    ///
    /// # Errors
    /// A file that cannot be read or written.
    pub fn finish(&self, expert: u32, epochs: u32, right: u64) -> Result<()> {
        let count = TensorValues::I64(vec![right as i64]);
        let mut all = vec![NamedTensor { name: RIGHT.to_owned(), shape: vec![1], values: count }];
        for epoch in 0..=epochs {
            let own = read(&self.epoch_path(expert, epoch))?.into_iter();
            all.extend(own.map(|tensor| NamedTensor { name: tensor_name(epoch, &tensor.name), ..tensor }));
        }
        write(&self.folder.join(finished_file(expert.into())), &all)?;
        (0..=epochs).try_for_each(|epoch| {
            let path = self.epoch_path(expert, epoch);
            sealed::remove(&path).with_context(|| cannot_be_written(&path))
        })
    }
}

/// A finished expert: its weights by epoch and name, and the test images that it was right on.
///
/// # Errors
/// A file that cannot be read, or has changed since it was written.
pub fn read_finished(path: &Path) -> Result<(Vec<NamedTensor>, u64)> {
    let (counts, weights): (Vec<_>, Vec<_>) =
        read(path)?.into_iter().partition(|tensor| tensor.name == RIGHT);
    match counts.first().map(|tensor| &tensor.values) {
        Some(TensorValues::I64(right)) if right.len() == 1 => Ok((weights, right[0] as u64)),
        _ => Err(misfit(path, RIGHT)),
    }
}

fn misfit(path: &Path, name: &str) -> anyhow::Error {
    let path = path.display();
    anyhow!(
        "{path}: tensor `{name}` is missing or has another shape; delete the expert's files to train it again"
    )
}

fn read(path: &Path) -> Result<Vec<NamedTensor>> {
    let read = sealed::verify(path).and_then(|()| read_safetensors(path));
    let (tensors, _) = read.with_context(|| {
        format!(
            "{}: the checkpoint cannot be read; delete the expert's files to train it again",
            path.display()
        )
    })?;
    Ok(tensors)
}

/// Writes beside the target, waits until it is on disk, then renames: a kill never leaves half a file.
fn write(path: &Path, tensors: &[NamedTensor]) -> Result<()> {
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
