//! A table of paths and labels in text: CSV, or with tabs, semicolons or bars.

use std::collections::BTreeMap;
use std::path::Path;

use csv::{ReaderBuilder, StringRecord};
use delt_formats::canonical::Digest;
use delt_images::image_files::{self, ImageFile};
use delt_pipeline::config::ingest::Csv;

use crate::error::{IngestError, Result};
use crate::file_list::LabeledFile;
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
struct Row {
    line: u64,
    path: String,
    label: String,
    part: Option<(Split, PartName)>,
}

/// Reads the table. Labels are names; where all are whole numbers, they are sorted as such, and `class_names` names them.
///
/// # Errors
/// A column that is missing, a row that cannot be used, an image that is not there or listed twice; no test images and no
/// settings for a split, or both.
pub fn open(section: &Csv) -> Result<LabeledFiles> {
    let table = section.path.as_path();
    expect_exists(table, "a table of paths and labels")?;
    refuse_folder(table)?;
    let text = fs_err::read(table)?;
    let text = String::from_utf8(text).map_err(|error| {
        let line = error.as_bytes()[..error.utf8_error().valid_up_to()].split(|byte| *byte == b'\n').count();
        IngestError::layout(table, format!("line {line} is not UTF-8; save the table as UTF-8"))
    })?;
    let mut notes = Vec::new();
    let mut rows = rows(section, text.trim_start_matches('\u{feff}'))?;
    if rows.is_empty() {
        return Err(IngestError::layout(table, "has no rows"));
    }
    choose_test_part(&mut rows, &mut notes);
    let has_test = rows.iter().any(|row| row.part.is_some_and(|(split, _)| split == Split::Test));
    if has_test {
        refuse_beside(table, section.test_fraction, section.split_seed)?;
    }
    let labels = TextLabels::of(section.class_names.as_deref(), rows.iter().map(|row| row.label.as_str()));
    let mut files = labeled(section, &rows, &labels)?;
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
        let splits = split.of_rows(&labels, |row| rows[row].path.clone(), &classes, table)?;
        files.iter_mut().zip(splits).for_each(|(file, split)| file.split = split);
    }
    Ok(LabeledFiles {
        description: "table of paths",
        classes,
        files: files.into_iter().collect(),
        texts: Some(Digest::of_bytes(text.as_bytes())),
        notes,
    })
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

/// The rows, with the separator by which the header names the columns.
fn rows(section: &Csv, text: &str) -> Result<Vec<Row>> {
    let table = section.path.as_path();
    let [path, label, split] = [&section.path_column, &section.label_column, &section.split_column];
    let wanted = [path.as_deref().unwrap_or(COLUMNS[0]), label.as_deref().unwrap_or(COLUMNS[1])];
    let reader = |separator| ReaderBuilder::new().delimiter(separator).from_reader(text.as_bytes());
    let wrong = |error: csv::Error| {
        IngestError::layout(table, format!("cannot be read as a table ({error}); correct it"))
    };
    let mut chosen = None;
    for separator in SEPARATORS {
        let header = reader(separator).headers().map_err(wrong)?.clone();
        let place = |name: &str| header.iter().position(|column| column.trim() == name);
        if let [Some(path), Some(label)] = wanted.map(place) {
            let split = match split.as_deref() {
                Some(named) => {
                    Some(place(named).ok_or_else(|| absent(table, named, "split_column", &header))?)
                }
                None => place(COLUMNS[2]),
            };
            chosen = Some((separator, path, label, split));
            break;
        }
    }
    let Some((separator, path, label, split)) = chosen else {
        let header = reader(SEPARATORS[0]).headers().map_err(wrong)?.clone();
        let is_there = |name: &str| header.iter().any(|column| column.trim() == name);
        let (name, key) =
            if is_there(wanted[0]) { (wanted[1], "label_column") } else { (wanted[0], "path_column") };
        return Err(absent(table, name, key, &header));
    };
    let mut rows = Vec::new();
    for record in reader(separator).records() {
        let record = record.map_err(wrong)?;
        let line = record.position().map_or(0, csv::Position::line);
        let field = |column: usize| record.get(column).unwrap_or_default().trim().to_owned();
        let part = match split.map(field) {
            None => None,
            Some(name) => Some(part_of(&name).ok_or_else(|| {
                let problem =
                    format!("line {line}: found split `{name}`, expected train, val or test; correct it");
                IngestError::layout(table, problem)
            })?),
        };
        rows.push(Row { line, path: field(path), label: field(label), part });
    }
    Ok(rows)
}

fn absent(table: &Path, name: &str, key: &str, header: &StringRecord) -> IngestError {
    let found: Vec<&str> = header.iter().collect();
    let problem = format!(
        "has no column `{name}`, its first line is {}; name it in `ingest.source.{key}`, or add a line of column names",
        found.join(", ")
    );
    IngestError::layout(table, problem)
}

/// Leaves of the test parts the one whose name comes first and whose rows have labels.
fn choose_test_part(rows: &mut Vec<Row>, notes: &mut Vec<String>) {
    let test = |row: &Row| row.part.filter(|(split, _)| *split == Split::Test).map(|(_, part)| part);
    let labeled = rows.iter().filter(|row| !row.label.is_empty()).filter_map(test).min();
    let Some(chosen) = labeled else { return };
    let before = rows.len();
    rows.retain(|row| test(row).is_none_or(|part| part == chosen));
    if rows.len() < before {
        notes.push(format!(
            "{} images found; passed over: {} rows of other test splits than the first that has labels",
            rows.len(),
            before - rows.len()
        ));
    }
}

/// The files of the rows, in their order.
fn labeled(section: &Csv, rows: &[Row], labels: &TextLabels) -> Result<Vec<LabeledFile>> {
    let table = section.path.as_path();
    let beside = table.parent().unwrap_or(Path::new(""));
    let root = section.images.as_deref().unwrap_or(beside);
    let mut lines: BTreeMap<&str, u64> = BTreeMap::new();
    let mut files = Vec::new();
    for Row { line, path, label, part } in rows {
        let wrong = |problem: String| IngestError::layout(table, format!("line {line}: {problem}"));
        if let Some(first) = lines.insert(path, *line) {
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
        let split = part.map_or(Split::Train, |(split, _)| split);
        files.push(LabeledFile {
            file: ImageFile { relative: path.clone(), path: file, bytes, start: None },
            label,
            split,
        });
    }
    Ok(files)
}
