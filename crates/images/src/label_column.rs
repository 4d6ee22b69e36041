//! What stands in the label column of a table, and the label that each value means.

use std::collections::BTreeMap;
use std::path::Path;

use arrow::array::{ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};

use crate::error::{ImagesError, Result};

/// How publishers mark a row whose label they keep to themselves.
const WITHHELD: i64 = -1;

/// What a label column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LabelKind {
    /// Whole numbers.
    Numbers,
    /// True and false.
    Truth,
    /// Text; categories of pandas and Polars are read as text too.
    Names,
}

impl LabelKind {
    /// What a column of this type holds, if labels.
    pub(crate) fn of(column: &DataType) -> Option<Self> {
        match column {
            number if number.is_integer() => Some(Self::Numbers),
            DataType::Boolean => Some(Self::Truth),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Some(Self::Names),
            _ => None,
        }
    }
}

/// The way from the values of a label column to labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Labels {
    /// Whole numbers below this many classes, which are labels as they stand; false is 0, true is 1.
    Numbers(usize),
    /// Whole numbers that are places in a class list of the table's own: the label of each.
    Places(Vec<u32>),
    /// Text: the label of each class name.
    Names(BTreeMap<String, u32>),
}

impl Labels {
    /// The labels of class names.
    pub fn of_names(classes: &[String]) -> Self {
        Self::Names(classes.iter().cloned().zip(0..).collect())
    }

    /// Whether a number of the table means another label than that number.
    pub fn is_another_order(&self) -> bool {
        matches!(self, Self::Places(labels) if !labels.iter().copied().eq(0..labels.len() as u32))
    }

    /// The labels of rows from number `start` on.
    pub(crate) fn read(&self, column: &ArrayRef, path: &Path, start: u64) -> Result<Vec<u32>> {
        let place = |row: usize| format!("{} row {}", path.display(), start + row as u64);
        if let Self::Names(labels) = self {
            let names = text(column, path)?;
            let names = names.as_string::<i64>();
            let label = |(row, name): (usize, Option<&str>)| {
                name.and_then(|name| labels.get(name)).copied().ok_or_else(|| ImagesError::ClassName {
                    place: place(row),
                    found: name.map_or_else(|| "null".to_owned(), |name| format!("`{name}`")),
                    classes: shown(labels.keys()),
                })
            };
            return names.iter().enumerate().map(label).collect();
        }
        let numbers = cast(column, &DataType::Int64).map_err(ImagesError::arrow(path))?;
        let label = |(row, number): (usize, Option<i64>)| {
            let label = number.and_then(|number| u32::try_from(number).ok());
            let label = label.and_then(|number| match self {
                Self::Places(labels) => labels.get(number as usize).copied(),
                Self::Numbers(classes) => Some(number).filter(|number| (*number as usize) < *classes),
                Self::Names(_) => None,
            });
            label.ok_or_else(|| ImagesError::Label {
                place: place(row),
                found: number.map_or_else(|| "null".to_owned(), |number| number.to_string()),
                classes: match self {
                    Self::Numbers(classes) => *classes,
                    Self::Places(labels) => labels.len(),
                    Self::Names(labels) => labels.len(),
                },
            })
        };
        numbers.as_primitive::<Int64Type>().iter().enumerate().map(label).collect()
    }
}

/// The values of a column as text.
pub(crate) fn text(column: &ArrayRef, path: &Path) -> Result<ArrayRef> {
    cast(column, &DataType::LargeUtf8).map_err(ImagesError::arrow(path))
}

/// Whether no row of a column has a label: nulls, -1, empty text.
pub(crate) fn is_withheld(column: &ArrayRef, path: &Path) -> Result<bool> {
    let (values, withheld) = (text(column, path)?, WITHHELD.to_string());
    let mut values = values.as_string::<i64>().iter();
    Ok(values.all(|value| value.is_none_or(|value| value.is_empty() || value == withheld)))
}

/// At most five names of a list, and how many there are.
pub fn shown<'a>(names: impl ExactSizeIterator<Item = &'a String>) -> String {
    const SHOWN: usize = 5;
    let count = names.len();
    let first = names.take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    let (noun, more) = (if count == 1 { "class" } else { "classes" }, if count > SHOWN { ", …" } else { "" });
    format!("{count} {noun} ({first}{more})")
}
