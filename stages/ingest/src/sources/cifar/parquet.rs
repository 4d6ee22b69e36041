//! CIFAR-10 and CIFAR-100 in Parquet, as Hugging Face's `cifar10` and `cifar100` hold them.

use std::path::Path;

use delt_pipeline::config::ingest::HuggingfaceParquet;

use super::Variant;
use crate::error::{IngestError, Result};
use crate::parquet_files::{self, Folder, TEST, TRAIN};
use crate::sources::huggingface_parquet::{self, ParquetTables};

/// Column of images in both.
const IMAGE: &str = "img";
/// Files with other columns have a kind of their own, which names them.
const OTHER_COLUMNS: &str = "ingest.source: {kind: huggingface_parquet, image_column: .., label_column: ..}";
/// A class name that some revisions of Hugging Face's `cifar100` spell without its last letter, and the official one.
const MISSPELLED: (&str, &str) = ("cra", "crab");

/// Whether a path given for CIFAR is that of Parquet files, and not of the archive.
///
/// # Errors
/// A folder that cannot be listed.
pub fn is_at(variant: &Variant, path: &Path) -> Result<bool> {
    if path.is_dir() {
        return Ok(!path.join(variant.archive).exists() && Folder::list(path)?.has_any());
    }
    Ok(parquet_files::is_parquet(path) && path.exists())
}

/// Opens the folder, or the folder of the file: both splits are needed. Class names are the official ones; those of the
/// metadata must agree.
///
/// # Errors
/// A split, a column or a class that is not as Hugging Face has it.
pub fn open(variant: &Variant, path: &Path) -> Result<ParquetTables> {
    let folder = if path.is_dir() { path } else { path.parent().unwrap_or(Path::new("")) };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let files = Folder::list(folder)?;
    files.refuse_several()?;
    for beginnings in [&TRAIN[..], &TEST[..]] {
        if files.of(beginnings).is_empty() {
            let problem = format!(
                "holds no {}, expected both splits of {}; download it too, or give the archive {}",
                parquet_files::patterns(beginnings),
                variant.title,
                variant.archive
            );
            return Err(IngestError::layout(folder, problem));
        }
    }
    let official: Vec<String> = variant.class_names.iter().map(|name| (*name).to_owned()).collect();
    let section = HuggingfaceParquet {
        path: folder.to_path_buf(),
        train: None,
        test: None,
        image_column: IMAGE.to_owned(),
        label_column: variant.label_column.to_owned(),
        class_names: Some(official.clone()),
        test_fraction: None,
        split_seed: None,
    };
    let opened = huggingface_parquet::open(&section).map_err(|error| match error {
        // the keys that name columns belong to the other kind
        IngestError::Images(error) => error.with_key(OTHER_COLUMNS).into(),
        other => other,
    })?;
    if let Some(described) = &opened.described {
        check_names(folder, variant, described, &official)?;
    }
    Ok(opened)
}

fn check_names(folder: &Path, variant: &Variant, found: &[String], official: &[String]) -> Result<()> {
    let title = variant.title;
    let differ = |label: &usize| {
        let (found, official) = (&found[*label], &official[*label]);
        found != official && (found.as_str(), official.as_str()) != MISSPELLED
    };
    let problem = if found.len() != official.len() {
        format!("its files name {} classes, expected the {} of {title}", found.len(), official.len())
    } else if let Some(label) = (0..official.len()).find(differ) {
        let (found, official) = (&found[label], &official[label]);
        format!("its files name class {label} `{found}`, expected `{official}` as in {title}")
    } else {
        return Ok(());
    };
    let hint =
        "correct `ingest.source.kind` or give DATA=path; other data is read by `kind: huggingface_parquet`";
    Err(IngestError::layout(folder, format!("{problem}; {hint}")))
}
