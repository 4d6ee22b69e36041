//! Pointers: which artifact the last run of a stage ended with, under a name that people know.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Key, RUNS_DIR, Result, Store, StoreError, children, write_atomic};
use crate::canonical::readable_json;
use crate::error::FormatError;
use crate::provenance::ArtifactKind;

const EXTENSION: &str = ".json";

/// The first part of names under which stages remember what a source of images or weights held. They help to find an
/// artifact, but keep none from being garbage.
pub const SOURCES: &str = "sources";

/// The artifact a run points to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer {
    /// The run, e.g. `demo/delt/relabel`.
    pub run: String,
    /// The artifact.
    pub kind: ArtifactKind,
    /// Its key.
    pub key: Key,
}

impl Pointer {
    /// Whether it is the memory of a source, see [`SOURCES`], and no run. A run's name has three parts.
    pub(super) fn is_source(&self) -> bool {
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
    /// Points a run, e.g. `demo/delt/relabel`, to an artifact.
    ///
    /// # Errors
    ///
    /// If the name cannot be a path below `runs/`, or the pointer cannot be written.
    pub fn point(&self, run: &str, kind: ArtifactKind, key: &Key) -> Result<()> {
        let path = self.pointer_path(run)?;
        write_atomic(&path, &readable_json(&Target { artifact: kind, key: key.clone() }))
    }

    /// The artifact a run points to, if there was such a run.
    ///
    /// # Errors
    ///
    /// If the name cannot be a run's, or the pointer cannot be read.
    pub fn pointer(&self, run: &str) -> Result<Option<Pointer>> {
        let path = self.pointer_path(run)?;
        if path.exists() { read_pointer(&path, run.to_owned()).map(Some) } else { Ok(None) }
    }

    /// All pointers, by run.
    ///
    /// # Errors
    ///
    /// If one cannot be read.
    pub fn pointers(&self) -> Result<Vec<Pointer>> {
        let mut pointers = Vec::new();
        collect(&self.root.join(RUNS_DIR), "", &mut pointers)?;
        pointers.sort_by(|a, b| a.run.cmp(&b.run));
        Ok(pointers)
    }

    /// Removes the pointers of a run, or of all runs below a name such as `demo` or `demo/delt`; gives those removed. Their
    /// artifacts stay until garbage is collected.
    ///
    /// # Errors
    ///
    /// If the name cannot be a run's, or a pointer cannot be read or removed.
    pub fn forget(&self, run: &str) -> Result<Vec<Pointer>> {
        self.pointer_path(run)?;
        let mut forgotten = self.pointers()?;
        let is_below = |name: &str| name.strip_prefix(run).is_some_and(|rest| rest.starts_with('/'));
        forgotten.retain(|pointer| pointer.run == run || is_below(&pointer.run));
        for pointer in &forgotten {
            let path = self.pointer_path(&pointer.run)?;
            fs_err::remove_file(&path)?;
            // Folders go as far as they are empty.
            let folders = path.ancestors().skip(1).take(pointer.run.matches('/').count());
            for folder in folders {
                let _ = fs_err::remove_dir(folder);
            }
        }
        Ok(forgotten)
    }

    fn pointer_path(&self, run: &str) -> Result<PathBuf> {
        let is_part = |part: &str| {
            let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            !part.is_empty() && !part.starts_with('.') && part.chars().all(is_plain)
        };
        if !run.split('/').all(is_part) {
            return Err(StoreError::RunName { run: run.to_owned() });
        }
        Ok(self.root.join(RUNS_DIR).join(format!("{run}{EXTENSION}")))
    }
}

fn collect(dir: &Path, prefix: &str, pointers: &mut Vec<Pointer>) -> Result<()> {
    for path in children(dir)? {
        let Some(name) = path.file_name().and_then(OsStr::to_str) else { continue };
        if name.starts_with('.') {
            continue;
        }
        if path.is_dir() {
            collect(&path, &format!("{prefix}{name}/"), pointers)?;
        } else if let Some(stem) = name.strip_suffix(EXTENSION) {
            pointers.push(read_pointer(&path, format!("{prefix}{stem}"))?);
        }
    }
    Ok(())
}

fn read_pointer(path: &Path, run: String) -> Result<Pointer> {
    let target: Target = serde_json::from_slice(&fs_err::read(path)?)
        .map_err(|source| FormatError::Json { path: path.to_owned(), source })?;
    Ok(Pointer { run, kind: target.artifact, key: target.key })
}
