//! Gzipped tar archives of others, read from beginning to end without unpacking anything to the disk.

use std::io::{self, BufReader, Read};
use std::ops::ControlFlow;
use std::path::{Component, Path};

use flate2::read::GzDecoder;
use tar::{Archive, EntryType};

use crate::error::{IngestError, Result};

/// Bytes that an archive may unpack to. The published ones unpack to 184 MB; a few megabytes of gzip can unpack to as many
/// gigabytes.
const MOST_UNPACKED_BYTES: u64 = 4 << 30;

/// The archive, unpacked as it is read.
type Unpacked = io::Take<GzDecoder<BufReader<fs_err::File>>>;
/// A file inside the archive.
pub(crate) type Member<'a> = tar::Entry<'a, Unpacked>;

/// Calls `each` with the bare name of every file of the archive until it breaks. Without a break the archive is read to its
/// end: a tar ends at its first empty block, the gzip around it at its checksum.
///
/// Although nothing is unpacked, an archive with links, devices or paths that lead out of its folder is not what it is taken
/// for and is refused, as one that unpacks to more than [`MOST_UNPACKED_BYTES`]. Long names, which take memory, are left as
/// they are: no member has one.
///
/// # Errors
/// What is wrong with the archive, and what `each` reports.
pub(crate) fn for_each_member(
    path: &Path,
    each: impl FnMut(&str, &mut Member<'_>) -> Result<ControlFlow<()>>,
) -> Result<()> {
    let unpacked = GzDecoder::new(BufReader::new(fs_err::File::open(path)?)).take(MOST_UNPACKED_BYTES);
    let mut archive = Archive::new(unpacked);
    let mut result = visit(path, &mut archive, each);
    let mut rest = archive.into_inner();
    if matches!(result, Ok(ControlFlow::Continue(()))) {
        result = io::copy(&mut rest, &mut io::sink()).map(|_| ControlFlow::Break(())).map_err(broken(path));
    }
    if rest.limit() == 0 {
        return Err(refused(path, &format!("more than {MOST_UNPACKED_BYTES} bytes")));
    }
    result.map(drop)
}

fn visit(
    path: &Path,
    archive: &mut Archive<Unpacked>,
    mut each: impl FnMut(&str, &mut Member<'_>) -> Result<ControlFlow<()>>,
) -> Result<ControlFlow<()>> {
    for entry in archive.entries().map_err(broken(path))?.raw(true) {
        let mut entry = entry.map_err(broken(path))?;
        let inside = entry.path().map_err(broken(path))?;
        check_entry(path, &inside, entry.header().entry_type())?;
        let name = inside.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if entry.header().entry_type().is_file() && each(&name, &mut entry)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// Refuses what is neither file nor folder nor a note about one, and paths that lead elsewhere.
pub(crate) fn check_entry(archive: &Path, inside: &Path, kind: EntryType) -> Result<()> {
    let leads_out = inside.is_absolute() || inside.components().any(|part| part == Component::ParentDir);
    let what = match kind {
        _ if leads_out => "a path that leads out of its folder,",
        EntryType::Symlink | EntryType::Link => "a link",
        EntryType::Char | EntryType::Block | EntryType::Fifo => "a device",
        _ => return Ok(()),
    };
    Err(refused(archive, &format!("{what} `{}`", inside.display())))
}

/// Refuses an archive for something that it holds and the published one does not.
pub(crate) fn refused(archive: &Path, found: &str) -> IngestError {
    let problem = format!("holds {found}, which the published archive does not; download it again");
    IngestError::layout(archive, problem)
}

/// Says of an archive that it cannot be read to its end.
pub(crate) fn broken(archive: &Path) -> impl Fn(io::Error) -> IngestError + '_ {
    move |source| {
        let problem = format!("is not a complete gzipped tar archive ({source}); download it again");
        IngestError::layout(archive, problem)
    }
}
