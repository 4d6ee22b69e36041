//! Typed access to the columns of one Arrow batch, with messages that name file, column and row.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayAccessor, ArrayRef, ArrowPrimitiveType, AsArray, BinaryArray, Int64Array, ListArray,
    PrimitiveArray, RecordBatch, StringArray, StructArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, FieldRef};

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
    pub(crate) fn at(self, path: &Path, row: u64, kinds: &[ArtifactKind]) -> FormatError {
        let Self { column, found, expected } = self;
        let problem = format!("row {row}, column `{column}`: found {found}, expected {expected}");
        FormatError::unfit_of(path, kinds, problem)
    }
}

/// A column to be written: its name and type, and its values.
pub type Column = (FieldRef, ArrayRef);

/// The columns of one batch of a file, whose names and types were checked when it was opened.
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

    /// The value in row `row` of a column of the given array type.
    ///
    /// # Errors
    ///
    /// If it is null.
    pub fn value<A>(&self, column: &'static str, row: usize) -> Result<<&'a A as ArrayAccessor>::Item>
    where
        A: Array + 'static,
        &'a A: ArrayAccessor,
    {
        self.optional::<A>(column, row).ok_or_else(|| self.wrong(row, column, "null", "a value"))
    }

    /// As [`Self::value`], of a column in which nulls mean "does not apply".
    pub fn optional<A>(&self, column: &'static str, row: usize) -> Option<<&'a A as ArrayAccessor>::Item>
    where
        A: Array + 'static,
        &'a A: ArrayAccessor,
    {
        let array: &'a A = self.array(column);
        array.is_valid(row).then(|| array.value(row))
    }

    /// The list of numbers in a row.
    ///
    /// # Errors
    ///
    /// If it is null.
    pub fn list<T: ArrowPrimitiveType>(&self, column: &'static str, row: usize) -> Result<Vec<T::Native>> {
        Ok(self.value::<ListArray>(column, row)?.as_primitive::<T>().values().to_vec())
    }

    /// The list of numbers in a row, or none where it is null or the file's schema version has no such column.
    pub fn optional_list<T: ArrowPrimitiveType>(
        &self,
        column: &'static str,
        row: usize,
    ) -> Option<Vec<T::Native>> {
        self.batch.column_by_name(column)?;
        Some(self.optional::<ListArray>(column, row)?.as_primitive::<T>().values().to_vec())
    }

    /// The bytes of a row's image, and its path, empty where it has none.
    ///
    /// # Errors
    ///
    /// If it is null.
    pub fn image(&self, row: usize) -> Result<(Vec<u8>, String)> {
        let image: &StructArray = self.array("image");
        let (bytes, path) = (image.column(0).as_binary::<i32>(), image.column(1).as_string::<i32>());
        if image.is_null(row) || bytes.is_null(row) {
            return Err(self.wrong(row, "image", "null", "a value"));
        }
        let path = if path.is_null(row) { "" } else { path.value(row) };
        Ok((bytes.value(row).to_vec(), path.to_owned()))
    }

    /// The label of a row, stored as a 64-bit integer because Hugging Face's `ClassLabel` is one.
    ///
    /// # Errors
    ///
    /// If it is null, or a number that is no label.
    pub fn label(&self, row: usize) -> Result<u32> {
        let label = self.value::<Int64Array>("label", row)?;
        u32::try_from(label).map_err(|_| self.wrong(row, "label", label, "a label from 0"))
    }

    /// The error for a value in row `row` of this batch.
    pub fn wrong(
        &self,
        row: usize,
        column: &'static str,
        found: impl ToString,
        expected: impl Into<String>,
    ) -> FormatError {
        WrongValue::new(column, found, expected).at(self.path, self.first_row + row as u64, self.kinds)
    }

    fn array<A: Array + 'static>(&self, column: &str) -> &'a A {
        let array = self.batch.column_by_name(column).and_then(|array| array.as_any().downcast_ref());
        array.expect("a file is opened only if its columns have the names and types of its rows")
    }
}

/// A column that is never null.
pub(crate) fn required(name: &str, array: impl Array + 'static) -> Column {
    (Arc::new(Field::new(name, array.data_type().clone(), false)), Arc::new(array))
}

/// A column that may be null.
pub(crate) fn nullable(name: &str, array: impl Array + 'static) -> Column {
    (Arc::new(Field::new(name, array.data_type().clone(), true)), Arc::new(array))
}

/// The columns `image` and `label` as Hugging Face's `Image` and `ClassLabel` features store them; its readers expect both to be
/// declared as what may be null.
pub(crate) fn image_and_label<'b>(
    bytes: impl Iterator<Item = &'b [u8]>,
    paths: impl Iterator<Item = String>,
    labels: impl Iterator<Item = u32>,
) -> [Column; 2] {
    let bytes = nullable("bytes", BinaryArray::from_iter_values(bytes));
    let paths = nullable("path", StringArray::from_iter_values(paths));
    let images = StructArray::from(vec![bytes, paths]);
    [nullable("image", images), nullable("label", label_array(labels))]
}

/// Builds a label column.
pub(crate) fn label_array(labels: impl Iterator<Item = u32>) -> Int64Array {
    Int64Array::from_iter_values(labels.map(i64::from))
}

/// Builds a column of lists of numbers.
pub(crate) fn list_array<'b, T: ArrowPrimitiveType>(
    lists: impl Iterator<Item = &'b [T::Native]> + Clone,
) -> ListArray {
    let lengths = lists.clone().map(<[T::Native]>::len);
    list_of(lengths, PrimitiveArray::<T>::from_iter_values(lists.flatten().copied()))
}

/// Builds a column of lists of numbers, of which any may be null.
pub(crate) fn optional_list_array<'b, T: ArrowPrimitiveType>(
    lists: impl Iterator<Item = Option<&'b [T::Native]>> + Clone,
) -> ListArray {
    let (element, offsets, elements, _) =
        list_array::<T>(lists.clone().map(Option::unwrap_or_default)).into_parts();
    ListArray::new(element, offsets, elements, Some(lists.map(|list| list.is_some()).collect()))
}

/// Lists of the given lengths, of elements that are never null.
pub(crate) fn list_of(lengths: impl IntoIterator<Item = usize>, elements: impl Array + 'static) -> ListArray {
    let (element, elements) = required("element", elements);
    ListArray::new(element, OffsetBuffer::from_lengths(lengths), elements, None)
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
