//! Claims in a folder: numbered files, of which the highest number counts.
//!
//! Whoever takes over from a stale claim creates the next number, which only one can. No file is ever replaced, so a waiter
//! with an old view cannot take away a claim that is alive: it creates its number, looks again, and steps back if anything
//! but the stale claim lies below it. A number above one's own that is gone a moment later was such a step back.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use delt_formats::files::{is_gone, read_if_there};

use crate::Result;
use crate::backend::Standing;
use crate::files::children;
use crate::holder::Holder;

const CLAIM_PREFIX: &str = "claim.";

/// The claim that counts in a work folder. A half-written one is somebody's.
pub(super) fn look(work_dir: &Path) -> Result<Option<Standing>> {
    let numbers = numbers(work_dir)?;
    let (mut content, mut holder) = (Vec::new(), None);
    if let Some(highest) = numbers.last() {
        let Some(found) = read_if_there(&file_of(work_dir, *highest))? else { return Ok(None) };
        holder = Some(Holder::parse(&found).unwrap_or_default());
        content = found;
    }
    Ok(Some(Standing { content, holder, numbers, version: None }))
}

/// Creates the next number, and steps back if anything moved.
pub(super) fn take(work_dir: &Path, seen: &Standing, holder: &Holder) -> Result<bool> {
    let number = seen.numbers.last().map_or(1, |highest| highest + 1);
    fs_err::create_dir_all(work_dir)?;
    let file = file_of(work_dir, number);
    match create_new(&file, holder) {
        Ok(()) => {}
        // Another waiter was faster, or the last holder just cleared the folder.
        Err(error) if error.kind() == ErrorKind::AlreadyExists || is_gone(&error) => return Ok(false),
        Err(error) => return Err(error.into()),
    }
    let is_ours = counts(work_dir, number, seen);
    if !matches!(is_ours, Ok(true)) {
        remove_own(&file, holder);
    }
    is_ours
}

/// Whether nothing is above a new claim, and nothing below it but what was judged stale: the highest then still is that very
/// claim, lower ones were judged when it was made.
fn counts(work_dir: &Path, number: u64, seen: &Standing) -> Result<bool> {
    let now = numbers(work_dir)?;
    let is_highest = now.last() == Some(&number);
    let is_known = now.iter().filter(|below| **below < number).all(|below| seen.numbers.contains(below));
    let is_still = |highest: &u64| {
        read_if_there(&file_of(work_dir, *highest))
            .is_ok_and(|content| content.is_none_or(|content| content == seen.content))
    };
    Ok(is_highest && is_known && seen.numbers.last().is_none_or(is_still))
}

/// Writes over a claim of the same length, without creating one that was removed.
pub(super) fn renew(work_dir: &Path, seen: &Standing, holder: &Holder) -> Result<()> {
    let Some(number) = seen.numbers.last() else { return Ok(()) };
    let mut file = fs_err::OpenOptions::new().write(true).open(file_of(work_dir, *number))?;
    file.write_all(holder.to_json().as_bytes())?;
    Ok(file.sync_data()?)
}

/// Removes the holder's claim, after those below it, which were stale. Where its own is gone, those there are another's.
pub(super) fn give_back(work_dir: &Path, holder: &Holder) {
    let files = numbers(work_dir).unwrap_or_default().into_iter().map(|number| file_of(work_dir, number));
    let files: Vec<PathBuf> = files.collect();
    let Some(own) = files.iter().position(|file| is_own(file, holder)) else { return };
    for below in &files[..own] {
        let _ = fs_err::remove_file(below);
    }
    remove_own(&files[own], holder);
    // Only goes if nothing else is left in it.
    let _ = fs_err::remove_dir(work_dir);
}

/// The numbers of the claims in a work folder, ascending.
fn numbers(work_dir: &Path) -> Result<Vec<u64>> {
    let number = |path: PathBuf| path.file_name()?.to_str()?.strip_prefix(CLAIM_PREFIX)?.parse().ok();
    let mut numbers: Vec<u64> = children(work_dir)?.into_iter().filter_map(number).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

fn file_of(work_dir: &Path, number: u64) -> PathBuf {
    work_dir.join(format!("{CLAIM_PREFIX}{number}"))
}

fn create_new(path: &Path, holder: &Holder) -> std::io::Result<()> {
    write_or_remove(fs_err::File::create_new(path)?, path, holder.to_json().as_bytes())
}

/// Writes a claim that was just created. One that does not fit on the disk goes again: nobody could tell whose it is, and
/// the next run would wait until it is stale.
fn write_or_remove(mut file: fs_err::File, path: &Path, text: &[u8]) -> std::io::Result<()> {
    let written = file.write_all(text).and_then(|()| file.sync_all());
    if written.is_err() {
        let _ = fs_err::remove_file(path);
    }
    written
}

fn is_own(path: &Path, holder: &Holder) -> bool {
    let content = read_if_there(path).ok().flatten();
    content.and_then(|content| Holder::parse(&content)).is_some_and(|found| found.is_same_claim(holder))
}

/// Removes a claim, but never one that somebody else created under the same number meanwhile.
fn remove_own(path: &Path, holder: &Holder) {
    if is_own(path, holder) {
        let _ = fs_err::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_that_cannot_be_written_is_not_left_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("claim.1");
        fs_err::write(&path, "").unwrap();
        // opened for reading, so that writing fails as on a full disk
        let file = fs_err::File::open(&path).unwrap();
        write_or_remove(file, &path, b"{}").unwrap_err();
        assert!(!path.exists());
    }

    #[test]
    fn a_waiter_whose_view_is_old_steps_back() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("labels-k");
        let [stale, one, two, alive] = std::array::from_fn(|_| Holder::here());
        let nothing = look(&dir).unwrap().unwrap();
        assert!(take(&dir, &nothing, &stale).unwrap());
        let seen = look(&dir).unwrap().unwrap();
        assert!(take(&dir, &seen, &one).unwrap());
        assert!(!take(&dir, &seen, &two).unwrap(), "two have one number");
        // the first waiter gives back, and somebody claims anew under the number of the stale claim
        give_back(&dir, &one);
        assert!(take(&dir, &nothing, &alive).unwrap());
        assert!(!take(&dir, &seen, &two).unwrap(), "a claim that is alive was passed over");
        assert_eq!(numbers(&dir).unwrap(), [1]);
        assert!(is_own(&file_of(&dir, 1), &alive));
    }
}
