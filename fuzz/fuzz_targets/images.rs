//! Parquet tables of images: columns, labels, rows.
#![no_main]

use std::ops::ControlFlow;
use std::path::Path;

use bytes::Bytes;
use delt_images::ImagesError;
use delt_images::image_table::{Columns, footer, is_unlabeled, labels, names, paths, visit};
use delt_images::label_column::Labels;
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: delt_fuzz::pass_guarded_panics(), |input: &[u8]| {
    let table = Bytes::copy_from_slice(input);
    let path = Path::new("train.parquet");
    let columns = Columns { image: "image".to_owned(), label: "label".to_owned() };
    let Ok(found) = footer(table.clone(), path, &columns) else { return };
    let numbers = Labels::Numbers(10);
    let _ = labels(table.clone(), path, &columns, &numbers);
    let _ = names(table.clone(), path, &columns);
    let _ = is_unlabeled(table.clone(), path, &columns);
    let _ = found.paths.map(|column| paths(table.clone(), path, &column));
    let _ = visit(table, path, &columns, &numbers, &mut |_| Ok::<_, ImagesError>(ControlFlow::Continue(())));
});
