//! Checkpoints that are known again: beside a file lies another one with the digest of its bytes.
//!
//! ```text
//! batch-00001-state.safetensors
//! batch-00001-state.safetensors.blake3     digests that the file may have: of what is to take its place, of what was there
//! ```
//!
//! A process may be killed at any moment: the digest is there before the file is, and the one before stays valid until then.
//! A file without digests is taken as it is, as older builds left them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::canonical::{Digest, canonical_json};
use crate::error::{FormatError, Result};
use crate::files::{if_there, read_if_there};

/// Lists the digests of a folder that is sealed as a whole.
const FOLDER_FILE: &str = "digests.json";

/// Puts a finished file in the place of another one, so that [`verify`] knows it again. Both are on disk first.
///
/// # Errors
///
/// If a file cannot be read or written; the file before stays.
pub fn seal(beside: &Path, path: &Path) -> Result<()> {
    fs_err::File::open(beside)?.sync_all()?;
    place(beside, path, true)
}

/// As [`seal`], but waits for no disk: for files that are worth less than the time. After a power cut they may be found
/// damaged.
///
/// # Errors
///
/// As [`seal`].
pub fn seal_unsynced(beside: &Path, path: &Path) -> Result<()> {
    place(beside, path, false)
}

fn place(beside: &Path, path: &Path, is_synced: bool) -> Result<()> {
    let new = Digest::of_file(beside)?;
    let mut text = format!("{new}\n");
    if path.exists()
        && let Some(old) = digests(path)?.into_iter().next()
    {
        text = format!("{text}{old}\n");
    }
    let (sidecar, unnamed) = (with_ending(path, ".blake3"), with_ending(path, ".blake3.writing"));
    let mut file = fs_err::File::create(&unnamed)?;
    file.write_all(text.as_bytes())?;
    if is_synced {
        file.sync_all()?;
    }
    fs_err::rename(unnamed, sidecar)?;
    Ok(fs_err::rename(beside, path)?)
}

/// Checks every byte of a file that was sealed.
///
/// # Errors
///
/// If it has other bytes than it was sealed with, or cannot be read.
pub fn verify(path: &Path) -> Result<()> {
    let expected = digests(path)?;
    if expected.is_empty() { Ok(()) } else { expect_any(path, &expected) }
}

/// Refuses a file that has none of these digests, of which the first is the newest.
fn expect_any(path: &Path, expected: &[Digest]) -> Result<()> {
    let found = Digest::of_file(path)?;
    if expected.contains(&found) {
        return Ok(());
    }
    let newest = &expected[0];
    let problem = format!("its content has digest {found}, expected {newest} as when it was kept");
    Err(FormatError::unfit(path, problem))
}

/// Removes a sealed file, if it is there, and its digests.
///
/// # Errors
///
/// If one of them cannot be removed.
pub fn remove(path: &Path) -> Result<()> {
    for path in [path.to_owned(), with_ending(path, ".blake3")] {
        if_there(fs_err::remove_file(path))?;
    }
    Ok(())
}

/// The digests that a file may have, the newest first; none if none were kept. A line that is no digest counts as one that
/// no file has.
fn digests(path: &Path) -> Result<Vec<Digest>> {
    let Some(text) = read_if_there(&with_ending(path, ".blake3"))? else { return Ok(Vec::new()) };
    let text = String::from_utf8_lossy(&text).into_owned();
    let found: Vec<Digest> = text.lines().filter_map(|line| line.parse().ok()).collect();
    // a list that was cut to nothing is not a list that was never there
    Ok(if found.is_empty() { vec![Digest::of_bytes(text.as_bytes())] } else { found })
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// Lists the digests of all files in a folder, before it takes its place as a whole.
///
/// # Errors
///
/// If a file cannot be read or the list not be written.
pub fn seal_folder(dir: &Path) -> Result<()> {
    let mut digests = BTreeMap::new();
    for entry in fs_err::read_dir(dir)? {
        let entry = entry?;
        digests.insert(entry.file_name().to_string_lossy().into_owned(), Digest::of_file(entry.path())?);
    }
    let mut file = fs_err::File::create(dir.join(FOLDER_FILE))?;
    file.write_all(canonical_json(&digests).as_bytes())?;
    Ok(file.sync_all()?)
}

/// Checks every byte of the files in a folder that was sealed.
///
/// # Errors
///
/// The first file that is missing or has other bytes than it was sealed with.
pub fn verify_folder(dir: &Path) -> Result<()> {
    let path = dir.join(FOLDER_FILE);
    let Some(text) = read_if_there(&path)? else { return Ok(()) };
    let digests: BTreeMap<String, Digest> =
        serde_json::from_slice(&text).map_err(|source| FormatError::Json { path, source })?;
    for (name, expected) in digests {
        expect_any(&dir.join(name), &[expected])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, text: &str) -> (PathBuf, PathBuf) {
        let (beside, path) = (folder.join("state.writing"), folder.join("state"));
        fs_err::write(&beside, text).unwrap();
        (beside, path)
    }

    #[test]
    fn a_sealed_file_is_known_again_and_a_changed_one_is_named() {
        let folder = tempfile::tempdir().unwrap();
        for text in ["one", "two", "three"] {
            let (beside, path) = write(folder.path(), text);
            seal(&beside, &path).unwrap();
            verify(&path).unwrap();
        }
        let path = folder.path().join("state");
        for damaged in ["thref", "thre", ""] {
            fs_err::write(&path, damaged).unwrap();
            let expected = format!(
                "{}: its content has digest {}, expected {} as when it was kept",
                path.display(),
                Digest::of_bytes(damaged.as_bytes()),
                Digest::of_bytes(b"three")
            );
            assert_eq!(verify(&path).unwrap_err().to_string(), expected);
        }
        fs_err::write(&path, "three").unwrap();
        fs_err::write(folder.path().join("state.blake3"), "").unwrap();
        verify(&path).unwrap_err();
        remove(&path).unwrap();
        assert_eq!(fs_err::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_process_may_be_killed_between_the_digest_and_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let (beside, path) = write(folder.path(), "one");
        seal(&beside, &path).unwrap();
        let (beside, _) = write(folder.path(), "two");
        seal_unsynced(&beside, &path).unwrap();
        // the digest of the new file is there, the file is still the one before
        fs_err::write(&path, "one").unwrap();
        verify(&path).unwrap();
    }

    #[test]
    fn a_file_of_an_older_build_is_taken_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let (beside, _) = write(folder.path(), "one");
        verify(&beside).unwrap();
        verify_folder(folder.path()).unwrap();
    }

    #[test]
    fn of_a_sealed_folder_every_file_is_known_again() {
        let folder = tempfile::tempdir().unwrap();
        fs_err::write(folder.path().join("a"), "one").unwrap();
        fs_err::write(folder.path().join("b"), "two").unwrap();
        seal_folder(folder.path()).unwrap();
        verify_folder(folder.path()).unwrap();
        fs_err::write(folder.path().join("b"), "twp").unwrap();
        let message = verify_folder(folder.path()).unwrap_err().to_string();
        assert!(message.starts_with(&folder.path().join("b").display().to_string()), "{message}");
        fs_err::remove_file(folder.path().join("b")).unwrap();
        verify_folder(folder.path()).unwrap_err();
    }
}
