//! The folder of an export: it appears whole or not at all, and replaces nothing but an earlier export.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use delt_formats::files::read_if_there;
use delt_pipeline::config::Invalid;
use serde_json::Value;

use crate::record::{FILES, RECORD_FILE};

/// A place that will do.
#[derive(Debug)]
pub struct Folder {
    place: PathBuf,
    /// Where it is put together, and where an earlier export goes meanwhile.
    beside: [PathBuf; 2],
}

impl Folder {
    /// Takes a place where nothing is, an empty folder, or an export to which nobody added anything.
    ///
    /// # Errors
    /// What is there, and what to do.
    pub fn at(place: &Path, store: &Path) -> Result<Self> {
        let place = std::path::absolute(place)?;
        let refused = |problem: String| Invalid::new("OUTPUT", format!("{}: {problem}", place.display()));
        let elsewhere = "choose another folder with OUTPUT= (--output)";
        if place.starts_with(std::path::absolute(store)?) {
            return Err(
                refused(format!("lies in the store, which an export leaves as it is; {elsewhere}")).into()
            );
        }
        let Some(name) = place.file_name() else {
            return Err(refused(format!("has no name; {elsewhere}")).into());
        };
        if place.exists() && !place.is_dir() {
            return Err(refused(format!("is a file; {elsewhere}")).into());
        }
        delt_store::try_place(&place).map_err(|error| refused(format!("{error}; {elsewhere}")))?;
        let found = if place.is_dir() { count_files(&place)? } else { 0 };
        if found > 0 {
            let record = read_if_there(&place.join(RECORD_FILE))?.unwrap_or_default();
            let record: Value = serde_json::from_slice(&record).unwrap_or_default();
            let Some(stated) = record["delt"].as_str().and(record[FILES].as_u64()) else {
                return Err(refused(format!("holds files and no earlier export; {elsewhere}")).into());
            };
            if found != stated {
                let problem = format!(
                    "is an earlier export of {stated} files, and now holds {found}: replacing it would lose what was added"
                );
                return Err(refused(format!("{problem}; {elsewhere}, or delete it")).into());
            }
        }
        let name = name.to_string_lossy();
        let beside = ["new", "old"]
            .map(|kind| place.with_file_name(format!(".{name}.{}.{kind}.tmp", std::process::id())));
        Ok(Self { place, beside })
    }

    /// Writes the files beside the place, states their number, and puts the folder there.
    ///
    /// # Errors
    /// What `write` reports, and nothing is left; a folder that cannot be created or renamed.
    pub fn write(&self, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let [new, _] = &self.beside;
        let written = (|| {
            fs_err::create_dir_all(new)?;
            write(new)?;
            state_files(new)?;
            self.put()
        })();
        if written.is_err() {
            let _ = fs_err::remove_dir_all(new);
        }
        written.with_context(|| format!("{}: nothing was exported", self.place.display()))
    }

    fn put(&self) -> Result<()> {
        let [new, old] = &self.beside;
        let is_there = self.place.exists();
        if is_there {
            fs_err::rename(&self.place, old)?;
        }
        if let Err(error) = fs_err::rename(new, &self.place) {
            if is_there {
                let _ = fs_err::rename(old, &self.place);
            }
            return Err(error.into());
        }
        if is_there {
            fs_err::remove_dir_all(old)?;
        }
        Ok(())
    }
}

/// Puts the number of files into the record of the whole.
fn state_files(folder: &Path) -> Result<()> {
    let path = folder.join(RECORD_FILE);
    let mut record: Value = serde_json::from_slice(&fs_err::read(&path)?)?;
    record[FILES] = count_files(folder)?.into();
    Ok(fs_err::write(path, delt_formats::canonical::readable_json(&record))?)
}

/// How many files there are below a folder; links count as files.
fn count_files(folder: &Path) -> Result<u64> {
    let mut files = 0;
    for entry in fs_err::read_dir(folder)? {
        let entry = entry?;
        files += if entry.file_type()?.is_dir() { count_files(&entry.path())? } else { 1 };
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, files: &[&str]) -> Result<()> {
        for name in files {
            fs_err::write(folder.join(name), name)?;
        }
        Ok(fs_err::write(folder.join(RECORD_FILE), r#"{"delt": "0.1.0"}"#)?)
    }

    #[test]
    fn an_export_replaces_an_earlier_one_and_nothing_else() {
        let work = tempfile::tempdir().expect("a folder");
        let (store, place) = (work.path().join("store"), work.path().join("out"));
        let at = || Folder::at(&place, &store);
        at().expect("nothing there").write(|folder| write(folder, &["a", "b"])).expect("written");
        at().expect("an earlier one").write(|folder| write(folder, &["c"])).expect("replaced");
        assert!(place.join("c").exists() && !place.join("a").exists());
        let failed = at().expect("an earlier one").write(|_| anyhow::bail!("a full disk"));
        assert!(format!("{:#}", failed.expect_err("refused")).ends_with("nothing was exported: a full disk"));
        assert!(place.join("c").exists(), "the earlier export stays");
        assert_eq!(fs_err::read_dir(work.path()).expect("readable").count(), 1, "nothing is left beside it");

        fs_err::write(place.join("mine"), "").expect("written");
        let said = at().expect_err("refused").to_string();
        assert!(said.contains("is an earlier export of 2 files, and now holds 3: "), "{said}");
        fs_err::remove_file(place.join(RECORD_FILE)).expect("removed");
        assert!(at().expect_err("refused").to_string().contains("holds files and no earlier export"));
        for (place, problem) in [
            (store.join("x"), "lies in the store"),
            (place.join("mine"), "is a file"),
            (place.join("mine/new/out"), "mine: not a directory; choose another folder with OUTPUT="),
        ] {
            assert!(Folder::at(&place, &store).expect_err("refused").to_string().contains(problem));
        }
    }
}
