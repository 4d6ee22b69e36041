//! Parquet tables of images: columns, labels, rows.
#![no_main]

use std::ops::ControlFlow;
use std::path::Path;

use bytes::Bytes;
use delt_images::ImagesError;
use delt_images::image_table::{Columns, footer, labels, visit};
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: delt_fuzz::pass_guarded_panics(), |input: &[u8]| {
    let table = Bytes::copy_from_slice(input);
    let path = Path::new("train.parquet");
    let columns = Columns { image: "image".to_owned(), label: "label".to_owned() };
    if footer(table.clone(), path, &columns).is_err() {
        return;
    }
    let _ = labels(table.clone(), path, &columns, 10);
    let _ = visit(table, path, &columns, 10, &mut |_| Ok::<_, ImagesError>(ControlFlow::Continue(())));
});
