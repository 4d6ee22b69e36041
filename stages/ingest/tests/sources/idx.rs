//! IDX files, made small.

use std::io::Write;
use std::path::Path;

use delt_formats::rgb_image::RgbImage;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::made_up::{ingest, notes, put, refusal};

fn section(root: &Path, more: &str) -> String {
    format!("source: {{kind: idx, path: {}{more}}}", root.display())
}

/// Images of two rows and three columns.
fn images(count: u8) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, 3, 0, 0, 0, count, 0, 0, 0, 2, 0, 0, 0, 3];
    bytes.extend((0..count).flat_map(|image| (0..6).map(move |pixel| image * 20 + pixel)));
    bytes
}

fn labels(labels: &[u8]) -> Vec<u8> {
    [&[0, 0, 8, 1, 0, 0, 0, labels.len() as u8], labels].concat()
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn mnist(root: &Path) {
    put(root, "train-images-idx3-ubyte.gz", &gz(&images(3)));
    put(root, "train-labels-idx1-ubyte.gz", &gz(&labels(&[2, 0, 1])));
    put(root, "t10k-images-idx3-ubyte.gz", &gz(&images(1)));
    put(root, "t10k-labels-idx1-ubyte.gz", &gz(&labels(&[1])));
}

#[test]
fn rows_and_columns_stay_in_place_and_gray_becomes_rgb() {
    let dir = tempfile::tempdir().unwrap();
    mnist(dir.path());
    let dataset = ingest(&section(dir.path(), "")).unwrap();
    assert_eq!(dataset.classes, ["0", "1", "2"]);
    assert_eq!(dataset.train.iter().map(|row| row.label).collect::<Vec<_>>(), [2, 0, 1]);
    let rgb = (20..26_u8).flat_map(|value| [value; 3]).collect();
    assert_eq!(RgbImage::decode(&dataset.train[1].bytes).unwrap(), RgbImage { width: 3, height: 2, rgb });
    assert_eq!((dataset.facts.test_images, dataset.test[0].label), (1, 1));
    let named = ingest(&section(dir.path(), ", class_names: [shirt, shoe, bag]")).unwrap();
    assert_eq!((named.classes[2].as_str(), &named.train), ("bag", &dataset.train));
    // as torchvision leaves them: unpacked beside the archives
    let unpacked = tempfile::tempdir().unwrap();
    mnist(&unpacked.path().join("MNIST/raw"));
    put(unpacked.path(), "MNIST/raw/train-images-idx3-ubyte", &images(3));
    assert_eq!(ingest(&section(unpacked.path(), "")).unwrap().train, dataset.train);
}

#[test]
fn published_sets_have_their_names_and_say_what_is_not_whole() {
    let dir = tempfile::tempdir().unwrap();
    mnist(&dir.path().join("FashionMNIST/raw"));
    mnist(&dir.path().join("MNIST/raw"));
    put(dir.path(), "FashionMNIST/raw/t10k-labels-idx1-ubyte.gz", &gz(&labels(&[9])));
    let fashion =
        format!("source: {{kind: fashion_mnist, path: {}}}\nlabel_space: keep", dir.path().display());
    let dataset = ingest(&format!("{fashion}\nclasses: [T-shirt/top, Trouser, Pullover, Ankle boot]"));
    assert_eq!(
        dataset.unwrap_err().to_string(),
        "class `Ankle boot` has no training image; add some, or leave it out with `ingest.classes`"
    );
    let mnist = format!("source: {{kind: mnist, path: {}}}\nclasses: ['0', '1', '2']", dir.path().display());
    assert_eq!(ingest(&mnist).unwrap().train.len(), 3);
    assert_eq!(
        notes(&mnist),
        [
            "gray images are stored as RGB, each value three times".to_owned(),
            format!(
                "3 training and 1 test images found in {}/MNIST/raw, where MNIST has 60000 and 10000",
                dir.path().display()
            )
        ]
    );
    assert_eq!(refusal("source: {kind: mnist}"), "train-images-idx3-ubyte.gz is not downloaded yet");
}

#[test]
fn files_that_are_packed_anew_are_read_and_said_to_be() {
    let dir = tempfile::tempdir().unwrap();
    for (split, count) in [("train", 60_000_u32), ("t10k", 10_000)] {
        let values = |magic: u8, sides: &[u8]| {
            let labels = (0..count).map(|image| (image % 10) as u8);
            gz(&[&[0, 0, 8, magic], &count.to_be_bytes()[..], sides, &labels.collect::<Vec<_>>()].concat())
        };
        put(dir.path(), &format!("{split}-images-idx3-ubyte.gz"), &values(3, &[0, 0, 0, 1, 0, 0, 0, 1]));
        put(dir.path(), &format!("{split}-labels-idx1-ubyte.gz"), &values(1, &[]));
    }
    let section =
        format!("source: {{kind: fashion_mnist, path: {}}}\nmax_train_per_class: 1", dir.path().display());
    assert_eq!(
        notes(&section)[1],
        format!(
            "4 of 4 .gz files in {} have another SHA-256 than those published, packed anew or with other images; as many \
             images as published were found",
            dir.path().display()
        )
    );
}

#[test]
fn refusals_name_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().display();
    let at = || refusal(&section(dir.path(), ""));
    assert_eq!(
        at(),
        format!("{root}: holds no file of train images, expected train-images-idx?-ubyte or that with .gz")
    );
    mnist(dir.path());
    put(dir.path(), "train-labels-idx1-ubyte.gz", &gz(&labels(&[2, 0])));
    assert_eq!(
        at(),
        format!(
            "{root}/train-labels-idx1-ubyte.gz: holds 2 labels, and {root}/train-images-idx3-ubyte.gz 3 images; give those of one set"
        )
    );
    mnist(dir.path());
    put(dir.path(), "t10k-images-idx3-ubyte.gz", &gz(&images(2)[..25]));
    assert_eq!(
        at(),
        format!(
            "{root}/t10k-images-idx3-ubyte.gz: holds 9 values, its header says [2, 2, 3]; download it again"
        )
    );
    put(dir.path(), "t10k-images-idx3-ubyte.gz", &gz(b"<html>"));
    assert_eq!(
        at(),
        format!(
            "{root}/t10k-images-idx3-ubyte.gz: begins with the bytes [60, 104, 116, 109], expected [0, 0, 8, 3] as IDX files of \
             bytes; download it again"
        )
    );
    mnist(dir.path());
    put(dir.path(), "emnist-train-images-idx3-ubyte", &images(3));
    assert_eq!(
        at(),
        format!(
            "{root}: holds emnist-train-images-idx3-ubyte and train-images-idx3-ubyte.gz; give a folder with the files of one set"
        )
    );
    std::fs::remove_file(dir.path().join("emnist-train-images-idx3-ubyte")).unwrap();
    assert_eq!(
        refusal(&section(dir.path(), ", class_names: [a, b]")),
        "`ingest.source.class_names`: label 2, expected 0 to 1, one of 2 classes; correct the data or `ingest.source`"
    );
}
