//! A table of paths and labels in text: CSV, or with tabs, semicolons or bars.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use csv::{ErrorKind, Position, Reader, ReaderBuilder, StringRecord};
use delt_formats::canonical::Digest;
use delt_images::image_files::{self, ImageFile};
use delt_pipeline::config::ingest::Csv;

use crate::digests::{Digests, digest};
use crate::error::{IngestError, Result};
use crate::file_list::{FileList, LabeledFile};
use crate::labeled_files::LabeledFiles;
use crate::seeded_split::{SeededSplit, refuse_beside};
use crate::source::{Split, expect_exists};
use crate::split_names::{PartName, part_of};
use crate::text_labels::TextLabels;

/// Names of the columns where the section gives none.
const COLUMNS: [&str; 3] = ["path", "label", "split"];
/// Tables of a folder that a message names.
const TABLES_SHOWN: usize = 5;
/// What separates columns; the first with which the header names them.
const SEPARATORS: [u8; 4] = *b",\t;|";

/// A row with an image.
#[derive(Debug)]
struct Row<'a> {
    line: u64,
    path: &'a str,
    label: &'a str,
    part: Option<(Split, PartName)>,
}

impl Row<'_> {
    /// The part of test images that it belongs to.
    fn test(&self) -> Option<PartName> {
        self.part.filter(|(split, _)| *split == Split::Test).map(|(_, part)| part)
    }
}

/// Reads the table, twice: it may be too long to be in memory. Labels are names; where all are whole numbers, they are sorted as
/// such, and `class_names` names them.
///
/// # Errors
/// A column that is missing, a row that cannot be used, an image that is not there or listed twice; no test images and no
/// settings for a split, or both.
pub fn open(section: &Csv) -> Result<LabeledFiles> {
    let table = section.path.as_path();
    expect_exists(table, "a table of paths and labels")?;
    refuse_folder(table)?;
    let columns = Columns::find(section)?;
    let parts = Parts::of(section, &columns)?;
    let has_test = parts.labels.keys().any(Option::is_some);
    if has_test {
        refuse_beside(table, section.test_fraction, section.split_seed)?;
    }
    let texts = parts.labels.values().flatten().map(String::as_str);
    let labels = TextLabels::of(section.class_names.as_deref(), texts);
    let mut files = labeled(section, &columns, &parts, &labels)?;
    let classes = labels.names;
    if !has_test {
        let Some(split) = SeededSplit::of(section.test_fraction, section.split_seed) else {
            let cure = SeededSplit::cure(section.test_fraction, section.split_seed);
            let problem = format!(
                "has no rows of a test split; name the column of splits in `ingest.source.split_column`, or {cure}"
            );
            return Err(IngestError::layout(table, problem));
        };
        let labels: Vec<u32> = files.iter().map(|file| file.label).collect();
        let splits = split.of_rows(&labels, files.iter().map(|file| file.file.relative), &classes, table)?;
        files = files.iter().zip(splits).map(|(file, split)| LabeledFile { split, ..file }).collect();
    }
    let texts = Some(Digest::of_file(table)?);
    Ok(LabeledFiles { description: "table of paths", classes, files, texts, notes: parts.notes })
}

/// Refuses a folder, with the names of the tables in it.
fn refuse_folder(table: &Path) -> Result<()> {
    if !table.is_dir() {
        return Ok(());
    }
    let tables = image_files::files_below(table, &["csv", "tsv"])?;
    let names: Vec<&str> = tables.iter().take(TABLES_SHOWN).map(|file| file.relative.as_str()).collect();
    let found = if names.is_empty() { "no .csv or .tsv".to_owned() } else { names.join(", ") };
    let more = if tables.len() > TABLES_SHOWN { ", .." } else { "" };
    let problem = format!(
        "is a folder, expected a table of paths and labels; it holds {found}{more}: give the file as `ingest.source.path` or DATA=path"
    );
    Err(IngestError::layout(table, problem))
}

/// Where the columns stand, with the separator by which the header names them.
#[derive(Debug)]
struct Columns {
    separator: u8,
    path: usize,
    label: usize,
    split: Option<usize>,
}

fn reader(table: &Path, separator: u8) -> Result<Reader<fs_err::File>> {
    Ok(ReaderBuilder::new().delimiter(separator).from_reader(fs_err::File::open(table)?))
}

fn unreadable(table: &Path) -> impl Fn(csv::Error) -> IngestError + '_ {
    |error| {
        let problem = match error.kind() {
            ErrorKind::Utf8 { pos, .. } => {
                let line = pos.as_ref().map_or(1, Position::line);
                format!("line {line} is not UTF-8; save the table as UTF-8")
            }
            _ => format!("cannot be read as a table ({error}); correct it"),
        };
        IngestError::layout(table, problem)
    }
}

