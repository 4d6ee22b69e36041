//! Parquet as people have it: class lists in another order, labels of other kinds, clones of repositories, images beside the tables.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, BooleanArray, Int64Array, NullArray, StringArray, StructArray};
use arrow::datatypes::{DataType, Field, Fields};
use delt_pipeline::config::ingest as config;

use crate::huggingface::{pictures, write_columns};
use crate::made_up::{ingest, open, png, put, refusal};

const NAMES: [&str; 3] = ["cat", "dog", "owl"];

fn described(names: &[&str]) -> String {
    serde_json::json!({"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}).to_string()
}

fn numbers(labels: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(labels.to_vec()))
}

/// A table of an image for each label.
fn write(path: &Path, first: u32, labels: ArrayRef, names: Option<&[&str]>) {
    let seeds: Vec<u32> = (first..first + labels.len() as u32).collect();
    let columns = vec![("image", Arc::new(pictures(&seeds)) as ArrayRef), ("label", labels)];
    write_columns(path, columns, names.map(described).as_deref());
}

fn section(folder: &Path, more: &str) -> String {
    let folder = folder.display();
    format!(
        "source: {{kind: huggingface_parquet, path: {folder}, image_column: image, label_column: label{more}}}"
    )
}

fn notes(section: &str) -> Vec<String> {
    let section: config::Ingest = serde_yaml::from_str(section).unwrap();
    open(&section.source).unwrap().notes()
}

fn fingerprint(section: &str) -> String {
    let section: config::Ingest = serde_yaml::from_str(section).unwrap();
    open(&section.source).unwrap().fingerprint().unwrap().to_string()
}

fn labels(rows: &[delt_formats::dataset::ImageRow]) -> Vec<u32> {
    rows.iter().map(|row| row.label).collect()
}

#[test]
fn class_lists_in_another_order_are_joined_by_name_and_the_key_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (train, test) = (dir.path().join("train.parquet"), dir.path().join("test.parquet"));
    write(&train, 0, numbers(&[0, 1, 2]), Some(&NAMES));
    write(&test, 10, numbers(&[0, 1, 2]), Some(&["dog", "cat", "owl"]));
    let dataset = ingest(&section(dir.path(), "")).unwrap();
    assert_eq!(dataset.classes, NAMES);
    assert_eq!((labels(&dataset.train), labels(&dataset.test)), (vec![0, 1, 2], vec![1, 0, 2]));
    let order = "test.parquet lists its classes in another order: joined by name";
    assert_eq!(notes(&section(dir.path(), "")), [order]);
    let given = ", class_names: [owl, dog, cat]";
    let dataset = ingest(&section(dir.path(), given)).unwrap();
    assert_eq!((labels(&dataset.train), labels(&dataset.test)), (vec![2, 1, 0], vec![1, 2, 0]));

    let digest = |path: &Path| delt_formats::canonical::Digest::of_file(path).unwrap();
    let files = serde_json::json!({"train": [digest(&train)], "test": [digest(&test)]});
    let plain = delt_formats::canonical::Digest::of_json(&files).to_string();
    assert_ne!(fingerprint(&section(dir.path(), "")), plain, "the key under which wrong labels were stored");
    let other_names = fingerprint(&section(dir.path(), ", class_names: [n1, n2, n3]"));
    assert_ne!(other_names, plain, "the test file still differs from the training file");
    write(&test, 10, numbers(&[0, 1, 2]), Some(&NAMES));
    let files = serde_json::json!({"train": [digest(&train)], "test": [digest(&test)]});
    let plain = delt_formats::canonical::Digest::of_json(&files).to_string();
    assert_eq!(fingerprint(&section(dir.path(), "")), plain, "where all lists agree, keys stay");
    let renamed = section(dir.path(), ", class_names: [n1, n2, n3]");
    assert_eq!(ingest(&renamed).unwrap().classes, ["n1", "n2", "n3"], "other names for the same places");
    assert_eq!(fingerprint(&renamed), plain);
}

