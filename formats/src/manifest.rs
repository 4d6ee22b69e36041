//! `manifest.json`: what an artifact holds. It is written last, so that its presence means the artifact is whole.

use std::collections::BTreeMap;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::canonical::{Digest, readable_json};
use crate::error::{FormatError, Result};
use crate::provenance::{ArtifactKind, Provenance};

/// The file.
pub const MANIFEST_FILE: &str = "manifest.json";

/// The layout of manifests which this build writes, and the highest it reads. A build that meets a higher one leaves the
/// artifact alone.
pub const MANIFEST_FORMAT_VERSION: u32 = 1;

/// One file of an artifact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Its size.
    pub bytes: u64,
    /// The digest of its bytes.
    pub blake3: Digest,
}

/// What an artifact holds and how it came about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The layout of this file, see [`MANIFEST_FORMAT_VERSION`]; manifests that do not say are of the first.
    #[serde(default = "first_format_version")]
    pub format_version: u32,
    /// The artifact.
    pub artifact: ArtifactKind,
    /// Under which key it was made: what was asked for.
    pub key: Digest,
    /// What made it.
    pub provenance: Provenance,
    /// What is known of it: `DatasetFacts`, `TeacherFacts` and so on.
    pub facts: Value,
    /// Its files, by name.
    pub files: BTreeMap<String, FileEntry>,
    /// The digest of its content, see [`Manifest::new`]: what downstream keys are made of.
    pub digest: Digest,
}

/// The field that every format version has.
#[derive(Deserialize)]
struct Header {
    #[serde(default = "first_format_version")]
    format_version: u32,
}

fn first_format_version() -> u32 {
    1
}

impl Manifest {
    /// Puts a manifest together; [`Self::digest`] covers artifact, schema version, classes, facts and files.
    pub fn new(
        key: Digest,
        provenance: Provenance,
        facts: Value,
        files: BTreeMap<String, FileEntry>,
    ) -> Self {
        let artifact = provenance.artifact;
        let digest = content_digest(artifact, &provenance, &facts, &files);
        Self { format_version: MANIFEST_FORMAT_VERSION, artifact, key, provenance, facts, files, digest }
    }

    /// Reads a manifest, refusing one of a newer format before anything else of it is looked at.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, is none, is of a newer format, or holds something else than its own digest says.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        Self::parse(path, &fs_err::read(path)?)
    }

    /// As [`Self::read`], of text that was read from `path`.
    ///
    /// # Errors
    ///
    /// As [`Self::read`].
    pub fn parse(path: &Path, text: &[u8]) -> Result<Self> {
        let unreadable = |source| FormatError::Json { path: path.to_owned(), source };
        let Header { format_version: found } = serde_json::from_slice(text).map_err(unreadable)?;
        if found > MANIFEST_FORMAT_VERSION {
            let expected = MANIFEST_FORMAT_VERSION;
            return Err(FormatError::NewerManifest { path: path.to_owned(), found, expected });
        }
        let manifest: Self = serde_json::from_slice(text).map_err(unreadable)?;
        let found = content_digest(manifest.artifact, &manifest.provenance, &manifest.facts, &manifest.files);
        if found != manifest.digest {
            let problem = format!(
                "damaged: its content has digest {found}, expected {} as the file itself states; \
                 restore it from a copy or re-run {} with FORCE=1",
                manifest.digest,
                manifest.artifact.stage()
            );
            return Err(FormatError::unfit(path, problem));
        }
        Ok(manifest)
    }

    /// The text of the file.
    pub fn to_json(&self) -> String {
        readable_json(self)
    }

    /// The facts as the type that belongs to the artifact.
    ///
    /// # Errors
    ///
    /// If they are of another type.
    pub fn facts_as<T: DeserializeOwned>(&self) -> Result<T> {
        let path = Path::new(self.artifact.dir()).join(self.key.prefix(12)).join(MANIFEST_FILE);
        T::deserialize(&self.facts).map_err(|source| FormatError::Json { path, source })
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.values().map(|file| file.bytes).sum()
    }
}

