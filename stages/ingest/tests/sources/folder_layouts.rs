//! Folders as they are shared: other names of splits, other files among the images, names in other alphabets.

use std::path::Path;

use crate::made_up::{ingest, notes, png, put, refusal};

fn section(root: &Path) -> String {
    format!("source: {{kind: image_folder, path: {}}}", root.display())
}

fn classes_in(root: &Path, folder: &str, first: u32) {
    for (class, seed) in ["cat", "dog"].iter().zip(first..) {
        put(root, &format!("{folder}/{class}/{seed}.png"), &png(seed, 3, 2));
        put(root, &format!("{folder}/{class}/{seed}b.png"), &png(seed + 50, 3, 2));
    }
}

#[test]
fn splits_are_known_by_their_usual_names() {
    for (train, test) in [
        ("Training", "Testing"),
        ("seg_train/seg_train", "seg_test/seg_test"),
        ("TRAIN", "TEST"),
        ("training_set", "test_set"),
        ("train_images", "val_images"),
        ("Train", "Val"),
        ("training_set/training_set", "test_set/test_set"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        classes_in(dir.path(), train, 0);
        classes_in(dir.path(), test, 10);
        let dataset = ingest(&section(dir.path())).unwrap();
        assert_eq!(dataset.classes, ["cat", "dog"], "{train}");
        assert_eq!((dataset.facts.train_images, dataset.facts.test_images), (4, 4), "{train}");
        assert!(dataset.train.iter().all(|row| row.path.starts_with(train)), "{train}");
    }
}

#[test]
fn the_labeled_one_of_several_test_folders_is_read_and_the_others_are_named() {
    let dir = tempfile::tempdir().unwrap();
    classes_in(dir.path(), "train", 0);
    classes_in(dir.path(), "val", 10);
    put(dir.path(), "test/1.png", &png(20, 3, 2));
    put(dir.path(), "extra/cat/1.png", &png(21, 3, 2));
    let dataset = ingest(&section(dir.path())).unwrap();
    assert!(dataset.test.iter().all(|row| row.path.starts_with("val/")));
    assert_eq!(
        notes(&section(dir.path())),
        ["8 images found; passed over: 2 folders of no split that is read (extra/, test/)"]
    );
    // the other way round: a validation folder without labels beside a labeled test folder
    std::fs::rename(dir.path().join("val"), dir.path().join("labeled")).unwrap();
    std::fs::rename(dir.path().join("test"), dir.path().join("val")).unwrap();
    std::fs::rename(dir.path().join("labeled"), dir.path().join("test")).unwrap();
    let dataset = ingest(&section(dir.path())).unwrap();
    assert!(dataset.test.iter().all(|row| row.path.starts_with("test/")));
}

#[test]
fn a_class_may_be_called_train() {
    let dir = tempfile::tempdir().unwrap();
    for (class, seed) in ["bus", "train"].iter().zip(0..) {
        put(dir.path(), &format!("{class}/1.png"), &png(seed, 3, 2));
        put(dir.path(), &format!("{class}/2.png"), &png(seed + 5, 3, 2));
    }
    let section = format!(
        "source: {{kind: image_folder, path: {}, test_fraction: 0.5, split_seed: 0}}",
        dir.path().display()
    );
    assert_eq!(ingest(&section).unwrap().classes, ["bus", "train"]);
}

#[test]
fn splits_are_never_taken_for_classes() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().display().to_string();
    let at = |name: &str| refusal(&section(&dir.path().join(name)));
    for split in [
        "two/fold1",
        "two/fold2",
        "cross/cat",
        "cross/dog",
        "tests/val",
        "tests/test",
        "twins/train_a",
        "above/x/Training",
    ] {
        classes_in(dir.path(), split, 0);
    }
    for class in ["swapped/cat", "swapped/dog"] {
        put(dir.path(), &format!("{class}/train/1.png"), &png(1, 3, 2));
        put(dir.path(), &format!("{class}/test/1.png"), &png(2, 3, 2));
    }
    classes_in(dir.path(), "twins/Train", 0);
    classes_in(dir.path(), "twins/training", 0);
    classes_in(dir.path(), "above2/photos", 0);
    let cure = "expected images in the folders of classes; name the splits train and val, give DATA= the folder of the classes, \
                or, if the outer folders are the classes, move them into a folder train";
    assert_eq!(
        at("two"),
        format!("{root}/two: its folders fold1, fold2 hold only folders (cat, dog); {cure}")
    );
    assert_eq!(
        at("swapped"),
        format!(
            "{root}/swapped: its folders cat, dog hold only folders (test, train); expected train/<class>/* beside \
             test/<class>/*; swap the two levels"
        )
    );
    assert_eq!(
        at("tests"),
        format!(
            "{root}/tests: holds test, val, and no folder of training images beside; expected train/<class>/*, rename the \
             folder that holds them to train"
        )
    );
    assert_eq!(
        at("twins"),
        format!(
            "{root}/twins: holds Train and training, which both say that they hold training images; move one of them away"
        )
    );
    assert_eq!(
        at("above"),
        format!("{root}/above: holds only the folder x, and that holds Training/; give DATA={root}/above/x")
    );
    assert_eq!(
        at("above2"),
        format!(
            "{root}/above2: holds only the folder photos, and that holds the folders cat, dog; give DATA={root}/above2/photos"
        )
    );
}

