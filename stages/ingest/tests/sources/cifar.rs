//! The official binary archives, made small.

use std::path::{Path, PathBuf};

use delt_formats::rgb_image::RgbImage;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

use crate::made_up::{ingest, refusal};

/// A record whose planes are told apart by seed: red = seed, green = column, blue = row.
pub(crate) fn record(labels: &[u8], seed: u8) -> Vec<u8> {
    let mut bytes = labels.to_vec();
    bytes.extend([seed; 1024]);
    bytes.extend((0..1024).map(|i| (i % 32) as u8));
    bytes.extend((0..1024).map(|i| (i / 32) as u8));
    bytes
}

pub(crate) fn archive(folder: &Path, name: &str, members: &[(&str, Vec<u8>)]) -> PathBuf {
    let path = folder.join(name);
    let mut tar =
        tar::Builder::new(GzEncoder::new(std::fs::File::create(&path).unwrap(), Compression::fast()));
    for (member, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, member, bytes.as_slice()).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap();
    path
}

fn cifar100(folder: &Path, train: Vec<u8>) -> PathBuf {
    let test = record(&[9, 1], 77);
    let names = b"apple\nbear\nbus\n".to_vec();
    let members = [
        ("cifar-100-binary/fine_label_names.txt", names),
        ("cifar-100-binary/coarse_label_names.txt", b"x\ny\n".to_vec()),
        ("cifar-100-binary/train.bin", train),
        ("cifar-100-binary/test.bin", test),
    ];
    archive(folder, "cifar-100-binary.tar.gz", &members)
}

/// Without the sum of the made-up archive, which is not the published one.
pub(crate) fn bare_section(kind: &str, path: &Path) -> String {
    format!("source: {{kind: {kind}, path: {}}}", path.display())
}

