//! What all Parquet files of the project share: one row type each, metadata that says what made them, and bytes that
//! depend on nothing but the content.

use std::fmt::Debug;
use std::io::{Read, Seek, SeekFrom};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{Schema, SchemaRef};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReaderBuilder};
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, ParquetMetaData, RowGroupMetaData};
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use parquet::file::reader::Length;
use serde_json::Value;

use crate::canonical::{Digest, canonical_json};
use crate::columns::{Columns, WrongValue, same_type};
use crate::error::{FormatError, Result};
use crate::pages::{Batches, CheckedPages, check_footer, footer};
use crate::provenance::{ArtifactKind, METADATA_KEY, Provenance};

/// The metadata key under which Hugging Face's `datasets` looks for features.
pub const HUGGING_FACE_KEY: &str = "huggingface";

/// Rows read at once, where the rows of a group are not fewer.
const READ_ROWS: usize = 1024;

/// What the `created_by` of each file says: the Parquet library's own text holds its version, and so would the bytes.
const CREATED_BY: &str = "delt";

/// The four bytes at both ends of a Parquet file.
const PARQUET_MARK: [u8; 4] = *b"PAR1";

/// One row of one kind of Parquet file.
pub trait Row: Clone + Debug {
    /// The artifacts that such a file may belong to.
    const KINDS: &'static [ArtifactKind];

    /// Rows of a row group: fixed, because the bytes of the file depend on it.
    const GROUP_ROWS: usize;

    /// Bytes of pictures that end a row group before it has all its rows: fixed for the same reason.
    const GROUP_BYTES: usize = usize::MAX;

    /// The columns.
    fn schema() -> Schema;

    /// Builds the columns, in the order of the schema.
    fn to_columns(rows: &[Self]) -> Vec<ArrayRef>;

    /// Reads the rows of a batch.
    ///
    /// # Errors
    ///
    /// If a column holds what no row can.
    fn from_columns(columns: &Columns<'_>) -> Result<Vec<Self>>;

    /// Checks a row by itself: `index` is its number in the file, `classes` the length of the class list.
    ///
    /// # Errors
    ///
    /// The value which cannot be.
    fn check(&self, index: u64, classes: usize) -> Result<(), WrongValue>;

    /// Checks that a row can follow the one before it, or be the first of a file.
    ///
    /// # Errors
    ///
    /// The value which is out of order.
    fn check_order(&self, _before: Option<&Self>) -> Result<(), WrongValue> {
        Ok(())
    }

    /// Bytes of the row's picture.
    fn picture_bytes(&self) -> usize {
        0
    }

    /// Features for Hugging Face's readers, where the file has pictures.
    fn features(_classes: &[String]) -> Option<Value> {
        None
    }

    /// Encodings that suit the columns.
    fn properties(builder: WriterPropertiesBuilder) -> WriterPropertiesBuilder {
        builder
    }
}

/// Writes one Parquet file, row by row, one row group in memory at a time.
#[derive(Debug)]
pub struct TableWriter<R: Row> {
    path: PathBuf,
    schema: SchemaRef,
    classes: usize,
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
        let schema = Arc::new(R::schema());
        let features = R::features(&provenance.classes)
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
            ArrowWriter::try_new_with_options(file, schema.clone(), options).map_err(parquet_error(&path))?;
        let classes = provenance.classes.len();
        Ok(Self {
            path,
            schema,
            classes,
            writer,
            pending: Vec::new(),
            pending_bytes: 0,
            group_bytes: R::GROUP_BYTES,
            last: None,
            rows: 0,
        })
    }

    /// The same writer with another bound on the pictures of a row group, for tests.
    #[cfg(test)]
    pub(crate) fn with_group_bytes(self, group_bytes: usize) -> Self {
        Self { group_bytes, ..self }
    }

    /// Adds a row.
    ///
    /// # Errors
    ///
    /// If the row cannot be, or the file cannot be written.
    pub fn write(&mut self, row: &R) -> Result<()> {
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
        let columns = R::to_columns(&self.pending);
        let batch = RecordBatch::try_new(self.schema.clone(), columns)
            .map_err(|source| FormatError::Arrow { path: self.path.clone(), source })?;
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
        self.writer.finish().map_err(parquet_error(&self.path))?;
        self.writer.inner().sync_all()?;
        TableReader::<R>::open(&self.path).map(drop)
    }
}

