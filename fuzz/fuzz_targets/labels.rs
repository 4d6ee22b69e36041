//! Stored views and soft labels, in both layouts, and the views that are built from them.
#![no_main]

use delt_augment::build_views;
use delt_formats::{LabelsReader, Normalization, Picture};
use libfuzzer_sys::fuzz_target;

const SIZE: u32 = 8;

fuzz_target!(init: delt_fuzz::pass_guarded_panics(), |input: &[u8]| {
    let Ok(reader) = LabelsReader::open(delt_fuzz::file("labels.parquet", input)) else { return };
    let picture = Picture { width: SIZE, height: SIZE, rgb: vec![100; (SIZE * SIZE * 3) as usize] };
    let pictures = vec![picture; 4];
    let normalization = Normalization { mean: [0.5; 3], std: [0.25; 3] };
    for epoch in reader.epochs().take(4) {
        let Ok(rows) = reader.epoch(epoch) else { continue };
        for batch in rows.chunk_by(|a, b| a.batch == b.batch) {
            let _ = build_views(&pictures, batch, SIZE, &normalization);
        }
    }
});
