//! Names such as `train-00000-of-00002.parquet` promise a number of files, which is held to.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::error::{IngestError, Result};

/// Absent files that a message names at most.
const NAMED: usize = 5;

/// What a name promises.
#[derive(Debug, PartialEq, Eq)]
struct Shard {
    /// What stands before the number.
    before: String,
    number: u32,
    digits: usize,
    of: u32,
}

impl Shard {
    fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_string_lossy();
        let (before, after) = name.split_once("-of-")?;
        let is_digit = |c: char| c.is_ascii_digit();
        let rest = before.trim_end_matches(is_digit);
        let of = after[..after.find(|c| !is_digit(c)).unwrap_or(after.len())].parse().ok()?;
        let number = before[rest.len()..].parse().ok()?;
        Some(Self { before: rest.to_owned(), number, digits: before.len() - rest.len(), of })
    }
}

/// How many files the name of one promises, where it is not the only one.
pub(crate) fn promised(path: &Path) -> Option<u32> {
    Shard::of(path).map(|shard| shard.of).filter(|of| *of > 1)
}

/// Refuses files of which their names promise more, or that are there twice. `key` is where a list of files can be given.
pub(crate) fn check(files: &[PathBuf], key: &str) -> Result<()> {
    let mut sets: BTreeMap<(&Path, String), Vec<(Shard, &PathBuf)>> = BTreeMap::new();
    for file in files {
        if let Some(shard) = Shard::of(file) {
            let folder = file.parent().unwrap_or(Path::new(""));
            sets.entry((folder, shard.before.clone())).or_default().push((shard, file));
        }
    }
    for ((folder, before), shards) in sets {
        if let Some(problem) = problem(&before, &shards) {
            let cure = format!("fetch or remove what is wrong, or name the files to read in `{key}`");
            return Err(IngestError::layout(folder, format!("{problem}; {cure}")));
        }
    }
    Ok(())
}

fn problem(before: &str, shards: &[(Shard, &PathBuf)]) -> Option<String> {
    let name = |path: &Path| format!("`{}`", path.file_name().unwrap_or_default().to_string_lossy());
    let (first, first_file) = shards.first()?;
    let mut numbers: BTreeMap<u32, &PathBuf> = BTreeMap::new();
    for (shard, file) in shards {
        if shard.of != first.of {
            return Some(format!("holds files of two sets: {} and {}", name(first_file), name(file)));
        }
        if let Some(same) = numbers.insert(shard.number, file) {
            return Some(format!("holds number {} twice: {} and {}", shard.number, name(same), name(file)));
        }
    }
    // most count from 0
    let start = u32::from(numbers.contains_key(&first.of));
    let all = start..start.saturating_add(first.of);
    let absent: Vec<u32> = all.filter(|number| !numbers.contains_key(number)).take(NAMED + 1).collect();
    if absent.is_empty() {
        return None;
    }
    let digits = first.digits;
    let names =
        absent.iter().take(NAMED).map(|number| format!("{before}{number:0digits$}-of-{:0digits$}", first.of));
    let more = if absent.len() > NAMED { ", …" } else { "" };
    Some(format!(
        "holds {} of the {} files that the name {} promises, without {}{more}",
        numbers.len(),
        first.of,
        name(first_file),
        names.collect::<Vec<_>>().join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(names: &[&str]) -> Option<String> {
        let files: Vec<PathBuf> = names.iter().map(|name| Path::new("data").join(name)).collect();
        check(&files, "ingest.source.train").err().map(|error| error.to_string())
    }

    const CURE: &str = "fetch or remove what is wrong, or name the files to read in `ingest.source.train`";

    #[test]
    fn a_whole_set_is_read_whether_it_counts_from_0_or_1_and_whatever_stands_behind() {
        assert_eq!(refusal(&["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"]), None);
        assert_eq!(refusal(&["train-00001-of-00002.parquet", "train-00002-of-00002.parquet"]), None);
        assert_eq!(refusal(&["train-00000-of-00001-b42de64d9d0fd9ba.parquet", "train.parquet"]), None);
        assert_eq!(refusal(&["a-0-of-1.parquet", "b-0-of-1.parquet"]), None, "each set for itself");
    }

    #[test]
    fn absent_doubled_and_mixed_files_are_named() {
        assert_eq!(
            refusal(&["train-00000-of-00002.parquet"]).expect("one is absent"),
            format!(
                "data: holds 1 of the 2 files that the name `train-00000-of-00002.parquet` promises, without \
                 train-00001-of-00002; {CURE}"
            )
        );
        assert_eq!(
            refusal(&["t-0-of-1-a.parquet", "t-0-of-1-b.parquet"]).expect("one is there twice"),
            format!("data: holds number 0 twice: `t-0-of-1-a.parquet` and `t-0-of-1-b.parquet`; {CURE}")
        );
        assert_eq!(
            refusal(&["t-0-of-1.parquet", "t-1-of-2.parquet"]).expect("two sets"),
            format!("data: holds files of two sets: `t-0-of-1.parquet` and `t-1-of-2.parquet`; {CURE}")
        );
        let said = refusal(&["t-0-of-4000000000.parquet"]).expect("nearly all are absent");
        assert!(said.contains("without t-1-of-4000000000,"), "{said}");
    }
}