/// Reads one Parquet file, row by row, a batch in memory at a time.
#[derive(Debug)]
pub struct TableReader<R: Row> {
    path: PathBuf,
    provenance: Provenance,
    metadata: ArrowReaderMetadata,
    row_type: PhantomData<R>,
}

impl<R: Row> TableReader<R> {
    /// Opens a file and checks its footer: artifact, schema version and columns.
    ///
    /// # Errors
    ///
    /// Whatever the file is instead of a file of such rows.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_owned();
        let mut file = fs_err::File::open(&path)?;
        check_marks::<R>(&path, &mut file)?;
        let file = file.into_file();
        let metadata = footer(&file).map_err(parquet_error(&path))?;
        check_footer(metadata.metadata(), Length::len(&file)).map_err(parquet_error(&path))?;
        let entries = metadata.metadata().file_metadata().key_value_metadata();
        let text = entries
            .and_then(|entries| entries.iter().find(|entry| entry.key == METADATA_KEY)?.value.as_deref())
            .ok_or_else(|| FormatError::NoProvenance { path: path.clone(), kinds: R::KINDS })?;
        let provenance = Provenance::from_metadata(&path, text)?;
        check_kind::<R>(&path, &provenance)?;
        check_schema::<R>(&path, metadata.schema())?;
        Ok(Self { path, provenance, metadata, row_type: PhantomData })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What made the file.
    pub fn provenance(&self) -> &Provenance {
        &self.provenance
    }

    /// How many rows there are.
    pub fn len(&self) -> u64 {
        u64::try_from(self.footer().file_metadata().num_rows()).unwrap_or(0)
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Refuses the file if its class list is not `classes`, in order.
    ///
    /// # Errors
    ///
    /// Names the first class that differs.
    pub fn expect_classes(&self, classes: &[String]) -> Result<()> {
        self.provenance.expect_classes(&self.path, classes)
    }

    /// Refuses the file if it was not made from the given content of the input called `input`.
    ///
    /// # Errors
    ///
    /// Names the digests found and expected.
    pub fn expect_input(&self, input: &str, content: &Digest) -> Result<()> {
        self.provenance.expect_input(&self.path, input, content)
    }

    /// All rows, from the first.
    pub fn rows(&self) -> Rows<R> {
        self.read(None)
    }

    /// The rows of one row group.
    pub(crate) fn group(&self, group: usize) -> Rows<R> {
        self.read(Some(group))
    }

    pub(crate) fn footer(&self) -> &ParquetMetaData {
        self.metadata.metadata()
    }

    fn read(&self, group: Option<usize>) -> Rows<R> {
        let groups = self.footer().row_groups();
        let is_from_start = group.is_none_or(|group| group == 0);
        let before = group.map_or(0, |group| groups.iter().take(group).map(RowGroupMetaData::num_rows).sum());
        let (batches, failure) = match self.batches(group) {
            Ok(batches) => (Some(batches), None),
            Err(error) => (None, Some(error)),
        };
        Rows {
            path: self.path.clone(),
            classes: self.provenance.classes.len(),
            batches,
            failure,
            decoded: Vec::new().into_iter(),
            last: None,
            is_from_start,
            next_row: u64::try_from(before).unwrap_or(0),
        }
    }

    fn batches(&self, group: Option<usize>) -> Result<Batches> {
        let file = fs_err::File::open(&self.path)?.into_file();
        let pages = CheckedPages::new(file, self.footer()).map_err(parquet_error(&self.path))?;
        let schema = R::schema();
        let wanted = self.metadata.schema().fields().iter().enumerate();
        let wanted = wanted.filter(|(_, field)| schema.column_with_name(field.name()).is_some());
        let projection =
            ProjectionMask::roots(self.metadata.parquet_schema(), wanted.map(|(index, _)| index));
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(pages, self.metadata.clone())
            .with_projection(projection)
            .with_batch_size(read_rows(self.footer(), R::GROUP_ROWS.min(READ_ROWS), R::GROUP_BYTES));
        let builder = match group {
            Some(group) => builder.with_row_groups(vec![group]),
            None => builder,
        };
        Batches::of(builder).map_err(parquet_error(&self.path))
    }
}

/// The rows of a file, in order; ends after the first error.
pub struct Rows<R: Row> {
    path: PathBuf,
    classes: usize,
    batches: Option<Batches>,
    failure: Option<FormatError>,
    decoded: std::vec::IntoIter<R>,
    /// The last row of the last batch.
    last: Option<R>,
    is_from_start: bool,
    next_row: u64,
}

impl<R: Row> Rows<R> {
    /// The number in the file of the first row not yet read from it.
    pub(crate) fn next_row(&self) -> u64 {
        self.next_row
    }

