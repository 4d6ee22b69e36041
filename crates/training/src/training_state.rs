//! Network, its average, optimizer and counters of unfinished training, saved together or not at all.
//!
//! A checkpoint is a folder; a new one is written beside it and then takes its place. Between the two renames only the
//! previous one exists, under another name, and is found there.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use burn::optim::ModuleOptimizer;
use burn::tensor::Device;
use delt_formats::{Architecture, NamedTensor, read_safetensors, sealed, write_safetensors};
use delt_networks::{Network, NetworkError};
use fs_err as fs;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::TrainingError;

const CURRENT: &str = "training";
const NEXT: &str = "training.next";
const PREVIOUS: &str = "training.previous";

const NETWORK_FILE: &str = "network.safetensors";
const AVERAGE_FILE: &str = "average.safetensors";
const OPTIMIZER_FILE: &str = "optimizer.bpk";
/// YAML, because serde_json reads some f64 back with another last bit (unless built with `float_roundtrip`).
const COUNTERS_FILE: &str = "counters.yaml";

/// What is wrong with a checkpoint.
const DAMAGED: &str = "checkpoint is damaged";
const OPTIMIZER: &str = "optimizer's state cannot be read or written";
const COUNTERS: &str = "counters cannot be read or written";

/// Time between two states that [`TrainingState::keep`] saves: a short epoch is over in less than it takes until a state is on disk.
const SAVE_EVERY: Duration = Duration::from_secs(5);

/// What is left of training whose `epoch` failed.
pub fn kept(epoch: u32) -> String {
    match epoch.checked_sub(1) {
        None => "nothing is kept yet".to_owned(),
        Some(before) => format!("epoch {before} is kept"),
    }
}

/// The folder in which a stage keeps its checkpoint.
pub struct TrainingState {
    dir: PathBuf,
    saved: Option<Instant>,
    held: Option<(Network, Option<Network>, ModuleOptimizer)>,
}

