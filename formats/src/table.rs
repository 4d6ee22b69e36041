//! What all Parquet files of the project share: one row type each, metadata that says what made them, and bytes that
//! depend on nothing but the content.

mod reader;

use std::fmt::Debug;
use std::path::{Path, PathBuf};

use arrow::array::{RecordBatch, StructArray};
use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;
use serde_json::{Map, Value, json};

pub use self::reader::{Rows, TableReader};
use crate::canonical::canonical_json;
use crate::columns::{Column, Columns, WrongValue};
use crate::error::{FormatError, Result, stages};
use crate::provenance::{ArtifactKind, METADATA_KEY, Provenance};

/// The metadata key under which Hugging Face's `datasets` looks for features.
pub const HUGGING_FACE_KEY: &str = "huggingface";

/// Bytes of images that end a row group before it has all its rows, fixed for the same reason as [`Row::GROUP_ROWS`]: far below
/// the 2 GiB that one Arrow column of bytes can hold.
pub(crate) const GROUP_BYTES: usize = 64 * 1024 * 1024;

/// What the `created_by` of each file says: the Parquet library's own text holds its version, and so would the bytes.
const CREATED_BY: &str = "delt";

/// One row of one kind of Parquet file.
pub trait Row: Clone + Debug {
    /// The artifacts that such a file may belong to.
    const KINDS: &'static [ArtifactKind];

    /// Rows of a row group: fixed, because the bytes of the file depend on it.
    const GROUP_ROWS: usize = 65_536;

    /// Builds the columns.
    fn to_columns(rows: &[Self]) -> Vec<Column>;

    /// Reads the row in the given place of a batch.
    ///
    /// # Errors
    ///
    /// If a column holds what no row can.
    fn from_columns(columns: &Columns<'_>, row: usize) -> Result<Self>;

    /// Builds the columns that the second schema version has beside those of the first; each may be null.
    fn added_columns(_rows: &[Self]) -> Vec<Column> {
        Vec::new()
    }

    /// The lowest schema version that has columns for all that the row holds.
    fn least_schema_version(&self) -> u32 {
        1
    }

    /// The rows as Arrow has them, in that schema version.
    fn to_batch(rows: &[Self], schema_version: u32) -> RecordBatch {
        let mut columns = Self::to_columns(rows);
        if schema_version > 1 {
            columns.extend(Self::added_columns(rows));
        }
        StructArray::from(columns).into()
    }

    /// The names and types of the columns of a schema version.
    fn schema(schema_version: u32) -> SchemaRef {
        Self::to_batch(&[], schema_version).schema()
    }

    /// Checks a row by itself: given are its number in the file and the length of the class list.
    ///
    /// # Errors
    ///
    /// The value which cannot be.
    fn check(&self, _index: u64, _classes: usize) -> Result<(), WrongValue> {
        Ok(())
    }

    /// Checks that a row can follow the one before it, or be the first of a file.
    ///
    /// # Errors
    ///
    /// The value which is out of order.
    fn check_order(&self, _before: Option<&Self>) -> Result<(), WrongValue> {
        Ok(())
    }

    /// Bytes of the row's image.
    fn picture_bytes(&self) -> usize {
        0
    }

    /// Encodings that suit the columns.
    fn properties(builder: WriterPropertiesBuilder) -> WriterPropertiesBuilder {
        let builder = without_dictionary(builder, &["image", "bytes"]);
        without_dictionary(builder, &["image", "path"])
    }
}

/// For a column whose values repeat too seldom for a dictionary, and whose bounds nobody asks for: encoded images, of which no
/// two are equal, and logits.
pub(crate) fn without_dictionary(
    builder: WriterPropertiesBuilder,
    column: &[&str],
) -> WriterPropertiesBuilder {
    let column = ColumnPath::new(column.iter().map(ToString::to_string).collect());
    builder
        .set_column_dictionary_enabled(column.clone(), false)
        .set_column_statistics_enabled(column, EnabledStatistics::None)
}

/// Writes one Parquet file, row by row, one row group in memory at a time.
#[derive(Debug)]
pub struct TableWriter<R: Row> {
    path: PathBuf,
    classes: usize,
    schema_version: u32,
    writer: ArrowWriter<fs_err::File>,
    pending: Vec<R>,
    pending_bytes: usize,
    group_bytes: usize,
    /// The last row of the last group.
    last: Option<R>,
    rows: u64,
}

impl<R: Row> TableWriter<R> {
    /// Creates the file, over any that is there.
    ///
    /// # Errors
    ///
    /// If the provenance is of an artifact that has no such file, or the file cannot be created.
    pub fn create(path: impl AsRef<Path>, provenance: &Provenance) -> Result<Self> {
        let path = path.as_ref().to_owned();
        check_kind::<R>(&path, provenance)?;
        let schema_version = provenance.schema_version;
        let schema = R::schema(schema_version);
        let features = features(&schema, &provenance.classes)
            .map(|features| KeyValue::new(HUGGING_FACE_KEY.to_owned(), canonical_json(&features)));
        let provenance_entry = KeyValue::new(METADATA_KEY.to_owned(), provenance.to_metadata());
        let properties = WriterProperties::builder()
            .set_created_by(CREATED_BY.to_owned())
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(None)
            .set_key_value_metadata(Some(features.into_iter().chain([provenance_entry]).collect()));
        let options = ArrowWriterOptions::new()
            .with_properties(R::properties(properties).build())
            .with_skip_arrow_metadata(true);
        let file = fs_err::File::create(&path)?;
        let writer =
            ArrowWriter::try_new_with_options(file, schema, options).map_err(parquet_error(&path))?;
        let classes = provenance.classes.len();
        Ok(Self {
            path,
            classes,
            schema_version,
            writer,
            pending: Vec::new(),
            pending_bytes: 0,
            group_bytes: GROUP_BYTES,
            last: None,
            rows: 0,
        })
    }