    fn decode(&self, batch: &RecordBatch) -> Result<Vec<R>> {
        let rows = R::from_columns(&Columns::new(&self.path, R::KINDS, batch, self.next_row))?;
        let mut before = self.last.as_ref();
        for (row, index) in rows.iter().zip(self.next_row..) {
            row.check(index, self.classes)
                .and_then(|()| {
                    let is_ordered = before.is_some() || self.is_from_start;
                    if is_ordered { row.check_order(before) } else { Ok(()) }
                })
                .map_err(|wrong| wrong.at(&self.path, index, R::KINDS))?;
            before = Some(row);
        }
        Ok(rows)
    }
}

impl<R: Row> Iterator for Rows<R> {
    type Item = Result<R>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(error) = self.failure.take() {
                self.batches = None;
                return Some(Err(error));
            }
            if let Some(row) = self.decoded.next() {
                return Some(Ok(row));
            }
            let decoded = match self.batches.as_mut()?.next()? {
                Ok(batch) => self.decode(&batch),
                Err(source) => Err(FormatError::Arrow { path: self.path.clone(), source }),
            };
            match decoded {
                Ok(rows) => {
                    self.next_row += rows.len() as u64;
                    self.last = rows.last().cloned();
                    self.decoded = rows.into_iter();
                }
                Err(error) => self.failure = Some(error),
            }
        }
    }
}

/// Rows to read at once: at most `most`, and so few that the rows of the largest row group, by its mean, are below `bytes`.
/// A file of another program may hold large pictures in groups of any size.
fn read_rows(footer: &ParquetMetaData, most: usize, bytes: usize) -> usize {
    let mean_bytes = |group: &RowGroupMetaData| group.total_byte_size() / group.num_rows().max(1);
    let largest = footer.row_groups().iter().map(mean_bytes).max().unwrap_or(0);
    let fitting = bytes / usize::try_from(largest).unwrap_or(0).max(1);
    fitting.clamp(1, most)
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
    Err(FormatError::WrongArtifact { path: path.to_owned(), found, kinds: R::KINDS })
}

fn check_schema<R: Row>(path: &Path, found: &Schema) -> Result<()> {
    for field in R::schema().fields() {
        let (path, column, kinds) = (path.to_owned(), field.name().clone(), R::KINDS);
        let expected = field.data_type().to_string();
        let Some((_, there)) = found.column_with_name(&column) else {
            let found = found.fields().iter().map(|field| field.name().clone()).collect();
            return Err(FormatError::MissingColumn { path, column, expected, found, kinds });
        };
        if !same_type(there.data_type(), field.data_type()) {
            let found = there.data_type().to_string();
            return Err(FormatError::WrongColumn { path, column, found, expected, kinds });
        }
    }
    Ok(())
}

/// Tells a file that is not Parquet from one that lost its end, before the Parquet library words it in its own way.
fn check_marks<R: Row>(path: &Path, file: &mut fs_err::File) -> Result<()> {
    let length = file.metadata()?.len();
    let mut mark = [0; 4];
    let begins = length >= 4 && file.read_exact(&mut mark).map(|()| mark == PARQUET_MARK)?;
    if !begins {
        return Err(FormatError::NotParquet { path: path.to_owned(), kinds: R::KINDS });
    }
    let mut footer = [0; 8];
    let mut ends = false;
    if length >= 12 {
        file.seek(SeekFrom::End(-8))?;
        file.read_exact(&mut footer)?;
        let footer_bytes = u64::from(u32::from_le_bytes([footer[0], footer[1], footer[2], footer[3]]));
        ends = footer[4..] == PARQUET_MARK && footer_bytes + 12 <= length;
    }
    if !ends {
        return Err(FormatError::Truncated { path: path.to_owned(), kinds: R::KINDS });
    }
    file.seek(SeekFrom::Start(0))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::dataset::ImageRow;

    /// Writes `sizes.len()` pictures of the given bytes and gives the rows of each group.
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
        assert_eq!(group_rows(&path, &small, ImageRow::GROUP_BYTES), [256, 256, 88]);
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
        assert_eq!(read_rows(reader.footer(), 256, ImageRow::GROUP_BYTES), 256);
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