#[test]
fn every_file_is_used_or_counted_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    classes_in(dir.path(), "train", 0);
    classes_in(dir.path(), "val", 10);
    put(dir.path(), "train/cat/without_ending", &png(30, 3, 2));
    put(dir.path(), "train/cat/photo.jpg_large", &png(31, 3, 2));
    put(dir.path(), "train/cat/Thumbs.db", b"\xd0\xcf\x11\xe0");
    put(dir.path(), "train/dog/.DS_Store", b"x");
    put(dir.path(), "train/dog/empty", b"");
    put(dir.path(), "train/loose.png", &png(32, 3, 2));
    put(dir.path(), "README.md", b"BMW and others");
    #[cfg(unix)]
    std::os::unix::fs::symlink("gone", dir.path().join("val/cat/link")).unwrap();
    let dataset = ingest(&section(dir.path())).unwrap();
    assert_eq!(dataset.train_paths()[2..4], ["train/cat/photo.jpg_large", "train/cat/without_ending"]);
    assert_eq!(
        notes(&section(dir.path())),
        [
            "10 images found; passed over: 2 files that are no images (README.md, train/cat/Thumbs.db), 1 empty file \
             (train/dog/empty), 1 hidden (train/dog/.DS_Store), 1 link that leads nowhere (val/cat/link), 1 image without a \
             class (train/loose.png)"
        ]
    );
}

#[cfg(unix)]
#[test]
fn empty_images_and_links_that_lead_nowhere_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    classes_in(dir.path(), "train", 0);
    classes_in(dir.path(), "val", 10);
    put(dir.path(), "train/cat/e.png", b"");
    assert_eq!(
        refusal(&section(dir.path())),
        "train/cat/e.png: found an empty file, expected JPEG, PNG, WebP, BMP or GIF; copy, download or unpack it again, or set \
         `ingest.skip_broken: true` to count and leave out such images"
    );
    std::fs::remove_file(dir.path().join("train/cat/e.png")).unwrap();
    let link = dir.path().join("val/cat/l.jpg");
    std::os::unix::fs::symlink("gone", &link).unwrap();
    assert_eq!(
        refusal(&section(dir.path())),
        format!(
            "{}: is a link to a file that is not there; fetch it (`git annex get`, `dvc pull`) or delete the link",
            link.display()
        )
    );
}

#[test]
fn names_that_only_look_alike_are_one_class_in_two_splits_and_refused_in_one() {
    let (one, two) = ("caf\u{e9}", "cafe\u{301}");
    let dir = tempfile::tempdir().unwrap();
    classes_in(dir.path(), "train", 0);
    classes_in(dir.path(), "val", 10);
    put(dir.path(), &format!("train/{one}/1.png"), &png(40, 3, 2));
    put(dir.path(), &format!("val/{two}/1.png"), &png(41, 3, 2));
    let dataset = ingest(&section(dir.path())).unwrap();
    assert_eq!(dataset.classes, [one, "cat", "dog"]);
    assert_eq!(dataset.test[0].path, format!("val/{two}/1.png"));
    let root = dir.path().display();
    assert_eq!(
        notes(&section(dir.path())),
        [format!(
            "the folders of class `{one}` in {root}/train and {root}/val differ by Unicode normalization and are read as one class"
        )]
    );
    put(dir.path(), &format!("train/{two}/1.png"), &png(42, 3, 2));
    let message = refusal(&section(dir.path()));
    assert!(
        message.contains("two folders whose names differ only by Unicode normalization: `cafe"),
        "{message}"
    );
    std::fs::remove_dir_all(dir.path().join("train").join(two)).unwrap();
    put(dir.path(), "val/Dog/1.png", &png(43, 3, 2));
    assert_eq!(
        refusal(&section(dir.path())),
        format!(
            "{root}/val: has class `Dog` and {root}/train has `dog`, which differ only in case; rename one of them"
        )
    );
}
