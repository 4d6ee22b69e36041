//! Which Parquet files of a Hugging Face repository belong to which split.

use std::path::{Path, PathBuf};

use crate::error::{IngestError, Result};
use crate::source::expect_exists;

/// How file names of the training split begin.
pub const TRAIN: [&str; 1] = ["train"];
/// How file names of the test split begin; the first beginning that any file has counts.
pub const TEST: [&str; 3] = ["test", "validation", "valid"];
/// Folder inside a clone of a Hugging Face repository where the files often lie.
const DATA: &str = "data";
const ENDING: &str = ".parquet";

/// The files at `path` in order: those of training images, never none, and those of test images, none where the repository
/// has none. A single file is the training split; in a folder (or its `data/`) names tell, and files that no name tells
/// apart are all training files, as for Hugging Face's own loader. File lists that are given count before either, relative
/// to the folder.
///
/// # Errors
/// Nothing at the path, a file that is not Parquet, a folder without training files.
pub fn find(path: &Path, train: Option<&[PathBuf]>, test: Option<&[PathBuf]>) -> Result<[Vec<PathBuf>; 2]> {
    expect_exists(path, "a folder with train-*.parquet and test-*.parquet, or a .parquet file")?;
    let is_folder = path.is_dir();
    if !is_folder && !is_parquet(path) {
        let problem = "is not a .parquet file, expected one, or a folder with train-*.parquet and test-*.parquet; correct \
                       `ingest.source.path` or give DATA=path";
        return Err(IngestError::layout(path, problem));
    }
    let folder = if is_folder { path } else { path.parent().unwrap_or(Path::new("")) };
    let files = |given: Option<&[PathBuf]>, beginnings: &[&str]| match given {
        Some(files) if !files.is_empty() => Ok(files.iter().map(|file| folder.join(file)).collect()),
        _ if is_folder => named(folder, beginnings),
        _ => Ok(Vec::new()),
    };
    let (mut train, test) = (files(train, &TRAIN)?, files(test, &TEST)?);
    if train.is_empty() && !is_folder {
        train.push(path.to_path_buf());
    } else if train.is_empty() && test.is_empty() {
        train = named(path, &[""])?;
    }
    if train.is_empty() {
        let problem = format!("holds no {}; name the files in `ingest.source.train`", patterns(&TRAIN));
        return Err(IngestError::layout(path, problem));
    }
    Ok([train, test])
}

/// The Parquet files of a folder, or else of its `data/`, whose names begin with the first of `beginnings` that any has,
/// sorted. An empty beginning is that of every file.
///
/// # Errors
/// A folder that cannot be listed.
pub fn named(folder: &Path, beginnings: &[&str]) -> Result<Vec<PathBuf>> {
    for place in [folder.to_path_buf(), folder.join(DATA)] {
        let files = if place.is_dir() { parquet_in(&place)? } else { Vec::new() };
        for beginning in beginnings {
            let is_named = |path: &&PathBuf| {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                let rest = name.strip_suffix(ENDING).and_then(|stem| stem.strip_prefix(beginning));
                rest.is_some_and(|rest| {
                    beginning.is_empty() || rest.is_empty() || rest.starts_with(['-', '_', '.'])
                })
            };
            let found: Vec<PathBuf> = files.iter().filter(is_named).cloned().collect();
            if !found.is_empty() {
                return Ok(found);
            }
        }
    }
    Ok(Vec::new())
}

/// The names that are looked for, for messages.
pub fn patterns(beginnings: &[&str]) -> String {
    beginnings.iter().map(|beginning| format!("{beginning}-*.parquet")).collect::<Vec<_>>().join(" or ")
}

/// Whether the path is that of a Parquet file, going by its name.
pub fn is_parquet(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(ENDING))
}

fn parquet_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs_err::read_dir(folder)? {
        let path = entry?.path();
        let is_hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if is_parquet(&path) && !is_hidden {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
