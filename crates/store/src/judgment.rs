//! Whether what lies in the place of an artifact is one.

use std::path::Path;

use delt_formats::FormatError;
use delt_formats::manifest::Manifest;

use crate::backend::Place;
use crate::{Result, StoreError};

/// What the place of an artifact turns out to hold.
pub(crate) enum Inspection {
    /// An artifact.
    Complete(Manifest),
    /// Nothing, or nothing that was ever called an artifact.
    Absent,
    /// A folder without a manifest.
    Incomplete,
    /// A manifest that is wrong, or whose files are.
    Damaged(StoreError),
    /// A newer build's artifact, which this one must leave alone.
    Newer(StoreError),
}

impl Inspection {
    /// Judges a manifest by what it says, before its files are looked at; `path` is where it was read.
    pub(crate) fn of(path: &Path, read: Result<Manifest, FormatError>, place: &Place) -> Self {
        let (kind, stage) = (place.kind, place.kind.stage());
        let manifest = match read {
            Ok(manifest) => manifest,
            Err(error @ FormatError::NewerManifest { .. }) => return Self::Newer(error.into()),
            Err(error) => return Self::Damaged(error.into()),
        };
        if !place.is_of(&manifest) {
            let (found, key) = (manifest.artifact, &manifest.key);
            return Self::Damaged(StoreError::unfit(
                path,
                format!("is the manifest of {found} {key}, expected {place}; move it back or re-run {stage}"),
            ));
        }
        let (found, expected) = (manifest.provenance.schema_version, kind.newest_schema_version());
        if !kind.reads_schema(found) {
            let judgment = if found > expected { Self::Newer } else { Self::Damaged };
            return judgment(
                FormatError::WrongVersion { path: path.to_owned(), kind, found, expected }.into(),
            );
        }
        // The content digest covers what was made, the key what it was made by and from.
        let found = manifest.provenance.key();
        if found != manifest.key {
            let expected = manifest.key;
            return Self::Damaged(StoreError::unfit(
                path,
                format!(
                    "damaged: what it says of its making has key {found}, expected {expected}; re-run {stage} with FORCE=1"
                ),
            ));
        }
        Self::Complete(manifest)
    }

    /// The manifest of an artifact that is there.
    pub(crate) fn manifest(&self) -> Option<&Manifest> {
        match self {
            Self::Complete(manifest) => Some(manifest),
            _ => None,
        }
    }

    /// The artifact that a look-up finds here.
    ///
    /// # Errors
    ///
    /// If a newer build wrote it.
    pub(crate) fn artifact(self) -> Result<Option<Manifest>> {
        match self {
            Self::Complete(manifest) => Ok(Some(manifest)),
            Self::Absent | Self::Incomplete | Self::Damaged(_) => Ok(None),
            Self::Newer(error) => Err(error),
        }
    }
}
