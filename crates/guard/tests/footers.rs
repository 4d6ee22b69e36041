//! Parquet files whose footers lie.
#![expect(clippy::unwrap_used, reason = "a test that cannot prepare its files fails")]

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use delt_guard::pages;
use parquet::arrow::ArrowWriter;
use parquet::file::metadata::{
    FileMetaData, ParquetMetaData, ParquetMetaDataReader, ParquetMetaDataWriter, RowGroupMetaData,
};

/// What is said of a file.
fn refused(path: &Path) -> String {
    pages::open(std::fs::File::open(path).unwrap()).expect_err("refused").to_string()
}

/// Writes the file with another footer.
fn with_footer(path: &Path, change: impl Fn(i64, RowGroupMetaData) -> (i64, RowGroupMetaData)) {
    let whole = std::fs::read(path).unwrap();
    let footer = ParquetMetaDataReader::new().parse_and_finish(&std::fs::File::open(path).unwrap()).unwrap();
    let file = footer.file_metadata();
    let (rows, group) = change(file.num_rows(), footer.row_group(0).clone());
    let file = FileMetaData::new(
        file.version(),
        rows,
        file.created_by().map(str::to_owned),
        file.key_value_metadata().cloned(),
        file.schema_descr_ptr(),
        file.column_orders().cloned(),
    );
    let length = u32::from_le_bytes(*whole[..whole.len() - 4].last_chunk().unwrap()) as usize;
    let mut changed = whole[..whole.len() - 8 - length].to_vec();
    ParquetMetaDataWriter::new(&mut changed, &ParquetMetaData::new(file, vec![group])).finish().unwrap();
    std::fs::write(path, changed).unwrap();
}

fn refusal(change: impl Fn(i64, RowGroupMetaData) -> (i64, RowGroupMetaData)) -> (String, u64) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("table.parquet");
    let column: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
    let batch = RecordBatch::try_from_iter([("image_id", column)]).unwrap();
    let file = std::fs::File::create(&path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    with_footer(&path, change);
    (refused(&path), std::fs::metadata(&path).unwrap().len())
}

#[test]
fn rows_that_a_file_cannot_hold_are_refused() {
    const CANNOT: &str = "Parquet error";
    let (said, bytes) =
        refusal(|_, group| (1 << 31, group.into_builder().set_num_rows(1 << 31).build().unwrap()));
    assert_eq!(said, format!("{CANNOT}: the footer claims 2147483648 rows in a file of {bytes} bytes"));
    let (said, _) = refusal(|_, group| (1, group.into_builder().set_num_rows(-1).build().unwrap()));
    assert_eq!(said, format!("{CANNOT}: row group 0 claims -1 rows"));
}

#[test]
fn a_footer_of_lists_that_claim_more_than_it_holds_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("table.parquet");
    // field 15: a list of 2^31 - 1 lists of 2^31 - 1 truth values
    let footer = b"\xf9\xf9\xff\xff\xff\xff\x07\xf1\xff\xff\xff\xff\x07\x00";
    let length = u32::try_from(footer.len()).unwrap().to_le_bytes();
    std::fs::write(&path, [b"PAR1".as_slice(), footer, &length, b"PAR1"].concat()).unwrap();
    assert_eq!(
        refused(&path),
        "Parquet error: the footer from byte 4 on \
         claims more than it holds"
    );
}

#[test]
fn a_column_outside_its_file_is_refused() {
    let moved = |group: RowGroupMetaData, bytes: i64| {
        let columns = group.columns().to_vec();
        let first = columns[0].clone().into_builder().set_total_compressed_size(bytes).build().unwrap();
        let columns = std::iter::once(first).chain(columns.into_iter().skip(1)).collect();
        group.into_builder().set_column_metadata(columns).build().unwrap()
    };
    for claimed in [1 << 62, -1, 100_000] {
        let (said, bytes) = refusal(|rows, group| (rows, moved(group, claimed)));
        let end = format!("claims {claimed} bytes from byte 4 on, in a file of {bytes} bytes");
        assert!(said.ends_with(&format!("column `image_id` of row group 0 {end}")), "{said}");
    }
}
