//! Real images with labels: `train.parquet` and `test.parquet`, made by `ingest`.
//!
//! Hugging Face's `datasets.load_dataset("parquet", ...)` shows their images and class names.

use arrow::array::UInt64Array;
use serde::{Deserialize, Serialize};

use crate::columns::{Column, Columns, WrongValue, check_label, image_and_label, required};
use crate::error::Result;
use crate::provenance::ArtifactKind;
use crate::table::{Row, TableReader, TableWriter};

/// The file of training images.
pub const TRAIN_FILE: &str = "train.parquet";

/// The file of test images.
pub const TEST_FILE: &str = "test.parquet";

/// Rows of a row group in files of images: small enough that a group of large photographs fits in memory.
pub(crate) const IMAGE_GROUP_ROWS: usize = 256;

/// The largest image: a row group that one ends still fits in an Arrow column.
const MOST_IMAGE_BYTES: usize = 1024 * 1024 * 1024;

/// Writes a split.
pub type DatasetWriter = TableWriter<ImageRow>;

/// Reads a split.
pub type DatasetReader = TableReader<ImageRow>;

/// One real image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageRow {
    /// The JPEG or PNG file, as it came.
    pub bytes: Vec<u8>,
    /// Its name in the source; for people only.
    pub path: String,
    /// Index into the class list.
    pub label: u32,
    /// The row's number in its split, from 0.
    pub image_id: u64,
}

/// What a dataset's manifest says about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetFacts {
    /// Rows of the training split.
    pub train_images: u64,
    /// Rows of the test split.
    pub test_images: u64,
    /// Training images of each class, in class order.
    pub train_per_class: Vec<u64>,
    /// Mean of each channel of the training images, pixels in 0..=1.
    pub mean: [f32; 3],
    /// Standard deviation of each channel of the training images, pixels in 0..=1.
    pub std: [f32; 3],
    /// Where the images came from.
    pub source: String,
    /// Training images that could not be read and were left out (`skip_broken`).
    #[serde(default)]
    pub train_broken: u64,
    /// Test images that could not be read and were left out (`skip_broken`).
    #[serde(default)]
    pub test_broken: u64,
    /// Images of both splits that were brought to `shorter_side`, where the section asks for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resized: Option<u64>,
}

impl Row for ImageRow {
    const KINDS: &'static [ArtifactKind] = &[ArtifactKind::Dataset];
    const GROUP_ROWS: usize = IMAGE_GROUP_ROWS;

    fn to_columns(rows: &[Self]) -> Vec<Column> {
        let [image, label] = image_and_label(
            rows.iter().map(|row| row.bytes.as_slice()),
            rows.iter().map(|row| row.path.clone()),
            rows.iter().map(|row| row.label),
        );
        let image_ids = UInt64Array::from_iter_values(rows.iter().map(|row| row.image_id));
        vec![image, label, required("image_id", image_ids)]
    }

    fn from_columns(columns: &Columns<'_>, row: usize) -> Result<Self> {
        let ((bytes, path), label) = (columns.image(row)?, columns.label(row)?);
        Ok(Self { bytes, path, label, image_id: columns.value::<UInt64Array>("image_id", row)? })
    }

    fn check(&self, index: u64, classes: usize) -> Result<(), WrongValue> {
        check_label(self.label, classes)?;
        check_image_bytes(self.bytes.len())?;
        if self.image_id == index {
            return Ok(());
        }
        let expected = format!("{index}, the number of the row");
        Err(WrongValue::new("image_id", self.image_id, expected))
    }

    fn picture_bytes(&self) -> usize {
        self.bytes.len()
    }
}

fn check_image_bytes(bytes: usize) -> Result<(), WrongValue> {
    if bytes <= MOST_IMAGE_BYTES {
        return Ok(());
    }
    let expected = format!("an image of at most {MOST_IMAGE_BYTES} bytes");
    Err(WrongValue::new("image", format!("{bytes} bytes"), expected))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_that_no_row_group_could_hold_is_refused() {
        assert_eq!(check_image_bytes(MOST_IMAGE_BYTES), Ok(()));
        let wrong = check_image_bytes(MOST_IMAGE_BYTES + 1).unwrap_err();
        assert_eq!(wrong.found, "1073741825 bytes");
        assert_eq!(wrong.expected, "an image of at most 1073741824 bytes");
    }
}
