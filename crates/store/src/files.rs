//! Files and folders of this machine.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use delt_formats::files::{if_there, look_again};

use crate::holder::unique;

/// Writes a file so that a reader sees all of it or none: beside its place first, under a name that begins with a dot, then
/// on disk, then renamed, then the name is on disk too. Where `write` refuses, nothing is left. Folders above it are created.
///
/// # Errors
///
/// What `write` reports, or if the file cannot be created, written or renamed; what was at its place then stays.
pub fn write_atomic<E: From<io::Error>>(
    path: &Path,
    write: impl FnOnce(&mut fs_err::File) -> Result<(), E>,
) -> Result<(), E> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs_err::create_dir_all(parent)?;
    let beside = parent.join(format!(".{}.tmp", unique()));
    let mut file = fs_err::File::create(&beside)?;
    let placed = write(&mut file).and_then(|()| {
        file.sync_all()?;
        Ok(fs_err::rename(&beside, path)?)
    });
    if placed.is_err() {
        let _ = fs_err::remove_file(&beside);
    }
    placed?;
    Ok(sync_dir(parent)?)
}

/// Tries whether a place can be created, folders above it too: in the nearest one that is there.
///
/// # Errors
///
/// Names that one, and why nothing can be created in it.
pub fn try_place(path: &Path) -> io::Result<()> {
    let path = std::path::absolute(path)?;
    let above = path.ancestors().skip(1).find(|above| above.exists()).unwrap_or(Path::new("/"));
    let probe = above.join(format!(".{}.tmp", unique()));
    let tried = fs_err::create_dir(&probe).and_then(|()| fs_err::remove_dir(&probe));
    tried.map_err(|error| {
        let why = format!("nothing can be created in {}: {}", above.display(), error.kind());
        io::Error::new(error.kind(), why)
    })
}

/// As [`write_atomic`], of a text.
pub(crate) fn write_text_atomic(path: &Path, text: &str) -> io::Result<()> {
    write_atomic::<io::Error>(path, |file| file.write_all(text.as_bytes()))
}

/// Waits until the names in a folder are on disk. Only Unix can, and only there is it needed.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    if cfg!(unix) {
        fs_err::File::open(dir)?.sync_all()?;
    }
    Ok(())
}

/// What lies in a folder, sorted by name; nothing if there is no such folder.
pub(crate) fn children(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let listed = || fs_err::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>();
    let mut paths = look_again(listed)?.unwrap_or_default();
    paths.sort();
    Ok(paths)
}

/// What lies in a folder under names that begin so.
pub(crate) fn children_named(prefix: &str, dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = children(dir)?;
    paths.retain(|path| name_of(path).starts_with(prefix));
    Ok(paths)
}

/// The last part of a path.
pub(crate) fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Bytes of a file, or of all in a folder; none where somebody has removed it meanwhile.
pub(crate) fn bytes_below(path: &Path) -> io::Result<u64> {
    match if_there(fs_err::symlink_metadata(path))? {
        None => Ok(0),
        Some(found) if found.is_dir() => children(path)?.iter().map(|child| bytes_below(child)).sum(),
        Some(found) => Ok(found.len()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b.json");
        write_text_atomic(&path, "one").unwrap();
        let full = |file: &mut fs_err::File| {
            file.write_all(b"tw")?;
            Err(io::Error::from(ErrorKind::StorageFull))
        };
        assert_eq!(write_atomic::<io::Error>(&path, full).unwrap_err().kind(), ErrorKind::StorageFull);
        assert_eq!(children(path.parent().unwrap()).unwrap(), std::slice::from_ref(&path));
        assert_eq!(fs_err::read(&path).unwrap(), b"one");
    }
}
