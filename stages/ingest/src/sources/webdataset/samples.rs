//! The samples of a shard: members of one name with several endings, an image and its label.

use std::io::{self, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::ops::ControlFlow;
use std::path::Path;

use delt_harness::interrupt;
use flate2::read::MultiGzDecoder;
use serde_json::Value;
use tar::{Archive, Entries};

use crate::error::{IngestError, Result};

/// Endings of images.
const IMAGES: [&str; 8] = ["jpg", "jpeg", "png", "webp", "bmp", "gif", "img", "image"];
/// Endings of labels: the first that a sample has counts.
const LABELS: [&str; 3] = ["cls", "json", "txt"];
/// Keys of JSON that hold a label, where the section names none.
const KEYS: [&str; 4] = ["label", "cls", "class", "class_id"];
/// Bytes of a member that is read, at most.
const MOST_BYTES: u64 = 256 * 1024 * 1024;

/// Bytes of a block of a tar.
const BLOCK: usize = 512;

/// A sample.
#[derive(Debug, Default)]
pub(super) struct Sample {
    /// The members' common name.
    pub(super) key: String,
    /// Name of the image, and its bytes where they are asked for.
    pub(super) image: Option<(String, Vec<u8>)>,
    /// The text of its label.
    pub(super) label: Option<String>,
    /// The ending that the label came from, by its place.
    rank: usize,
}

/// What is read of the samples.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// Whether the images themselves are.
    pub(super) images: bool,
    /// The key of a JSON's label.
    pub(super) label_key: Option<&'a str>,
}

/// Hands over the samples of a shard in order until the visitor breaks. Of a plain tar what is not wanted is stepped over.
///
/// # Errors
/// No tar, a second image in a sample, what the visitor reports.
pub(super) fn for_each(
    shard: &Path,
    wanted: Wanted<'_>,
    each: &mut dyn FnMut(Sample) -> Result<ControlFlow<()>>,
) -> Result<ControlFlow<()>> {
    let mut file = fs_err::File::open(shard)?;
    let is_gzipped = shard
        .extension()
        .is_some_and(|ending| ending.eq_ignore_ascii_case("gz") || ending.eq_ignore_ascii_case("tgz"));
    if is_gzipped {
        let mut archive = Archive::new(MultiGzDecoder::new(BufReader::new(file)));
        return visit(shard, archive.entries().map_err(broken(shard))?, wanted, each);
    }
    check_end(&mut file).map_err(broken(shard))?;
    let mut archive = Archive::new(file);
    visit(shard, archive.entries_with_seek().map_err(broken(shard))?, wanted, each)
}

/// Refuses a tar that does not end in a block of zeros: whoever reads one that was cut off between two members sees nothing amiss.
fn check_end(file: &mut fs_err::File) -> io::Result<()> {
    let mut last = [1; BLOCK];
    if file.metadata()?.len() >= BLOCK as u64 {
        file.seek(SeekFrom::End(-(BLOCK as i64)))?;
        file.read_exact(&mut last)?;
    }
    file.rewind()?;
    if last == [0; BLOCK] { Ok(()) } else { Err(io::Error::new(ErrorKind::UnexpectedEof, "it has no end")) }
}

fn visit<R: Read>(
    shard: &Path,
    entries: Entries<'_, R>,
    wanted: Wanted<'_>,
    each: &mut dyn FnMut(Sample) -> Result<ControlFlow<()>>,
) -> Result<ControlFlow<()>> {
    let mut sample = Sample::default();
    for entry in entries {
        interrupt::check()?;
        let mut entry = entry.map_err(broken(shard))?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).trim_start_matches("./").to_owned();
        let base = name.rfind('/').map_or(0, |slash| slash + 1);
        if !entry.header().entry_type().is_file() || name[base..].starts_with('.') {
            continue;
        }
        // the key ends at the first dot of the file's name
        let Some(dot) = name[base..].find('.').map(|dot| base + dot) else { continue };
        if name[..dot] != sample.key {
            let whole =
                std::mem::replace(&mut sample, Sample { key: name[..dot].to_owned(), ..Sample::default() });
            if !whole.key.is_empty() && each(whole)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        let ending = name[dot + 1..].to_lowercase();
        if IMAGES.contains(&ending.as_str()) {
            let bytes = if wanted.images { read(shard, &name, &mut entry)? } else { Vec::new() };
            if let Some((first, _)) = sample.image.replace((name.clone(), bytes)) {
                let problem =
                    format!("sample `{}` has two images, {first} and {name}; leave one of them", sample.key);
                return Err(IngestError::layout(shard, problem));
            }
        } else if let Some(rank) = LABELS.iter().position(|label| *label == ending)
            && (sample.label.is_none() || rank < sample.rank)
        {
            let text = read(shard, &name, &mut entry)?;
            sample.label = label_of(&text, &ending, wanted.label_key);
            sample.rank = rank;
        }
    }
    if sample.key.is_empty() { Ok(ControlFlow::Continue(())) } else { each(sample) }
}

fn read(shard: &Path, name: &str, entry: &mut impl Read) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    entry.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(broken(shard))?;
    if bytes.len() as u64 > MOST_BYTES {
        let problem = format!("{name} has more than {MOST_BYTES} bytes; leave it out");
        return Err(IngestError::layout(shard, problem));
    }
    Ok(bytes)
}

/// The text of a label: of JSON a number or text, alone or under a key.
fn label_of(text: &[u8], ending: &str, key: Option<&str>) -> Option<String> {
    if ending != "json" {
        return std::str::from_utf8(text)
            .ok()
            .map(|text| text.trim().to_owned())
            .filter(|text| !text.is_empty());
    }
    let json: Value = serde_json::from_slice(text).ok()?;
    let found = match key {
        Some(key) => json.get(key)?,
        None if json.is_object() => KEYS.iter().find_map(|key| json.get(key))?,
        None => &json,
    };
    match found {
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) => Some(text.clone()),
        _ => None,
    }
}

fn broken(shard: &Path) -> impl Fn(io::Error) -> IngestError + '_ {
    move |source| {
        IngestError::layout(
            shard,
            format!("is not a complete tar archive ({source}); download or copy it again"),
        )
    }
}
