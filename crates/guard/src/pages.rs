//! Parquet files of others, read without believing what they say of their own sizes.
//!
//! The Parquet library reserves memory for what the header of a page claims. [`CheckedPages`] stands between it and the file:
//! no read goes past the end, and a header is seen through before the library sees it.

use std::io::{Cursor, Read};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use bytes::Bytes;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::basic::Compression;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::file::reader::{ChunkReader, Length};

use crate::footer;
use crate::foreign::guarded;
use crate::page_header::PageHeader;
use crate::unpacking;

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
    /// Where columns lie that the library unpacks without a limit, and their codec.
    unlimited: Vec<(Range<u64>, Compression)>,
}

/// Opens a file: what its footer says of row groups and columns is checked now, each page as it is read.
///
/// # Errors
///
/// No Parquet, a damaged footer, or counts and places that the file cannot have.
pub fn open<R: ChunkReader + 'static>(input: R) -> Result<ParquetRecordBatchReaderBuilder<CheckedPages<R>>> {
    let (bytes, found) = (input.len(), footer::read(&input)?);
    footer::check(found.metadata(), bytes)?;
    let (values, unlimited) = (AtomicU64::new(0), unlimited(found.metadata()));
    let pages = CheckedPages(Arc::new(Source { inner: input, bytes, values, unlimited }));
    Ok(ParquetRecordBatchReaderBuilder::new_with_metadata(pages, found))
}

fn unlimited(footer: &ParquetMetaData) -> Vec<(Range<u64>, Compression)> {
    let columns = footer.row_groups().iter().flat_map(RowGroupMetaData::columns);
    let columns = columns.filter(|column| unpacking::is_unlimited(column.compression()));
    columns
        .map(|column| {
            let (start, length) = column.byte_range();
            (start..start.saturating_add(length), column.compression())
        })
        .collect()
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
                self.check_unpacking(start, &header)?;
                return Ok(bytes.slice(..header.length));
            }
            if bytes.len() < guess || guess >= most {
                return Err(format!("the page at byte {start} has no readable header"));
            }
            guess *= 16;
        }
    }

    /// Columns that lie over each other are unpacked in every way that the library might.
    fn check_unpacking(&self, start: u64, header: &PageHeader) -> Result<(), String> {
        let Some((packed, most)) = header.packed(start) else { return Ok(()) };
        for (_, codec) in self.unlimited.iter().filter(|(column, _)| column.contains(&start)) {
            let bytes = self.get_bytes(packed.start, (packed.end - packed.start) as usize)?;
            unpacking::check(*codec, &bytes, most)
                .map_err(|problem| format!("the page at byte {start} {problem}"))?;
        }
        Ok(())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, String> {
        if start > self.bytes || length > self.after(start) {
            return Err(format!("{length} bytes from byte {start} on extend past the end of {}", self.bytes));
        }
        self.inner.get_bytes(start, length).map_err(|error| error.to_string())
    }

    /// Bytes from `start` to the end.
    fn after(&self, start: u64) -> usize {
        usize::try_from(self.bytes.saturating_sub(start)).unwrap_or(usize::MAX)
    }
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
        let reader = guarded(|| builder.build()).unwrap_or_else(|said| Err(ParquetError::General(said)))?;
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
        CheckedPages(Arc::new(Source { bytes: inner.len() as u64, inner, values, unlimited: Vec::new() }))
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
            "Parquet error: 1000 bytes from byte 3 on extend past the end of 20"
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
