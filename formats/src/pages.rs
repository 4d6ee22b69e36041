//! Parquet files of others, read without believing what they say of their own sizes.
//!
//! The Parquet library reserves memory for what the header of a page claims. [`CheckedPages`] stands between it and the file:
//! no read goes past the end, and a header is seen through before the library sees it.

use std::io::{Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use bytes::Bytes;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::{ChunkReader, Length};

use crate::foreign::guarded;
use crate::thrift::{Compact, I32, STRUCT};

/// Bytes that a page may have once it is unpacked, or [`MOST_UNPACKING`] times its bytes where that is more. Writers end pages at about
/// a megabyte, but some look at their size every thousand values only, which of pictures is a whole row group.
const MOST_PAGE_BYTES: u64 = 256 * 1024 * 1024;
/// Pictures are packed already.
const MOST_UNPACKING: u64 = 4;
/// Values that a file may claim for each of its bytes: a column of equal values takes next to none, but not all columns do.
const MOST_VALUES_PER_BYTE: u64 = 64;
/// First and last guess at the length of a page's header; statistics inside may hold whole values.
const HEADER_BYTES: (usize, usize) = (1024, 16 * 1024 * 1024);

/// A source of Parquet whose pages are checked as they are read.
#[derive(Debug)]
pub struct CheckedPages<R>(Arc<Source<R>>);

#[derive(Debug)]
struct Source<R> {
    inner: R,
    bytes: u64,
    /// Values that the headers read so far claim.
    values: AtomicU64,
}

impl<R: ChunkReader> CheckedPages<R> {
    /// Checks what the footer says of row groups and columns.
    ///
    /// # Errors
    ///
    /// Counts or places that this source cannot have.
    pub fn new(inner: R, footer: &ParquetMetaData) -> Result<Self> {
        let bytes = inner.len();
        check_footer(footer, bytes)?;
        Ok(Self(Arc::new(Source { inner, bytes, values: AtomicU64::new(0) })))
    }
}

impl<R: ChunkReader> Length for CheckedPages<R> {
    fn len(&self) -> u64 {
        self.0.bytes
    }
}

impl<R: ChunkReader> ChunkReader for CheckedPages<R> {
    type T = Header<R>;

    fn get_read(&self, start: u64) -> Result<Header<R>> {
        Ok(Header { source: self.0.clone(), start, bytes: None })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        self.0.get_bytes(start, length).map_err(ParquetError::General)
    }
}

/// The header of one page and no more: the library reads headers in this way, and nothing else. It is looked through when its
/// first byte is asked for and not before: in a list that goes on over several pages the library has read the next header already,
/// and asks for one where the page itself begins, from which it then reads nothing.
#[derive(Debug)]
pub struct Header<R> {
    source: Arc<Source<R>>,
    start: u64,
    bytes: Option<Cursor<Bytes>>,
}

impl<R: ChunkReader> Read for Header<R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if self.bytes.is_none() {
            self.bytes = Some(Cursor::new(self.source.header(self.start).map_err(std::io::Error::other)?));
        }
        self.bytes.as_mut().map_or(Ok(0), |bytes| bytes.read(into))
    }
}

