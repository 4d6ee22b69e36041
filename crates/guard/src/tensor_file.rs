//! Tensors of others that are no network: images and labels as `torch.save` wrote them, in a dictionary, a list, a tuple or alone.
//!
//! The reader of PyTorch's files takes dictionaries only. Another object is therefore made the value of a dictionary's one key: in
//! a copy of the file four bytes and a word are put around its pickle.

use std::fs::File;
use std::io::{BufReader, Cursor, Read, Write};
use std::path::Path;

use delt_formats::tensors::NamedTensor;
use pytorch_reader::{PickleValue, PytorchError, PytorchReader};
use tempfile::NamedTempFile;
use zip::result::ZipResult;
use zip::write::SimpleFileOptions;
use zip::{ZipArchive, ZipWriter};

use crate::claims::{archive, check_claims};
use crate::foreign::guarded;
use crate::pickle::Pickle;
use crate::pickle_scan;
use crate::weights::{WeightsError, read_weights};

/// Key of the object in the copy.
const ROOT: &str = "root";
/// What the reader says of an object that is no dictionary.
const NO_DICTIONARY: &str = "Expected a dictionary at the root";
/// Pickles before the object in a file from before PyTorch 1.6: magic number, protocol, system.
const BEFORE_OBJECT: u32 = 3;

/// Reads all tensors of a file, sorted by name: the keys and places on the way to them with dots between, `0` and `1` of a list;
/// a tensor alone has none.
///
/// # Errors
///
/// As [`read_weights`].
pub fn read_tensors(path: &Path) -> Result<Vec<NamedTensor>, WeightsError> {
    let no_dictionary = match read_weights(path) {
        Err(WeightsError::PyTorch { source: PytorchError::InvalidFormat(said), .. })
            if said.starts_with(NO_DICTIONARY) =>
        {
            PytorchError::InvalidFormat(said)
        }
        other => return other,
    };
    check_claims(path)?;
    let copy = in_a_dictionary(path).map_err(|source| WeightsError::Zip { path: path.to_owned(), source })?;
    let Some(copy) = copy else {
        return Err(WeightsError::PyTorch { path: path.to_owned(), source: no_dictionary });
    };
    let mut tensors = read_weights(copy.path()).map_err(|error| error.of_file(path))?;
    for tensor in &mut tensors {
        let name = tensor.name.strip_prefix(ROOT).map(|rest| rest.trim_start_matches('.').to_owned());
        tensor.name = name.unwrap_or_default();
    }
    Ok(tensors)
}

/// The texts that a file of PyTorch lists under a key of its dictionary; none where it has no such list.
pub fn read_texts(path: &Path, key: &str) -> Option<Vec<String>> {
    check_claims(path).ok()?;
    let value = guarded(|| PytorchReader::read_pickle_data(path, Some(key))).ok()?.ok()?;
    let PickleValue::List(items) = value else { return None };
    items
        .into_iter()
        .map(|item| if let PickleValue::String(text) = item { Some(text) } else { None })
        .collect()
}

/// What the dictionaries of a file of PyTorch name, in their order, by all keys with dots between as [`read_weights`] has them;
/// none of a file that is no such, or whose pickle is another than `torch.save` writes.
pub fn read_names(path: &Path) -> Option<Vec<String>> {
    check_claims(path).ok()?;
    let bytes = std::fs::read(path).ok()?;
    if !bytes.starts_with(b"PK") {
        return Pickle::read(&bytes[pickle_scan::end_of(&bytes, BEFORE_OBJECT)?..]).ok()?.names();
    }
    let mut archive = archive(Cursor::new(bytes)).ok()?;
    let entries = archive.len();
    let mut is_pickle =
        |index: usize| archive.by_index_raw(index).is_ok_and(|entry| entry.name_raw().ends_with(b"data.pkl"));
    let index = (0..entries).find(|index| is_pickle(*index))?;
    let mut pickle = Vec::new();
    archive.by_index(index).ok()?.read_to_end(&mut pickle).ok()?;
    Pickle::read(&pickle).ok()?.names()
}

/// A copy of the file whose object is the value of a dictionary; none where there is no pickle to put it around.
fn in_a_dictionary(path: &Path) -> ZipResult<Option<NamedTempFile>> {
    let mut copy = NamedTempFile::new()?;
    let mut head = [0; 2];
    File::open(path)?.read_exact(&mut head)?;
    if head != *b"PK" {
        let mut bytes = std::fs::read(path)?;
        let is_legacy = pickle_scan::end_of(&bytes, BEFORE_OBJECT).and_then(|start| {
            let end = pickle_scan::end_of(&bytes, BEFORE_OBJECT + 1)?;
            let wrapped = wrapped(&bytes[start..end])?;
            bytes.splice(start..end, wrapped);
            Some(())
        });
        copy.write_all(&bytes)?;
        return Ok(is_legacy.map(|()| copy));
    }
    let mut archive = archive(BufReader::new(File::open(path)?))?;
    let mut writer = ZipWriter::new(copy.as_file_mut());
    let mut is_wrapped = false;
    for index in 0..archive.len() {
        if !archive.by_index_raw(index)?.name_raw().ends_with(b"data.pkl") {
            writer.raw_copy_file(archive.by_index_raw(index)?)?;
            continue;
        }
        let (mut entry, mut pickle) = (archive.by_index(index)?, Vec::new());
        entry.read_to_end(&mut pickle)?;
        let Some(pickle) = wrapped(&pickle) else { return Ok(None) };
        let stored = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
        writer.start_file(entry.name()?, stored)?;
        writer.write_all(&pickle)?;
        is_wrapped = true;
    }
    writer.finish()?;
    Ok(is_wrapped.then_some(copy))
}

/// A copy of an archive whose beginning the reader does not find, see [`archive`]; none of other files.
pub(crate) fn with_beginning(path: &Path) -> ZipResult<Option<NamedTempFile>> {
    let Ok(mut entries) = archive(BufReader::new(File::open(path)?)) else { return Ok(None) };
    if ZipArchive::new(BufReader::new(File::open(path)?)).is_ok() {
        return Ok(None);
    }
    let mut copy = NamedTempFile::new()?;
    let mut writer = ZipWriter::new(copy.as_file_mut());
    for index in 0..entries.len() {
        writer.raw_copy_file(entries.by_index_raw(index)?)?;
    }
    writer.finish()?;
    Ok(Some(copy))
}

/// A pickle whose object is the value of a dictionary's one key: after the protocol an empty dictionary and the key, before the
/// end the operation that sets it.
fn wrapped(pickle: &[u8]) -> Option<Vec<u8>> {
    let (head, body) = pickle.split_at_checked(2)?;
    let body = body.strip_suffix(b".").filter(|_| head[0] == 0x80)?;
    let key = [b"}X".as_slice(), &(ROOT.len() as u32).to_le_bytes(), ROOT.as_bytes()].concat();
    Some([head, &key, body, b"s."].concat())
}