    /// The same writer with another bound on the images of a row group, for tests.
    #[cfg(test)]
    pub(crate) fn with_group_bytes(self, group_bytes: usize) -> Self {
        Self { group_bytes, ..self }
    }

    /// Adds a row.
    ///
    /// # Errors
    ///
    /// If the row cannot be, or holds what the file's schema version has no column for, or the file cannot be written.
    pub fn write(&mut self, row: &R) -> Result<()> {
        let (needed, has) = (row.least_schema_version(), self.schema_version);
        if needed > has {
            let problem = format!(
                "row {}: holds what schema version {needed} has columns for, but the file is of version {has}; plan it so",
                self.rows
            );
            return Err(FormatError::unfit(&self.path, problem));
        }
        row.check(self.rows, self.classes)
            .and_then(|()| row.check_order(self.pending.last().or(self.last.as_ref())))
            .map_err(|wrong| wrong.at(&self.path, self.rows, R::KINDS))?;
        self.pending.push(row.clone());
        self.pending_bytes += row.picture_bytes();
        self.rows += 1;
        let is_full = self.pending.len() >= R::GROUP_ROWS || self.pending_bytes >= self.group_bytes;
        if is_full { self.end_group() } else { Ok(()) }
    }

    /// How many rows were added.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Ends the row group here.
    pub(crate) fn end_group(&mut self) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let batch = R::to_batch(&self.pending, self.schema_version);
        self.last = self.pending.pop();
        self.pending.clear();
        self.pending_bytes = 0;
        self.writer.write(&batch).and_then(|()| self.writer.flush()).map_err(parquet_error(&self.path))
    }

    /// Writes the footer, waits until the file is on disk and reads the footer again.
    ///
    /// # Errors
    ///
    /// If the file cannot be written, or cannot be read back.
    pub fn finish(mut self) -> Result<()> {
        self.end_group()?;
        // what the writer knows of the row groups is freed before it is read back
        self.writer.into_inner().map_err(parquet_error(&self.path))?.sync_all()?;
        TableReader::<R>::open(&self.path).map(drop)
    }
}

