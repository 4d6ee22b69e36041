//! What identifies an artifact: the stage, its algorithm version, the configuration it reads, its inputs' digests.

use std::collections::BTreeMap;

use delt_formats::canonical::Digest;
use delt_formats::provenance::{ArtifactKind, Provenance};
use serde_json::Value;

/// A stage's name and algorithm version. The version is raised whenever the same inputs would give other bytes;
/// it is never the version of the source tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stage {
    /// Name of the binary and of the Makefile target.
    pub name: &'static str,
    /// Raised when the output changes for the same inputs.
    pub algorithm_version: u32,
    /// One line for `--help`.
    pub about: &'static str,
}

const fn stage(name: &'static str, algorithm_version: u32, about: &'static str) -> Stage {
    Stage { name, algorithm_version, about }
}

/// Reads real images into the dataset artifact.
pub const INGEST: Stage = stage("ingest", 1, "Reads real images into a dataset artifact");
/// Trains or imports the teacher.
pub const TEACHER_TRAIN: Stage = stage("teacher-train", 2, "Trains or imports the teacher (squeeze)");
/// Scores real images and picks the initial ones.
pub const INIT_SELECT: Stage = stage("init-select", 2, "Scores the real images and selects the initial ones");
/// Recovers synthetic images from the teacher.
pub const DELT_SYNTHESIZE: Stage = stage("delt-synthesize", 2, "Optimizes the images by EarlyLate (recover)");
/// Stores the views of the synthetic images and their soft labels.
pub const RELABEL: Stage = stage("relabel", 2, "Stores augmented views and the teacher's logits of them");
/// Trains students on the stored views and tests them.
pub const EVALUATE: Stage = stage("evaluate", 2, "Trains students on the stored views and tests them");
/// Trains many students on one set.
pub const CROSS_ARCH: Stage = stage("cross-arch", 1, "Trains students of many networks on one set");
/// Trains students on the images of classes that come in steps.
pub const CONTINUAL: Stage = stage("continual", 1, "Trains students on classes that come in steps");
/// Prunes students with the synthetic set alone.
pub const PRUNE: Stage = stage("prune", 1, "Prunes students with the synthetic set alone");
/// Writes the page for people.
pub const REPORT: Stage = stage("report", 1, "Writes one HTML page about a run");

/// Writes results for other tools.
pub const EXPORT: Stage = stage("export", 1, "Writes results to a folder as other tools read them");

/// One artifact to make or to find.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// What it is.
    pub kind: ArtifactKind,
    /// Layout of its columns.
    pub schema_version: u32,
    /// Who makes it.
    pub stage: Stage,
    /// The part of the configuration that the stage reads.
    pub config: Value,
    /// Seed of every draw in it.
    pub seed: u64,
    /// Digests of the contents it is made from, by role.
    pub inputs: BTreeMap<String, Digest>,
    /// Name under `runs/`, e.g. `digits/delt/labels-3407`.
    pub run: String,
}

impl Plan {
    /// The key under which the store holds the artifact.
    pub fn key(&self) -> Digest {
        self.provenance(&[]).key()
    }

    /// What every file of the artifact says about its origin.
    pub fn provenance(&self, classes: &[String]) -> Provenance {
        Provenance {
            artifact: self.kind,
            schema_version: self.schema_version,
            producer: self.stage.name.to_owned(),
            algorithm_version: self.stage.algorithm_version,
            classes: classes.to_vec(),
            config: self.config.clone(),
            seed: self.seed,
            inputs: self.inputs.clone(),
        }
    }
}
