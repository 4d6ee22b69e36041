//! What a checkpoint of PyTorch claims, compared with its size: a hostile file of a few kilobytes can claim anything.

use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use delt_formats::error::FormatError;
use pytorch_reader::Tensor;
use zip::ZipArchive;
use zip::read::{ArchiveOffset, Config};
use zip::result::ZipResult;

use crate::pickle_scan;
use crate::weights::WeightsError;

/// How often a file's bytes may be used by its tensors, or by the entries of its zip archive: tied weights share theirs.
const MOST_USES: u64 = 4;
/// The largest networks' tensors have five dimensions.
const MOST_DIMENSIONS: usize = 16;
/// Where a tar archive says that it is one, as the checkpoints of PyTorch before 0.1.10 (2017) were.
const TAR_MARK: (usize, &[u8]) = (257, b"ustar");

/// Where the names of an archive stand: so far from its end, a few thousand files fit.
const NAMES_BYTES: u64 = 1 << 18;
/// Archives of PyTorch that are programs: a name that only they have, what they are, and how to come to the weights.
const PROGRAMS: [(&str, &str, &str); 2] = [
    (
        "/code/__torch__",
        "a TorchScript program (torch.jit.save)",
        "torch.save(torch.jit.load(file).state_dict(), …)",
    ),
    (
        "/archive_format",
        "an exported program (torch.export.save)",
        "torch.save(torch.export.load(file).state_dict, …)",
    ),
];

/// Looks through the zip archive or the pickles of a file for what would take more memory than its size allows; gives its
/// size.
pub(crate) fn check_claims(path: &Path) -> Result<u64, WeightsError> {
    let mut file = fs_err::File::open(path).map_err(FormatError::from)?;
    let bytes = file.metadata().map_err(FormatError::from)?.len();
    let mut head = Vec::new();
    let (mark_at, mark) = TAR_MARK;
    file.by_ref().take((mark_at + mark.len()) as u64).read_to_end(&mut head).map_err(FormatError::from)?;
    let claims = |claim| WeightsError::Claims { path: path.to_owned(), claim, bytes };
    let asks_much = |asked: String| claims(format!("its pickle would allocate too much ({asked})"));
    if !head.starts_with(b"PK") {
        if head.get(mark_at..) == Some(mark) {
            return Err(WeightsError::Tar { path: path.to_owned() });
        }
        let file = fs_err::File::open(path).map_err(FormatError::from)?;
        let asked = pickle_scan::too_much(&mut BufReader::new(file)).map_err(FormatError::from)?;
        return asked.map_or(Ok(bytes), |asked| Err(asks_much(asked)));
    }
    let unreadable = |source| WeightsError::Zip { path: path.to_owned(), source };
    refuse_program(path)?;
    let mut archive = archive(BufReader::new(file)).map_err(unreadable)?;
    let (mut unpacked, mut pickles) = (0_u64, Vec::new());
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).map_err(unreadable)?;
        unpacked = unpacked.saturating_add(entry.size());
        if entry.name_raw().ends_with(b"data.pkl") {
            pickles.push(index);
        }
    }
    if unpacked > bytes.saturating_mul(MOST_USES) {
        return Err(claims(format!(
            "its zip archive unpacks to {unpacked} bytes, expected at most {MOST_USES} times what there is"
        )));
    }
    for index in pickles {
        let entry = archive.by_index(index).map_err(unreadable)?;
        let mut pickle = BufReader::new(entry);
        let asked = pickle_scan::too_much(&mut pickle).map_err(|error| unreadable(error.into()))?;
        if let Some(asked) = asked {
            return Err(asks_much(asked));
        }
    }
    Ok(bytes)
}

/// A zip archive that begins where its file does. (Left to find the beginning, zip 9.8 takes the record of 76 bytes that PyTorch puts
/// behind the list of entries for the list's first entry where that is as long: with a folder's name of 21 bytes.)
pub(crate) fn archive<R: Read + Seek>(reader: R) -> ZipResult<ZipArchive<R>> {
    let config = Config { archive_offset: ArchiveOffset::Known(0) };
    ZipArchive::with_config(config, reader)
}

/// Refuses archives of programs. They are told by the names at the archive's end, which the reader of archives may refuse itself.
fn refuse_program(path: &Path) -> Result<(), WeightsError> {
    let mut file = fs_err::File::open(path).map_err(FormatError::from)?;
    let end = file.metadata().map_err(FormatError::from)?.len();
    let mut names = Vec::new();
    file.seek(SeekFrom::Start(end.saturating_sub(NAMES_BYTES))).map_err(FormatError::from)?;
    file.read_to_end(&mut names).map_err(FormatError::from)?;
    let has = |name: &str| names.windows(name.len()).any(|bytes| bytes == name.as_bytes());
    for (name, program, load) in PROGRAMS {
        if has(name) {
            return Err(WeightsError::Program { path: path.to_owned(), program, load });
        }
    }
    Ok(())
}

/// Refuses tensors that are together larger than the file allows: one number, repeated, can be a tensor of any size.
pub(crate) fn check_tensors<'a>(
    path: &Path,
    bytes: u64,
    tensors: impl Iterator<Item = &'a Tensor>,
) -> Result<(), WeightsError> {
    let claims = |claim| WeightsError::Claims { path: path.to_owned(), claim, bytes };
    let mut used = 0_u64;
    for tensor in tensors {
        if tensor.shape().len() > MOST_DIMENSIONS {
            let claim = format!("tensor `{}` has {} dimensions", tensor.name, tensor.shape().len());
            return Err(claims(format!("{claim}, expected at most {MOST_DIMENSIONS},")));
        }
        used = used.saturating_add(tensor.byte_len() as u64);
    }
    if used > bytes.saturating_mul(MOST_USES) {
        return Err(claims(format!(
            "its tensors take {used} bytes, expected at most {MOST_USES} times what there is"
        )));
    }
    Ok(())
}
