//! A folder of Parquet files as Hugging Face stores image sets.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use delt_formats::canonical::Digest;
use serde_json::json;

use crate::error::{IngestError, Result};
use crate::picture_table::{self, Columns};
use crate::source::{Content, SourceImage, Split, Visitor, expect_exists};

/// How file names of the training split begin.
const TRAIN: [&str; 1] = ["train"];
/// How file names of the test split begin; the first beginning that any file has counts.
const TEST: [&str; 3] = ["test", "validation", "valid"];
/// Folder inside a clone of a Hugging Face repository where the files often lie.
const DATA: &str = "data";

/// Parquet files whose columns have been checked.
#[derive(Debug)]
pub struct Huggingface {
    columns: Columns,
    classes: Vec<String>,
    train: Vec<Table>,
    test: Vec<Table>,
}

#[derive(Debug)]
struct Table {
    path: PathBuf,
    rows: u64,
}

impl Huggingface {
    /// Finds the files of `folder` by name, or takes the given training and test files, and reads their footers.
    ///
    /// Class names are `class_names` where given, else those of the first training file's metadata.
    ///
    /// # Errors
    /// No files for a split, unusable columns, no class names.
    pub fn open(
        folder: &Path,
        given: [Option<&[PathBuf]>; 2],
        image_column: &str,
        label_column: &str,
        class_names: Option<&[String]>,
    ) -> Result<Self> {
        expect_exists(folder, "a folder with train-*.parquet and test-*.parquet")?;
        if !folder.is_dir() {
            let problem =
                "is a file, expected its folder; name single files in `ingest.source.train` and `.test`";
            return Err(IngestError::layout(folder, problem));
        }
        let columns = Columns { image: image_column.to_owned(), label: label_column.to_owned() };
        let [train, test] = given;
        let mut found_names = None;
        let mut tables = |files: Vec<PathBuf>| -> Result<Vec<Table>> {
            let mut tables = Vec::new();
            for path in files {
                let footer = picture_table::footer(open(&path)?, &path, &columns)?;
                found_names = found_names.take().or(footer.class_names);
                tables.push(Table { path, rows: footer.rows });
            }
            Ok(tables)
        };
        let train = tables(files(folder, train, &TRAIN, "train")?)?;
        let test = tables(files(folder, test, &TEST, "test")?)?;
        let classes = class_names.map(<[String]>::to_vec).or(found_names);
        let classes = classes.ok_or_else(|| IngestError::NoClassNames {
            path: train.first().map_or_else(|| folder.to_path_buf(), |table| table.path.clone()),
            column: label_column.to_owned(),
        })?;
        Ok(Self { columns, classes, train, test })
    }

    /// Class names by label.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// Number of pictures.
    pub fn len(&self, split: Split) -> u64 {
        self.tables(split).iter().map(|table| table.rows).sum()
    }

    /// The digests of the files, in order.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn fingerprint(&self) -> Result<Digest> {
        let digests = |tables: &[Table]| -> Result<Vec<Digest>> {
            tables.iter().map(|table| Ok(Digest::of_file(&table.path)?)).collect()
        };
        Ok(Digest::of_json(&json!({ "train": digests(&self.train)?, "test": digests(&self.test)? })))
    }

    /// Hands over the rows of a split, file by file.
    ///
    /// # Errors
    /// A label outside the class list, a damaged file, what the visitor reports.
    pub fn visit(&self, split: Split, visitor: &mut Visitor<'_>) -> Result<()> {
        for table in self.tables(split) {
            let name = table.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let mut each = |row: picture_table::Row| {
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
        }
        Ok(())
    }

    fn tables(&self, split: Split) -> &[Table] {
        match split {
            Split::Train => &self.train,
            Split::Test => &self.test,
        }
    }
}

fn open(path: &Path) -> Result<std::fs::File> {
    std::fs::File::open(path).map_err(IngestError::reading(path))
}

/// The files of a split: those given, or those whose names begin as the split's do, sorted.
fn files(folder: &Path, given: Option<&[PathBuf]>, beginnings: &[&str], key: &str) -> Result<Vec<PathBuf>> {
    if let Some(given) = given.filter(|given| !given.is_empty()) {
        return Ok(given.iter().map(|file| folder.join(file)).collect());
    }
    for place in [folder.to_path_buf(), folder.join(DATA)] {
        for beginning in beginnings {
            let mut found = Vec::new();
            for entry in
                if place.is_dir() { fs_err::read_dir(&place)?.collect::<Vec<_>>() } else { Vec::new() }
            {
                let path = entry?.path();
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let rest = name.strip_suffix(".parquet").and_then(|stem| stem.strip_prefix(beginning));
                if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '_', '.'])) {
                    found.push(path);
                }
            }
            if !found.is_empty() {
                found.sort();
                return Ok(found);
            }
        }
    }
    let begin = beginnings.iter().map(|b| format!("{b}-*.parquet")).collect::<Vec<_>>().join(" or ");
    Err(IngestError::layout(folder, format!("holds no {begin}; name the files in `ingest.source.{key}`")))
}