impl<R: ChunkReader> Source<R> {
    /// The bytes of the header that begins at `start`, which claims nothing that cannot be.
    fn header(&self, start: u64) -> Result<Bytes, String> {
        let (mut guess, most) = HEADER_BYTES;
        loop {
            let bytes = self.get_bytes(start, guess.min(self.after(start)))?;
            if let Some(header) = PageHeader::read(&bytes) {
                header.check(start, self.after(start))?;
                let values = self.values.fetch_add(header.values, Ordering::Relaxed) + header.values;
                let most = self.bytes.saturating_mul(MOST_VALUES_PER_BYTE);
                if values > most {
                    return Err(format!(
                        "the pages up to byte {start} claim {values} values, expected at most {most} in {} bytes",
                        self.bytes
                    ));
                }
                return Ok(bytes.slice(..header.length));
            }
            if bytes.len() < guess || guess >= most {
                return Err(format!("the page at byte {start} has no readable header"));
            }
            guess *= 16;
        }
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, String> {
        if start > self.bytes || length > self.after(start) {
            return Err(format!("{length} bytes from byte {start} on go past the end of {}", self.bytes));
        }
        self.inner.get_bytes(start, length).map_err(|error| error.to_string())
    }

    /// Bytes from `start` to the end.
    fn after(&self, start: u64) -> usize {
        usize::try_from(self.bytes.saturating_sub(start)).unwrap_or(usize::MAX)
    }
}

fn refused(problem: String) -> ParquetError {
    ParquetError::General(problem)
}

/// Reads the footer of a Parquet file. Columns have the types of Parquet: what Arrow's writers add to them would be one more
/// thing to believe.
///
/// # Errors
///
/// No Parquet, or a damaged footer.
pub fn footer<R: ChunkReader>(input: &R) -> Result<ArrowReaderMetadata> {
    look_through_footer(input)?;
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    guarded(|| ArrowReaderMetadata::load(input, options)).unwrap_or_else(|said| Err(refused(said)))
}

/// Refuses a footer with lists that claim more than it holds: the library steps over what it does not know one item at a time,
/// however many are claimed. A file that is no Parquet at all is left to the library, which says so.
fn look_through_footer<R: ChunkReader>(input: &R) -> Result<()> {
    let Some(end) = input.len().checked_sub(8) else { return Ok(()) };
    let tail = input.get_bytes(end, 8)?;
    let Some((length, b"PAR1")) = tail.split_first_chunk() else { return Ok(()) };
    let length = u32::from_le_bytes(*length);
    let Some(start) = end.checked_sub(u64::from(length)) else { return Ok(()) };
    let bytes = input.get_bytes(start, length as usize)?;
    let mut thrift = Compact::new(&bytes);
    let whole = thrift.each_field(0, &mut |thrift, _, kind, depth| thrift.skip(kind, depth));
    whole.ok_or_else(|| refused(format!("the footer from byte {start} on claims more than it holds")))
}

/// The batches of a file, to the first that cannot be read.
pub struct Batches(Option<ParquetRecordBatchReader>);

impl Batches {
    /// Begins to read.
    ///
    /// # Errors
    ///
    /// Columns that cannot be read.
    pub fn of<R: ChunkReader + 'static>(builder: ParquetRecordBatchReaderBuilder<R>) -> Result<Self> {
        let reader = guarded(|| builder.build()).unwrap_or_else(|said| Err(refused(said)))?;
        Ok(Self(Some(reader)))
    }
}

impl Iterator for Batches {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut reader = self.0.take()?;
        let batch =
            guarded(|| reader.next()).unwrap_or_else(|said| Some(Err(ArrowError::ParquetError(said))))?;
        if batch.is_ok() {
            self.0 = Some(reader);
        }
        Some(batch)
    }
}

/// Refuses row counts that do not add up, more rows than bytes, and columns that lie outside the file.
///
/// # Errors
///
/// The first of them.
pub fn check_footer(footer: &ParquetMetaData, bytes: u64) -> Result<()> {
    let rows = footer.file_metadata().num_rows();
    let mut counted: i64 = 0;
    for (index, group) in footer.row_groups().iter().enumerate() {
        counted = match group.num_rows() {
            rows if rows >= 0 => counted.saturating_add(rows),
            rows => return Err(refused(format!("row group {index} claims {rows} rows"))),
        };
        for column in group.columns() {
            let start = column.dictionary_page_offset().unwrap_or_else(|| column.data_page_offset());
            let (length, pages) = (column.compressed_size(), column.data_page_offset());
            let is_inside = |at: i64| u64::try_from(at).is_ok_and(|at| at <= bytes);
            if !(is_inside(start) && is_inside(pages) && is_inside(length) && is_inside(start + length)) {
                return Err(refused(format!(
                    "column `{}` of row group {index} claims {length} bytes from byte {start} on, in a file of {bytes} bytes",
                    column.column_path().string()
                )));
            }
        }
    }
    if counted != rows {
        return Err(refused(format!("the footer claims {rows} rows, its row groups {counted}")));
    }
    if u64::try_from(rows).is_ok_and(|rows| rows <= bytes) {
        return Ok(());
    }
    Err(refused(format!("the footer claims {rows} rows in a file of {bytes} bytes")))
}

/// What the header of a page says of its sizes, and how long it is.
#[derive(Debug, Default)]
struct PageHeader {
    length: usize,
    unpacked: i64,
    packed: i64,
    values: u64,
}

