//! Everything that can be wrong with a store.

use std::path::PathBuf;

use thiserror::Error;

use super::{Holder, Key};
use delt_formats::FormatError;
use delt_formats::canonical::Digest;
use delt_formats::provenance::ArtifactKind;

/// What is wrong with a store or an artifact in it.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The system refused; the message names the file and what was tried.
    #[error(transparent)]
    Io(#[from] std::io::Error),

    /// A file of an artifact is not what it should be.
    #[error(transparent)]
    Format(#[from] FormatError),

    /// The caller did not want to wait longer.
    #[error("stopped waiting for {holder}, which makes {kind} {}; run again to keep waiting", .key.prefix(super::KEY_DIGITS))]
    WaitAbandoned {
        /// The artifact.
        kind: ArtifactKind,
        /// Its key.
        key: Key,
        /// Who makes it.
        holder: Box<Holder>,
    },

    /// This process stood still for so long that another one went on with its work.
    #[error("{kind} {}: taken over by {} while this process stood still; start again to wait for it and use what it makes", .key.prefix(super::KEY_DIGITS), successor(.holder))]
    TakenOver {
        /// The artifact.
        kind: ArtifactKind,
        /// Its key.
        key: Key,
        /// Who makes it now.
        holder: Box<Holder>,
    },

    /// A folder has no manifest.
    #[error("{}: absent, so the artifact was never finished; re-run {stage}", .path.display())]
    NoManifest {
        /// Where the manifest should be.
        path: PathBuf,
        /// The stage that makes the artifact.
        stage: &'static str,
    },

    /// A file is missing.
    #[error("{}: absent, but its manifest names it; re-run {stage}", .path.display())]
    FileAbsent {
        /// The file.
        path: PathBuf,
        /// The stage that makes the artifact.
        stage: &'static str,
    },

    /// A file is longer or shorter than its manifest says.
    #[error("{}: has {found} bytes, expected {expected} by its manifest; re-run {stage}", .path.display())]
    SizeMismatch {
        /// The file.
        path: PathBuf,
        /// Its size.
        found: u64,
        /// The size in the manifest.
        expected: u64,
        /// The stage that makes the artifact.
        stage: &'static str,
    },

    /// A file has other bytes than its manifest says.
    #[error("{}: its content has digest {found}, expected {expected} by its manifest; re-run {stage} with FORCE=1", .path.display())]
    DigestMismatch {
        /// The file.
        path: PathBuf,
        /// Its digest.
        found: Digest,
        /// The digest in the manifest.
        expected: Digest,
        /// The stage that makes the artifact.
        stage: &'static str,
    },

    /// Files lie beside those of an artifact.
    #[error("{}: holds {}, which its manifest does not name; move them out of the store", .dir.display(), .found.join(", "))]
    Unlisted {
        /// The artifact's folder.
        dir: PathBuf,
        /// The files' names.
        found: Vec<String>,
    },

    /// A manifest lies in the folder of another key or artifact.
    #[error("{}: is the manifest of {found}, expected {expected}; move it back or re-run {stage}", .path.display())]
    WrongPlace {
        /// The manifest.
        path: PathBuf,
        /// Artifact and key it is of.
        found: String,
        /// Artifact and key of its folder.
        expected: String,
        /// The stage that makes the artifact.
        stage: &'static str,
    },

    /// The making that a manifest states is not the one that its key stands for.
    #[error("{}: damaged: what it says of its making has key {found}, expected {expected}; re-run {stage} with FORCE=1", .path.display())]
    OtherOrigin {
        /// The manifest.
        path: PathBuf,
        /// The key of what it says.
        found: Key,
        /// The key it is kept under.
        expected: Key,
        /// The stage that makes the artifact.
        stage: &'static str,
    },

    /// An artifact has no file of that name.
    #[error("{}: has no file `{name}`, it holds {}; re-run {stage}", .dir.display(), .found.join(", "))]
    NoSuchFile {
        /// The artifact's folder.
        dir: PathBuf,
        /// The name asked for.
        name: String,
        /// The files there are.
        found: Vec<String>,
        /// The stage that makes the artifact.
        stage: &'static str,
    },

    /// Nothing was made.
    #[error("{}: empty, but an artifact needs a file; write them before publishing", .dir.display())]
    NothingToPublish {
        /// The folder of files to publish.
        dir: PathBuf,
    },

    /// Something other than a plain file was made.
    #[error("{}: not a plain file, or its name is reserved by the store; an artifact is a flat folder of files", .path.display())]
    NotAPlainFile {
        /// What lies there.
        path: PathBuf,
    },

    /// A stage publishes something it did not claim.
    #[error("claimed {expected}, but the provenance to publish is of {found}")]
    OtherArtifact {
        /// What the provenance says.
        found: ArtifactKind,
        /// What was claimed.
        expected: ArtifactKind,
    },

    /// A stage publishes something that was made otherwise than what it claimed.
    #[error("claimed key {expected}, but the provenance to publish is that of {found}")]
    OtherKey {
        /// The key of the provenance.
        found: Key,
        /// What was claimed.
        expected: Key,
    },

    /// The name of a run cannot be a path below `runs/`.
    #[error("`{run}` cannot name a run: expected parts of letters, digits, `-`, `_` and `.`, joined by `/`")]
    RunName {
        /// The name.
        run: String,
    },

    /// No run has that name.
    #[error("no run `{run}` in this store; see `delt-store ls`")]
    NoRun {
        /// The name.
        run: String,
    },

    /// A file in the place of a pointer is none.
    #[error(
        "{}: is no pointer to an artifact, expected {{\"artifact\": .., \"key\": ..}}; delete this file (rm), no artifact is lost \
         by it and the next run of its pipeline writes it again",
        .path.display()
    )]
    Pointer {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },

    /// The folder meant as a store is something else.
    #[error("{}: is a file, expected the folder of a store", .path.display())]
    NotAFolder {
        /// What was given.
        path: PathBuf,
    },

    /// An object store refused, or could not be reached.
    #[error(
        "{place}: cannot be {tried}: {cause}; check the URL, the network and the credentials in the environment"
    )]
    Remote {
        /// URL of the object.
        place: String,
        /// What was tried.
        tried: &'static str,
        /// Why it failed.
        cause: Box<object_store::Error>,
    },

    /// An object is missing.
    #[error("{place}: absent, but its manifest names it; re-run {stage} with FORCE=1")]
    ObjectAbsent {
        /// URL of the object.
        place: String,
        /// The stage that makes the artifact.
        stage: &'static str,
    },

    /// Garbage is not collected while artifacts are being made.
    #[error("{holder} is working in {}; wait for it before `gc --delete`", .dir.display())]
    Busy {
        /// Who.
        holder: Box<Holder>,
        /// Where.
        dir: PathBuf,
    },
}

impl StoreError {
    /// Whether the store may be read but not written.
    pub fn is_read_only(&self) -> bool {
        use std::io::ErrorKind;
        match self {
            Self::Io(error) => {
                matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem)
            }
            Self::Remote { tried: "written" | "deleted", cause, .. } => {
                use object_store::Error as Refusal;
                matches!(**cause, Refusal::PermissionDenied { .. } | Refusal::Unauthenticated { .. })
            }
            _ => false,
        }
    }
}

fn successor(holder: &Holder) -> String {
    if holder.host.is_empty() {
        return "another process".to_owned();
    }
    format!("{} pid {}", holder.host, holder.pid)
}