pub(crate) fn section(kind: &str, path: &Path) -> String {
    let archive = if path.is_dir() { path.join("cifar-100-binary.tar.gz") } else { path.to_path_buf() };
    let sum = std::fs::read(archive).map_or_else(|_| "0".repeat(64), |bytes| sha256(&bytes));
    format!("source: {{kind: {kind}, path: {}, sha256: '{sum}'}}", path.display())
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn cifar100_gives_fine_labels_and_pixels_in_their_place() {
    let dir = tempfile::tempdir().unwrap();
    let train = [record(&[5, 2], 10), record(&[0, 0], 11), record(&[1, 1], 12)].concat();
    let path = cifar100(dir.path(), train);
    let dataset = ingest(&section("cifar100", &path)).unwrap();
    assert_eq!(dataset.classes, ["apple", "bear", "bus"]);
    assert_eq!(dataset.train.iter().map(|row| row.label).collect::<Vec<_>>(), [2, 0, 1]);
    assert_eq!(dataset.train_paths(), ["train/00000.png", "train/00001.png", "train/00002.png"]);
    let picture = RgbImage::decode(&dataset.train[1].bytes).unwrap();
    assert_eq!((picture.width, picture.height), (32, 32));
    assert_eq!(picture.rgb[..6], [11, 0, 0, 11, 1, 0]);
    assert_eq!(picture.rgb[(5 * 32 + 3) * 3..][..3], [11, 3, 5], "column 3 of row 5");
    assert_eq!((dataset.test.len(), dataset.test[0].label), (1, 1));
    assert_eq!(dataset.facts.source, "CIFAR-100, official binary archive");
    assert_eq!(ingest(&section("cifar100", dir.path())).unwrap().train, dataset.train, "its folder will do");
}

#[test]
fn cifar10_reads_its_batches_in_order_wherever_they_lie_in_the_archive() {
    let dir = tempfile::tempdir().unwrap();
    let mut members = vec![("c/test_batch.bin", record(&[1], 99))];
    for (name, seed) in [("c/data_batch_4.bin", 4), ("c/data_batch_1.bin", 1), ("c/data_batch_3.bin", 3)] {
        members.push((name, record(&[seed % 2], seed)));
    }
    members.push(("c/batches.meta.txt", b"airplane\nautomobile\n\n".to_vec()));
    members.push(("c/data_batch_5.bin", record(&[1], 5)));
    members.push(("c/data_batch_2.bin", [record(&[0], 20), record(&[1], 21)].concat()));
    let path = archive(dir.path(), "any-name.tar.gz", &members);
    let dataset = ingest(&section("cifar10", &path)).unwrap();
    let reds: Vec<u8> =
        dataset.train.iter().map(|row| RgbImage::decode(&row.bytes).unwrap().rgb[0]).collect();
    assert_eq!(reds, [1, 20, 21, 3, 4, 5]);
    assert_eq!(dataset.classes, ["airplane", "automobile"]);
    let limited = ingest(&format!("{}\nmax_train_per_class: 1", section("cifar10", &path))).unwrap();
    assert_eq!(limited.train_paths(), ["train/00000.png", "train/00001.png"]);
}

#[test]
fn refusals_name_the_archive() {
    let dir = tempfile::tempdir().unwrap();
    let path = cifar100(dir.path(), record(&[0, 0], 1));
    let shown = path.display().to_string();
    assert_eq!(
        refusal(&section("cifar10", &path)),
        format!(
            "{shown}: holds no batches.meta.txt, expected the binary version of CIFAR-10; see data/sources.yaml"
        )
    );
    cifar100(dir.path(), record(&[0, 0], 1)[..3000].to_vec());
    assert_eq!(
        refusal(&section("cifar100", &path)),
        format!("{shown}: train.bin has 3000 bytes, expected a multiple of 3074; download it again")
    );
    cifar100(dir.path(), [record(&[0, 0], 1), record(&[0, 3], 1)].concat());
    assert_eq!(
        refusal(&section("cifar100", &path)),
        format!(
            "{shown}: train.bin record 1: label 3, expected 0 to 2, one of 3 classes; correct the data or `ingest.source`"
        )
    );
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let message = refusal(&section("cifar100", &path));
    assert!(message.starts_with(&format!("{shown}: is not a complete gzipped tar archive (")), "{message}");
    assert!(message.ends_with("; download it again"), "{message}");
    assert_eq!(
        refusal(&section("cifar100", &dir.path().join("no.tar.gz"))),
        format!(
            "{}/no.tar.gz: not found, expected the archive cifar-100-binary.tar.gz, the folder it lies in, or one with \
             train-*.parquet and test-*.parquet, cifar-100-python.tar.gz or cifar-100-python; correct `ingest.source.path` or give DATA=path",
            dir.path().display()
        )
    );
    assert_eq!(refusal("source: {kind: cifar100}"), "cifar-100-binary.tar.gz is not downloaded yet");
}

#[test]
fn an_archive_that_is_not_the_published_one_is_read_only_by_its_sum() {
    let dir = tempfile::tempdir().unwrap();
    let path = cifar100(dir.path(), [record(&[0, 0], 1), record(&[0, 1], 2), record(&[0, 2], 3)].concat());
    let found = sha256(&std::fs::read(&path).unwrap());
    let published = "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec";
    let other = "0".repeat(64);
    let with_other = format!("source: {{kind: cifar100, path: {}, sha256: '{other}'}}", path.display());
    for (section, expected, origin) in [
        (bare_section("cifar100", &path), published, "data/sources.yaml"),
        (with_other, &other, "`ingest.source.sha256`"),
    ] {
        assert_eq!(
            refusal(&section),
            format!(
                "{}: has SHA-256 {found}, expected {expected} ({origin}); download it again, or set \
                 `ingest.source.sha256` to the former if this archive is meant",
                path.display()
            )
        );
    }
    ingest(&section("cifar100", &path)).unwrap();
}

#[test]
fn a_damaged_end_of_the_archive_is_found_by_its_checksum() {
    let dir = tempfile::tempdir().unwrap();
    let path = cifar100(dir.path(), [record(&[0, 0], 1), record(&[0, 1], 2), record(&[0, 2], 3)].concat());
    let mut bytes = std::fs::read(&path).unwrap();
    let checksum = bytes.len() - 8; // the gzip ends with CRC-32 and length, 4 bytes each
    bytes[checksum] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(
        refusal(&section("cifar100", &path)),
        format!(
            "{}: is not a complete gzipped tar archive (corrupt gzip stream does not have a matching checksum); download it again",
            path.display()
        )
    );
}