/// What the content digest covers. Parquet and safetensors files state their own origin, so two ways to the same pixels
/// are two inputs to the stages after them; the digest adds nothing of its own about the making.
fn content_digest(
    artifact: ArtifactKind,
    provenance: &Provenance,
    facts: &Value,
    files: &BTreeMap<String, FileEntry>,
) -> Digest {
    Digest::of_json(&json!({
        "artifact": artifact,
        "schema_version": provenance.schema_version,
        "classes": provenance.classes,
        "facts": facts,
        "files": files,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::DatasetFacts;

    fn manifest(seed: u64, facts: Value) -> Manifest {
        let classes = vec!["cat".to_owned()];
        let provenance = Provenance::new(
            ArtifactKind::Dataset,
            "ingest",
            1,
            classes,
            json!({"seed": seed}),
            seed,
            BTreeMap::new(),
        );
        let file = FileEntry { bytes: 3, blake3: Digest::of_bytes(b"abc") };
        Manifest::new(
            Digest::of_json(&seed),
            provenance,
            facts,
            BTreeMap::from([("train.parquet".to_owned(), file)]),
        )
    }

    #[test]
    fn the_content_digest_covers_facts_and_files_but_not_the_making() {
        let one = manifest(1, json!({"a": 1}));
        let same_content = manifest(2, json!({"a": 1}));
        assert_ne!(one.key, same_content.key);
        assert_eq!(one.digest, same_content.digest);
        assert_ne!(one.digest, manifest(1, json!({"a": 2})).digest);
    }

    #[test]
    fn manifest_round_trips() {
        let facts = DatasetFacts {
            train_images: 2,
            test_images: 1,
            train_per_class: vec![2],
            mean: [0.4914, 0.4822, 0.4465],
            std: [0.2023, 0.1994, 0.2010],
            source: "two images".to_owned(),
            train_broken: 0,
            test_broken: 0,
            resized: None,
        };
        let written = manifest(1, serde_json::to_value(&facts).unwrap());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(MANIFEST_FILE);
        fs_err::write(&path, written.to_json()).unwrap();
        let read = Manifest::read(&path).unwrap();
        assert_eq!((&read.key, &read.digest, &read.files), (&written.key, &written.digest, &written.files));
        assert_eq!(read.facts_as::<DatasetFacts>().unwrap(), facts);
    }

    fn refusal(text: &str) -> (String, String) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(MANIFEST_FILE);
        fs_err::write(&path, text).unwrap();
        (path.display().to_string(), Manifest::read(&path).unwrap_err().to_string())
    }

    #[test]
    fn numbers_keep_every_bit_so_that_the_digest_can_be_checked() {
        let numbers: Vec<f64> = (1..1000).map(|i| f64::from(i).sqrt() * 1e-7).collect();
        let facts = json!({"a": numbers, "b": 0.1_f32, "c": 1e300});
        let written = manifest(1, facts);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(MANIFEST_FILE);
        fs_err::write(&path, written.to_json()).unwrap();
        assert_eq!(Manifest::read(&path).unwrap(), written);
    }

    #[test]
    fn a_manifest_that_was_changed_is_refused() {
        let written = manifest(1, json!({"a": 1}));
        let (path, message) = refusal(&written.to_json().replace("\"a\": 1", "\"a\": 2"));
        let expected = format!(
            "{path}: damaged: its content has digest {}, expected {} as the file itself states; \
             restore it from a copy or re-run ingest with FORCE=1",
            manifest(1, json!({"a": 2})).digest,
            written.digest
        );
        assert_eq!(message, expected);
    }

    #[test]
    fn a_manifest_of_a_newer_format_is_refused_whatever_else_it_says() {
        let (path, message) = refusal("{\"format_version\": 2, \"unheard\": \"of\"}");
        let expected = format!(
            "{path}: manifest of format version 2, this build reads up to 1; \
             use the newer build that wrote it, or another store"
        );
        assert_eq!(message, expected);
    }

    #[test]
    fn a_manifest_that_does_not_state_its_format_is_of_the_first() {
        let written = manifest(1, json!({"a": 1}));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(MANIFEST_FILE);
        let text = written.to_json();
        let older = text.replace("  \"format_version\": 1,\n", "");
        assert_ne!(older, text);
        fs_err::write(&path, older).unwrap();
        assert_eq!(Manifest::read(&path).unwrap(), written);
    }

    #[test]
    fn facts_of_another_artifact_are_refused() {
        let manifest = manifest(1, json!({"a": 1}));
        let error = manifest.facts_as::<DatasetFacts>().unwrap_err();
        let expected = format!(
            "dataset/{}/manifest.json: its JSON is not what this build writes; \
             check it with `delt-store verify` or make it again",
            manifest.key.prefix(12)
        );
        assert_eq!(error.to_string(), expected);
    }
}