/// Hugging Face's description of a file with images: an `image`, a `label` and plain columns.
fn features(schema: &Schema, classes: &[String]) -> Option<Value> {
    schema.column_with_name("image")?;
    let value =
        |data_type: &DataType| json!({"_type": "Value", "dtype": data_type.to_string().to_lowercase()});
    let feature = |field: &FieldRef| match (field.name().as_str(), field.data_type()) {
        ("image", _) => json!({"_type": "Image"}),
        ("label", _) => json!({"_type": "ClassLabel", "names": classes}),
        (_, DataType::List(of)) => json!({"_type": "Sequence", "feature": value(of.data_type())}),
        (_, of) => value(of),
    };
    let features = schema.fields().iter().map(|field| (field.name().clone(), feature(field)));
    Some(json!({"info": {"features": features.collect::<Map<_, _>>()}}))
}

fn parquet_error(path: &Path) -> impl FnOnce(ParquetError) -> FormatError {
    let path = path.to_owned();
    |source| FormatError::Parquet { path, source }
}

fn check_kind<R: Row>(path: &Path, provenance: &Provenance) -> Result<()> {
    let found = provenance.artifact;
    if R::KINDS.contains(&found) {
        return Ok(());
    }
    let kinds: Vec<&str> = R::KINDS.iter().map(|kind| kind.dir()).collect();
    let (expected, stages) = (kinds.join(" or "), stages(R::KINDS));
    let problem = format!("belongs to artifact {found}, expected {expected}; give the file made by {stages}");
    Err(FormatError::unfit(path, problem))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use parquet::file::metadata::RowGroupMetaData;

    use super::reader::read_rows;
    use super::*;
    use crate::dataset::ImageRow;

    /// Writes `sizes.len()` images of the given bytes and gives the rows of each group.
    fn group_rows(path: &Path, sizes: &[usize], group_bytes: usize) -> Vec<i64> {
        let kind = ArtifactKind::Dataset;
        let provenance =
            Provenance::new(kind, "ingest", 1, vec!["cat".to_owned()], Value::Null, 0, BTreeMap::new());
        let mut writer =
            TableWriter::<ImageRow>::create(path, &provenance).unwrap().with_group_bytes(group_bytes);
        for row in rows(sizes) {
            writer.write(&row).unwrap();
        }
        writer.finish().unwrap();
        let reader = TableReader::<ImageRow>::open(path).unwrap();
        assert_eq!(reader.rows().collect::<Result<Vec<_>>>().unwrap(), rows(sizes));
        reader.footer().row_groups().iter().map(RowGroupMetaData::num_rows).collect()
    }

    fn rows(sizes: &[usize]) -> Vec<ImageRow> {
        let row = |(size, id): (&usize, u64)| ImageRow {
            bytes: (0..*size).map(|at| (at * at % 251) as u8).collect(),
            path: String::new(),
            label: 0,
            image_id: id,
        };
        sizes.iter().zip(0..).map(row).collect()
    }

    #[test]
    fn a_row_group_of_large_pictures_ends_at_its_bytes_and_one_of_small_pictures_at_its_rows() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("train.parquet");
        assert_eq!(group_rows(&path, &[400, 700, 5000, 10, 10, 10], 1000), [2, 1, 3]);
        let small = [10; 600];
        assert_eq!(group_rows(&path, &small, GROUP_BYTES), [256, 256, 88]);
        let bounded = fs_err::read(&path).unwrap();
        group_rows(&path, &small, usize::MAX);
        assert_eq!(fs_err::read(&path).unwrap(), bounded, "the bound must not change small files");
    }

    #[test]
    fn so_few_large_rows_are_read_at_once_that_they_stay_within_the_bound() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("train.parquet");
        group_rows(&path, &[100, 100, 5000, 5000], 10_000);
        let reader = TableReader::<ImageRow>::open(&path).unwrap();
        let mean = reader.footer().row_groups()[0].total_byte_size() / 4;
        let bytes = usize::try_from(mean).unwrap();
        assert_eq!(read_rows(reader.footer(), 256, 2 * bytes), 2);
        assert_eq!(read_rows(reader.footer(), 256, 1), 1, "one row is always read");
        assert_eq!(read_rows(reader.footer(), 256, GROUP_BYTES), 256);
    }

    #[test]
    fn a_file_does_not_name_the_version_of_the_parquet_library() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("train.parquet");
        group_rows(&path, &[3], usize::MAX);
        let reader = TableReader::<ImageRow>::open(&path).unwrap();
        assert_eq!(reader.footer().file_metadata().created_by(), Some("delt"));
    }
}
