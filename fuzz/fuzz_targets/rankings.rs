//! Rankings of others in CSV.
#![no_main]

use delt_formats::scores::read_csv;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let _ = read_csv(delt_fuzz::file("scores.csv", input));
});
