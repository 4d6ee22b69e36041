//! Who made a file, from what: the one metadata entry `delt` that every artifact file carries.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::canonical::{Digest, canonical_json};
use crate::error::{FormatError, Result};

/// What identifies an artifact before it is made, see [`Provenance::key`].
pub type Key = Digest;

/// The first part of names under which stages remember what a source of images or weights held. They help to find an
/// artifact, but keep none from being garbage.
pub const SOURCES: &str = "sources";

/// The Parquet or safetensors metadata key which holds the canonical JSON of a [`Provenance`].
pub const METADATA_KEY: &str = "delt";

/// The artifacts, in pipeline order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArtifactKind {
    /// Real images with labels, made by `ingest`.
    Dataset,
    /// The matrices that real images are whitened by, made by `ingest`.
    Whitening,
    /// A trained network, made by `teacher-train`.
    Teacher,
    /// Networks with their weights after each epoch, made by `teacher-train`.
    Experts,
    /// The teacher's view of each training image, made by `init-select`.
    Scores,
    /// The images recovery starts from, made by `init-select`.
    Initial,
    /// The distilled images, made by `delt-synthesize`.
    Synthetic,
    /// Stored views with soft labels, made by `relabel`.
    Labels,
    /// Students trained on the views and tested, made by `evaluate`.
    Evaluation,
    /// Some experts, made by one shard of `teacher-train`.
    ExpertsPart,
    /// Scores of some training images, made by one shard of `init-select`.
    ScoresPart,
    /// Some batches of distilled images, made by one shard of `delt-synthesize`.
    SyntheticPart,
    /// Some epochs of stored views, made by one shard of `relabel`.
    LabelsPart,
}

/// The schema version of synthetic images that stand in the file as a network takes them too, see [`crate::synthetic`].
pub const SYNTHETIC_WITH_PIXELS: u32 = 2;

impl ArtifactKind {
    /// All kinds, in pipeline order.
    pub const ALL: [Self; 13] = [
        Self::Dataset,
        Self::Whitening,
        Self::Teacher,
        Self::Experts,
        Self::Scores,
        Self::Initial,
        Self::Synthetic,
        Self::Labels,
        Self::Evaluation,
        Self::ExpertsPart,
        Self::ScoresPart,
        Self::SyntheticPart,
        Self::LabelsPart,
    ];

    /// The kind of its parts, see `SHARDS`; itself where it has none.
    #[must_use]
    pub fn part(self) -> Self {
        match self {
            Self::Experts => Self::ExpertsPart,
            Self::Scores => Self::ScoresPart,
            Self::Synthetic => Self::SyntheticPart,
            Self::Labels => Self::LabelsPart,
            other => other,
        }
    }

    /// The artifact's folder in a store, which is also its name in JSON.
    pub fn dir(self) -> &'static str {
        match self {
            Self::Dataset => "dataset",
            Self::Whitening => "whitening",
            Self::Teacher => "teacher",
            Self::Experts => "experts",
            Self::Scores => "scores",
            Self::Initial => "initial",
            Self::Synthetic => "synthetic",
            Self::Labels => "labels",
            Self::Evaluation => "evaluation",
            Self::ExpertsPart => "experts_part",
            Self::ScoresPart => "scores_part",
            Self::SyntheticPart => "synthetic_part",
            Self::LabelsPart => "labels_part",
        }
    }

    /// The stage whose run makes the artifact.
    pub fn stage(self) -> &'static str {
        match self {
            Self::Dataset | Self::Whitening => "ingest",
            Self::Teacher | Self::Experts | Self::ExpertsPart => "teacher-train",
            Self::Scores | Self::Initial | Self::ScoresPart => "init-select",
            Self::Synthetic | Self::SyntheticPart => "delt-synthesize",
            Self::Labels | Self::LabelsPart => "relabel",
            Self::Evaluation => "evaluate",
        }
    }

    /// The schema version of what needs no column that a later one brought; raised whenever the meaning of a column or field
    /// changes.
    pub fn schema_version(self) -> u32 {
        // none was raised so far
        1
    }

    /// The highest schema version that this build writes and reads. Versions from [`Self::schema_version`] to this one differ in
    /// columns that the later ones add, so that what needs none of these keeps its key and its bytes.
    pub fn newest_schema_version(self) -> u32 {
        match self {
            Self::Synthetic => SYNTHETIC_WITH_PIXELS,
            other => other.schema_version(),
        }
    }

    /// Whether this build reads files of that schema version.
    #[must_use]
    pub fn reads_schema(self, version: u32) -> bool {
        (self.schema_version()..=self.newest_schema_version()).contains(&version)
    }
}

impl fmt::Display for ArtifactKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.dir())
    }
}

/// What made a file: enough to make it again, and to refuse it where it does not belong.
///
/// Seconds, dates, hosts, devices and thread counts are left out on purpose: they would keep files of equal content from
/// having equal bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// The artifact the file belongs to.
    pub artifact: ArtifactKind,
    /// The layout of its columns, see [`ArtifactKind::schema_version`].
    pub schema_version: u32,
    /// The stage that wrote it.
    pub producer: String,
    /// The producer's constant, raised whenever its output changes.
    pub algorithm_version: u32,
    /// Class names; a label is an index into this list.
    pub classes: Vec<String>,
    /// The part of the pipeline's config which the stage read.
    pub config: Value,
    /// The seed of every draw.
    pub seed: u64,
    /// Content digests of the artifacts it was made from, by the name of their role.
    pub inputs: BTreeMap<String, Digest>,
}

