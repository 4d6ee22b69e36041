//! A stage as a user runs it: a pipeline, a store, and the binaries built beside the running test.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use delt_formats::Manifest;

use crate::workspace;

/// The five stages and ingest, in order.
pub const STAGES: [&str; 6] =
    ["ingest", "teacher-train", "init-select", "delt-synthesize", "relabel", "evaluate"];

/// Every kind of artifact, by its folder in the store.
pub const KINDS: [&str; 7] = ["dataset", "teacher", "scores", "initial", "synthetic", "labels", "evaluation"];

/// A pipeline and the store it runs in.
#[derive(Debug)]
pub struct Run {
    pipeline: String,
    store: PathBuf,
    device: String,
    /// Removed with the run, where the store is the run's own.
    _folder: Option<tempfile::TempDir>,
}

impl Default for Run {
    fn default() -> Self {
        Self::new()
    }
}

impl Run {
    /// `tests/pipelines/tiny.yaml` on the CPU, in an empty store of its own.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("store");
        Self { _folder: Some(folder), ..Self::of("tests/pipelines/tiny.yaml", &store, "flex") }
    }

    /// A pipeline in a store that stays; both are seen from the root of the workspace.
    pub fn of(pipeline: &str, store: &Path, device: &str) -> Self {
        let store = workspace().join(store);
        Self { pipeline: pipeline.to_owned(), store, device: device.to_owned(), _folder: None }
    }

    /// The store.
    pub fn store(&self) -> PathBuf {
        self.store.clone()
    }

    /// A stage of the pipeline with more arguments, not yet started.
    pub fn command(&self, stage: &str, arguments: &[&str]) -> Command {
        self.command_in(self.store(), stage, arguments)
    }

    /// As [`Self::command`], over another store than the run's own: a folder or a URL.
    pub fn command_in(&self, store: impl AsRef<OsStr>, stage: &str, arguments: &[&str]) -> Command {
        let mut command = program(stage);
        command
            .env_remove("DATA")
            .arg("--pipeline")
            .arg(&self.pipeline)
            .arg("--store")
            .arg(store)
            .env("DEVICE", &self.device)
            .args(arguments);
        command
    }

    /// Runs a stage to its end.
    pub fn output(&self, stage: &str, arguments: &[&str]) -> Output {
        self.command(stage, arguments).output().unwrap()
    }

    /// Runs a stage that must succeed; its stderr.
    pub fn stage(&self, stage: &str, arguments: &[&str]) -> String {
        let output = self.output(stage, arguments);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{stage} failed: {stderr}");
        stderr
    }

    /// Runs a stage that must find all its work in the store and say so in one line.
    pub fn cached(&self, stage: &str, arguments: &[&str]) {
        let said = self.stage(stage, arguments);
        let is_cached = said.starts_with(&format!("{stage}: cached: ")) && said.lines().count() == 1;
        assert!(is_cached, "{stage} said: {said}");
    }

    /// Runs the stages up to and including one.
    pub fn up_to(&self, last: &str, arguments: &[&str]) {
        for stage in STAGES {
            self.stage(stage, arguments);
            if stage == last {
                return;
            }
        }
    }

    /// All manifests of one kind of artifact, with their folders.
    pub fn manifests(&self, kind: &str) -> Vec<(PathBuf, Manifest)> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(self.store().join(kind)).unwrap() {
            let folder = entry.unwrap().path();
            if folder.join("manifest.json").exists() {
                let manifest = Manifest::read(folder.join("manifest.json")).unwrap();
                found.push((folder, manifest));
            }
        }
        found.sort_by(|a, b| a.1.key.cmp(&b.1.key));
        found
    }

    /// Names of the runs of this pipeline, e.g. `tiny/delt/synthetic`, with the kind of artifact that each points to.
    pub fn pointers(&self) -> Vec<(String, String)> {
        let pipeline = Path::new(&self.pipeline).file_stem().unwrap().to_str().unwrap().to_owned();
        let mut found = Vec::new();
        for branch in std::fs::read_dir(self.store().join("runs").join(&pipeline)).unwrap() {
            let branch = branch.unwrap();
            for pointer in std::fs::read_dir(branch.path()).unwrap() {
                let path = pointer.unwrap().path();
                let target: serde_json::Value =
                    serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
                let (branch, name) = (branch.file_name(), path.file_stem().unwrap().to_owned());
                let run = format!("{pipeline}/{}/{}", branch.to_str().unwrap(), name.to_str().unwrap());
                found.push((run, target["artifact"].as_str().unwrap().to_owned()));
            }
        }
        found.sort();
        found
    }

    /// The artifact that a run's pointer names, e.g. `tiny/delt/synthetic`.
    pub fn pointed(&self, run: &str, kind: &str) -> (PathBuf, Manifest) {
        let pointer = std::fs::read_to_string(self.store().join("runs").join(format!("{run}.json"))).unwrap();
        let mut matching = self.manifests(kind);
        matching.retain(|(_, manifest)| pointer.contains(&manifest.key.to_string()));
        assert_eq!(matching.len(), 1, "runs/{run}.json: {pointer}");
        matching.remove(0)
    }
}

/// A program built beside the running test (or in the folder `DELT_BIN`), to be run from the root of the workspace.
pub fn program(name: &str) -> Command {
    let beside = || std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().to_owned();
    let binary = std::env::var_os("DELT_BIN").map_or_else(beside, PathBuf::from).join(name);
    assert!(binary.exists(), "{} is not built; run the tests through `make test`", binary.display());
    let mut command = Command::new(binary);
    command.current_dir(workspace());
    command
}

/// Bytes of all published files of a store by path, without what is true of one run only.
pub fn published(store: &Path, kinds: &[&str]) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for kind in kinds {
        for folder in std::fs::read_dir(store.join(kind)).unwrap() {
            for file in std::fs::read_dir(folder.unwrap().path()).unwrap() {
                let path = file.unwrap().path();
                if path.is_file() && path.file_name().unwrap() != "run.json" {
                    files.push((
                        path.strip_prefix(store).unwrap().to_path_buf(),
                        std::fs::read(&path).unwrap(),
                    ));
                }
            }
        }
    }
    files.sort();
    files
}