#[test]
fn a_list_with_other_names_is_refused_with_both_lists() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().display().to_string();
    write(&dir.path().join("train.parquet"), 0, numbers(&[0, 1, 2]), Some(&NAMES));
    write(&dir.path().join("test.parquet"), 10, numbers(&[0, 1, 2]), Some(&["cat", "fox", "owl"]));
    assert_eq!(
        refusal(&section(dir.path(), "")),
        format!(
            "{root}/test.parquet: names 3 classes (cat, fox, owl), expected 3 classes (cat, dog, owl), which lack `fox`, as \
             {root}/train.parquet has them; make the files agree, or give all names in `ingest.source.class_names`"
        )
    );
    let dataset =
        ingest(&section(dir.path(), ", class_names: [cat, dog, fox, owl]")).unwrap_err().to_string();
    assert_eq!(dataset, "class `fox` has no training image; add some, or leave it out with `ingest.classes`");
    let error = refusal(&section(dir.path(), ", class_names: [cat, dog]"));
    assert!(
        error.starts_with(&format!(
            "{root}/train.parquet: names 3 classes (cat, dog, owl), expected 2 classes (cat, dog), which lack `owl`, as \
             `ingest.source.class_names` has them; "
        )),
        "{error}"
    );
}

#[test]
fn labels_are_text_or_true_and_false_too() {
    let dir = tempfile::tempdir().unwrap();
    let text = |labels: &[&str]| Arc::new(StringArray::from(labels.to_vec())) as ArrayRef;
    let (train, test) = (dir.path().join("train.parquet"), dir.path().join("test.parquet"));
    write(&train, 0, text(&["owl", "cat", "Zebra", "dog"]), None);
    write(&test, 10, text(&["dog", "owl"]), None);
    let dataset = ingest(&section(dir.path(), "")).unwrap();
    assert_eq!(dataset.classes, ["Zebra", "cat", "dog", "owl"], "by code point");
    assert_eq!((labels(&dataset.train), labels(&dataset.test)), (vec![3, 1, 0, 2], vec![2, 3]));
    let dataset = ingest(&section(dir.path(), ", class_names: [dog, owl, cat, Zebra]")).unwrap();
    assert_eq!((labels(&dataset.train), labels(&dataset.test)), (vec![1, 2, 3, 0], vec![0, 1]));
    write(&test, 10, numbers(&[0, 1]), Some(&["owl", "cat"]));
    let dataset = ingest(&section(dir.path(), ", class_names: [Zebra, cat, dog, owl]")).unwrap();
    assert_eq!(labels(&dataset.test), [3, 1], "numbers and text meet by name");

    let truth = |labels: &[bool]| Arc::new(BooleanArray::from(labels.to_vec())) as ArrayRef;
    write(&train, 0, truth(&[false, true]), None);
    write(&test, 10, truth(&[true]), None);
    let dataset = ingest(&section(dir.path(), "")).unwrap();
    assert_eq!(
        (dataset.classes, labels(&dataset.test)),
        (vec!["false".to_owned(), "true".to_owned()], vec![1])
    );
}

#[test]
fn a_column_of_numbers_beside_one_of_names_says_which_one_has_names() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("train.parquet");
    let image = || Arc::new(pictures(&[1, 2])) as ArrayRef;
    let name: ArrayRef = Arc::new(StringArray::from(vec!["owl", "cat"]));
    write_columns(&path, vec![("image", image()), ("class_id", numbers(&[1, 0])), ("name", name)], None);
    let source = section(dir.path(), ", test: [train.parquet]")
        .replace("label_column: label", "label_column: class_id");
    assert_eq!(
        refusal(&source),
        format!(
            "{}: names no classes for column `class_id` in its metadata; give `ingest.source.class_names`, or a column of \
             names as `ingest.source.label_column`: name",
            path.display()
        )
    );
    assert_eq!(labels(&ingest(&source.replace("class_id", "name")).unwrap().train), [1, 0]);
    let named = source.replace("class_id", "class_id, class_names: [cat, owl]");
    assert_eq!(labels(&ingest(&named).unwrap().train), [1, 0]);
}

