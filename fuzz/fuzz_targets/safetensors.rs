//! Weights in safetensors.
#![no_main]

use delt_guard::read_checkpoint;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let _ = read_checkpoint(&delt_fuzz::file("w.safetensors", input), None);
});
