//! Weights as PyTorch saves them: zip archives, pickles one after another, plain pickles.
#![no_main]

use delt_guard::read_weights;
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: delt_fuzz::pass_guarded_panics(), |input: &[u8]| {
    let _ = read_weights(&delt_fuzz::file("w.pth", input));
});
