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
    #[error("{place}: cannot be {tried}: {cause}; {}", cure(.place, .tried, .cause))]
    Remote {
        /// URL of the object.
        place: String,
        /// What was tried.
        tried: &'static str,
        /// Why it failed.
        cause: Box<object_store::Error>,
    },

    /// A server answers a conditional PUT as any other.
    #[error(
        "{url}: the server ignores the condition of a PUT (If-None-Match: *) and replaced an object that was there; {}",
        NEEDS_CONDITIONS
    )]
    Unconditional {
        /// URL of the store.
        url: String,
    },

    /// The environment names a profile, which is not read.
    #[error(
        "{url}: AWS_PROFILE is `{profile}`, but profiles are not read, only credentials in the environment; {}, or unset AWS_PROFILE \
         to use this machine's own role",
        export_of(Some(.profile))
    )]
    Profile {
        /// URL of the store.
        url: String,
        /// The profile.
        profile: String,
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

/// What a server must be able to do, and where to go without.
const NEEDS_CONDITIONS: &str = "without conditions two machines could make one artifact at once: update the server (MinIO, Ceph and \
    Garage have them in recent releases; S3, R2, Google Cloud Storage and Azure have them), or use a folder that all machines mount \
    (STORE=/folder)";

/// The command that puts the credentials of a profile, of any kind, into the environment.
fn export_of(profile: Option<&str>) -> String {
    let profile = profile.map_or(String::new(), |name| format!(" --profile {name}"));
    format!(
        "put its credentials into the environment with: eval \"$(aws configure export-credentials{profile} --format env)\""
    )
}

/// What to do about an object store that refused.
fn cure(place: &str, tried: &str, cause: &object_store::Error) -> String {
    use object_store::Error as Refusal;
    let said = cause.to_string();
    let is_unconditional = ["501 Not Implemented", "NotImplemented"].iter().any(|sign| said.contains(sign))
        || matches!(cause, Refusal::NotImplemented { .. } | Refusal::NotSupported { .. });
    if tried == "written" && is_unconditional {
        return format!(
            "most likely it knows no conditional PUT (If-None-Match, If-Match); {NEEDS_CONDITIONS}"
        );
    }
    // where machines of the cloud ask for credentials of their own
    if place.starts_with("s3:") && said.contains("169.254.") {
        let export = export_of(None);
        return format!(
            "neither are AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY set nor has this machine a role; a profile \
             of ~/.aws is not read: {export}"
        );
    }
    match cause {
        Refusal::PermissionDenied { .. } => {
            "the credentials in the environment are for somebody who may not do this; they must allow to read, list, write and \
             delete objects below this prefix"
        }
        _ => "check the URL, the network and the credentials in the environment",
    }
    .to_owned()
}

fn successor(holder: &Holder) -> String {
    if holder.host.is_empty() {
        return "another process".to_owned();
    }
    format!("{} pid {}", holder.host, holder.pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(tried: &'static str, answer: &str) -> String {
        let cause = object_store::Error::Generic { store: "S3", source: answer.into() };
        StoreError::Remote { place: "s3://b/x".to_owned(), tried, cause: Box::new(cause) }.to_string()
    }

    #[test]
    fn a_refusal_of_an_object_store_names_its_own_cure() {
        let answer = "Server returned non-2xx status code: 501 Not Implemented";
        let unsupported = said("written", answer);
        assert!(unsupported.contains("; most likely it knows no conditional PUT"), "{unsupported}");
        assert!(unsupported.contains("STORE=/folder"), "{unsupported}");
        let metadata = said("read", "Error performing PUT http://169.254.169.254/latest/api/token in 1s");
        assert!(
            metadata.ends_with("eval \"$(aws configure export-credentials --format env)\""),
            "{metadata}"
        );
        for (tried, answer) in [("read", answer), ("written", "connection refused")] {
            let other = said(tried, answer);
            assert!(
                other.ends_with("; check the URL, the network and the credentials in the environment"),
                "{other}"
            );
        }
        let profile = StoreError::Profile { url: "s3://b".to_owned(), profile: "team".to_owned() };
        assert_eq!(
            profile.to_string(),
            "s3://b: AWS_PROFILE is `team`, but profiles are not read, only credentials in the environment; put its \
             credentials into the environment with: eval \"$(aws configure export-credentials --profile team --format env)\", or \
             unset AWS_PROFILE to use this machine's own role"
        );
    }
}
