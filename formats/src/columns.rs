//! Typed access to the columns of one Arrow batch, with messages that name file, column and row.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BinaryArray, Int64Array, RecordBatch, StringArray, StructArray};
use arrow::datatypes::{DataType, Field, Fields};

use crate::error::{FormatError, Result};
use crate::provenance::ArtifactKind;

/// A value that cannot be, found in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongValue {
    /// The column.
    pub column: &'static str,
    /// The value found.
    pub found: String,
    /// What it should be.
    pub expected: String,
}

impl WrongValue {
    pub(crate) fn new(column: &'static str, found: impl ToString, expected: impl Into<String>) -> Self {
        Self { column, found: found.to_string(), expected: expected.into() }
    }

    /// States the error for the given row of a file.
    pub(crate) fn at(self, path: &Path, row: u64, kinds: &'static [ArtifactKind]) -> FormatError {
        let Self { column, found, expected } = self;
        FormatError::Value { path: path.to_owned(), row, column, found, expected, kinds }
    }
}

/// The columns of one batch of a file.
pub struct Columns<'a> {
    path: &'a Path,
    kinds: &'static [ArtifactKind],
    batch: &'a RecordBatch,
    first_row: u64,
}

impl<'a> Columns<'a> {
    pub(crate) fn new(
        path: &'a Path,
        kinds: &'static [ArtifactKind],
        batch: &'a RecordBatch,
        first_row: u64,
    ) -> Self {
        Self { path, kinds, batch, first_row }
    }

    /// How many rows the batch has.
    pub fn rows(&self) -> usize {
        self.batch.num_rows()
    }

    /// A column of the given array type, without nulls.
    ///
    /// # Errors
    ///
    /// If the column is absent, has another type or a null.
    pub fn required<A: Array + 'static>(&self, column: &'static str) -> Result<&'a A> {
        let array = self.array(column)?;
        self.refuse_null(column, array.as_ref())?;
        self.downcast(column, array)
    }

    /// A column of the given array type, in which nulls mean "does not apply".
    ///
    /// # Errors
    ///
    /// If the column is absent or has another type.
    pub fn nullable<A: Array + 'static>(&self, column: &'static str) -> Result<&'a A> {
        self.downcast(column, self.array(column)?)
    }

    /// The bytes and paths of an image column.
    ///
    /// # Errors
    ///
    /// If the column is absent, has another type or a null.
    pub fn images(&self, column: &'static str) -> Result<(&'a BinaryArray, &'a StringArray)> {
        let image: &StructArray = self.required(column)?;
        let [bytes, path] = image.columns() else {
            return Err(self.wrong_type(column, image.data_type(), &image_type()));
        };
        self.refuse_null(column, bytes.as_ref())?;
        Ok((self.downcast(column, bytes)?, self.downcast(column, path)?))
    }

    /// The labels, stored as 64-bit integers because Hugging Face's `ClassLabel` is one.
    ///
    /// # Errors
    ///
    /// If the column is absent, has another type, a null, or a number that is no label.
    pub fn labels(&self, column: &'static str) -> Result<Vec<u32>> {
        let labels: &Int64Array = self.required(column)?;
        let label = |(row, value): (usize, &i64)| {
            u32::try_from(*value)
                .map_err(|_| self.wrong(row, column, value.to_string(), "a label from 0".to_owned()))
        };
        labels.values().iter().enumerate().map(label).collect()
    }

    /// The error for a value in row `row` of this batch.
    pub fn wrong(&self, row: usize, column: &'static str, found: String, expected: String) -> FormatError {
        WrongValue { column, found, expected }.at(self.path, self.first_row + row as u64, self.kinds)
    }

    /// The error for a column, or a part of it, whose type is not the one expected.
    pub fn wrong_type(&self, column: &str, found: &DataType, expected: &DataType) -> FormatError {
        let (found, expected) = (found.to_string(), expected.to_string());
        let (path, column) = (self.path.to_owned(), column.to_owned());
        FormatError::WrongColumn { path, column, found, expected, kinds: self.kinds }
    }

    fn array(&self, column: &'static str) -> Result<&'a ArrayRef> {
        self.batch.column_by_name(column).ok_or_else(|| FormatError::MissingColumn {
            path: self.path.to_owned(),
            column: column.to_owned(),
            expected: "see the documentation of this file".to_owned(),
            found: self.batch.schema().fields().iter().map(|field| field.name().clone()).collect(),
            kinds: self.kinds,
        })
    }

    fn downcast<A: Array + 'static>(&self, column: &'static str, array: &'a ArrayRef) -> Result<&'a A> {
        array.as_any().downcast_ref().ok_or_else(|| FormatError::WrongColumn {
            path: self.path.to_owned(),
            column: column.to_owned(),
            found: array.data_type().to_string(),
            expected: std::any::type_name::<A>().to_owned(),
            kinds: self.kinds,
        })
    }

    fn refuse_null(&self, column: &'static str, array: &dyn Array) -> Result<()> {
        match (0..array.len()).find(|row| array.is_null(*row)) {
            Some(row) => Err(self.wrong(row, column, "null".to_owned(), "a value".to_owned())),
            None => Ok(()),
        }
    }
}

