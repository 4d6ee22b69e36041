//! Parquet files as Hugging Face stores image sets.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use delt_formats::canonical::Digest;
use delt_harness::progress::Progress;
use delt_images::image_column;
use delt_images::image_files::ImageFile;
use delt_images::image_table::{self, Columns, Footer};
use delt_images::label_column::Labels;
use delt_pipeline::config::ingest::HuggingfaceParquet;
use serde_json::json;

use crate::error::{IngestError, Result};
use crate::file_list::{FileList, LabeledFile};
use crate::source::{Source, SourceImage, Split, Visitor};
use crate::test_files::{self, TestFiles};
use crate::{fingerprint, parquet_files, table_classes};

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
    /// Where the files lie as they were cloned: paths of images may begin there.
    root: PathBuf,
    notes: Vec<String>,
}

#[derive(Debug)]
struct Table {
    path: PathBuf,
    footer: Footer,
    labels: Labels,
}

/// Finds the files and reads their footers; where there are no test files, also the labels, and splits each class by the
/// seed.
///
/// Class names are those of the section, else those of the first file whose metadata has any, else the texts of the label column;
/// labels of files with another list are brought into this one by name.
///
/// # Errors
/// No files, no test split and no settings for one, or both, unusable columns, no class names, lists that do not agree.
pub fn open(section: &HuggingfaceParquet) -> Result<ParquetTables> {
    let found = parquet_files::find(&section.path, section.train.as_deref(), section.test.as_deref())?;
    let columns = Columns { image: section.image_column.clone(), label: section.label_column.clone() };
    let footer = |path: &PathBuf| Ok(image_table::footer(open_file(path)?, path, &columns)?);
    let mut footers = found.train.iter().map(footer).collect::<Result<Vec<_>>>()?;
    let TestFiles { files: test, withheld, mut notes } = test_files::choose(section, &found, &columns)?;
    let split = test_files::split_settings(section, test.first())?;
    footers.extend(test.iter().map(footer).collect::<Result<Vec<_>>>()?);
    let paths: Vec<PathBuf> = found.train.iter().chain(&test).cloned().collect();
    let pairs: Vec<_> = paths.iter().map(PathBuf::as_path).zip(&footers).collect();
    let names = |path: &Path| Ok(image_table::names(open_file(path)?, path, &columns)?);
    let given = section.class_names.as_deref();
    let classes = table_classes::list(&pairs, given, &columns.label, names)?;
    let labels = table_classes::join(&pairs, &classes, given.is_some())?;
    let described = footers.iter().find_map(|footer| footer.class_names.clone());
    let seen: Vec<&PathBuf> = paths.iter().chain(&withheld).collect();
    notes.extend(found.folder.iter().flat_map(|folder| folder.passed_over(&seen)));
    let tables = paths.into_iter().zip(footers).zip(labels);
    let mut train: Vec<Table> =
        tables.map(|((path, footer), labels)| Table { path, footer, labels }).collect();
    notes.extend(train.iter().filter_map(Table::order));
    let test = train.split_off(found.train.len());
    let root =
        if section.path.is_dir() { &section.path } else { section.path.parent().unwrap_or(Path::new("")) };
    let root = root.to_path_buf();
    let mut opened = ParquetTables { columns, classes, described, train, test, splits: None, root, notes };
    if let Some(split) = split {
        // by row number: renamed files are split as before
        let labels = opened.train_labels()?;
        let numbers = (0..labels.len()).map(|row| row.to_string());
        opened.splits = Some(split.of_rows(&labels, numbers, &opened.classes, &section.path)?);
    }
    Ok(opened)
}

impl Table {
    /// What the user must know of the order of its classes.
    fn order(&self) -> Option<String> {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let order = || format!("{name} lists its classes in another order: joined by name");
        self.labels.is_another_order().then(order)
    }

    /// Adds the images that lie as files beside the table.
    fn list_images(&self, root: &Path, list: &mut FileList) -> Result<()> {
        let Some(column) = &self.footer.paths else { return Ok(()) };
        let folders = self.folders(root);
        let mut add = |name: &str| {
            if let Some((path, bytes)) = image_column::file(name, &folders) {
                let file = ImageFile { relative: name.to_owned(), path, bytes, start: None };
                list.push(LabeledFile { file, label: 0, split: Split::Train });
            }
        };
        Ok(image_table::each_path(open_file(&self.path)?, &self.path, column, &mut add)?)
    }

    /// Where paths of images may begin.
    fn folders<'a>(&'a self, root: &'a Path) -> [&'a Path; 2] {
        [self.path.parent().unwrap_or(root), root]
    }
}

impl ParquetTables {
    /// The labels of the training files, one after the other.
    fn train_labels(&self) -> Result<Vec<u32>> {
        let rows = self.train.iter().map(|table| table.footer.rows).sum();
        let progress = Progress::new("ingest labels", rows, "rows");
        let mut all = Vec::new();
        for Table { path, labels, .. } in &self.train {
            let found = image_table::labels(open_file(path)?, path, &self.columns, labels)?;
            progress.advance(found.len() as u64)?;
            all.extend(found);
        }
        progress.finish();
        Ok(all)
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

    /// The fingerprints of the files, in order, see [`fingerprint::of_parquet`]; that labels were brought into another order, where
    /// any were; and of images beside the files the cheap key of folders.
    fn fingerprint(&self) -> Result<Digest> {
        let tables = || self.train.iter().chain(&self.test);
        let files: Vec<&Path> = tables().map(|table| table.path.as_path()).collect();
        let digests = fingerprint::of_parquet(&files)?;
        let (train, test) = digests.split_at(self.train.len());
        let mut parts = json!({ "train": train, "test": test });
        if tables().any(|table| table.labels.is_another_order()) {
            parts["labels"] = json!("by name");
        }
        let mut images = FileList::default();
        tables().try_for_each(|table| table.list_images(&self.root, &mut images))?;
        if !images.is_empty() {
            parts["images"] = json!(fingerprint::of_tree(&images)?);
        }
        Ok(Digest::of_json(&parts))
    }

    fn len(&self, split: Split) -> u64 {
        match &self.splits {
            Some(splits) => splits.iter().filter(|of_row| **of_row == split).count() as u64,
            None => self.tables(split).iter().map(|table| table.footer.rows).sum(),
        }
    }

    fn notes(&self) -> Vec<String> {
        self.notes.clone()
    }

    /// File by file.
    fn visit(&self, split: Split, visitor: &mut Visitor<'_>) -> Result<()> {
        let mut first = 0;
        for table in self.tables(split) {
            let name = table.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let folders = table.folders(&self.root);
            let mut each = |row: image_table::Row| {
                let of_row = self.splits.as_ref().map(|splits| splits.get((first + row.index) as usize));
                if of_row.is_some_and(|of_row| of_row != Some(&split)) {
                    return Ok(ControlFlow::Continue(()));
                }
                let place = format!("{} row {}", table.path.display(), row.index);
                let content = image_column::content(row.bytes, row.path.as_deref(), &folders);
                let path =
                    row.path.filter(|p| !p.is_empty()).unwrap_or_else(|| format!("{name} row {}", row.index));
                visitor(SourceImage { path, place, label: row.label, content })
            };
            let input = open_file(&table.path)?;
            let flow = image_table::visit(input, &table.path, &self.columns, &table.labels, &mut each)?;
            if flow.is_break() {
                break;
            }
            first += table.footer.rows;
        }
        Ok(())
    }
}

pub(crate) fn open_file(path: &Path) -> Result<std::fs::File> {
    std::fs::File::open(path).map_err(IngestError::reading(path))
}
