//! Label files of other programs.

use std::path::Path;

use delt_formats::provenance::ArtifactKind;
use delt_formats::table::Row;
use delt_formats::*;
use half::f16;
use parquet::arrow::ArrowWriter;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use super::{provenance, view};

/// The message of an error with its causes, without the name of the file.
fn message(error: &FormatError, path: &Path) -> String {
    let cause = std::error::Error::source(error).map_or_else(String::new, |cause| format!(": {cause}"));
    format!("{error}{cause}").replace(&path.display().to_string(), "FILE")
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
        let batch = ViewRow::to_batch(std::slice::from_ref(view), 1);
        let file = std::fs::File::create(&path).unwrap();
        let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
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
