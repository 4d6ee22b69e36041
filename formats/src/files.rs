//! Files that may not be there.

use std::io::{self, ErrorKind};
use std::path::Path;

/// What was found, or nothing where nothing is there.
///
/// # Errors
///
/// Whatever else was in the way.
pub fn if_there<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The content of a file, if it is there.
///
/// # Errors
///
/// If it is there and cannot be read.
pub fn read_if_there(path: &Path) -> io::Result<Option<Vec<u8>>> {
    if_there(fs_err::read(path))
}
