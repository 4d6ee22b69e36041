//! Paths that begin with `~/`: a shell leaves the tilde alone inside quotes, as make's knobs are quoted.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// `~` cannot be told without `HOME`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`~` stands for the home folder, but HOME is not set; write the whole path")]
pub struct NoHome;

/// A path from the command line, with a leading `~/` (or `~` alone) replaced by `HOME`.
///
/// # Errors
///
/// [`NoHome`] where it is needed and not set.
pub fn expand_home(path: OsString) -> Result<PathBuf, NoHome> {
    expand_to(std::env::var_os("HOME"), path.into())
}

fn expand_to(home: Option<OsString>, path: PathBuf) -> Result<PathBuf, NoHome> {
    let Ok(below) = path.strip_prefix("~") else { return Ok(path) };
    let home = home.filter(|home| !home.is_empty()).ok_or(NoHome)?;
    Ok(Path::new(&home).join(below))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leading_tilde_is_the_home_folder_and_any_other_is_a_character() {
        let expanded = |path: &str| expand_to(Some("/home/me".into()), path.into()).unwrap();
        assert_eq!(expanded("~/st"), Path::new("/home/me/st"));
        assert_eq!(expanded("~"), Path::new("/home/me"));
        for path in ["data/store", "/a/~/b", "~other/st", "a~", "./~/st"] {
            assert_eq!(expanded(path), Path::new(path));
        }
        for home in [None, Some(OsString::new())] {
            assert_eq!(expand_to(home.clone(), "~/st".into()), Err(NoHome));
            assert_eq!(expand_to(home, "st".into()).unwrap(), Path::new("st"));
        }
    }
}
