//! Pointers: which artifact the last run of a stage ended with, under a name that people know.

use delt_formats::canonical::readable_json;
use delt_formats::provenance::{ArtifactKind, SOURCES};
use serde::{Deserialize, Serialize};

use crate::backend::Backend;
use crate::{Key, Result, Store, StoreError};

const RUNS_DIR: &str = "runs";
const EXTENSION: &str = ".json";

/// The artifact a run points to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer {
    /// The run, e.g. `demo/delt/labels-3407`.
    pub run: String,
    /// The artifact.
    pub kind: ArtifactKind,
    /// Its key.
    pub key: Key,
}

/// A pointer that was removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forgotten {
    /// The run.
    pub run: String,
    /// What it pointed to; none where its file was no pointer.
    pub pointer: Option<Pointer>,
}

impl Pointer {
    /// Whether it is the memory of a source, see [`SOURCES`], and no run. A run's name has three parts.
    pub(crate) fn is_source(&self) -> bool {
        self.run.split_once('/').is_some_and(|(first, rest)| first == SOURCES && !rest.contains('/'))
    }
}

/// The content of a pointer's file; its name is the run.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Target {
    artifact: ArtifactKind,
    key: Key,
}

impl Store {
    /// Points a run, e.g. `demo/delt/labels-3407`, to an artifact.
    ///
    /// # Errors
    ///
    /// If the name cannot be a path below `runs/`, or the pointer cannot be written.
    pub fn point(&self, run: &str, kind: ArtifactKind, key: &Key) -> Result<()> {
        ensure_name(run)?;
        let text = readable_json(&Target { artifact: kind, key: key.clone() });
        self.backend().write(&file_name(run), &text)
    }

    /// The artifact a run points to, if there was such a run.
    ///
    /// # Errors
    ///
    /// If the name cannot be a run's, or the pointer cannot be read; see [`StoreError::Pointer`].
    pub fn pointer(&self, run: &str) -> Result<Option<Pointer>> {
        ensure_name(run)?;
        read(self.backend().as_ref(), run)
    }

    /// All pointers, by run.
    ///
    /// # Errors
    ///
    /// If one cannot be read: nobody may conclude that no run points to an artifact.
    pub fn pointers(&self) -> Result<Vec<Pointer>> {
        self.readable_pointers()?.into_iter().collect()
    }

    /// All pointers, by run, and what is wrong with those that cannot be read.
    ///
    /// # Errors
    ///
    /// If the folder of pointers cannot be read.
    pub fn readable_pointers(&self) -> Result<Vec<Result<Pointer>>> {
        let backend = self.backend();
        let found = runs(backend.as_ref())?.into_iter().map(|run| read(backend.as_ref(), &run));
        Ok(found.filter_map(Result::transpose).collect())
    }

    /// Removes the pointers of a run, or of all runs below a name such as `demo` or `demo/delt`, and files in their places
    /// that are none; gives those removed. Their artifacts stay until garbage is collected.
    ///
    /// # Errors
    ///
    /// If the name cannot be a run's, or a pointer cannot be removed.
    pub fn forget(&self, run: &str) -> Result<Vec<Forgotten>> {
        ensure_name(run)?;
        let backend = self.backend();
        let mut forgotten = Vec::new();
        for run in runs(backend.as_ref())?.into_iter().filter(|name| is_below(name, run)) {
            let pointer = read(backend.as_ref(), &run).ok().flatten();
            backend.remove(&file_name(&run))?;
            forgotten.push(Forgotten { run, pointer });
        }
        Ok(forgotten)
    }
}

/// Whether a run is the one of that name, or below it.
pub(crate) fn is_below(run: &str, name: &str) -> bool {
    run.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn ensure_name(run: &str) -> Result<()> {
    let is_part = |part: &str| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        !part.is_empty() && !part.starts_with('.') && part.chars().all(is_plain)
    };
    if run.split('/').all(is_part) { Ok(()) } else { Err(StoreError::RunName { run: run.to_owned() }) }
}

fn file_name(run: &str) -> String {
    format!("{RUNS_DIR}/{run}{EXTENSION}")
}

/// Every file that stands for a run, by run.
fn runs(backend: &dyn Backend) -> Result<Vec<String>> {
    let run = |name: String| {
        Some(name.strip_prefix(RUNS_DIR)?.strip_prefix('/')?.strip_suffix(EXTENSION)?.to_owned())
    };
    let mut runs: Vec<String> = backend.names(RUNS_DIR)?.into_iter().filter_map(run).collect();
    runs.sort();
    Ok(runs)
}

fn read(backend: &dyn Backend, run: &str) -> Result<Option<Pointer>> {
    let name = file_name(run);
    let Some(text) = backend.read(&name)? else { return Ok(None) };
    let target: Target = serde_json::from_slice(&text)
        .map_err(|source| StoreError::Pointer { path: backend.path(&name), source })?;
    Ok(Some(Pointer { run: run.to_owned(), kind: target.artifact, key: target.key }))
}