impl TrainingState {
    /// A checkpoint below `dir`, which exists.
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), saved: None, held: None }
    }

    /// Saves the state, in place of the one before; `average` is that of the network over its steps, where one is kept.
    ///
    /// # Errors
    ///
    /// Where a file cannot be written; the checkpoint before stays.
    pub fn save(
        &self,
        network: &Network,
        average: Option<&Network>,
        optimizer: &ModuleOptimizer,
        counters: &impl Serialize,
    ) -> Result<(), TrainingError> {
        let [next, previous, current] = [NEXT, PREVIOUS, CURRENT].map(|name| self.dir.join(name));
        remove(&next)?;
        fs::create_dir(&next)?;
        write_safetensors(next.join(NETWORK_FILE), &network.named_tensors()?, None)?;
        let path = next.join(OPTIMIZER_FILE);
        optimizer.save(&path).map_err(|source| unusable(&path, OPTIMIZER, source))?;
        let path = next.join(COUNTERS_FILE);
        let text = serde_yaml::to_string(counters).map_err(|source| unusable(&path, COUNTERS, source))?;
        fs::write(path, text)?;
        if let Some(average) = average {
            write_safetensors(next.join(AVERAGE_FILE), &average.named_tensors()?, None)?;
        }
        for file in fs::read_dir(&next)? {
            fs::File::open(file?.path())?.sync_all()?;
        }
        sealed::seal_folder(&next)?;
        if current.exists() {
            remove(&previous)?;
            fs::rename(&current, &previous)?;
        }
        fs::rename(&next, &current)?;
        remove(&previous)
    }

    /// The state saved last, or nothing. The network is made on `device`, and the record goes into the optimizer that
    /// `optimizer` makes for it.
    ///
    /// # Errors
    ///
    /// Where a checkpoint is there and cannot be read, or a file in it has changed since.
    pub fn load<C: DeserializeOwned>(
        &self,
        architecture: &Architecture,
        classes: usize,
        size: usize,
        device: &Device,
        optimizer: impl FnOnce(&Network) -> ModuleOptimizer,
    ) -> Result<Option<(Network, ModuleOptimizer, C)>, TrainingError> {
        self.load_with(|tensors| Network::from_named(architecture, classes, size, tensors, device), optimizer)
    }

    /// As [`Self::load`], of the network that `network` makes of its tensors.
    ///
    /// # Errors
    ///
    /// As [`Self::load`].
    pub fn load_with<C: DeserializeOwned>(
        &self,
        network: impl FnOnce(Vec<NamedTensor>) -> Result<Network, NetworkError>,
        optimizer: impl FnOnce(&Network) -> ModuleOptimizer,
    ) -> Result<Option<(Network, ModuleOptimizer, C)>, TrainingError> {
        let Some(dir) = self.latest() else { return Ok(None) };
        sealed::verify_folder(&dir).map_err(|source| unusable(&dir, DAMAGED, source))?;
        let (tensors, _) = read_safetensors(dir.join(NETWORK_FILE))?;
        let network = network(tensors)?;
        let path = dir.join(OPTIMIZER_FILE);
        let optimizer =
            optimizer(&network).load(&path).map_err(|source| unusable(&path, OPTIMIZER, source))?;
        let path = dir.join(COUNTERS_FILE);
        let counters =
            serde_yaml::from_slice(&fs::read(&path)?).map_err(|source| unusable(&path, COUNTERS, source))?;
        Ok(Some((network, optimizer, counters)))
    }

    /// The average in the state saved last, if there is one, as `network` makes it of its tensors.
    ///
    /// # Errors
    ///
    /// Where it is there and cannot be read.
    pub fn load_average(
        &self,
        network: impl FnOnce(Vec<NamedTensor>) -> Result<Network, NetworkError>,
    ) -> Result<Option<Network>, TrainingError> {
        let path = self.latest().map(|dir| dir.join(AVERAGE_FILE)).filter(|path| path.exists());
        let Some(path) = path else { return Ok(None) };
        Ok(Some(network(read_safetensors(path)?.0)?))
    }

    /// The folder of the state saved last.
    fn latest(&self) -> Option<PathBuf> {
        [CURRENT, PREVIOUS].map(|name| self.dir.join(name)).into_iter().find(|dir| dir.exists())
    }

    /// Takes the state after an epoch: saves the first one and then one every few seconds. The last one is held until
    /// [`Self::flush`].
    ///
    /// # Errors
    ///
    /// As [`Self::save`].
    pub fn keep(
        &mut self,
        network: &Network,
        average: Option<&Network>,
        optimizer: &ModuleOptimizer,
        counters: &impl Serialize,
    ) -> Result<(), TrainingError> {
        self.held = Some((network.clone(), average.cloned(), optimizer.clone()));
        if self.saved.is_some_and(|saved| saved.elapsed() < SAVE_EVERY) {
            return Ok(());
        }
        self.flush(counters)
    }

    /// Saves the state that was taken last, if it is not saved yet; `counters` are those that it came with. Whoever ends
    /// training, for whatever reason, calls it.
    ///
    /// # Errors
    ///
    /// As [`Self::save`].
    pub fn flush(&mut self, counters: &impl Serialize) -> Result<(), TrainingError> {
        if let Some((network, average, optimizer)) = self.held.take() {
            self.save(&network, average.as_ref(), &optimizer, counters)?;
            self.saved = Some(Instant::now());
        }
        Ok(())
    }
}

fn unusable(
    path: &Path,
    what: &'static str,
    source: impl Into<Box<dyn Error + Send + Sync>>,
) -> TrainingError {
    TrainingError::Checkpoint { path: path.to_owned(), what, source: source.into() }
}

/// Removes a folder that may not be there.
fn remove(dir: &Path) -> Result<(), TrainingError> {
    if dir.exists() {
        fs::remove_dir_all(dir)?;
    }
    Ok(())
}
