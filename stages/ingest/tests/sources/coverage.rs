//! What a data set does not cover is said, in one line each.

use std::path::Path;

use crate::made_up::{ingest, png, put};

fn section(root: &Path, more: &str) -> String {
    format!("source: {{kind: image_folder, path: {}}}\n{more}", root.display())
}

/// Three classes of two training and one test images each, all different.
fn tree(root: &Path) {
    for (index, class) in ["a", "b", "c"].into_iter().enumerate() {
        let seed = 10 * index as u32;
        put(root, &format!("train/{class}/0.png"), &png(seed, 4, 4));
        put(root, &format!("train/{class}/1.png"), &png(seed + 1, 4, 4));
        put(root, &format!("val/{class}/2.png"), &png(seed + 2, 4, 4));
    }
}

#[test]
fn a_data_set_of_which_nothing_is_to_be_said_has_no_notes() {
    let dir = tempfile::tempdir().unwrap();
    tree(dir.path());
    assert!(ingest(&section(dir.path(), "")).unwrap().notes.is_empty());
}

#[test]
fn a_class_without_test_images_is_named() {
    let dir = tempfile::tempdir().unwrap();
    tree(dir.path());
    std::fs::remove_file(dir.path().join("val/b/2.png")).unwrap();
    std::fs::remove_dir(dir.path().join("val/b")).unwrap();
    assert_eq!(
        ingest(&section(dir.path(), "")).unwrap().notes,
        ["classes without test images: 1 of 3 (`b`); accuracies say nothing of them"]
    );
}

#[test]
fn bytes_in_both_splits_or_in_two_classes_are_counted_with_an_example() {
    let dir = tempfile::tempdir().unwrap();
    tree(dir.path());
    put(dir.path(), "val/a/twin.png", &png(1, 4, 4));
    put(dir.path(), "train/c/twin.png", &png(10, 4, 4));
    assert_eq!(
        ingest(&section(dir.path(), "")).unwrap().notes,
        [
            "test images that are training images too, byte for byte: 1 of 4 (val/a/twin.png is row 1 of train.parquet); accuracies \
             on them measure memory",
            "images with the bytes of an image of another class: 1 (train/c/twin.png is of class `b` and of class `c`); no network \
             is right on both",
        ]
    );
}

#[test]
fn uneven_classes_and_images_that_are_not_used_are_said_with_their_figures() {
    let dir = tempfile::tempdir().unwrap();
    tree(dir.path());
    for seed in 100..105 {
        put(dir.path(), &format!("train/b/{seed}.png"), &png(seed, 4, 4));
    }
    put(dir.path(), "train/c/broken.png", b"no image");
    let uneven = "the classes are uneven, from 2 (`a`) to 7 (`b`) training images; accuracies count images, so large classes weigh \
                  more";
    assert_eq!(
        ingest(&section(dir.path(), "skip_broken: true")).unwrap().notes,
        [
            "11 of 12 training and 3 of 3 test images are used (1 training and 0 test images are broken)",
            uneven
        ]
    );
    assert_eq!(
        ingest(&section(dir.path(), "classes: [a, b]\nmax_train_per_class: 3")).unwrap().notes,
        ["5 of 12 training and 2 of 3 test images are used (ingest.classes, ingest.max_train_per_class 3)"]
    );
}
