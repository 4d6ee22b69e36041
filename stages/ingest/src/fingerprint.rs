//! Cheap keys for sources too large to be read before each run.

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use delt_formats::canonical::Digest;
use delt_harness::progress::Progress;
use serde_json::json;

use crate::error::{IngestError, Result};
use crate::file_list::{FileList, LabeledFile};

/// How many files of a tree are looked into.
pub const SAMPLED_FILES: usize = 64;
/// How much of each of them, and of each sampled block of a Parquet file, is read.
pub const SAMPLED_BYTES: u64 = 64 * 1024;
/// Parquet files of together no more than this are hashed in full, which takes about a second.
pub const HASHED_IN_FULL_BYTES: u64 = 1 << 30;
/// How many blocks of each larger Parquet file are looked into.
pub const SAMPLED_BLOCKS: u64 = 4;
/// A Parquet file ends with the length of its footer (4 bytes, little endian) and `PAR1`.
const PARQUET_END_BYTES: u64 = 8;
/// Bytes hashed between two looks at the user's wish to stop.
const BLOCK: usize = 1024 * 1024;

/// The digest of a whole archive.
///
/// # Errors
/// If it cannot be read.
pub fn of_archive(path: &Path) -> Result<Digest> {
    let bytes = fs_err::metadata(path)?.len();
    of_whole(path, &Progress::new("ingest fingerprint", bytes, "bytes"))
}

/// The keys of Parquet files, one each.
///
/// Up to 1 GiB in all it is the digest of the bytes. More are not read before each run: the key of a file is then its
/// name, size and footer (which holds place, size and statistics of every column chunk) and 4 blocks of 64 KiB evenly
/// spaced in it. What it can miss: an image replaced by another that is compressed to the same size; run with `FORCE=1`
/// after such an edit.
///
/// # Errors
/// If a file cannot be read.
pub fn of_parquet(files: &[&Path]) -> Result<Vec<Digest>> {
    of_parquet_above(HASHED_IN_FULL_BYTES, files)
}

fn of_parquet_above(in_full_bytes: u64, files: &[&Path]) -> Result<Vec<Digest>> {
    let mut total = 0;
    for file in files {
        total += fs_err::metadata(file)?.len();
    }
    let is_in_full = total <= in_full_bytes;
    let (total, unit) = if is_in_full { (total, "bytes") } else { (files.len() as u64, "files") };
    let progress = Progress::new("ingest fingerprint", total, unit);
    let key = |file: &&Path| if is_in_full { of_whole(file, &progress) } else { of_sample(file, &progress) };
    let keys = files.iter().map(key).collect();
    progress.finish();
    keys
}

fn of_whole(path: &Path, progress: &Progress) -> Result<Digest> {
    let mut file = fs_err::File::open(path)?;
    let mut hasher = blake3::Hasher::new();
    let mut block = vec![0; BLOCK];
    loop {
        let read = file.read(&mut block).map_err(IngestError::reading(path))?;
        if read == 0 {
            break;
        }
        hasher.update(&block[..read]);
        progress.advance(read as u64)?;
    }
    Ok(hasher.finalize().to_hex().parse()?)
}

fn of_sample(path: &Path, progress: &Progress) -> Result<Digest> {
    let bytes = fs_err::metadata(path)?.len();
    let end = piece(path, bytes.saturating_sub(PARQUET_END_BYTES), PARQUET_END_BYTES)?;
    let footer = end.first_chunk().map_or(0, |length| u64::from(u32::from_le_bytes(*length)));
    let footer_start = bytes.saturating_sub(PARQUET_END_BYTES + footer);
    let footer = Digest::of_bytes(&piece(path, footer_start, bytes)?);
    let block =
        |index| Ok(Digest::of_bytes(&piece(path, footer_start / SAMPLED_BLOCKS * index, SAMPLED_BYTES)?));
    let blocks = (0..SAMPLED_BLOCKS).map(block).collect::<Result<Vec<_>>>()?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    progress.advance(1)?;
    Ok(Digest::of_json(&json!({ "name": name, "bytes": bytes, "footer": footer, "blocks": blocks })))
}

/// The key of a folder: names and sizes of *all* image files, contents of a *sample*.
///
/// The sample is the first 64 KiB of 64 files evenly spaced in the sorted list (all files where there are fewer). A
/// folder of a million files costs one listing and at most 4 MiB of reading. What it can miss: an image replaced by
/// another of exactly the same size and name outside the sample; run with `FORCE=1` after such an edit. Modification
/// times are not looked at: copies of a folder have one key, and so have files that lie in archives.
///
/// # Errors
/// If a sampled file cannot be read.
pub fn of_tree(files: &FileList) -> Result<Digest> {
    let (mut listing, mut sample) = (blake3::Hasher::new(), Vec::new());
    let samples = files.len().min(SAMPLED_FILES);
    for (index, LabeledFile { file, .. }) in files.iter().enumerate() {
        listing.update(file.relative.as_bytes());
        listing.update(&[0]);
        listing.update(&file.bytes.to_le_bytes());
        if sample.len() < samples && index == sample.len() * files.len() / samples {
            let length = SAMPLED_BYTES.min(file.bytes);
            sample.push(Digest::of_bytes(&piece(&file.path, file.start.unwrap_or(0), length)?));
        }
    }
    Ok(Digest::of_json(&json!({
        "files": files.len(),
        "listing": listing.finalize().to_hex().to_string(),
        "sample": sample,
    })))
}

