//! Which Parquet files of a folder are the set, going by the names that Hugging Face gives to files of splits.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::classes;
use crate::image_files::ImageFile;

/// Beginnings of the names of the split to train with, and of the others.
const TRAIN: [&str; 1] = ["train"];
const OTHERS: [&str; 5] = ["test", "valid", "validation", "val", "eval"];

/// The files to train with, and what is said of the others; the complaint about a set of which files are missing.
pub(super) fn to_train_with(files: Vec<ImageFile>) -> Result<(Vec<PathBuf>, Option<String>), String> {
    let is_of =
        |file: &ImageFile, beginnings: &[&str]| file.relative.split('/').any(|part| begins(part, beginnings));
    let has_train = files.iter().any(|file| is_of(file, &TRAIN));
    let has_unnamed = files.iter().any(|file| !is_of(file, &OTHERS));
    let (taken, left): (Vec<_>, Vec<_>) = files.into_iter().partition(|file| match has_train {
        true => is_of(file, &TRAIN),
        false => !has_unnamed || !is_of(file, &OTHERS),
    });
    check_numbers(&taken)?;
    let names = classes::listed(left.iter().map(|file| file.relative.clone()));
    let note =
        (!left.is_empty()).then(|| format!("of its Parquet files {} are read, not {names}", taken.len()));
    Ok((taken.into_iter().map(|file| file.path).collect(), note))
}

/// Whether a part of a path is one of these words, alone or with a sign behind.
fn begins(part: &str, words: &[&str]) -> bool {
    let part = part.to_ascii_lowercase();
    let rest = |word: &&str| part.strip_prefix(*word);
    words.iter().filter_map(rest).any(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric()))
}

/// Refuses files whose names promise more of them: `train-00000-of-00002.parquet` alone.
fn check_numbers(files: &[ImageFile]) -> Result<(), String> {
    let mut found: BTreeMap<(&str, u32), u32> = BTreeMap::new();
    for file in files {
        let stem = file.relative.strip_suffix(".parquet").unwrap_or(&file.relative);
        let promised = stem.rsplit_once("-of-");
        let promised =
            promised.and_then(|(before, all)| Some((before.rsplit_once('-')?.0, all.parse().ok()?)));
        if let Some(name_and_number) = promised {
            *found.entry(name_and_number).or_default() += 1;
        }
    }
    match found.iter().find(|((_, promised), there)| *promised != **there) {
        Some(((name, promised), there)) => Err(format!(
            "holds {there} of the {promised} files that the names of {name}-*-of-*.parquet promise; download the others"
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(names: &[&str]) -> Result<(Vec<String>, Option<String>), String> {
        let file = |name: &&str| ImageFile {
            relative: (*name).to_owned(),
            path: PathBuf::from(name),
            bytes: 1,
            start: None,
        };
        let (taken, note) = to_train_with(names.iter().map(file).collect())?;
        Ok((taken.iter().map(|path| path.display().to_string()).collect(), note))
    }

    #[test]
    fn files_of_other_splits_are_left_out_and_named() {
        let taken = |names: &[&str]| of(names).map(|(taken, note)| (taken.len(), note));
        assert_eq!(taken(&["a.parquet", "b.parquet"]), Ok((2, None)));
        assert_eq!(
            taken(&["data/test-0.parquet", "data/train-0.parquet", "data/train_1.parquet"]),
            Ok((2, Some("of its Parquet files 2 are read, not data/test-0.parquet".to_owned())))
        );
        assert_eq!(taken(&["Train/0.parquet", "val/0.parquet", "x.parquet"]).unwrap().0, 1);
        assert_eq!(taken(&["test.parquet"]), Ok((1, None)));
        assert_eq!(taken(&["testing.parquet", "trained.parquet"]), Ok((2, None)));
    }

    #[test]
    fn a_number_of_files_that_a_name_promises_is_held_to() {
        let whole = ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"];
        assert_eq!(of(&whole).unwrap().0, whole);
        assert_eq!(
            of(&whole[..1]).unwrap_err(),
            "holds 1 of the 2 files that the names of data/train-*-of-*.parquet promise; download the others"
        );
    }
}
