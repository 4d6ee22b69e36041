//! Where a store is: a folder, or a place in an object store.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use url::Url;

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
    /// `~` cannot be told without `HOME`.
    #[error("`~` stands for the home folder, but HOME is not set; write the whole path")]
    NoHome,
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
        let has_more =
            !url.username().is_empty() || url.password().or(url.query()).or(url.fragment()).is_some();
        Err(refused(match url.scheme() {
            "file" => match url.to_file_path() {
                Ok(folder) => return Ok(Self::Folder(folder)),
                Err(()) => "names no folder of this machine",
            },
            scheme if !BUCKETS.contains(&scheme) => "no such kind of store",
            _ if has_more => "contains more than a location; credentials are read from the environment alone",
            _ if url.host_str().is_none_or(str::is_empty) => "does not name a bucket",
            _ => return Ok(Self::Bucket(url)),
        }))
    }
}

/// A path from the command line, with a leading `~/` (or `~` alone) replaced by `HOME`: a shell leaves the tilde alone inside
/// quotes, as make's knobs are quoted.
///
/// # Errors
///
/// [`LocationError::NoHome`] where it is needed and not set.
pub fn expand_home(path: OsString) -> Result<PathBuf, LocationError> {
    expand_to(std::env::var_os("HOME"), path.into())
}

fn expand_to(home: Option<OsString>, path: PathBuf) -> Result<PathBuf, LocationError> {
    let Ok(below) = path.strip_prefix("~") else { return Ok(path) };
    let home = home.filter(|home| !home.is_empty()).ok_or(LocationError::NoHome)?;
    Ok(Path::new(&home).join(below))
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

    #[test]
    fn a_leading_tilde_is_the_home_folder_and_any_other_is_a_character() {
        let expanded = |path: &str| expand_to(Some("/home/me".into()), path.into()).unwrap();
        assert_eq!(expanded("~/st"), Path::new("/home/me/st"));
        assert_eq!(expanded("~"), Path::new("/home/me"));
        for path in ["data/store", "/a/~/b", "~other/st", "a~", "./~/st"] {
            assert_eq!(expanded(path), Path::new(path));
        }
        for home in [None, Some(OsString::new())] {
            assert_eq!(expand_to(home.clone(), "~/st".into()), Err(LocationError::NoHome));
            assert_eq!(expand_to(home, "st".into()).unwrap(), Path::new("st"));
        }
    }
}