impl Provenance {
    /// States what an artifact of this build's schema version is made by and from.
    pub fn new(
        artifact: ArtifactKind,
        producer: impl Into<String>,
        algorithm_version: u32,
        classes: Vec<String>,
        config: Value,
        seed: u64,
        inputs: BTreeMap<String, Digest>,
    ) -> Self {
        let schema_version = artifact.schema_version();
        let producer = producer.into();
        Self { artifact, schema_version, producer, algorithm_version, classes, config, seed, inputs }
    }

    /// The key under which the store holds what is made by this and from these inputs: the digest of the canonical JSON of all
    /// it depends on. The classes are not part of it: they come of the inputs.
    pub fn key(&self) -> Key {
        Digest::of_json(&json!({
            "stage": self.producer,
            "algorithm_version": self.algorithm_version,
            "config": {
                "artifact": self.artifact,
                "schema": self.schema_version,
                "seed": self.seed,
                "stage": self.config,
            },
            "inputs": self.inputs,
        }))
    }

    /// The metadata value that stands under [`METADATA_KEY`].
    pub fn to_metadata(&self) -> String {
        canonical_json(self)
    }

    /// Reads the metadata value of the file at `path`, refusing another schema version by name before anything else of it
    /// is looked at.
    ///
    /// # Errors
    ///
    /// If it is not readable, or of a schema version this build does not read.
    pub fn from_metadata(path: &Path, text: &str) -> Result<Self> {
        let unreadable = |source| FormatError::Json { path: path.to_owned(), source };
        let header: Header = serde_json::from_str(text).map_err(unreadable)?;
        if !header.artifact.reads_schema(header.schema_version) {
            let (kind, found) = (header.artifact, header.schema_version);
            let expected = kind.newest_schema_version();
            return Err(FormatError::WrongVersion { path: path.to_owned(), kind, found, expected });
        }
        serde_json::from_str(text).map_err(unreadable)
    }

    /// Refuses a file whose class list is not `classes`, in order.
    ///
    /// # Errors
    ///
    /// Names the first class that differs.
    pub fn expect_classes(&self, path: &Path, classes: &[String]) -> Result<()> {
        if self.classes == classes {
            return Ok(());
        }
        let (difference, stage) = (class_difference(&self.classes, classes), self.artifact.stage());
        Err(FormatError::unfit(path, format!("{difference}; re-run {stage} on the same dataset")))
    }

    /// Refuses a file which was not made from the given content of the input called `input`.
    ///
    /// # Errors
    ///
    /// Names the digests found and expected.
    pub fn expect_input(&self, path: &Path, input: &str, expected: &Digest) -> Result<()> {
        let found = self.inputs.get(input);
        if found == Some(expected) {
            return Ok(());
        }
        let found = found.map_or_else(|| format!("no {input} at all"), |digest| format!("{input} {digest}"));
        let stage = self.artifact.stage();
        let problem = format!("made from {found}, expected {expected}; re-run {stage} on this {input}");
        Err(FormatError::unfit(path, problem))
    }
}

/// Says in a few words how two class lists differ; a list of a thousand names helps nobody.
fn class_difference(found: &[String], expected: &[String]) -> String {
    let first = found.iter().zip(expected).enumerate().find(|(_, (a, b))| a != b);
    match first.filter(|_| found.len() == expected.len()) {
        Some((index, (a, b))) => format!("class {index} is `{a}`, expected `{b}`"),
        None => format!("has {} classes, expected {}", found.len(), expected.len()),
    }
}

/// The fields that every schema version has.
#[derive(Deserialize)]
struct Header {
    artifact: ArtifactKind,
    schema_version: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provenance() -> Provenance {
        let inputs = BTreeMap::from([("dataset".to_owned(), Digest::of_bytes(b"d"))]);
        let classes = vec!["cat".to_owned(), "dog".to_owned()];
        Provenance::new(
            ArtifactKind::Labels,
            "relabel",
            3,
            classes,
            serde_json::json!({"epochs": 2}),
            7,
            inputs,
        )
    }

    #[test]
    fn json_name_and_folder_are_one_word() {
        for kind in ArtifactKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.dir());
        }
    }

    #[test]
    fn metadata_round_trips() {
        let read = Provenance::from_metadata(Path::new("f"), &provenance().to_metadata()).unwrap();
        assert_eq!(read, provenance());
    }

    #[test]
    fn another_schema_version_is_refused_even_if_its_fields_differ() {
        let text = r#"{"artifact":"labels","schema_version":9,"color":"blue"}"#;
        let error = Provenance::from_metadata(Path::new("labels.parquet"), text).unwrap_err();
        assert_eq!(
            error.to_string(),
            "labels.parquet: labels of schema version 9, expected version 1; re-run relabel with this build"
        );
    }

    #[test]
    fn a_wrong_input_names_both_digests() {
        let other = Digest::of_bytes(b"other");
        let error = provenance().expect_input(Path::new("l.parquet"), "dataset", &other).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "l.parquet: made from dataset {}, expected {other}; re-run relabel on this dataset",
                Digest::of_bytes(b"d")
            )
        );
        let error = provenance().expect_input(Path::new("l.parquet"), "teacher", &other).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "l.parquet: made from no teacher at all, expected {other}; re-run relabel on this teacher"
            )
        );
    }
}
