//! ImageNet-1K as distributed, made small: tars in a tar, flat validation images and the development kit.

use std::path::Path;

use crate::cifar::archive;
use crate::made_up::{Dataset, ingest, png, put, refusal};
use crate::matlab::{file, structures};

const KIT: &str = "ILSVRC2012_devkit_t12";

fn tar(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, bytes.as_slice()).unwrap();
    }
    tar.into_inner().unwrap()
}

fn class(id: &str, seed: u32) -> Vec<(String, Vec<u8>)> {
    [2, 1].map(|image| (format!("{id}_{image}.JPEG"), png(seed + image, 4, 3))).to_vec()
}

fn classes() -> [(&'static str, u32); 3] {
    [("n03", 30), ("n01", 10), ("n02", 20)]
}

fn validation() -> Vec<(String, Vec<u8>)> {
    [3, 1, 2].map(|image| (format!("ILSVRC2012_val_0000000{image}.JPEG"), png(image, 5, 4))).to_vec()
}

/// Number 1 is n02, 2 is n03, 3 is n01: not the order of the ids.
fn kit(labels: &str) -> Vec<(&'static str, Vec<u8>)> {
    let rows = [(1.0, "n02"), (2.0, "n03"), (3.0, "n01"), (4.0, "n00")];
    let meta = structures("synsets", ["ILSVRC2012_ID", "WNID", "children"], &rows);
    vec![
        ("ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt", labels.as_bytes().to_vec()),
        ("ILSVRC2012_devkit_t12/data/meta.mat", file(&[meta], true)),
    ]
}

fn packed(root: &Path) {
    let classes: Vec<(String, Vec<u8>)> =
        classes().iter().map(|(id, seed)| (format!("{id}.tar"), tar(&class(id, *seed)))).collect();
    put(root, "ILSVRC2012_img_train.tar", &tar(&classes));
    put(root, "ILSVRC2012_img_val.tar", &tar(&validation()));
    archive(root, &format!("{KIT}.tar.gz"), &kit("3\n1\n2\n"));
}

fn section(kind: &str, root: &Path) -> String {
    format!("source: {{kind: {kind}, path: {}}}", root.display())
}

fn tested(dataset: &Dataset) -> Vec<(u32, Vec<u8>)> {
    dataset.test.iter().map(|row| (row.label, row.bytes.clone())).collect()
}

#[test]
fn archives_are_read_where_they_lie_and_give_what_folders_give() {
    let dir = tempfile::tempdir().unwrap();
    packed(dir.path());
    let dataset = ingest(&section("imagenet1k", dir.path())).unwrap();
    assert_eq!(dataset.classes, ["n01", "n02", "n03"]);
    assert_eq!(
        dataset.train_paths()[..3],
        ["train/n01/n01_1.JPEG", "train/n01/n01_2.JPEG", "train/n02/n02_1.JPEG"]
    );
    assert_eq!(dataset.train[2].bytes, png(21, 4, 3));
    assert_eq!(tested(&dataset), [(0, png(1, 5, 4)), (1, png(2, 5, 4)), (2, png(3, 5, 4))]);
    for is_deep in [true, false] {
        let unpacked = tempfile::tempdir().unwrap();
        for (id, seed) in classes() {
            let files = class(id, seed);
            if is_deep {
                files
                    .iter()
                    .for_each(|(name, bytes)| put(unpacked.path(), &format!("train/{id}/{name}"), bytes));
            } else {
                put(unpacked.path(), &format!("train/{id}.tar"), &tar(&files));
            }
        }
        for (id, (name, bytes)) in ["n03", "n01", "n02"].iter().zip(validation()) {
            let folder = if is_deep { format!("val/{id}") } else { "val".to_owned() };
            put(unpacked.path(), &format!("{folder}/{name}"), &bytes);
        }
        if !is_deep {
            put(unpacked.path(), "imagenet_2012_validation_synset_labels.txt", b"n01\nn02\nn03\n");
        }
        let same = ingest(&section("imagenet1k", unpacked.path())).unwrap();
        assert_eq!((&same.train, tested(&same)), (&dataset.train, tested(&dataset)));
    }
}

#[test]
fn a_list_gives_imagenet100_its_order() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(
        refusal(&section("imagenet100", dir.path())),
        format!(
            "{}: holds neither ILSVRC2012_img_train.tar nor train/; put one of them there",
            dir.path().display()
        )
    );
    packed(dir.path());
    assert_eq!(
        refusal(&section("imagenet100", dir.path())),
        format!(
            "{}: holds no training images of n02869837, a class of ImageNet-100; give all of it",
            dir.path().display()
        )
    );
    let list: Vec<&str> = include_str!("../../src/sources/imagenet/imagenet100.txt").lines().collect();
    for (seed, id) in (0..).zip(list.iter().copied().chain(["n00000001"])) {
        put(dir.path(), &format!("all/train/{id}/{id}_1.JPEG"), &png(seed, 4, 3));
        put(dir.path(), &format!("all/val/{id}/ILSVRC2012_val_{seed:08}.JPEG"), &png(seed + 200, 4, 3));
    }
    let dataset = ingest(&section("imagenet100", &dir.path().join("all"))).unwrap();
    assert_eq!(dataset.classes, list);
    assert_eq!(dataset.train.iter().map(|row| row.label).collect::<Vec<_>>(), (0..100).collect::<Vec<_>>());
    assert_eq!(dataset.train[99].bytes, png(99, 4, 3));
    assert_eq!((dataset.test.len(), dataset.test[99].bytes.clone()), (100, png(299, 4, 3)));
}

#[test]
fn refusals_name_the_archive() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().display();
    let at = || refusal(&section("imagenet1k", dir.path()));
    packed(dir.path());
    archive(dir.path(), &format!("{KIT}.tar.gz"), &kit("3\n5\n2\n"));
    assert_eq!(
        at(),
        format!(
            "{root}/{KIT}.tar.gz: ILSVRC2012_validation_ground_truth.txt: line 2: found `5`, expected an id of meta.mat; download it \
             again"
        )
    );
    archive(dir.path(), &format!("{KIT}.tar.gz"), &kit("3\n1\n"));
    assert_eq!(
        at(),
        format!(
            "{root}: holds `val/ILSVRC2012_val_00000003.JPEG`, expected val/ILSVRC2012_val_00000001.JPEG and so on, \
             of which 2 have labels; unpack the archive again"
        )
    );
    std::fs::remove_file(dir.path().join(format!("{KIT}.tar.gz"))).unwrap();
    assert!(
        at().starts_with(&format!(
            "{root}: holds no labels of the validation images, expected {KIT}.tar.gz,"
        ))
    );
    let whole = std::fs::read(dir.path().join("ILSVRC2012_img_train.tar")).unwrap();
    for length in [whole.len() / 2, 700] {
        put(dir.path(), "ILSVRC2012_img_train.tar", &whole[..length]);
        let message = at();
        assert!(
            message.starts_with(&format!("{root}/ILSVRC2012_img_train.tar: is not a complete tar archive (")),
            "{message}"
        );
    }
}
