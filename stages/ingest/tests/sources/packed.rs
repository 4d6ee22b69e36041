//! Published trees of folders in the archives that they come in: ImageNette, ImageWoof, Tiny-ImageNet.

use std::io::Write;
use std::path::Path;

use ingest::download::Downloads;

use crate::cifar::archive;
use crate::made_up::{ingest, ingest_with, notes, png, put, refusal};

const NETTE: [&str; 10] = [
    "n01440764",
    "n02102040",
    "n02979186",
    "n03000684",
    "n03028079",
    "n03394916",
    "n03417042",
    "n03425413",
    "n03445777",
    "n03888257",
];

fn nette() -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for (seed, id) in (0..).zip(NETTE) {
        files.push((format!("imagenette2-160/val/{id}/{id}_1.JPEG"), png(seed, 3, 4)));
        files.push((format!("imagenette2-160/train/{id}/{id}_2.JPEG"), png(seed + 20, 4, 3)));
        files.push((format!("imagenette2-160/train/{id}/{id}_1.JPEG"), png(seed + 10, 4, 3)));
    }
    files.push(("imagenette2-160/noisy_imagenette.csv".to_owned(), b"path\n".to_vec()));
    files
}

fn packed(folder: &Path, name: &str, files: &[(String, Vec<u8>)]) {
    let members: Vec<(&str, Vec<u8>)> =
        files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
    archive(folder, name, &members);
}

fn section(kind: &str, path: &Path) -> String {
    format!("source: {{kind: {kind}, px: 160, path: {}}}", path.display())
}

#[test]
fn an_archive_of_folders_is_unpacked_once_and_gives_what_its_folder_gives() {
    let dir = tempfile::tempdir().unwrap();
    let downloads = Downloads { folder: dir.path().join("downloads"), is_allowed: true };
    packed(dir.path(), "imagenette2-160.tgz", &nette());
    let at_archive = section("imagenette", &dir.path().join("imagenette2-160.tgz"));
    assert_eq!(
        refusal(&at_archive),
        format!("{}/imagenette2-160.tgz is not unpacked yet", dir.path().display())
    );
    let dataset = ingest_with(&at_archive, &downloads).unwrap();
    assert_eq!(dataset.classes, NETTE);
    assert_eq!((dataset.train.len(), dataset.test.len()), (20, 10));
    assert_eq!(dataset.train[1].bytes, png(20, 4, 3), "files of a class stand in the order of their names");
    let again = Downloads { is_allowed: false, ..downloads };
    assert_eq!(ingest_with(&section("imagenette", dir.path()), &again).unwrap().train, dataset.train);
    let unpacked = tempfile::tempdir().unwrap();
    nette().iter().for_each(|(name, bytes)| put(unpacked.path(), name, bytes));
    for folder in [unpacked.path(), &unpacked.path().join("imagenette2-160")] {
        let same = ingest(&section("imagenette", folder)).unwrap();
        assert_eq!((&same.train, &same.test), (&dataset.train, &dataset.test));
    }
    let root = unpacked.path().join("imagenette2-160");
    let counted = "20 training and 10 test images found in";
    assert!(notes(&section("imagenette", &root)).iter().any(|note| note.starts_with(counted)));
    let message = refusal(&section("imagewoof", &root));
    let expected = "expected those of ImageWoof: n02086240 n02087394 n02088364 ";
    assert!(message.contains(expected), "{message}");
    assert_eq!(refusal("source: {kind: imagewoof}"), "imagewoof2.tgz is not downloaded yet");
}

#[test]
fn a_zip_is_unpacked_too() {
    let dir = tempfile::tempdir().unwrap();
    let downloads = Downloads { folder: dir.path().join("downloads"), is_allowed: true };
    let mut zip =
        zip::ZipWriter::new(std::fs::File::create(dir.path().join("tiny-imagenet-200.zip")).unwrap());
    let mut add = |name: &str, bytes: &[u8]| {
        zip.start_file(format!("tiny-imagenet-200/{name}"), zip::write::SimpleFileOptions::default())
            .unwrap();
        zip.write_all(bytes).unwrap();
    };
    add("train/n02/images/n02_0.JPEG", &png(1, 4, 3));
    add("train/n01/images/n01_0.JPEG", &png(2, 4, 3));
    add("val/images/val_0.JPEG", &png(3, 4, 3));
    add("val/val_annotations.txt", b"val_0.JPEG\tn02\t0\t0\t1\t1\n");
    zip.finish().unwrap();
    let at = format!("source: {{kind: tiny_imagenet, path: {}}}", dir.path().display());
    let dataset = ingest_with(&at, &downloads).unwrap();
    assert_eq!(dataset.classes, ["n01", "n02"]);
    assert_eq!((dataset.train[1].bytes.clone(), dataset.test[0].label), (png(1, 4, 3), 1));
    assert_eq!(refusal("source: {kind: tiny_imagenet}"), "tiny-imagenet-200.zip is not downloaded yet");
}

#[test]
fn archives_that_are_damaged_or_hold_links_leave_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let downloads = Downloads { folder: dir.path().join("downloads"), is_allowed: true };
    let file = dir.path().join("imagenette2-160.tgz");
    let refused = |bytes: &[u8]| {
        put(dir.path(), "imagenette2-160.tgz", bytes);
        let message = ingest_with(&section("imagenette", &file), &downloads).unwrap_err().to_string();
        assert_eq!(std::fs::read_dir(downloads.folder.join("unpacked")).unwrap().count(), 0);
        message.strip_prefix(&format!("{}: ", file.display())).unwrap().to_owned()
    };
    packed(dir.path(), "imagenette2-160.tgz", &nette());
    let whole = std::fs::read(&file).unwrap();
    let message = refused(&whole[..whole.len() / 2]);
    assert!(message.starts_with("is not a complete gzipped tar archive ("), "{message}");
    assert_eq!(refused(b"<html>"), "is neither a .zip nor a .tar.gz; download it again");
    let message = refused(b"PK\x03\x04 and no more");
    assert!(message.starts_with("is not a complete zip archive ("), "{message}");
    let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    tar.append_link(&mut header, "imagenette2-160/train", "/etc").unwrap();
    assert_eq!(
        refused(&tar.into_inner().unwrap().finish().unwrap()),
        "holds a link `imagenette2-160/train`, which the published archive does not; download it again"
    );
}
