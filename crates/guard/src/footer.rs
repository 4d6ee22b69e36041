//! The footers of Parquet files of others, looked through before the library believes them.

use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::ChunkReader;

use crate::foreign::guarded;
use crate::thrift::Compact;

/// Reads the footer of a Parquet file. Columns have the types of Parquet: what Arrow's writers add to them would be one more
/// thing to believe.
///
/// # Errors
///
/// No Parquet, or a damaged footer.
pub(crate) fn read<R: ChunkReader>(input: &R) -> Result<ArrowReaderMetadata> {
    look_through(input)?;
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    guarded(|| ArrowReaderMetadata::load(input, options)).unwrap_or_else(|said| Err(refused(said)))
}

/// Refuses a footer with lists that claim more than it holds: the library steps over what it does not know one item at a time,
/// however many are claimed. A file that is not Parquet at all is left to the library, which says so.
fn look_through<R: ChunkReader>(input: &R) -> Result<()> {
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

/// Refuses row counts that do not add up, more rows than bytes, and columns that lie outside the file.
///
/// # Errors
///
/// The first of them.
pub(crate) fn check(footer: &ParquetMetaData, bytes: u64) -> Result<()> {
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

fn refused(problem: String) -> ParquetError {
    ParquetError::General(problem)
}
