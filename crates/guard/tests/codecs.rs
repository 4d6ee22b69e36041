//! Parquet in every codec: read as it was written, and refused where a page unpacks to more than it claims.
#![expect(clippy::unwrap_used, reason = "a test that cannot prepare its files fails")]

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, Int64Array, RecordBatch, StringArray};
use bytes::Bytes;
use delt_guard::pages::{self, Batches};
use parquet::arrow::ArrowWriter;
use parquet::basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel};
use parquet::file::metadata::ParquetMetaDataReader;
use parquet::file::properties::{WriterProperties, WriterVersion};

/// Bytes of the one page of the column `name`, where sizes are wrong: a text that any codec packs well.
const TEXT_BYTES: usize = 1 << 20;

fn codecs() -> [Compression; 7] {
    [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::ZSTD(ZstdLevel::default()),
        Compression::GZIP(GzipLevel::default()),
        Compression::BROTLI(BrotliLevel::default()),
        Compression::LZ4,
        Compression::LZ4_RAW,
    ]
}

fn batch() -> RecordBatch {
    let noise = |row: u32| {
        (0..5000).map(|i: u32| (i.wrapping_mul(2_654_435_761 + row) >> 13) as u8).collect::<Vec<_>>()
    };
    let images: ArrayRef =
        Arc::new(BinaryArray::from_iter((0..200).map(|row| (row != 7).then(|| noise(row)))));
    let labels: ArrayRef = Arc::new(Int64Array::from_iter_values((0..200).map(|row| row % 3)));
    let names: ArrayRef = Arc::new(StringArray::from_iter_values((0..200).map(|row| format!("{row}.png"))));
    RecordBatch::try_from_iter([("image", images), ("label", labels), ("name", names)]).unwrap()
}

fn written(batch: &RecordBatch, codec: Compression, version: WriterVersion) -> Vec<u8> {
    let properties = WriterProperties::builder()
        .set_compression(codec)
        .set_writer_version(version)
        .set_dictionary_enabled(false)
        .build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
    writer.write(batch).unwrap();
    writer.into_inner().unwrap()
}

fn read(table: Vec<u8>) -> Result<Vec<RecordBatch>, String> {
    let builder = pages::open(Bytes::from(table)).map_err(|error| error.to_string())?;
    let batches = Batches::of(builder.with_batch_size(64)).map_err(|error| error.to_string())?;
    batches.collect::<Result<_, _>>().map_err(|error| error.to_string())
}

#[test]
fn every_codec_and_version_of_pages_reads_as_it_was_written() {
    let batch = batch();
    for codec in codecs() {
        for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
            let found = read(written(&batch, codec, version)).unwrap();
            let rows: usize = found.iter().map(RecordBatch::num_rows).sum();
            assert_eq!(rows, 200, "{codec}");
            for (at, part) in found.iter().enumerate() {
                let expected = batch.slice(at * 64, part.num_rows());
                for (found, expected) in part.columns().iter().zip(expected.columns()) {
                    assert_eq!(found, expected, "{codec}");
                }
            }
        }
    }
}

/// The file with one column of one page, whose header claims another size when unpacked: Thrift's numbers may be written with more
/// bytes than they need.
fn claiming(codec: Compression, unpacked: u32) -> Vec<u8> {
    let text: ArrayRef = Arc::new(StringArray::from(vec!["a".repeat(TEXT_BYTES - 4)]));
    let batch = RecordBatch::try_from_iter([("name", text)]).unwrap();
    let mut table = written(&batch, codec, WriterVersion::PARQUET_1_0);
    let footer = ParquetMetaDataReader::new().parse_and_finish(&Bytes::from(table.clone())).unwrap();
    let start = usize::try_from(footer.row_group(0).column(0).data_page_offset()).unwrap();
    // field 1, the type of the page, is one byte; field 2 is the size
    let (head, number) = (&table[start..start + 3].to_owned(), start + 3);
    assert_eq!(head, &[0x15, 0, 0x15]);
    let bytes = 1 + table[number..].iter().take_while(|byte| **byte >= 0x80).count();
    let mut rest = unpacked << 1;
    for (at, byte) in table[number..number + bytes].iter_mut().enumerate() {
        *byte = (rest & 0x7f) as u8 | if at + 1 < bytes { 0x80 } else { 0 };
        rest >>= 7;
    }
    table
}

#[test]
fn a_page_that_unpacks_to_another_size_than_it_claims_is_refused_in_every_codec() {
    for codec in codecs().into_iter().skip(1) {
        read(claiming(codec, TEXT_BYTES as u32)).expect("an honest header");
        for claimed in [0, 10, 1000, TEXT_BYTES as u32 - 1, TEXT_BYTES as u32 + 1] {
            let found = read(claiming(codec, claimed)).map(|batches| batches.len());
            if codec == Compression::SNAPPY && claimed > TEXT_BYTES as u32 {
                continue; // the library takes the rest for zeros, behind the text
            }
            let error = found.expect_err("it claims another size");
            let is_counted = matches!(codec, Compression::GZIP(_) | Compression::BROTLI(_));
            if is_counted && claimed < TEXT_BYTES as u32 {
                let expected = format!("unpacks to more than the {claimed} bytes that it claims");
                assert!(error.ends_with(&expected), "{codec}: {error}");
            }
        }
    }
}

#[test]
fn a_page_that_is_cut_or_overwritten_is_an_error_and_nothing_else() {
    for codec in codecs().into_iter().skip(1) {
        let whole = claiming(codec, TEXT_BYTES as u32);
        let footer = ParquetMetaDataReader::new().parse_and_finish(&Bytes::from(whole.clone())).unwrap();
        let (start, length) = footer.row_group(0).column(0).byte_range();
        let end = (start + length) as usize;
        for keep in [1, 4, 16] {
            let mut cut = whole.clone();
            cut[end - keep..end].fill(0xff);
            cut[(end - 64).max(start as usize + 40)..end - keep].fill(0);
            assert!(read(cut).is_err(), "{codec}");
        }
    }
}