#[test]
fn test_images_whose_labels_are_withheld_are_left_for_the_validation_split() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().display().to_string();
    write(&dir.path().join("train.parquet"), 0, numbers(&[0, 1, 2]), Some(&NAMES));
    write(&dir.path().join("Validation.parquet"), 10, numbers(&[2]), Some(&NAMES));
    let test = dir.path().join("test.parquet");
    write(&test, 20, numbers(&[-1, -1]), Some(&NAMES));
    let all = section(dir.path(), "");
    assert_eq!(labels(&ingest(&all).unwrap().test), [2]);
    assert_eq!(
        notes(&all),
        [format!("passed over the test images of {root}/test.parquet: their labels are withheld")]
    );
    std::fs::remove_file(dir.path().join("Validation.parquet")).unwrap();
    let error = refusal(&all);
    let expected = "its labels are withheld: all are -1 or missing in column `label`, as in test sets of a competition; test on";
    assert!(error.starts_with(&format!("{root}/test.parquet: {expected}")), "{error}");
    write(&dir.path().join("train.parquet"), 0, numbers(&[0, 1, 2, 0, 1, 2]), Some(&NAMES));
    let split = ingest(&section(dir.path(), ", test_fraction: 0.5, split_seed: 0")).unwrap();
    assert_eq!((split.facts.train_images, split.facts.test_images), (3, 3));
    write(&test, 20, numbers(&[1, -1]), Some(&NAMES));
    let error = refusal(&all);
    assert!(error.starts_with(&format!("{root}/test.parquet row 1: label -1, expected 0 to 2")), "{error}");
}

#[test]
fn clones_are_read_whatever_folders_they_have() {
    let layouts: [[&str; 3]; 5] = [
        [
            "data/train-00000-of-00002.parquet",
            "data/train-00001-of-00002.parquet",
            "data/test-00000-of-00001.parquet",
        ],
        [
            "cifar100/train-00000-of-00002.parquet",
            "cifar100/train-00001-of-00002.parquet",
            "cifar100/TEST-0.parquet",
        ],
        ["default/train/0000.parquet", "default/train/0001.parquet", "default/Test/0000.parquet"],
        ["Train/0000.parquet", "Train/0001.parquet", "Val/0000.parquet"],
        ["mine_train_0.parquet", "mine_train_1.parquet", "mine_valid_0.parquet"],
    ];
    for layout in layouts {
        let dir = tempfile::tempdir().unwrap();
        for (file, first) in layout.iter().zip([0, 10, 20]) {
            write(&dir.path().join(file), first, numbers(&[0, 1, 2]), Some(&NAMES));
        }
        let dataset = ingest(&section(dir.path(), "")).unwrap();
        assert_eq!((dataset.train.len(), dataset.test.len()), (6, 3), "{layout:?}");
        assert_eq!(
            (&dataset.train[3].bytes, &dataset.test[0].bytes),
            (&png(10, 5, 3), &png(20, 5, 3)),
            "{layout:?}"
        );
        assert_eq!(notes(&section(dir.path(), "")), [""; 0]);
    }
}

#[test]
fn several_configurations_are_listed_and_files_passed_over_counted() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().display().to_string();
    for file in
        ["fine/train-0.parquet", "fine/test-0.parquet", "coarse/train-0.parquet", "coarse/test-0.parquet"]
    {
        write(&dir.path().join(file), 0, numbers(&[0, 1, 2]), Some(&NAMES));
    }
    assert_eq!(
        refusal(&section(dir.path(), "")),
        format!(
            "{root}: holds several configurations: coarse, fine; name the folder of one, e.g. `ingest.source.path: \
             {root}/coarse` or DATA={root}/coarse"
        )
    );
    put(dir.path(), "fine/captions.csv", b"text");
    put(dir.path(), "fine/README.md", b"text");
    write(&dir.path().join("fine/extra.parquet"), 0, numbers(&[0]), Some(&NAMES));
    assert_eq!(
        notes(&section(&dir.path().join("fine"), "")),
        [
            "passed over Parquet files that belong to neither split (1): extra.parquet",
            "passed over files of data that are not Parquet (1): captions.csv"
        ]
    );
}

#[test]
fn a_file_that_a_name_promises_and_that_is_absent_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().display().to_string();
    let first = dir.path().join("train-00000-of-00002.parquet");
    write(&first, 0, numbers(&[0, 1, 2]), Some(&NAMES));
    write(&dir.path().join("test-00000-of-00001.parquet"), 10, numbers(&[0]), Some(&NAMES));
    assert_eq!(
        refusal(&section(dir.path(), "")),
        format!(
            "{root}: holds 1 of the 2 files that the name `train-00000-of-00002.parquet` promises, without \
             train-00001-of-00002; fetch or remove what is wrong, or name the files to read in `ingest.source.train`"
        )
    );
    let named = section(dir.path(), ", train: [train-00000-of-00002.parquet]");
    assert_eq!(ingest(&named).unwrap().facts.train_images, 3);
    let one = section(&first, ", test: [test-00000-of-00001.parquet]");
    assert_eq!(notes(&one), [format!("reads 1 of the 2 files that the name {} promises", first.display())]);
}

