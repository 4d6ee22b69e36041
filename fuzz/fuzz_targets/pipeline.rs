//! Pipeline files, and settings of the command line: the lines behind one that says `===`.
#![no_main]

use delt_pipeline::config::load;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| {
    let (file, settings) = input.split_once("\n===\n").unwrap_or((input, ""));
    let settings: Vec<String> = settings.lines().map(str::to_owned).collect();
    let _ = load(&delt_fuzz::file("p.yaml", file.as_bytes()), &settings, None);
});
