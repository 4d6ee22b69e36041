//! Parquet files as Hugging Face stores image sets.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use delt_formats::canonical::Digest;
use delt_harness::progress::Progress;
use serde_json::json;

use crate::error::{IngestError, Result};
use crate::parquet_files::{self, SplitFiles};
use crate::picture_table::{self, Columns};
use crate::source::{Content, SourceImage, Split, Visitor};
use crate::{fingerprint, seeded_split};

/// What to read, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Request<'a> {
    /// A folder, or one file of training images.
    pub path: &'a Path,
    /// Training files relative to the folder, where names do not tell.
    pub train: Option<&'a [PathBuf]>,
    /// Test files relative to the folder, where names do not tell.
    pub test: Option<&'a [PathBuf]>,
    /// Which columns hold what.
    pub columns: Columns,
    /// Class names by label, in place of those in the metadata.
    pub class_names: Option<&'a [String]>,
    /// Share of each class that becomes the test split where there are no test files.
    pub test_fraction: Option<f64>,
    /// Seed of that split.
    pub split_seed: Option<u64>,
}

/// Parquet files whose columns have been checked.
#[derive(Debug)]
pub struct Huggingface {
    columns: Columns,
    classes: Vec<String>,
    described: Option<Vec<String>>,
    train: Vec<Table>,
    test: Vec<Table>,
    /// Where the training files hold both splits: for each of their rows whether it is a test image.
    is_test: Option<Vec<bool>>,
}

#[derive(Debug)]
struct Table {
    path: PathBuf,
    rows: u64,
}

impl Huggingface {
    /// Finds the files and reads their footers; where there are no test files, also the labels, and splits each class by
    /// the seed.
    ///
    /// Class names are those of the request, else those of the first training file's metadata.
    ///
    /// # Errors
    /// No files, no test split and no settings for one, or both, unusable columns, no class names.
    pub fn open(request: &Request<'_>) -> Result<Self> {
        let files = parquet_files::find(request.path, request.train, request.test)?;
        let split = split_settings(request, &files)?;
        let columns = request.columns.clone();
        let mut described = None;
        let mut tables = |files: Vec<PathBuf>| -> Result<Vec<Table>> {
            let mut tables = Vec::new();
            for path in files {
                let footer = picture_table::footer(open(&path)?, &path, &columns)?;
                described = described.take().or(footer.class_names);
                tables.push(Table { path, rows: footer.rows });
            }
            Ok(tables)
        };
        let (train, test) = (tables(files.train)?, tables(files.test)?);
        let classes = request.class_names.map(<[String]>::to_vec).or_else(|| described.clone());
        let classes = classes.ok_or_else(|| IngestError::NoClassNames {
            path: train.first().map_or_else(|| request.path.to_path_buf(), |table| table.path.clone()),
            column: columns.label.clone(),
        })?;
        let mut opened = Self { columns, classes, described, train, test, is_test: None };
        if let Some((fraction, seed)) = split {
            opened.is_test = Some(opened.split_rows(request.path, fraction, seed)?);
        }
        Ok(opened)
    }

    /// Ranks the rows of each class by a hash of seed and row number: renamed files are split as before.
    fn split_rows(&self, path: &Path, fraction: f64, seed: u64) -> Result<Vec<bool>> {
        let progress =
            Progress::new("ingest labels", self.train.iter().map(|table| table.rows).sum(), "rows");
        let mut rows_of_class = vec![Vec::new(); self.classes.len()];
        let mut row = 0_usize;
        for table in &self.train {
            let labels =
                picture_table::labels(open(&table.path)?, &table.path, &self.columns, self.classes.len())?;
            progress.advance(labels.len() as u64)?;
            for label in labels {
                rows_of_class[label as usize].push(row);
                row += 1;
            }
        }
        progress.finish();
        let mut is_test = vec![false; row];
        for (name, rows) in self.classes.iter().zip(rows_of_class) {
            if rows.is_empty() {
                continue; // named in the metadata only
            }
            let numbers: Vec<String> = rows.iter().map(usize::to_string).collect();
            let numbers: Vec<&str> = numbers.iter().map(String::as_str).collect();
            let Some(chosen) = seeded_split::is_test(&numbers, fraction, seed) else {
                let problem =
                    format!("has 1 row of class `{name}`, expected at least 2 to split them; add some");
                return Err(IngestError::layout(path, problem));
            };
            for (row, chosen) in rows.into_iter().zip(chosen) {
                is_test[row] = chosen;
            }
        }
        Ok(is_test)
    }

