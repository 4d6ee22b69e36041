//! Parquet files as Hugging Face stores image sets.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use delt_formats::canonical::Digest;
use delt_harness::progress::Progress;
use delt_images::image_table::{self, Columns};
use delt_images::stored_image::Content;
use delt_pipeline::config::ingest::HuggingfaceParquet;
use serde_json::json;

use crate::error::{IngestError, Result};
use crate::fingerprint;
use crate::parquet_files;
use crate::seeded_split::{SeededSplit, refuse_beside};
use crate::source::{Source, SourceImage, Split, Visitor};

/// Parquet files whose columns have been checked.
#[derive(Debug)]
pub struct ParquetTables {
    columns: Columns,
    classes: Vec<String>,
    /// Class names as the files' metadata has them.
    pub described: Option<Vec<String>>,
    train: Vec<Table>,
    test: Vec<Table>,
    /// Where the training files hold both splits: that of each of their rows.
    splits: Option<Vec<Split>>,
}

#[derive(Debug)]
struct Table {
    path: PathBuf,
    rows: u64,
}

/// Finds the files and reads their footers; where there are no test files, also the labels, and splits each class by the
/// seed.
///
/// Class names are those of the section, else those of the first training file's metadata.
///
/// # Errors
/// No files, no test split and no settings for one, or both, unusable columns, no class names.
pub fn open(section: &HuggingfaceParquet) -> Result<ParquetTables> {
    let [train, test] =
        parquet_files::find(&section.path, section.train.as_deref(), section.test.as_deref())?;
    let split = split_settings(section, test.first())?;
    let columns = Columns { image: section.image_column.clone(), label: section.label_column.clone() };
    let mut described = None;
    let mut table = |path: PathBuf| -> Result<Table> {
        let footer = image_table::footer(open_file(&path)?, &path, &columns)?;
        described = described.take().or(footer.class_names);
        Ok(Table { path, rows: footer.rows })
    };
    let train = train.into_iter().map(&mut table).collect::<Result<Vec<_>>>()?;
    let test = test.into_iter().map(table).collect::<Result<Vec<_>>>()?;
    let classes = section.class_names.clone().or_else(|| described.clone());
    let first = train.first().map_or(section.path.as_path(), |table| &table.path);
    let classes = classes.ok_or_else(|| IngestError::no_class_names(first, &columns.label))?;
    let mut opened = ParquetTables { columns, classes, described, train, test, splits: None };
    if let Some(split) = split {
        // by row number: renamed files are split as before
        let labels = opened.train_labels()?;
        opened.splits =
            Some(split.of_rows(&labels, |row| row.to_string(), &opened.classes, &section.path)?);
    }
    Ok(opened)
}

impl ParquetTables {
    /// The labels of the training files, one after the other.
    fn train_labels(&self) -> Result<Vec<u32>> {
        let rows = self.train.iter().map(|table| table.rows).sum();
        let progress = Progress::new("ingest labels", rows, "rows");
        let mut labels = Vec::new();
        for Table { path, .. } in &self.train {
            let found = image_table::labels(open_file(path)?, path, &self.columns, self.classes.len())?;
            progress.advance(found.len() as u64)?;
            labels.extend(found);
        }
        progress.finish();
        Ok(labels)
    }

    fn tables(&self, split: Split) -> &[Table] {
        match split {
            Split::Test if self.splits.is_none() => &self.test,
            _ => &self.train,
        }
    }
}

impl Source for ParquetTables {
    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn description(&self) -> String {
        "Parquet in the Hugging Face layout".to_owned()
    }

    /// The fingerprints of the files, in order, see [`fingerprint::of_parquet`].
    fn fingerprint(&self) -> Result<Digest> {
        let files: Vec<&Path> =
            self.train.iter().chain(&self.test).map(|table| table.path.as_path()).collect();
        let digests = fingerprint::of_parquet(&files)?;
        let (train, test) = digests.split_at(self.train.len());
        Ok(Digest::of_json(&json!({ "train": train, "test": test })))
    }

    fn len(&self, split: Split) -> u64 {
        match &self.splits {
            Some(splits) => splits.iter().filter(|of_row| **of_row == split).count() as u64,
            None => self.tables(split).iter().map(|table| table.rows).sum(),
        }
    }

    /// File by file.
    fn visit(&self, split: Split, visitor: &mut Visitor<'_>) -> Result<()> {
        let mut first = 0;
        for table in self.tables(split) {
            let name = table.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let mut each = |row: image_table::Row| {
                let of_row = self.splits.as_ref().map(|splits| splits.get((first + row.index) as usize));
                if of_row.is_some_and(|of_row| of_row != Some(&split)) {
                    return Ok(ControlFlow::Continue(()));
                }
                let place = format!("{} row {}", table.path.display(), row.index);
                let path =
                    row.path.filter(|p| !p.is_empty()).unwrap_or_else(|| format!("{name} row {}", row.index));
                visitor(SourceImage { path, place, label: row.label, content: Content::Encoded(row.bytes) })
            };
            let input = open_file(&table.path)?;
            let flow = image_table::visit(input, &table.path, &self.columns, self.classes.len(), &mut each)?;
            if flow.is_break() {
                break;
            }
            first += table.rows;
        }
        Ok(())
    }
}

fn open_file(path: &Path) -> Result<std::fs::File> {
    std::fs::File::open(path).map_err(IngestError::reading(path))
}

/// The split that is asked for; `None` where test files are there and need none.
fn split_settings(section: &HuggingfaceParquet, test: Option<&PathBuf>) -> Result<Option<SeededSplit>> {
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
    let problem = format!(
        "{found}; name test files in `ingest.source.test`, or for a split of its own give `ingest.source.test_fraction` \
         and `ingest.source.split_seed`, e.g. 0.2 and 0"
    );
    Err(IngestError::layout(&section.path, problem))
}
