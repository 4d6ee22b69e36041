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

    /// Something in the store is not what it should be, in a way that no caller tells from another: worded where it is found.
    #[error("{}: {problem}", .path.display())]
    Unfit {
        /// The file or folder, or the URL of an object.
        path: PathBuf,
        /// Found, expected, and what to do.
        problem: String,
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

    /// A stage publishes something other than what it claimed.
    #[error("claimed {expected}, but the provenance to publish is {found}")]
    NotClaimed {
        /// What the provenance says.
        found: String,
        /// What was claimed.
        expected: String,
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
    pub(crate) fn unfit(path: impl Into<PathBuf>, problem: impl Into<String>) -> Self {
        Self::Unfit { path: path.into(), problem: problem.into() }
    }

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
