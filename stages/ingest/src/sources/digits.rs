//! The embedded set: the 1,797 handwritten digits of UCI optdigits, 8x8 pixels. `data/README.md` says whose they are.

use std::ops::ControlFlow;
use std::path::Path;

use bytes::Bytes;
use delt_formats::canonical::Digest;
use delt_images::image_table::{self, Columns, Row};
use delt_images::label_column::Labels;
use delt_images::stored_image::Content;
use delt_pipeline::config::ingest::EmbeddedDigits;

use crate::error::{IngestError, Result};
use crate::seeded_split::SeededSplit;
use crate::source::{Source, SourceImage, Split, Visitor};

/// The committed file, part of the binary: the demo needs no path and no network.
static DIGITS: &[u8] = include_bytes!("../../../../data/digits.parquet");
/// Names the file in errors.
const NAME: &str = "data/digits.parquet";

/// The digits, split.
#[derive(Debug)]
pub struct Digits {
    classes: Vec<String>,
    rows: Vec<(Split, Row)>,
}

/// Reads the embedded file and splits each class by the seed.
///
/// # Errors
/// Only if the committed file is damaged.
pub fn open(section: &EmbeddedDigits) -> Result<Digits> {
    let columns = Columns { image: "image".to_owned(), label: "label".to_owned() };
    let path = Path::new(NAME);
    let footer = image_table::footer(Bytes::from_static(DIGITS), path, &columns)?;
    let classes = footer.class_names.ok_or_else(|| IngestError::no_class_names(path, &columns.label, &[]))?;
    let mut rows = Vec::new();
    let mut collect = |row: Row| {
        rows.push(row);
        Ok::<_, IngestError>(ControlFlow::Continue(()))
    };
    let _ = image_table::visit(
        Bytes::from_static(DIGITS),
        path,
        &columns,
        &Labels::Numbers(classes.len()),
        &mut collect,
    )?;
    let labels: Vec<u32> = rows.iter().map(|row| row.label).collect();
    let names = rows.iter().map(|row| row.path.as_deref().unwrap_or_default());
    let split = SeededSplit { fraction: section.test_fraction, seed: section.split_seed };
    let splits = split.of_rows(&labels, names, &classes, path)?;
    Ok(Digits { classes, rows: splits.into_iter().zip(rows).collect() })
}

impl Digits {
    fn of(&self, split: Split) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |(of_row, _)| *of_row == split).map(|(_, row)| row)
    }
}

impl Source for Digits {
    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn description(&self) -> String {
        "UCI optdigits, 8x8 (CC BY 4.0: E. Alpaydin, C. Kaynak)".to_owned()
    }

    fn fingerprint(&self) -> Result<Digest> {
        Ok(Digest::of_bytes(DIGITS))
    }

    fn len(&self, split: Split) -> u64 {
        self.of(split).count() as u64
    }

    /// In the order of the published file.
    fn visit(&self, split: Split, visitor: &mut Visitor<'_>) -> Result<()> {
        for row in self.of(split) {
            let path = row.path.clone().unwrap_or_default();
            let place = format!("{NAME} row {}", row.index);
            let content = Content::Encoded(row.bytes.clone());
            if visitor(SourceImage { path, place, label: row.label, content })?.is_break() {
                break;
            }
        }
        Ok(())
    }
}
