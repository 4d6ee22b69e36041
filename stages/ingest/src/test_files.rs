//! Which of a repository's Parquet files hold test images: published test sets often keep their labels to themselves.

use std::path::PathBuf;

use delt_images::image_table::{self, Columns};
use delt_pipeline::config::ingest::HuggingfaceParquet;

use crate::error::{IngestError, Result};
use crate::parquet_files::{self, Found};
use crate::seeded_split::{SeededSplit, refuse_beside};
use crate::shards;
use crate::sources::huggingface_parquet::open_file;

/// The test files, and what there is to say of the choice.
#[derive(Debug, Default)]
pub(crate) struct TestFiles {
    /// None where the training files are split.
    pub(crate) files: Vec<PathBuf>,
    /// Those without labels.
    pub(crate) withheld: Vec<PathBuf>,
    pub(crate) notes: Vec<String>,
}

/// The first split of the repository that has labels: `validation` where those of `test` are withheld.
///
/// # Errors
/// Labels that are withheld everywhere, unless the training files are to be split; files that are absent.
pub(crate) fn choose(section: &HuggingfaceParquet, found: &Found, columns: &Columns) -> Result<TestFiles> {
    let mut chosen = TestFiles::default();
    if let (None, [file]) = (&found.folder, &found.train[..])
        && let Some(of) = shards::promised(file)
    {
        chosen.notes.push(format!("reads 1 of the {of} files that the name {} promises", file.display()));
    }
    for files in &found.tests {
        let mut has_labels = true;
        for file in files {
            has_labels &= !image_table::is_unlabeled(open_file(file)?, file, columns)?;
        }
        if has_labels {
            if section.test.is_none() {
                shards::check(files, "ingest.source.test")?;
            }
            chosen.files.clone_from(files);
            return Ok(chosen);
        }
        let first = files[0].display();
        chosen.notes.push(format!("passed over the test images of {first}: their labels are withheld"));
        chosen.withheld.extend_from_slice(files);
    }
    let is_split = section.test_fraction.is_some() && section.test.is_none();
    match chosen.withheld.first().filter(|_| !is_split) {
        None => Ok(chosen),
        Some(file) => {
            let problem = format!(
                "its labels are withheld: all are -1 or missing in column `{}`, as in test sets of a competition; test on \
                 labeled files, named in `ingest.source.test`, or for a split of its own give \
                 `ingest.source.test_fraction` and `ingest.source.split_seed`, e.g. 0.2 and 0",
                columns.label
            );
            Err(IngestError::layout(file, problem))
        }
    }
}

/// The split that is asked for; `None` where test files are there and need none.
pub(crate) fn split_settings(
    section: &HuggingfaceParquet,
    test: Option<&PathBuf>,
) -> Result<Option<SeededSplit>> {
    if let Some(test) = test {
        refuse_beside(test, section.test_fraction, section.split_seed)?;
        return Ok(None);
    }
    if let Some(split) = SeededSplit::of(section.test_fraction, section.split_seed) {
        return Ok(Some(split));
    }
    let found = if section.path.is_dir() {
        format!("holds no {}", parquet_files::patterns(&parquet_files::TEST))
    } else {
        "is one file of training images".to_owned()
    };
    let cure = SeededSplit::cure(section.test_fraction, section.split_seed);
    let problem = format!("{found}; name test files in `ingest.source.test`, or {cure}");
    Err(IngestError::layout(&section.path, problem))
}
