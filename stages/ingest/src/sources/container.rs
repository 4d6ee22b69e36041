//! Where files that are published in one archive lie: in it, or unpacked in a folder.

use std::io::Read;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use delt_formats::canonical::Digest;
use serde_json::json;

use crate::error::Result;
use crate::fingerprint;
use crate::tar_archive::{for_each_member, refused};

/// An archive, or the folder that it unpacks to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Container {
    /// A gzipped tar.
    Archive(PathBuf),
    /// What it unpacks to.
    Folder(PathBuf),
}

impl Container {
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Archive(path) | Self::Folder(path) => path,
        }
    }

    /// Whether this is an archive, whose digest is known, or a folder.
    pub(super) fn is_archive(&self) -> bool {
        matches!(self, Self::Archive(_))
    }

    /// Hands over the members of these names with their sizes until the visitor breaks: of an archive in its order and of a
    /// folder in that of the names.
    ///
    /// # Errors
    /// What is wrong with the archive, a member that is there twice, and what `each` reports.
    pub(super) fn for_each(
        &self,
        names: &[&str],
        mut each: impl FnMut(&str, u64, &mut dyn Read) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        match self {
            Self::Archive(archive) => {
                let mut seen = Vec::new();
                for_each_member(archive, |name, entry| {
                    if !names.contains(&name) {
                        return Ok(ControlFlow::Continue(()));
                    }
                    if seen.iter().any(|other| other == name) {
                        return Err(refused(archive, &format!("{name} twice")));
                    }
                    seen.push(name.to_owned());
                    each(name, entry.size(), entry)
                })
            }
            Self::Folder(folder) => {
                for name in names {
                    let path = folder.join(name);
                    if !path.is_file() {
                        continue;
                    }
                    let mut file = fs_err::File::open(&path)?;
                    let bytes = file.metadata()?.len();
                    if each(name, bytes, &mut file)?.is_break() {
                        break;
                    }
                }
                Ok(())
            }
        }
    }

    /// Tells one content from another: the archive's digest, or those of its members that are there.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(super) fn fingerprint(&self, members: &[&str]) -> Result<Digest> {
        let folder = match self {
            Self::Archive(archive) => return fingerprint::of_archive(archive),
            Self::Folder(folder) => folder,
        };
        let there = members.iter().filter(|name| folder.join(name).is_file());
        let files = there.map(|name| Ok(json!([name, fingerprint::of_archive(&folder.join(name))?])));
        Ok(Digest::of_json(&json!(files.collect::<Result<Vec<_>>>()?)))
    }
}
