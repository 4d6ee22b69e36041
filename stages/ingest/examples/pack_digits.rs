//! Makes `data/digits.parquet` from scikit-learn's `digits.csv.gz`; `data/README.md` says where that comes from.
//!
//! `cargo run -p ingest --example pack_digits -- digits.csv.gz data/digits.parquet`

use std::io::Read;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use arrow::array::{ArrayRef, BinaryArray, Int64Array, RecordBatch, StringArray, StructArray};
use arrow::datatypes::{DataType, Field, Fields, Schema};
use delt_formats::rgb_image::RgbImage;
use flate2::read::GzDecoder;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use serde_json::json;

/// Pixels of a side.
const SIDE: u32 = 8;
/// Largest value of a pixel in the CSV: pixels set in a 4x4 block of the scan.
const INK_MAX: u32 = 16;
/// Rows of the published file.
const DIGITS: usize = 1797;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (source, target) = (arguments.next(), arguments.next());
    let (source, target) = source.zip(target).context("usage: pack_digits digits.csv.gz digits.parquet")?;
    let mut text = String::new();
    GzDecoder::new(fs_err::File::open(&source)?).read_to_string(&mut text).context(source)?;

    let (mut pictures, mut names, mut labels) = (Vec::new(), Vec::new(), Vec::new());
    for (row, line) in text.lines().enumerate() {
        let values: Vec<u32> = line
            .split(',')
            .map(|value| value.trim().parse().with_context(|| format!("line {}: `{value}`", row + 1)))
            .collect::<Result<_>>()?;
        let (label, inks) = values.split_last().context("an empty line")?;
        ensure!(
            inks.len() == (SIDE * SIDE) as usize && *label < 10,
            "line {}: not 64 pixels and a digit",
            row + 1
        );
        pictures.push(picture(inks)?.encode_png()?);
        names.push(format!("digits/{row:04}.png"));
        labels.push(i64::from(*label));
    }
    ensure!(labels.len() == DIGITS, "found {} digits, expected {DIGITS}", labels.len());
    write(&target, &pictures, names, labels)
}

/// Gray as RGB, 0..=16 spread over 0..=255 and rounded.
fn picture(inks: &[u32]) -> Result<RgbImage> {
    let mut rgb = Vec::new();
    for ink in inks {
        ensure!(*ink <= INK_MAX, "a pixel of {ink}, expected at most {INK_MAX}");
        let gray = u8::try_from((ink * 255 + INK_MAX / 2) / INK_MAX)?;
        rgb.extend([gray; 3]);
    }
    Ok(RgbImage { width: SIDE, height: SIDE, rgb })
}

fn write(target: &str, pictures: &[Vec<u8>], names: Vec<String>, labels: Vec<i64>) -> Result<()> {
    let fields = Fields::from(vec![
        Field::new("bytes", DataType::Binary, true),
        Field::new("path", DataType::Utf8, true),
    ]);
    let image = StructArray::new(
        fields.clone(),
        vec![
            Arc::new(BinaryArray::from_iter_values(pictures)) as ArrayRef,
            Arc::new(StringArray::from(names)) as ArrayRef,
        ],
        None,
    );
    let schema = Arc::new(Schema::new(vec![
        Field::new("image", DataType::Struct(fields), true),
        Field::new("label", DataType::Int64, true),
    ]));
    let classes: Vec<String> = (0..10).map(|digit| digit.to_string()).collect();
    let features = json!({"info": {"features": {
        "image": {"_type": "Image"},
        "label": {"names": classes, "_type": "ClassLabel"},
    }}});
    let attribution = "Optical Recognition of Handwritten Digits, E. Alpaydin and C. Kaynak, UCI Machine Learning \
                       Repository, CC BY 4.0; 8x8 pixels of 0..16 spread over 0..255";
    let metadata = vec![
        KeyValue::new("huggingface".to_owned(), features.to_string()),
        KeyValue::new("attribution".to_owned(), attribution.to_owned()),
    ];
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(19)?))
        .set_key_value_metadata(Some(metadata))
        .build();
    let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
    let mut writer =
        ArrowWriter::try_new_with_options(fs_err::File::create(target)?, schema.clone(), options)?;
    writer
        .write(&RecordBatch::try_new(schema, vec![Arc::new(image), Arc::new(Int64Array::from(labels))])?)?;
    writer.close()?;
    Ok(())
}