    /// Class names by label.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// Class names as the files' metadata has them.
    pub fn described_classes(&self) -> Option<&[String]> {
        self.described.as_deref()
    }

    /// Number of pictures.
    pub fn len(&self, split: Split) -> u64 {
        match &self.is_test {
            Some(is_test) => {
                is_test.iter().filter(|is_test| **is_test == (split == Split::Test)).count() as u64
            }
            None => self.tables(split).iter().map(|table| table.rows).sum(),
        }
    }

    /// The fingerprints of the files, in order, see [`fingerprint::of_parquet`].
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn fingerprint(&self) -> Result<Digest> {
        let files: Vec<&Path> =
            self.train.iter().chain(&self.test).map(|table| table.path.as_path()).collect();
        let digests = fingerprint::of_parquet(&files)?;
        let (train, test) = digests.split_at(self.train.len());
        Ok(Digest::of_json(&json!({ "train": train, "test": test })))
    }

    /// Hands over the rows of a split, file by file.
    ///
    /// # Errors
    /// A label outside the class list, a damaged file, what the visitor reports.
    pub fn visit(&self, split: Split, visitor: &mut Visitor<'_>) -> Result<()> {
        let mut first = 0;
        for table in self.tables(split) {
            let name = table.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let mut each = |row: picture_table::Row| {
                let of_other_split = self.is_test.as_ref().is_some_and(|is_test| {
                    is_test.get((first + row.index) as usize) != Some(&(split == Split::Test))
                });
                if of_other_split {
                    return Ok(ControlFlow::Continue(()));
                }
                let place = format!("{} row {}", table.path.display(), row.index);
                let path =
                    row.path.filter(|p| !p.is_empty()).unwrap_or_else(|| format!("{name} row {}", row.index));
                visitor(SourceImage { path, place, label: row.label, content: Content::Encoded(row.bytes) })
            };
            let input = open(&table.path)?;
            let flow =
                picture_table::visit(input, &table.path, &self.columns, self.classes.len(), &mut each)?;
            if flow == ControlFlow::Break(()) {
                break;
            }
            first += table.rows;
        }
        Ok(())
    }

    fn tables(&self, split: Split) -> &[Table] {
        match split {
            Split::Test if self.is_test.is_none() => &self.test,
            _ => &self.train,
        }
    }
}

fn open(path: &Path) -> Result<std::fs::File> {
    std::fs::File::open(path).map_err(IngestError::reading(path))
}

/// Share and seed of the split; `None` where test files are there and need none.
fn split_settings(request: &Request<'_>, files: &SplitFiles) -> Result<Option<(f64, u64)>> {
    if let Some(test) = files.test.first() {
        seeded_split::refuse_beside(test, request.test_fraction, request.split_seed)?;
        return Ok(None);
    }
    if let (Some(fraction), Some(seed)) = (request.test_fraction, request.split_seed) {
        return Ok(Some((fraction, seed)));
    }
    let found = if request.path.is_dir() {
        format!("holds no {}", parquet_files::patterns(&parquet_files::TEST))
    } else {
        "is one file of training images".to_owned()
    };
    let problem = format!(
        "{found}; name test files in `ingest.source.test`, or for a split of its own give `ingest.source.test_fraction` \
         and `ingest.source.split_seed`, e.g. 0.2 and 0"
    );
    Err(IngestError::layout(request.path, problem))
}
