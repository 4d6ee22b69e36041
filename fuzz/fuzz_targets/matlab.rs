//! MATLAB files: heads of arrays, structures and their fields, packed or not.
#![no_main]

use std::ops::ControlFlow;
use std::path::Path;

use ingest::matlab;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut input = input;
    let _ = matlab::for_each(Path::new("fuzz.mat"), &mut input, &mut |array, input| {
        if array.fields(input, ["ILSVRC2012_ID", "WNID"]).is_err() {
            let _ = array.numbers(input);
        }
        Ok(ControlFlow::Continue(()))
    });
});
