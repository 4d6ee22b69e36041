//! Parquet files whose footers lie, and label files of other programs.

use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use delt_formats::provenance::ArtifactKind;
use delt_formats::table::Row;
use delt_formats::*;
use half::f16;
use parquet::arrow::ArrowWriter;
use parquet::file::metadata::{
    FileMetaData, KeyValue, ParquetMetaData, ParquetMetaDataReader, ParquetMetaDataWriter, RowGroupMetaData,
};
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use super::{provenance, scores_file, view};

/// The message of an error with its causes, without the name of the file.
fn message(error: &FormatError, path: &Path) -> String {
    let cause = std::error::Error::source(error).map_or_else(String::new, |cause| format!(": {cause}"));
    format!("{error}{cause}").replace(&path.display().to_string(), "FILE")
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
    let path = scores_file(folder.path());
    with_footer(&path, change);
    let bytes = std::fs::metadata(&path).unwrap().len();
    (message(&ScoresReader::open(&path).expect_err("refused"), &path), bytes)
}

#[test]
fn rows_that_a_file_cannot_hold_are_refused() {
    const CANNOT: &str =
        "FILE: cannot be read or written as Parquet; check it with `delt-store verify`: Parquet error";
    let (said, bytes) =
        refusal(|_, group| (1 << 31, group.into_builder().set_num_rows(1 << 31).build().unwrap()));
    assert_eq!(said, format!("{CANNOT}: the footer claims 2147483648 rows in a file of {bytes} bytes"));
    let (said, _) = refusal(|_, group| (1, group.into_builder().set_num_rows(-1).build().unwrap()));
    assert_eq!(said, format!("{CANNOT}: row group 0 claims -1 rows"));
}

#[test]
fn a_footer_of_lists_that_claim_more_than_it_holds_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scores.parquet");
    // field 15: a list of 2^31 - 1 lists of 2^31 - 1 truth values
    let footer = b"\xf9\xf9\xff\xff\xff\xff\x07\xf1\xff\xff\xff\xff\x07\x00";
    let length = u32::try_from(footer.len()).unwrap().to_le_bytes();
    std::fs::write(&path, [b"PAR1".as_slice(), footer, &length, b"PAR1"].concat()).unwrap();
    assert_eq!(
        message(&ScoresReader::open(&path).expect_err("refused"), &path),
        "FILE: cannot be read or written as Parquet; check it with `delt-store verify`: Parquet error: the footer from byte 4 on \
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

#[test]
fn labels_without_the_bounds_of_their_epochs_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("labels.parquet");
    let view = ViewRow { logits: vec![f16::ONE; 2], ..view() };
    let said = |view: &ViewRow, statistics| {
        let metadata = KeyValue::new("delt".to_owned(), provenance(ArtifactKind::Labels).to_metadata());
        let properties = WriterProperties::builder()
            .set_key_value_metadata(Some(vec![metadata]))
            .set_statistics_enabled(statistics)
            .build();
        let schema = Arc::new(ViewRow::schema());
        let batch = RecordBatch::try_new(schema.clone(), ViewRow::to_columns(std::slice::from_ref(view)));
        let file = std::fs::File::create(&path).unwrap();
        let mut writer = ArrowWriter::try_new(file, schema, Some(properties)).unwrap();
        writer.write(&batch.unwrap()).unwrap();
        writer.close().unwrap();
        let read = LabelsReader::open(&path).and_then(|reader| reader.epoch(0));
        message(&read.expect_err("refused"), &path)
    };
    assert_eq!(
        said(&view, EnabledStatistics::None),
        "FILE: row 0, column `epoch`: found row group 0, expected one epoch per row group; re-run relabel"
    );
    let op = |argument| AugmentOp {
        op: "Rotate".parse().unwrap(),
        argument,
        interpolation: "bilinear".parse().unwrap(),
    };
    assert_eq!(
        said(&ViewRow { randaugment: vec![op(f32::NAN)], ..view }, EnabledStatistics::Chunk),
        "FILE: row 0, column `randaugment`: found Rotate by NaN, expected a finite number; re-run relabel"
    );
}
