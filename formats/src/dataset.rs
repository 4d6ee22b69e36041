//! Real images with labels: `train.parquet` and `test.parquet`, made by `ingest`.
//!
//! Hugging Face's `datasets.load_dataset("parquet", ...)` shows their images and class names.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, UInt64Array};
use arrow::datatypes::{DataType, Schema};
use parquet::file::properties::{EnabledStatistics, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::columns::{
    Columns, WrongValue, check_label, hugging_face, image_array, image_type, label_array, required,
};
use crate::error::Result;
use crate::provenance::ArtifactKind;
use crate::table::{Row, TableReader, TableWriter};

/// The file of training images.
pub const TRAIN_FILE: &str = "train.parquet";

/// The file of test images.
pub const TEST_FILE: &str = "test.parquet";

/// Rows of a row group in files of images: small enough that a group of large photographs fits in memory.
pub(crate) const IMAGE_GROUP_ROWS: usize = 256;

/// Bytes of images that end a row group before: far below the 2 GiB that one Arrow column of bytes can hold.
pub(crate) const IMAGE_GROUP_BYTES: usize = 64 * 1024 * 1024;

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
}

impl Row for ImageRow {
    const KINDS: &'static [ArtifactKind] = &[ArtifactKind::Dataset];
    const GROUP_ROWS: usize = IMAGE_GROUP_ROWS;
    const GROUP_BYTES: usize = IMAGE_GROUP_BYTES;

    fn schema() -> Schema {
        Schema::new(vec![
            hugging_face("image", image_type()),
            hugging_face("label", DataType::Int64),
            required("image_id", DataType::UInt64),
        ])
    }

    fn to_columns(rows: &[Self]) -> Vec<ArrayRef> {
        vec![
            image_array(rows.iter().map(|row| row.bytes.as_slice()), rows.iter().map(|row| row.path.clone())),
            label_array(rows.iter().map(|row| row.label)),
            Arc::new(UInt64Array::from_iter_values(rows.iter().map(|row| row.image_id))),
        ]
    }

    fn from_columns(columns: &Columns<'_>) -> Result<Vec<Self>> {
        let (bytes, paths) = columns.images("image")?;
        let labels = columns.labels("label")?;
        let image_ids: &UInt64Array = columns.required("image_id")?;
        let row = |index: usize| ImageRow {
            bytes: bytes.value(index).to_vec(),
            path: if paths.is_null(index) { String::new() } else { paths.value(index).to_owned() },
            label: labels[index],
            image_id: image_ids.value(index),
        };
        Ok((0..columns.rows()).map(row).collect())
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

    fn features(classes: &[String]) -> Option<Value> {
        Some(image_features(classes, &[("image_id", "uint64")]))
    }

    fn properties(builder: WriterPropertiesBuilder) -> WriterPropertiesBuilder {
        image_properties(builder)
    }
}

fn check_image_bytes(bytes: usize) -> Result<(), WrongValue> {
    if bytes <= MOST_IMAGE_BYTES {
        return Ok(());
    }
    let expected = format!("an image of at most {MOST_IMAGE_BYTES} bytes");
    Err(WrongValue::new("image", format!("{bytes} bytes"), expected))
}

/// Hugging Face's description of a file with an `image`, a `label` and the given plain columns.
pub(crate) fn image_features(classes: &[String], plain: &[(&str, &str)]) -> Value {
    let mut features = json!({
        "image": {"_type": "Image"},
        "label": {"_type": "ClassLabel", "names": classes},
    });
    for (name, dtype) in plain {
        features[name] = json!({"_type": "Value", "dtype": dtype});
    }
    json!({"info": {"features": features}})
}

/// No dictionary and no statistics for encoded images: no two are equal, and comparing them means nothing.
pub(crate) fn image_properties(builder: WriterPropertiesBuilder) -> WriterPropertiesBuilder {
    ["bytes", "path"].into_iter().fold(builder, |builder, leaf| {
        let column = ColumnPath::new(vec!["image".to_owned(), leaf.to_owned()]);
        builder
            .set_column_dictionary_enabled(column.clone(), false)
            .set_column_statistics_enabled(column, EnabledStatistics::None)
    })
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