impl Columns {
    fn find(section: &Csv) -> Result<Self> {
        let table = section.path.as_path();
        let [path, label, split] = [&section.path_column, &section.label_column, &section.split_column];
        let wanted = [path.as_deref().unwrap_or(COLUMNS[0]), label.as_deref().unwrap_or(COLUMNS[1])];
        let header = |separator| -> Result<StringRecord> {
            Ok(reader(table, separator)?.headers().map_err(unreadable(table))?.clone())
        };
        for separator in SEPARATORS {
            let header = header(separator)?;
            let place = |name: &str| header.iter().position(|column| column.trim() == name);
            if let [Some(path), Some(label)] = wanted.map(place) {
                let split = match split.as_deref() {
                    Some(named) => {
                        Some(place(named).ok_or_else(|| absent(table, named, "split_column", &header))?)
                    }
                    None => place(COLUMNS[2]),
                };
                return Ok(Self { separator, path, label, split });
            }
        }
        let header = header(SEPARATORS[0])?;
        let is_there = |name: &str| header.iter().any(|column| column.trim() == name);
        let (name, key) =
            if is_there(wanted[0]) { (wanted[1], "label_column") } else { (wanted[0], "path_column") };
        Err(absent(table, name, key, &header))
    }

    /// Hands over the rows of the table in order.
    fn each_row(&self, table: &Path, mut visit: impl FnMut(Row<'_>) -> Result<()>) -> Result<()> {
        let (mut reader, mut record) = (reader(table, self.separator)?, StringRecord::new());
        // else the place of a first row that is not UTF-8 would be that of the header
        reader.headers().map_err(unreadable(table))?;
        while reader.read_record(&mut record).map_err(unreadable(table))? {
            let line = record.position().map_or(0, Position::line);
            let field = |column: usize| record.get(column).unwrap_or_default().trim();
            let part = match self.split.map(field) {
                None => None,
                Some(name) => Some(part_of(name).ok_or_else(|| {
                    let problem =
                        format!("line {line}: found split `{name}`, expected train, val or test; correct it");
                    IngestError::layout(table, problem)
                })?),
            };
            visit(Row { line, path: field(self.path), label: field(self.label), part })?;
        }
        Ok(())
    }
}

fn absent(table: &Path, name: &str, key: &str, header: &StringRecord) -> IngestError {
    let found: Vec<&str> = header.iter().collect();
    let problem = format!(
        "has no column `{name}`, its first line is {}; name it in `ingest.source.{key}`, or add a line of column names",
        found.join(", ")
    );
    IngestError::layout(table, problem)
}

/// What the rows are, seen at once.
#[derive(Debug, Default)]
struct Parts {
    /// How many rows are read.
    rows: u64,
    /// The texts of their labels, of training rows and of each part of test images.
    labels: BTreeMap<Option<PartName>, BTreeSet<String>>,
    notes: Vec<String>,
}

impl Parts {
    /// Leaves of the test parts the one whose name comes first and whose rows have labels.
    fn of(section: &Csv, columns: &Columns) -> Result<Self> {
        let (mut parts, mut rows) = (Self::default(), BTreeMap::new());
        columns.each_row(&section.path, |row| {
            let part = row.test();
            *rows.entry(part).or_insert(0) += 1;
            let labels = parts.labels.entry(part).or_default();
            if !labels.contains(row.label) {
                labels.insert(row.label.to_owned());
            }
            Ok(())
        })?;
        let before: u64 = rows.values().sum();
        if before == 0 {
            return Err(IngestError::layout(&section.path, "has no rows"));
        }
        let is_labeled = |part: &&Option<PartName>| {
            part.is_some() && parts.labels[*part].iter().any(|text| !text.is_empty())
        };
        if let Some(chosen) = parts.labels.keys().find(is_labeled).copied() {
            parts.labels.retain(|part, _| part.is_none() || *part == chosen);
        }
        parts.rows = parts.labels.keys().map(|part| rows[part]).sum();
        if parts.rows < before {
            parts.notes.push(format!(
                "{} images found; passed over: {} rows of other test splits than the first that has labels",
                parts.rows,
                before - parts.rows
            ));
        }
        Ok(parts)
    }
}

/// The files of the rows, in their order.
fn labeled(section: &Csv, columns: &Columns, parts: &Parts, labels: &TextLabels) -> Result<FileList> {
    let table = section.path.as_path();
    let beside = table.parent().unwrap_or(Path::new(""));
    let root = section.images.as_deref().unwrap_or(beside);
    let (mut paths, mut lines) = (Digests::of(parts.rows as usize), Vec::with_capacity(parts.rows as usize));
    let mut files = FileList::default();
    columns.each_row(table, |row| {
        let Row { line, path, label, .. } = row;
        if !parts.labels.contains_key(&row.test()) {
            return Ok(());
        }
        let wrong = |problem: String| IngestError::layout(table, format!("line {line}: {problem}"));
        lines.push(line as u32);
        if let Some(first) = paths.add(digest(path.as_bytes())) {
            let first = lines[first];
            return Err(wrong(format!("`{path}` stands in line {first} too; delete one of the lines")));
        }
        let label = labels.label(label).ok_or_else(|| wrong(labels.complaint(label)))?;
        let file = root.join(path);
        let metadata = fs_err::metadata(&file).ok().filter(|metadata| metadata.is_file() && !path.is_empty());
        let bytes = metadata.map(|metadata| metadata.len()).ok_or_else(|| {
            let hint = if path.contains('\\') { " (paths are written with `/`, not `\\`)" } else { "" };
            wrong(format!(
                "`{path}` is no file in {}{hint}; correct it, or name the folder of the images in `ingest.source.images`",
                root.display()
            ))
        })?;
        let split = row.part.map_or(Split::Train, |(split, _)| split);
        let file = ImageFile { relative: path.to_owned(), path: file, bytes, start: None };
        files.push(LabeledFile { file, label, split });
        Ok(())
    })?;
    Ok(files)
}