/// Images of a table as `datasets` writes them when they are not embedded.
fn paths_only(paths: &[&str]) -> ArrayRef {
    let fields = Fields::from(vec![
        Field::new("bytes", DataType::Binary, true),
        Field::new("path", DataType::Utf8, true),
    ]);
    let bytes: ArrayRef = Arc::new(BinaryArray::from_opt_vec(vec![None; paths.len()]));
    Arc::new(StructArray::new(fields, vec![bytes, Arc::new(StringArray::from(paths.to_vec()))], None))
}

#[test]
fn images_that_lie_beside_the_table_are_read_and_count_in_the_key() {
    let dir = tempfile::tempdir().unwrap();
    let text = |paths: &[&str]| Arc::new(StringArray::from(paths.to_vec())) as ArrayRef;
    for (image, name) in [(paths_only as fn(&[&str]) -> ArrayRef, "struct"), (text, "text")] {
        let folder = dir.path().join(name);
        for (seed, file) in [(1, "images/a.png"), (2, "images/b.png"), (3, "data/c.png")] {
            put(&folder, file, &png(seed, 5, 3));
        }
        let table = |file: &str, paths: &[&str], labels: &[i64]| {
            let columns = vec![("image", image(paths)), ("label", numbers(labels))];
            write_columns(&folder.join(file), columns, Some(&described(&NAMES[..2])));
        };
        table("data/train.parquet", &["images/a.png", "images/b.png"], &[0, 1]);
        table("data/test.parquet", &["c.png"], &[1]);
        let source = section(&folder, "");
        let dataset = ingest(&source).unwrap();
        assert_eq!(dataset.train_paths(), ["images/a.png", "images/b.png"]);
        assert_eq!((&dataset.train[1].bytes, &dataset.test[0].bytes), (&png(2, 5, 3), &png(3, 5, 3)));
        let before = fingerprint(&source);
        put(&folder, "images/b.png", &png(4, 5, 3));
        assert_ne!(fingerprint(&source), before);
        std::fs::remove_file(folder.join("images/a.png")).unwrap();
        let error = refusal(&source);
        let place =
            format!("{}/data/train.parquet row 0: the table holds no bytes of the image", folder.display());
        assert!(
            error.starts_with(&format!("{place}, and its path `images/a.png` is not there, looked for ")),
            "{error}"
        );
        table("data/train.parquet", &["images/b.png", "images/a.png", "images/b.png"], &[0, 1, 1]);
        let skipped = ingest(&format!("{source}\nskip_broken: true")).unwrap();
        assert_eq!((skipped.facts.train_images, skipped.facts.train_broken), (2, 1));
    }
}

#[test]
fn a_column_of_nothing_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let nothing: ArrayRef = Arc::new(NullArray::new(2));
    write_columns(
        &dir.path().join("train.parquet"),
        vec![("image", nothing), ("label", numbers(&[0, 1]))],
        None,
    );
    let error = refusal(&section(dir.path(), ", test: [train.parquet]"));
    assert!(error.contains("column `image` holds "), "{error}");
}

#[test]
fn what_is_no_parquet_is_named_at_the_door() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "saved/train/data-00000-of-00001.arrow", b"\xff\xff\xff\xff");
    put(dir.path(), "saved/dataset_dict.json", b"{}");
    let error = refusal(&section(&dir.path().join("saved"), ""));
    assert!(
        error.contains("holds Arrow files, as `save_to_disk` writes them, and no Parquet; write each split"),
        "{error}"
    );
    write(&dir.path().join("clone/train.parquet"), 0, numbers(&[0, 1, 2]), Some(&NAMES));
    put(dir.path(), "clone/test.parquet", b"");
    let error = refusal(&section(&dir.path().join("clone"), ""));
    assert!(error.contains("/clone/test.parquet: is empty: "), "{error}");
    put(dir.path(), "clone/test.parquet", b"version https://git-lfs.github.com/spec/v1\n");
    assert!(refusal(&section(&dir.path().join("clone"), "")).contains("is a Git LFS pointer"));
}
