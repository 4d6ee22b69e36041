//! Tables of one row type each, and rankings in CSV. The first byte says which.
#![no_main]

use std::path::Path;

use delt_formats::scores::read_csv;
use delt_formats::table::{Row, TableReader};
use delt_formats::{HistoryRow, ImageRow, InitialRow, ScoreRow, SyntheticRow, TraceRow};
use libfuzzer_sys::fuzz_target;

fn read<R: Row>(path: &Path) {
    if let Ok(reader) = TableReader::<R>::open(path) {
        for row in reader.rows() {
            let _ = row;
        }
    }
}

fuzz_target!(init: delt_fuzz::pass_guarded_panics(), |input: &[u8]| {
    let Some((choice, rest)) = input.split_first() else { return };
    let path = delt_fuzz::file("table.parquet", rest);
    match choice % 7 {
        0 => read::<ScoreRow>(&path),
        1 => read::<ImageRow>(&path),
        2 => read::<InitialRow>(&path),
        3 => read::<SyntheticRow>(&path),
        4 => read::<TraceRow>(&path),
        5 => read::<HistoryRow>(&path),
        _ => drop(read_csv(&path)),
    }
});