/// The bytes from `start` on, at most `length`.
fn piece(path: &Path, start: u64, length: u64) -> Result<Vec<u8>> {
    let mut file = fs_err::File::open(path)?;
    let mut piece = Vec::new();
    let sought = file.seek(SeekFrom::Start(start));
    sought.and_then(|_| file.take(length).read_to_end(&mut piece)).map_err(IngestError::reading(path))?;
    Ok(piece)
}

#[cfg(test)]
mod tests {
    use super::*;
    use delt_images::image_files;

    use crate::source::Split;

    fn key(root: &Path) -> Digest {
        let files = image_files::below::<IngestError>(root, root, || Ok(())).expect("lists");
        let labeled = |file| LabeledFile { file, label: 0, split: Split::Train };
        of_tree(&files.into_iter().map(labeled).collect()).expect("reads")
    }

    #[test]
    fn names_sizes_and_sampled_contents_count_and_the_place_does_not() {
        let (one, two) = (tempfile::tempdir().expect("dir"), tempfile::tempdir().expect("dir"));
        for root in [one.path(), two.path()] {
            std::fs::write(root.join("a.png"), b"first").expect("write");
            std::fs::write(root.join("b.png"), b"second").expect("write");
            std::fs::write(root.join("notes.txt"), root.display().to_string()).expect("write");
        }
        let before = key(one.path());
        assert_eq!(before, key(two.path()));
        std::fs::write(two.path().join("b.png"), b"SECOND").expect("write");
        assert_ne!(before, key(two.path()));
        std::fs::rename(one.path().join("b.png"), one.path().join("c.png")).expect("rename");
        assert_ne!(before, key(one.path()));
    }

    /// A file that ends as Parquet does: `body`, a footer of 100 bytes, its length, `PAR1`.
    fn write_table(path: &Path, body: &[u8], footer: u8) {
        let mut bytes = body.to_vec();
        bytes.extend([footer; 100]);
        bytes.extend(100_u32.to_le_bytes());
        bytes.extend(b"PAR1");
        std::fs::write(path, bytes).expect("write");
    }

    #[test]
    fn small_parquet_files_are_hashed_in_full_whatever_their_name() {
        let dir = tempfile::tempdir().expect("dir");
        let (one, two) = (dir.path().join("one.parquet"), dir.path().join("two.parquet"));
        write_table(&one, &[1; 3000], 7);
        write_table(&two, &[1; 3000], 7);
        let whole = Digest::of_file(&one).expect("reads");
        assert_eq!(of_parquet(&[&one, &two]).expect("reads"), [whole.clone(), whole.clone()]);
        assert_eq!(of_archive(&one).expect("reads"), whole);
    }

    #[test]
    fn of_large_parquet_files_name_size_footer_and_four_blocks_count() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("train.parquet");
        let key = |path: &Path| of_parquet_above(0, &[path]).expect("reads").remove(0);
        let body = vec![1; 1_000_000];
        let changed = |at: usize| {
            let mut body = body.clone();
            body[at] = 2;
            write_table(&path, &body, 7);
            key(&path)
        };
        write_table(&path, &body, 7);
        let before = key(&path);
        assert_eq!(key(&path), before);
        for sampled in [0, 65_535, 250_000, 500_000, 750_000, 815_535] {
            assert_ne!(changed(sampled), before, "byte {sampled} is in the sample");
        }
        assert_eq!(changed(65_536), before, "what the README says is missed");
        write_table(&path, &body, 8);
        assert_ne!(key(&path), before, "the footer counts");
        write_table(&path, &body[1..], 7);
        assert_ne!(key(&path), before, "the size counts");
        write_table(&path, &body, 7);
        let renamed = dir.path().join("other.parquet");
        std::fs::rename(&path, &renamed).expect("rename");
        assert_ne!(key(&renamed), before, "the name counts");
    }

    #[test]
    fn only_a_sample_of_a_long_list_is_read() {
        let dir = tempfile::tempdir().expect("dir");
        for index in 0..130 {
            std::fs::write(dir.path().join(format!("{index:03}.png")), b"same size").expect("write");
        }
        let before = key(dir.path());
        std::fs::write(dir.path().join("001.png"), b"SAME SIZE").expect("write");
        assert_eq!(before, key(dir.path()), "file 1 of 130 is outside the sample");
        std::fs::write(dir.path().join("002.png"), b"SAME SIZE").expect("write");
        assert_ne!(before, key(dir.path()), "file 2 of 130 is in the sample");
    }
}
