//! The embedded set: the 1,797 handwritten digits of UCI optdigits, 8x8 pixels. `data/README.md` says whose they are.

use std::ops::ControlFlow;
use std::path::Path;

use bytes::Bytes;
use delt_formats::canonical::Digest;

use crate::error::{IngestError, Result};
use crate::picture_table::{self, Columns, Row};
use crate::seeded_split;
use crate::source::{Content, SourceImage, Split, Visitor};

/// The committed file, part of the binary: the demo needs no path and no network.
static DIGITS: &[u8] = include_bytes!("../../../data/digits.parquet");
/// Names the file in errors.
const NAME: &str = "data/digits.parquet";

/// The digits, split.
#[derive(Debug)]
pub struct Digits {
    classes: Vec<String>,
    train: Vec<Row>,
    test: Vec<Row>,
}

impl Digits {
    /// Reads the embedded file and splits each class by the seed.
    ///
    /// # Errors
    /// Only if the committed file is damaged.
    pub fn open(test_fraction: f64, split_seed: u64) -> Result<Self> {
        let columns = Columns { image: "image".to_owned(), label: "label".to_owned() };
        let path = Path::new(NAME);
        let footer = picture_table::footer(Bytes::from_static(DIGITS), path, &columns)?;
        let classes = footer.class_names.ok_or_else(|| IngestError::NoClassNames {
            path: path.to_path_buf(),
            column: columns.label.clone(),
        })?;
        let mut rows_of_class = vec![Vec::new(); classes.len()];
        let mut collect = |row: Row| {
            rows_of_class[row.label as usize].push(row);
            Ok(ControlFlow::Continue(()))
        };
        let _ =
            picture_table::visit(Bytes::from_static(DIGITS), path, &columns, classes.len(), &mut collect)?;
        let (mut train, mut test) = (Vec::new(), Vec::new());
        for rows in rows_of_class {
            let names: Vec<&str> = rows.iter().map(|row| row.path.as_deref().unwrap_or_default()).collect();
            let is_test = seeded_split::is_test(&names, test_fraction, split_seed).unwrap_or_default();
            for (row, is_test) in rows.into_iter().zip(is_test) {
                if is_test { test.push(row) } else { train.push(row) }
            }
        }
        train.sort_by_key(|row| row.index);
        test.sort_by_key(|row| row.index);
        Ok(Self { classes, train, test })
    }

    /// `0` to `9`.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// The digest of the embedded file.
    pub fn fingerprint(&self) -> Digest {
        Digest::of_bytes(DIGITS)
    }

    /// Number of pictures.
    pub fn len(&self, split: Split) -> u64 {
        self.rows(split).len() as u64
    }

    /// Hands over the pictures in the order of the published file.
    ///
    /// # Errors
    /// What the visitor reports.
    pub fn visit(&self, split: Split, visitor: &mut Visitor<'_>) -> Result<()> {
        for row in self.rows(split) {
            let path = row.path.clone().unwrap_or_default();
            let place = format!("{NAME} row {}", row.index);
            let content = Content::Encoded(row.bytes.clone());
            if visitor(SourceImage { path, place, label: row.label, content })?.is_break() {
                break;
            }
        }
        Ok(())
    }

    fn rows(&self, split: Split) -> &[Row] {
        match split {
            Split::Train => &self.train,
            Split::Test => &self.test,
        }
    }
}
