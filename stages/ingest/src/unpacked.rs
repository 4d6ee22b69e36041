//! Published archives of image files, unpacked once into the folder of downloads: readers want files in their own order.

use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use delt_harness::interrupt;
use delt_harness::progress::Progress;
use flate2::read::GzDecoder;
use zip::ZipArchive;

use crate::download::Downloads;
use crate::error::{IngestError, Result};
use crate::fingerprint;
use crate::source::expect_exists;
use crate::tar_archive::{broken, check_entry, refused};

/// Bytes that an archive may unpack to, ten times what the largest published one does.
const MOST_BYTES: u64 = 16 << 30;
/// How a zip begins, and a gzip.
const ZIP: &[u8] = b"PK";
const GZIP: &[u8] = b"\x1f\x8b";

/// The folder of a data set that is published in one archive: downloaded and unpacked where no path is given; else what lies there,
/// the archive, the folder that it unpacks to, or one that holds either.
///
/// # Errors
/// Nothing at the path; as [`folder_of`].
pub(crate) fn published(
    source: &str,
    archive: &str,
    path: Option<&Path>,
    downloads: &Downloads,
) -> Result<PathBuf> {
    let given = match path {
        Some(path) => path.to_path_buf(),
        None => downloads.file(source, archive)?,
    };
    let name = archive.split('.').next().unwrap_or(archive);
    expect_exists(
        &given,
        format!("{archive}, the folder {name} that it unpacks to, or the one they lie in"),
    )?;
    let inside = [given.join(name), given.join(archive)];
    let found = inside.into_iter().find(|path| path.exists()).unwrap_or(given);
    if found.is_file() { folder_of(&found, downloads) } else { Ok(found) }
}

/// The folder that an archive unpacks to, below the downloads and named by the archive's digest: unpacked now, or before.
///
/// # Errors
/// [`IngestError::NotUnpacked`] where nothing may be written; an archive that is damaged, of another kind, or that holds links or paths
/// out of its folder.
fn folder_of(archive: &Path, downloads: &Downloads) -> Result<PathBuf> {
    let digest = fingerprint::of_archive(archive)?;
    let folder = downloads.folder.join("unpacked").join(digest.prefix(16));
    if !folder.is_dir() {
        if !downloads.is_allowed {
            return Err(IngestError::NotUnpacked(archive.to_path_buf()));
        }
        // another process that unpacks the same fills a folder of its own, and the first that is done stays
        let part = folder.with_extension(format!("{}.part", std::process::id()));
        eprintln!("ingest: unpacking {} into {}", archive.display(), folder.display());
        let unpacked = unpack(archive, &part);
        if unpacked.is_err() || folder.is_dir() {
            fs_err::remove_dir_all(&part).map_err(IngestError::writing(&part))?;
        }
        unpacked?;
        if !folder.is_dir() {
            fs_err::rename(&part, &folder).map_err(IngestError::writing(&part))?;
        }
    }
    let inside = fs_err::read_dir(&folder)?.collect::<io::Result<Vec<_>>>()?;
    Ok(match &inside[..] {
        [only] if only.path().is_dir() => only.path(),
        _ => folder,
    })
}

fn unpack(archive: &Path, folder: &Path) -> Result<()> {
    fs_err::create_dir_all(folder).map_err(IngestError::writing(folder))?;
    let mut file = fs_err::File::open(archive)?;
    let mut first = [0; 2];
    file.read_exact(&mut first).map_err(broken(archive))?;
    drop(file);
    let progress = Progress::new("ingest unpack", 0, "files");
    let mut left = MOST_BYTES;
    let mut put = |inside: &Path, input: &mut dyn Read| -> Result<()> {
        let path = folder.join(inside);
        let parent = path.parent().unwrap_or(folder);
        fs_err::create_dir_all(parent).map_err(IngestError::writing(parent))?;
        let mut output = fs_err::File::create(&path).map_err(IngestError::writing(&path))?;
        left -= io::copy(&mut input.take(left), &mut output).map_err(broken(archive))?;
        if left == 0 {
            return Err(refused(archive, &format!("more than {MOST_BYTES} bytes")));
        }
        interrupt::check()?;
        Ok(progress.advance(1)?)
    };
    match first {
        first if first == ZIP => unzip(archive, &mut put),
        first if first == GZIP => untar(archive, &mut put),
        _ => Err(IngestError::layout(archive, "is neither a .zip nor a .tar.gz; download it again")),
    }
}

type Put<'a> = dyn FnMut(&Path, &mut dyn Read) -> Result<()> + 'a;

fn untar(archive: &Path, put: &mut Put<'_>) -> Result<()> {
    let mut unpacked = GzDecoder::new(BufReader::new(fs_err::File::open(archive)?));
    let mut tar = tar::Archive::new(&mut unpacked);
    for entry in tar.entries().map_err(broken(archive))? {
        let mut entry = entry.map_err(broken(archive))?;
        let inside = entry.path().map_err(broken(archive))?.into_owned();
        check_entry(archive, &inside, entry.header().entry_type())?;
        if entry.header().entry_type().is_file() {
            put(&inside, &mut entry)?;
        }
    }
    // to the checksum at the end of the gzip
    io::copy(&mut unpacked, &mut io::sink()).map_err(broken(archive))?;
    Ok(())
}

fn unzip(archive: &Path, put: &mut Put<'_>) -> Result<()> {
    let damaged = |error: zip::result::ZipError| {
        IngestError::layout(archive, format!("is not a complete zip archive ({error}); download it again"))
    };
    let mut zip = ZipArchive::new(BufReader::new(fs_err::File::open(archive)?)).map_err(damaged)?;
    for index in 0..zip.len() {
        let mut entry = zip.by_index(index).map_err(damaged)?;
        let inside = entry.enclosed_name().filter(|_| !entry.is_symlink());
        let inside =
            inside.ok_or_else(|| refused(archive, "a link or a path that leads out of its folder"))?;
        if entry.is_file() {
            put(&inside, &mut entry)?;
        }
    }
    Ok(())
}
