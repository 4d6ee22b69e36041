//! Pointers: which artifact the last run of a stage ended with, under a name that people know.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use object_store::PutMode;
use serde::{Deserialize, Serialize};

use super::bucket::Bucket;
use super::{Key, RUNS_DIR, Result, Store, StoreError, children, write_atomic};
use crate::canonical::readable_json;
use crate::provenance::ArtifactKind;

const EXTENSION: &str = ".json";

/// The first part of names under which stages remember what a source of images or weights held. They help to find an
/// artifact, but keep none from being garbage.
pub const SOURCES: &str = "sources";

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
    /// Points a run, e.g. `demo/delt/labels-3407`, to an artifact.
    ///
    /// # Errors
    ///
    /// If the name cannot be a path below `runs/`, or the pointer cannot be written.
    pub fn point(&self, run: &str, kind: ArtifactKind, key: &Key) -> Result<()> {
        let path = self.pointer_path(run)?;
        let text = readable_json(&Target { artifact: kind, key: key.clone() });
        match &self.bucket {
            None => write_atomic(&path, &text),
            Some(bucket) => bucket.put(&object_name(run), text.into_bytes(), PutMode::Overwrite).map(drop),
        }
    }

    /// The artifact a run points to, if there was such a run.
    ///
    /// # Errors
    ///
    /// If the name cannot be a run's, or the pointer cannot be read; see [`StoreError::Pointer`].
    pub fn pointer(&self, run: &str) -> Result<Option<Pointer>> {
        let path = self.pointer_path(run)?;
        if let Some(bucket) = &self.bucket {
            return read_object(bucket, run.to_owned());
        }
        if path.exists() { read_pointer(&path, run.to_owned()).map(Some) } else { Ok(None) }
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
        if let Some(bucket) = &self.bucket {
            let pointers = object_runs(bucket)?.into_iter().map(|run| read_object(bucket, run));
            return Ok(pointers.filter_map(Result::transpose).collect());
        }
        let files = pointer_files(&self.root.join(RUNS_DIR))?;
        Ok(files.into_iter().map(|(run, path)| read_pointer(&path, run)).collect())
    }

    /// Removes the pointers of a run, or of all runs below a name such as `demo` or `demo/delt`, and files in their places
    /// that are none; gives those removed. Their artifacts stay until garbage is collected.
    ///
    /// # Errors
    ///
    /// If the name cannot be a run's, or a pointer cannot be removed.
    pub fn forget(&self, run: &str) -> Result<Vec<Forgotten>> {
        self.pointer_path(run)?;
        let is_below = |name: &str| name.strip_prefix(run).is_some_and(|rest| rest.starts_with('/'));
        let is_meant = |name: &str| name == run || is_below(name);
        let mut forgotten = Vec::new();
        if let Some(bucket) = &self.bucket {
            for run in object_runs(bucket)?.into_iter().filter(|name| is_meant(name)) {
                let pointer = read_object(bucket, run.clone()).ok().flatten();
                bucket.delete(&object_name(&run))?;
                forgotten.push(Forgotten { run, pointer });
            }
            return Ok(forgotten);
        }
        let mut files = pointer_files(&self.root.join(RUNS_DIR))?;
        files.retain(|(name, _)| is_meant(name));
        for (run, path) in files {
            let pointer = read_pointer(&path, run.clone()).ok();
            fs_err::remove_file(&path)?;
            // Folders go as far as they are empty.
            let folders = path.ancestors().skip(1).take(run.matches('/').count());
            for folder in folders {
                let _ = fs_err::remove_dir(folder);
            }
            forgotten.push(Forgotten { run, pointer });
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

/// Every file below `runs` that stands for a run, by run.
fn pointer_files(runs: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut files = Vec::new();
    collect(runs, "", &mut files)?;
    files.sort();
    Ok(files)
}

fn collect(dir: &Path, prefix: &str, files: &mut Vec<(String, PathBuf)>) -> Result<()> {
    for path in children(dir)? {
        let Some(name) = path.file_name().and_then(OsStr::to_str) else { continue };
        if name.starts_with('.') {
            continue;
        }
        if path.is_dir() {
            collect(&path, &format!("{prefix}{name}/"), files)?;
        } else if let Some(stem) = name.strip_suffix(EXTENSION) {
            files.push((format!("{prefix}{stem}"), path));
        }
    }
    Ok(())
}

fn read_pointer(path: &Path, run: String) -> Result<Pointer> {
    parse_pointer(path, &fs_err::read(path)?, run)
}

fn parse_pointer(path: &Path, text: &[u8], run: String) -> Result<Pointer> {
    let target: Target = serde_json::from_slice(text)
        .map_err(|source| StoreError::Pointer { path: path.to_owned(), source })?;
    Ok(Pointer { run, kind: target.artifact, key: target.key })
}

fn object_name(run: &str) -> String {
    format!("{RUNS_DIR}/{run}{EXTENSION}")
}

fn read_object(bucket: &Bucket, run: String) -> Result<Option<Pointer>> {
    let name = object_name(&run);
    let Some(seen) = bucket.get(&name)? else { return Ok(None) };
    parse_pointer(&PathBuf::from(format!("{}/{name}", bucket.url())), &seen.bytes, run).map(Some)
}

/// Every object that stands for a run, by run.
fn object_runs(bucket: &Bucket) -> Result<Vec<String>> {
    let run = |name: String| {
        Some(name.strip_prefix(RUNS_DIR)?.strip_prefix('/')?.strip_suffix(EXTENSION)?.to_owned())
    };
    Ok(bucket.list(RUNS_DIR)?.into_iter().filter_map(|(name, _)| run(name)).collect())
}
