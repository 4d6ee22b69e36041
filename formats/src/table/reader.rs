//! The reading half. Files are those of artifacts, whose digests were checked: Parquet of others is read by `delt-guard`.

use std::io::{Read, Seek, SeekFrom};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};

use super::{GROUP_BYTES, Row, check_kind, parquet_error};
use crate::canonical::Digest;
use crate::columns::{Columns, same_type};
use crate::error::{FormatError, Result};
use crate::provenance::{METADATA_KEY, Provenance};

/// Rows read at once, where the rows of a group are not fewer.
const READ_ROWS: usize = 1024;

/// The four bytes at both ends of a Parquet file.
const PARQUET_MARK: [u8; 4] = *b"PAR1";

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
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let metadata = ArrowReaderMetadata::load(&file, options).map_err(parquet_error(&path))?;
        let entries = metadata.metadata().file_metadata().key_value_metadata();
        let text = entries
            .and_then(|entries| entries.iter().find(|entry| entry.key == METADATA_KEY)?.value.as_deref())
            .ok_or_else(|| {
                let problem =
                    format!("has no metadata key `{METADATA_KEY}`, so no stage of this workspace wrote it");
                FormatError::unfit_of(&path, R::KINDS, problem)
            })?;
        let provenance = Provenance::from_metadata(&path, text)?;
        check_kind::<R>(&path, &provenance)?;
        check_schema::<R>(&path, provenance.schema_version, metadata.schema())?;
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

    /// The rows of one row group; only rows in any order are read so, since the first is checked like that of a file.
    pub(crate) fn group(&self, group: usize) -> Rows<R> {
        self.read(Some(group))
    }

    pub(crate) fn footer(&self) -> &ParquetMetaData {
        self.metadata.metadata()
    }

    fn read(&self, group: Option<usize>) -> Rows<R> {
        let groups = self.footer().row_groups();
        let before = group.map_or(0, |group| groups.iter().take(group).map(RowGroupMetaData::num_rows).sum());
        Rows {
            path: self.path.clone(),
            classes: self.provenance.classes.len(),
            batches: Some(self.batches(group)),
            decoded: Vec::new().into_iter(),
            last: None,
            next_row: u64::try_from(before).unwrap_or(0),
        }
    }

    fn batches(&self, group: Option<usize>) -> Result<ParquetRecordBatchReader> {
        let file = fs_err::File::open(&self.path)?.into_file();
        let schema = R::schema(self.provenance.schema_version);
        let wanted = self.metadata.schema().fields().iter().enumerate();
        let wanted = wanted.filter(|(_, field)| schema.column_with_name(field.name()).is_some());
        let projection =
            ProjectionMask::roots(self.metadata.parquet_schema(), wanted.map(|(index, _)| index));
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone())
            .with_projection(projection)
            .with_batch_size(read_rows(self.footer(), R::GROUP_ROWS.min(READ_ROWS), GROUP_BYTES));
        let builder = match group {
            Some(group) => builder.with_row_groups(vec![group]),
            None => builder,
        };
        builder.build().map_err(parquet_error(&self.path))
    }
}

/// The rows of a file, in order; ends after the first error.
pub struct Rows<R: Row> {
    path: PathBuf,
    classes: usize,
    /// None after the last batch, and after the first error.
    batches: Option<Result<ParquetRecordBatchReader>>,
    decoded: std::vec::IntoIter<R>,
    /// The last row of the last batch.
    last: Option<R>,
    next_row: u64,
}

impl<R: Row> Rows<R> {
    /// The number in the file of the first row not yet read from it.
    pub(crate) fn next_row(&self) -> u64 {
        self.next_row
    }

    fn decode(&self, batch: &RecordBatch) -> Result<Vec<R>> {
        let columns = Columns::new(&self.path, R::KINDS, batch, self.next_row);
        let rows =
            (0..batch.num_rows()).map(|row| R::from_columns(&columns, row)).collect::<Result<Vec<_>>>()?;
        let mut before = self.last.as_ref();
        for (row, index) in rows.iter().zip(self.next_row..) {
            row.check(index, self.classes)
                .and_then(|()| row.check_order(before))
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
            if let Some(row) = self.decoded.next() {
                return Some(Ok(row));
            }
            let mut batches = match self.batches.take()? {
                Ok(batches) => batches,
                Err(error) => return Some(Err(error)),
            };
            let decoded = match batches.next()? {
                Ok(batch) => self.decode(&batch),
                Err(source) => Err(FormatError::Arrow { path: self.path.clone(), source }),
            };
            let rows = match decoded {
                Ok(rows) => rows,
                Err(error) => return Some(Err(error)),
            };
            self.next_row += rows.len() as u64;
            self.last = rows.last().cloned();
            self.decoded = rows.into_iter();
            self.batches = Some(Ok(batches));
        }
    }
}

/// Rows to read at once: at most `most`, and so few that the rows of the largest row group, by its mean, are below `bytes`.
/// A file of another program may hold large images in groups of any size.
pub(super) fn read_rows(footer: &ParquetMetaData, most: usize, bytes: usize) -> usize {
    let mean_bytes = |group: &RowGroupMetaData| group.total_byte_size() / group.num_rows().max(1);
    let largest = footer.row_groups().iter().map(mean_bytes).max().unwrap_or(0);
    let fitting = bytes / usize::try_from(largest).unwrap_or(0).max(1);
    fitting.clamp(1, most)
}

fn check_schema<R: Row>(path: &Path, schema_version: u32, found: &Schema) -> Result<()> {
    for field in R::schema(schema_version).fields() {
        let (column, expected) = (field.name(), field.data_type());
        let Some((_, there)) = found.column_with_name(column) else {
            let (path, column, expected) = (path.to_owned(), column.clone(), expected.to_string());
            let found = found.fields().iter().map(|field| field.name().clone()).collect();
            return Err(FormatError::MissingColumn { path, column, expected, found, kinds: R::KINDS });
        };
        if !same_type(there.data_type(), expected) {
            let problem = format!("column `{column}` holds {}, expected {expected}", there.data_type());
            return Err(FormatError::unfit_of(path, R::KINDS, problem));
        }
    }
    Ok(())
}

/// Tells a file that is not Parquet from one that lost its end, before the Parquet library words it in its own way.
fn check_marks<R: Row>(path: &Path, file: &mut fs_err::File) -> Result<()> {
    let length = file.metadata()?.len();
    let (mut head, mut tail) = ([0; 4], [0; 8]);
    if length >= 4 {
        file.read_exact(&mut head)?;
    }
    if head != PARQUET_MARK {
        return Err(FormatError::unfit_of(
            path,
            R::KINDS,
            "not a Parquet file: it does not begin with `PAR1`",
        ));
    }
    if length >= 12 {
        file.seek(SeekFrom::End(-8))?;
        file.read_exact(&mut tail)?;
    }
    let is_whole = match tail.split_first_chunk() {
        Some((footer_bytes, b"PAR1")) => u64::from(u32::from_le_bytes(*footer_bytes)) + 12 <= length,
        _ => false,
    };
    if !is_whole {
        return Err(FormatError::unfit_of(path, R::KINDS, "cut off: its end is not a Parquet footer"));
    }
    Ok(())
}
