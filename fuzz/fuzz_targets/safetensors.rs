//! Weights in safetensors.
#![no_main]

use delt_guard::read_weights;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let _ = read_weights(&delt_fuzz::file("w.safetensors", input));
});
