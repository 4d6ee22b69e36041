//! CIFAR archives. The first byte says which of the two, of which version, and whether the rest is a gzip or the tar to put into
//! one: few changes to a gzip leave its checksum right.
#![no_main]

use std::io::Write;
use std::ops::ControlFlow;

use flate2::Compression;
use flate2::write::GzEncoder;
use ingest::source::{Source, Split};
use ingest::sources::cifar::binary::BinaryFiles;
use ingest::sources::cifar::python::PythonBatches;
use ingest::sources::cifar::{CIFAR10, CIFAR100};
use ingest::sources::container::Container;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((choice, rest)) = input.split_first() else { return };
    let variant = if choice & 1 == 0 { &CIFAR10 } else { &CIFAR100 };
    let archive = if choice & 2 == 0 {
        let mut archive = GzEncoder::new(Vec::new(), Compression::none());
        archive.write_all(rest).expect("memory");
        archive.finish().expect("memory")
    } else {
        rest.to_vec()
    };
    let path = delt_fuzz::file("cifar.tar.gz", &archive);
    let container = Container::Archive(path);
    let opened: Box<dyn Source> = if choice & 4 == 0 {
        let Ok(opened) = BinaryFiles::open(variant, container) else { return };
        Box::new(opened)
    } else {
        let Ok(opened) = PythonBatches::open(variant, container) else { return };
        Box::new(opened)
    };
    for split in [Split::Train, Split::Test] {
        let _ = opened.visit(split, &mut |_| Ok(ControlFlow::Continue(())));
    }
});