/// The type of an image column: what Hugging Face's `Image` feature stores.
pub(crate) fn image_type() -> DataType {
    DataType::Struct(image_fields())
}

fn image_fields() -> Fields {
    Fields::from(vec![Field::new("bytes", DataType::Binary, true), Field::new("path", DataType::Utf8, true)])
}

/// A field that may be null, as Hugging Face's readers expect images and class labels to be declared.
pub(crate) fn hugging_face(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, true)
}

/// A field that is never null.
pub(crate) fn required(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, false)
}

/// Builds an image column.
pub(crate) fn image_array<'b>(
    bytes: impl Iterator<Item = &'b [u8]>,
    paths: impl Iterator<Item = String>,
) -> ArrayRef {
    let bytes: ArrayRef = Arc::new(BinaryArray::from_iter_values(bytes));
    let paths: ArrayRef = Arc::new(StringArray::from_iter_values(paths));
    Arc::new(StructArray::new(image_fields(), vec![bytes, paths], None))
}

/// Builds a label column.
pub(crate) fn label_array(labels: impl Iterator<Item = u32>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(labels.map(i64::from)))
}

/// A label that is not an index into the class list.
pub(crate) fn check_label(label: u32, classes: usize) -> Result<(), WrongValue> {
    if (label as usize) < classes {
        return Ok(());
    }
    let expected = format!("a label below {classes}, the number of classes");
    Err(WrongValue::new("label", label, expected))
}

/// A probability that is none.
pub(crate) fn check_probability(column: &'static str, probability: f32) -> Result<(), WrongValue> {
    if (0.0..=1.0).contains(&probability) {
        return Ok(());
    }
    Err(WrongValue::new(column, probability, "a number in 0..=1"))
}

/// A slot out of order: the slots of each class lie together and count from 0, classes ascend. Given are label and slot of
/// the row and of the one before it.
pub(crate) fn check_slot((label, slot): (u32, u32), before: Option<(u32, u32)>) -> Result<(), WrongValue> {
    if let Some((last, _)) = before.filter(|(last, _)| label < *last) {
        let expected = format!("{last} or above, since classes ascend from row to row");
        return Err(WrongValue::new("label", label, expected));
    }
    let next = before.filter(|(last, _)| *last == label).map_or(0, |(_, slot)| u64::from(slot) + 1);
    if u64::from(slot) == next {
        return Ok(());
    }
    Err(WrongValue::new("slot", slot, format!("{next}, the next slot of class {label}")))
}

/// Whether two types are the same but for the names of list elements and for what may be null.
pub(crate) fn same_type(a: &DataType, b: &DataType) -> bool {
    match (a, b) {
        (DataType::List(a), DataType::List(b)) => same_type(a.data_type(), b.data_type()),
        (DataType::Struct(a), DataType::Struct(b)) => {
            let same = |(a, b): (&Arc<Field>, &Arc<Field>)| {
                a.name() == b.name() && same_type(a.data_type(), b.data_type())
            };
            a.len() == b.len() && a.iter().zip(b).all(same)
        }
        _ => a == b,
    }
}
