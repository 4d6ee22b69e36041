//! Which shards a section names, and of which split: patterns with braces, or a folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use delt_pipeline::config::ingest::Webdataset;

use crate::error::{IngestError, Result};
use crate::shards as promises;
use crate::source::{Split, expect_exists};
use crate::split_names::{PartName, part_within};

/// Folders below that of the section that are looked into.
const DEPTH: usize = 3;

/// The shards of both splits, and those of others.
pub(super) struct Found {
    pub(super) splits: [Vec<PathBuf>; 2],
    pub(super) passed_over: Vec<PathBuf>,
}

/// The shards of both splits, in the order of their names or of the patterns.
///
/// # Errors
/// A shard that a pattern or a row of numbers promises and that is not there; none at all.
pub(super) fn find(section: &Webdataset) -> Result<Found> {
    let root = section.path.as_path();
    let expand = |patterns: &Option<Vec<PathBuf>>| -> Result<Vec<PathBuf>> {
        let each = patterns.iter().flatten().map(|pattern| named(&root.join(pattern)));
        Ok(each.collect::<Result<Vec<_>>>()?.concat())
    };
    if section.train.is_some() || section.test.is_some() {
        return Ok(Found {
            splits: [expand(&section.train)?, expand(&section.test)?],
            passed_over: Vec::new(),
        });
    }
    if !root.is_dir() {
        return Ok(Found { splits: [named(root)?, Vec::new()], passed_over: Vec::new() });
    }
    let mut shards = Vec::new();
    list(root, DEPTH, &mut shards)?;
    shards.sort();
    if shards.is_empty() {
        return Err(IngestError::layout(
            root,
            "holds no .tar, expected shards; correct `ingest.source.path` or give DATA=path",
        ));
    }
    promises::check(&shards, "ingest.source.train` and `test")?;
    refuse_gaps(root, &shards)?;
    let part = |shard: &Path| {
        shard.strip_prefix(root).unwrap_or(shard).iter().find_map(|name| part_within(&name.to_string_lossy()))
    };
    let parts: Vec<Option<(Split, PartName)>> = shards.iter().map(|shard| part(shard)).collect();
    // of several test splits the first of the table
    let test =
        parts.iter().flatten().filter(|(split, _)| *split == Split::Test).map(|(_, part)| part.rank()).min();
    let has_train = parts.iter().flatten().any(|(split, _)| *split == Split::Train);
    let (mut splits, mut passed_over) = ([Vec::new(), Vec::new()], Vec::new());
    for (shard, part) in shards.into_iter().zip(parts) {
        match part {
            Some((Split::Test, part)) if Some(part.rank()) == test => splits[1].push(shard),
            Some((Split::Train, _)) => splits[0].push(shard),
            None if !has_train => splits[0].push(shard),
            _ => passed_over.push(shard),
        }
    }
    Ok(Found { splits, passed_over })
}

fn list(folder: &Path, depth: usize, shards: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs_err::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        if name.starts_with('.') {
            continue;
        }
        if path.is_dir() && depth > 0 {
            list(&path, depth - 1, shards)?;
        } else if [".tar", ".tar.gz", ".tgz"].iter().any(|ending| name.ends_with(ending)) && path.is_file() {
            shards.push(path);
        }
    }
    Ok(())
}

/// The shards that a pattern names, each of which must be there.
fn named(pattern: &Path) -> Result<Vec<PathBuf>> {
    let Some(text) = pattern.to_str() else {
        return Err(IngestError::layout(pattern, "the name is not UTF-8; rename the file or folder"));
    };
    let names = expanded(text);
    let count = names.len();
    let shards: Vec<PathBuf> = names.into_iter().map(PathBuf::from).collect();
    if let [only] = &shards[..] {
        expect_exists(only, "a shard (.tar), a folder of shards or a pattern as shard-{0000..0099}.tar")?;
    }
    if let Some(absent) = shards.iter().find(|shard| !shard.is_file()) {
        let problem = format!(
            "is not there, one of the {count} shards that `{text}` names; fetch it or correct the pattern"
        );
        return Err(IngestError::layout(absent, problem));
    }
    Ok(shards)
}

/// What braces stand for: `{000..012}` counts, with as many digits, and `{a,b}` lists.
fn expanded(pattern: &str) -> Vec<String> {
    let Some((before, inner, after)) = pattern.split_once('{').and_then(|(before, rest)| {
        let (inner, after) = rest.split_once('}')?;
        Some((before, inner, after))
    }) else {
        return vec![pattern.to_owned()];
    };
    let range = inner.split_once("..").and_then(|(first, last)| {
        let width = if first.starts_with('0') { first.len() } else { 0 };
        let numbers = first.parse::<u32>().ok()?..=last.parse::<u32>().ok()?;
        Some(numbers.map(|number| format!("{number:0width$}")).collect::<Vec<_>>())
    });
    let choices = range.unwrap_or_else(|| inner.split(',').map(str::to_owned).collect());
    let rest = expanded(after);
    choices.iter().flat_map(|choice| rest.iter().map(move |rest| format!("{before}{choice}{rest}"))).collect()
}

/// Refuses a folder in which a number between the first and the last shard is missing.
fn refuse_gaps(root: &Path, shards: &[PathBuf]) -> Result<()> {
    let mut rows: BTreeMap<(String, String), BTreeMap<u64, usize>> = BTreeMap::new();
    for shard in shards {
        let name = shard.strip_prefix(root).unwrap_or(shard).to_string_lossy().into_owned();
        let end = name.rfind(".tar").or(name.rfind(".tgz")).unwrap_or(name.len());
        let before = name[..end].trim_end_matches(|c: char| c.is_ascii_digit());
        if let (Ok(number), false) = (name[before.len()..end].parse(), before.ends_with("-of-")) {
            let row = rows.entry((before.to_owned(), name[end..].to_owned())).or_default();
            row.insert(number, end - before.len());
        }
    }
    for ((before, after), numbers) in rows {
        let next = numbers.keys().map(|number| number + 1).find(|next| !numbers.contains_key(next));
        let is_last = numbers.keys().last().map(|last| last + 1) == next;
        if let (Some(absent), false, Some(width)) = (next, is_last, numbers.values().next()) {
            let problem = format!(
                "holds {} shards `{before}..{after}`, but {before}{absent:0width$}{after} is missing; fetch it, or name those to read \
                 in `ingest.source.train` and `test`",
                numbers.len()
            );
            return Err(IngestError::layout(root, problem));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_count_and_list() {
        assert_eq!(expanded("a-{08..11}.tar"), ["a-08.tar", "a-09.tar", "a-10.tar", "a-11.tar"]);
        assert_eq!(expanded("{a,b}-{0..1}"), ["a-0", "a-1", "b-0", "b-1"]);
        assert_eq!(expanded("plain.tar"), ["plain.tar"]);
    }
}
