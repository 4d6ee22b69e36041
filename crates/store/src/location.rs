//! Where a store is: a folder, or a place in an object store.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use url::Url;

use crate::home::{NoHome, expand_home};

/// What the URL of an object store may begin with.
const BUCKETS: [&str; 3] = ["s3", "gs", "az"];

/// Where a store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A folder, which many machines may mount.
    Folder(PathBuf),
    /// A place in an object store: `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix`.
    Bucket(Url),
}

/// A text that names no store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocationError {
    /// `~` cannot be told.
    #[error(transparent)]
    Home(#[from] NoHome),
    /// A URL that names no store.
    #[error(
        "`{found}`: {problem}; expected a folder, file:///folder, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix"
    )]
    Url {
        /// The text.
        found: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl Location {
    /// Reads a store's place from the command line; a leading `~/` is the home folder.
    ///
    /// # Errors
    ///
    /// If it is a URL of another scheme, without a bucket, or with credentials, which come from the environment alone.
    pub fn parse(text: OsString) -> Result<Self, LocationError> {
        let Some(found) = text.to_str().filter(|text| text.contains("://")).map(str::to_owned) else {
            return Ok(Self::Folder(expand_home(text)?));
        };
        let refused =
            |problem: &str| LocationError::Url { found: found.clone(), problem: problem.to_owned() };
        let url = Url::parse(&found).map_err(|error| refused(&error.to_string()))?;
        if url.scheme() == "file" {
            return url
                .to_file_path()
                .map(Self::Folder)
                .map_err(|()| refused("names no folder of this machine"));
        }
        if !BUCKETS.contains(&url.scheme()) {
            return Err(refused("no such kind of store"));
        }
        if !url.username().is_empty()
            || url.password().is_some()
            || url.query().is_some()
            || url.fragment().is_some()
        {
            return Err(refused(
                "contains more than a location; credentials are read from the environment alone",
            ));
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(refused("does not name a bucket"));
        }
        Ok(Self::Bucket(url))
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => folder.display().fmt(f),
            Self::Bucket(url) => f.pad(url.as_str().trim_end_matches('/')),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn parse(text: &str) -> Result<Location, LocationError> {
        Location::parse(text.into())
    }

    #[test]
    fn folders_and_buckets_are_told_apart() {
        for folder in ["data/store", "/mnt/shared", "s3", "odd:name"] {
            assert_eq!(parse(folder), Ok(Location::Folder(folder.into())));
        }
        assert_eq!(parse("file:///mnt/a%20b"), Ok(Location::Folder(Path::new("/mnt/a b").to_owned())));
        for url in ["s3://bucket/team/delt", "gs://bucket", "az://container/x"] {
            assert_eq!(parse(&format!("{url}/")).expect("a bucket").to_string(), url);
        }
    }

    #[test]
    fn other_urls_are_refused_with_what_is_expected() {
        let rest = "expected a folder, file:///folder, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix";
        for (url, problem) in [
            ("ftp://host/x", "no such kind of store"),
            ("s3:///x", "does not name a bucket"),
            (
                "s3://key:secret@bucket/x",
                "contains more than a location; credentials are read from the environment alone",
            ),
            (
                "s3://bucket/x#1",
                "contains more than a location; credentials are read from the environment alone",
            ),
            (
                "s3://bucket/x?region=eu",
                "contains more than a location; credentials are read from the environment alone",
            ),
        ] {
            assert_eq!(parse(url).expect_err("refused").to_string(), format!("`{url}`: {problem}; {rest}"));
        }
    }
}
