//! Where the files of an uncompressed tar lie in it, so that each can be read by itself; a tar inside it too.

use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use delt_harness::interrupt;
use delt_images::image_files::ImageFile;
use tar::Archive;

use crate::error::{IngestError, Result};
use crate::tar_archive::check_entry;

/// The files of an archive by their bare names, sorted. `part` is where the archive begins in the file and how long it is.
///
/// # Errors
/// An archive that ends early or holds links, devices or paths out of its folder.
pub(super) fn of(path: &Path, part: Option<(u64, u64)>) -> Result<Vec<ImageFile>> {
    let broken = |source: io::Error| {
        IngestError::layout(path, format!("is not a complete tar archive ({source}); download it again"))
    };
    let mut file = fs_err::File::open(path)?;
    let (start, bytes) = part.unwrap_or((0, file.metadata()?.len()));
    file.seek(SeekFrom::Start(start)).map_err(broken)?;
    let mut archive = Archive::new(file.take(bytes));
    let mut files = Vec::new();
    for entry in archive.entries_with_seek().map_err(broken)? {
        let entry = entry.map_err(broken)?;
        let inside = entry.path().map_err(broken)?;
        check_entry(path, &inside, entry.header().entry_type())?;
        let name = inside.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (begins, length) = (entry.raw_file_position(), entry.size());
        if begins.checked_add(length).is_none_or(|end| end > bytes) {
            return Err(broken(io::ErrorKind::UnexpectedEof.into()));
        }
        if entry.header().entry_type().is_file() && !name.starts_with('.') {
            files.push(ImageFile {
                relative: name,
                path: path.to_path_buf(),
                bytes: length,
                start: Some(start + begins),
            });
        }
        interrupt::check()?;
    }
    files.sort_by(|a, b| a.relative.cmp(&b.relative));
    Ok(files)
}

/// The files of an archive that is itself a file in an archive, under the path `folder`.
///
/// # Errors
/// As [`of`].
pub(super) fn within(archive: &ImageFile, folder: &str) -> Result<Vec<ImageFile>> {
    let mut files = of(&archive.path, Some((archive.start.unwrap_or(0), archive.bytes)))?;
    files.iter_mut().for_each(|file| file.relative = format!("{folder}/{}", file.relative));
    Ok(files)
}
