//! Files that may not be there, or not any more.

use std::io::{self, ErrorKind};
use std::path::Path;

/// How often a file is opened anew that another host replaced while it was read.
const LOOKS: u32 = 3;

/// What was found, or nothing where nothing is there, or not any more.
///
/// # Errors
///
/// Whatever else was in the way.
pub fn if_there<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What `look` finds, if anything is there. A network file system answers "stale file handle" where another host has removed or
/// replaced what a name stood for a moment ago: the next look is by the name again, and finds what stands there now.
///
/// # Errors
///
/// Whatever else was in the way.
pub fn look_again<T>(look: impl Fn() -> io::Result<T>) -> io::Result<Option<T>> {
    for _ in 1..LOOKS {
        match look() {
            Err(error) if error.kind() == ErrorKind::StaleNetworkFileHandle => {}
            found => return if_there(found),
        }
    }
    if_there(look())
}

/// Whether nothing is there, or another host took it away.
pub fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::StaleNetworkFileHandle)
}

/// The content of a file, if it is there.
///
/// # Errors
///
/// If it is there and cannot be read.
pub fn read_if_there(path: &Path) -> io::Result<Option<Vec<u8>>> {
    look_again(|| fs_err::read(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn a_stale_file_handle_is_looked_at_again_and_then_counts_as_absent() {
        let stale = || io::Error::from_raw_os_error(116);
        assert!(matches!(if_there::<u32>(Err(stale())), Ok(None)));
        let looks = std::cell::Cell::new(0);
        let stale_for = |times| {
            looks.set(0);
            look_again(|| {
                looks.set(looks.get() + 1);
                if looks.get() <= times { Err(stale()) } else { Ok(looks.get()) }
            })
        };
        assert_eq!(stale_for(0).unwrap(), Some(1));
        assert_eq!(stale_for(2).unwrap(), Some(3));
        assert_eq!(stale_for(3).unwrap(), None);
        let refused = look_again::<()>(|| Err(ErrorKind::PermissionDenied.into()));
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::PermissionDenied);
    }
}