impl PageHeader {
    /// None if the bytes end before the header does, or are none.
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut thrift = Compact::new(bytes);
        let mut header = Self::default();
        thrift.each_field(0, &mut |thrift, field, kind, depth| {
            match (field, kind) {
                (2, I32) => header.unpacked = thrift.number()?,
                (3, I32) => header.packed = thrift.number()?,
                // of data pages, dictionary pages and data pages of version 2: the first field is the number of values
                (5 | 7 | 8, STRUCT) => thrift.each_field(depth + 1, &mut |thrift, field, kind, depth| {
                    if (field, kind) == (1, I32) {
                        header.values = u64::from(u32::try_from(thrift.number()?).ok()?);
                        return Some(());
                    }
                    thrift.skip(kind, depth)
                })?,
                _ => thrift.skip(kind, depth)?,
            }
            Some(())
        })?;
        header.length = thrift.position();
        Some(header)
    }

    fn check(&self, start: u64, left: usize) -> Result<(), String> {
        let Self { length, unpacked, packed, .. } = *self;
        if u64::try_from(packed).ok().is_none_or(|packed| packed > (left - length) as u64) {
            return Err(format!("the page at byte {start} claims {packed} bytes, past the end of the file"));
        }
        let most = MOST_PAGE_BYTES.max(packed.unsigned_abs().saturating_mul(MOST_UNPACKING));
        if u64::try_from(unpacked).ok().is_none_or(|unpacked| unpacked > most) {
            return Err(format!(
                "the page at byte {start} claims {unpacked} bytes when unpacked, expected at most {most}"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The header of a data page that claims these sizes, and `behind` bytes of page.
    fn page(unpacked: i32, packed: i32, values: i32, behind: usize) -> CheckedPages<Bytes> {
        let mut bytes = vec![0x15, 0];
        let number = |bytes: &mut Vec<u8>, head: u8, value: i32| {
            bytes.push(head);
            let mut rest = ((value << 1) ^ (value >> 31)).cast_unsigned();
            while rest >= 0x80 {
                bytes.push(rest as u8 | 0x80);
                rest >>= 7;
            }
            bytes.push(rest as u8);
        };
        number(&mut bytes, 0x15, unpacked);
        number(&mut bytes, 0x15, packed);
        // field 5, a structure: the number of values, a text of three bytes, a list of two bytes
        bytes.push(0x2c);
        number(&mut bytes, 0x15, values);
        bytes.extend([0x18, 3, b'a', b'b', b'c', 0x19, 0x23, 1, 2, 0, 0]);
        bytes.extend(vec![7; behind]);
        let (inner, values) = (Bytes::from(bytes), AtomicU64::new(0));
        CheckedPages(Arc::new(Source { bytes: inner.len() as u64, inner, values }))
    }

    fn header(pages: &CheckedPages<Bytes>) -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        pages.get_read(0).expect("nothing is read yet").read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    #[test]
    fn a_header_is_handed_over_without_what_follows_and_its_page_is_not_read() {
        let pages = page(100, 20, 5, 20);
        assert_eq!(header(&pages).unwrap().len() as u64, pages.len() - 20);
    }

    #[test]
    fn what_a_page_claims_and_cannot_be_is_refused() {
        let refusals = [
            (page(100, 21, 5, 20), "the page at byte 0 claims 21 bytes, past the end of the file"),
            (page(100, -1, 5, 20), "the page at byte 0 claims -1 bytes, past the end of the file"),
            (
                page(i32::MAX, 20, 5, 20),
                "the page at byte 0 claims 2147483647 bytes when unpacked, expected at most 268435456",
            ),
            (
                page(-1, 20, 5, 20),
                "the page at byte 0 claims -1 bytes when unpacked, expected at most 268435456",
            ),
            (
                page(100, 20, i32::MAX, 20),
                "the pages up to byte 0 claim 2147483647 values, expected at most 2880 in 45 bytes",
            ),
            (page(100, 20, -1, 20), "the page at byte 0 has no readable header"),
        ];
        for (pages, expected) in refusals {
            assert_eq!(header(&pages).expect_err("refused").to_string(), expected);
        }
        assert_eq!(
            page(0, 0, 0, 0).get_bytes(3, 1000).expect_err("refused").to_string(),
            "Parquet error: 1000 bytes from byte 3 on go past the end of 20"
        );
    }

    #[test]
    fn a_page_that_is_large_in_the_file_may_be_large_when_unpacked() {
        let header = |unpacked| PageHeader { unpacked, packed: 100 << 20, ..PageHeader::default() };
        header(400 << 20).check(0, 100 << 20).expect("a row group of photographs");
        let error = header((400 << 20) + 1).check(0, 100 << 20).expect_err("refused");
        assert!(
            error.ends_with("claims 419430401 bytes when unpacked, expected at most 419430400"),
            "{error}"
        );
    }

    #[test]
    fn a_header_that_is_cut_anywhere_is_none() {
        let PageHeader { length, .. } = PageHeader::read(&page(100, 20, 5, 0).0.inner).expect("whole");
        for end in 0..length {
            assert!(PageHeader::read(&page(100, 20, 5, 0).0.inner[..end]).is_none(), "{end}");
        }
    }
}
