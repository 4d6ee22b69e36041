//! Parquet of others, whatever its columns: footer and pages, as the guard hands them over.
#![no_main]

use bytes::Bytes;
use delt_guard::pages::{Batches, open};
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: delt_fuzz::pass_guarded_panics(), |input: &[u8]| {
    let Ok(table) = open(Bytes::copy_from_slice(input)) else { return };
    let Ok(batches) = Batches::of(table) else { return };
    batches.for_each(drop);
});
