//! Tables of paths and labels.

use std::path::Path;

use crate::made_up::{ingest, notes, open, png, put, refusal};

fn section(root: &Path, more: &str) -> String {
    format!("source: {{kind: csv, path: {}/labels.csv{more}}}", root.display())
}

fn files(root: &Path) {
    for seed in 0..6 {
        put(root, &format!("img/{seed}.png"), &png(seed, 3, 2));
    }
    put(root, "img/a, b.png", &png(7, 3, 2));
}

#[test]
fn paths_labels_and_splits_are_read_whatever_separates_them() {
    for separator in [",", ";", "\t", "|"] {
        let dir = tempfile::tempdir().unwrap();
        files(dir.path());
        let rows = [
            ["split", "path", "label"],
            ["train", "img/0.png", "dog"],
            ["Train", "\"img/a, b.png\"", "cat"],
            ["test", "img/5.png", "cat"],
        ];
        let text = rows.map(|row| row.join(separator)).join("\r\n");
        put(dir.path(), "labels.csv", format!("\u{feff}{text}\r\n").as_bytes());
        let dataset = ingest(&section(dir.path(), "")).unwrap();
        assert_eq!(dataset.classes, ["cat", "dog"]);
        assert_eq!(dataset.train_paths(), ["img/0.png", "img/a, b.png"]);
        assert_eq!(dataset.train.iter().map(|row| row.label).collect::<Vec<_>>(), [1, 0]);
        assert_eq!((dataset.test.len(), dataset.test[0].path.as_str()), (1, "img/5.png"));
        assert_eq!(dataset.facts.source, "table of paths");
    }
}

#[test]
fn numbers_are_classes_in_their_order_or_by_the_names_that_are_given() {
    let dir = tempfile::tempdir().unwrap();
    files(dir.path());
    let table = "file,y\n0.png,10\n1.png,9\n2.png,10\n3.png,9\n";
    put(dir.path(), "labels.csv", table.as_bytes());
    let images = dir.path().join("img");
    let more = format!(
        ", images: {}, path_column: file, label_column: y, test_fraction: 0.5, split_seed: 0",
        images.display()
    );
    let dataset = ingest(&section(dir.path(), &more)).unwrap();
    assert_eq!(
        (&dataset.classes[..], dataset.facts.test_images),
        (&["9".to_owned(), "10".to_owned()][..], 2)
    );
    put(dir.path(), "labels.csv", table.replace("10", "1").replace('9', "cat").as_bytes());
    let named = ingest(&section(dir.path(), &format!("{more}, class_names: [cat, dog]"))).unwrap();
    assert_eq!(named.facts.train_per_class, [1, 1]);
    let key = |section: &str| {
        let section: delt_pipeline::config::ingest::Ingest = serde_yaml::from_str(section).unwrap();
        open(&section.source).unwrap().fingerprint().unwrap()
    };
    let before = key(&section(dir.path(), &more));
    put(dir.path(), "labels.csv", table.as_bytes());
    assert_ne!(key(&section(dir.path(), &more)), before, "the table counts");
}

#[test]
fn of_several_test_splits_the_first_that_has_labels_is_read() {
    let dir = tempfile::tempdir().unwrap();
    files(dir.path());
    let table =
        "path,label,split\nimg/0.png,a,train\nimg/1.png,b,train\nimg/2.png,a,validation\nimg/3.png,,test\n";
    put(dir.path(), "labels.csv", table.as_bytes());
    let dataset = ingest(&section(dir.path(), "")).unwrap();
    assert_eq!((dataset.test.len(), dataset.test[0].path.as_str()), (1, "img/2.png"));
    assert_eq!(
        notes(&section(dir.path(), "")),
        ["3 images found; passed over: 1 rows of other test splits than the first that has labels"]
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "a list of cases")]
fn refusals_name_the_line() {
    let dir = tempfile::tempdir().unwrap();
    files(dir.path());
    let table = format!("{}/labels.csv", dir.path().display());
    let at = |text: &str, more: &str| {
        put(dir.path(), "labels.csv", text.as_bytes());
        refusal(&section(dir.path(), more))
    };
    let advice = "or add a line of column names";
    assert_eq!(
        at("paths,label\nimg/0.png,a\n", ""),
        format!(
            "{table}: has no column `path`, its first line is paths, label; name it in `ingest.source.path_column`, {advice}"
        )
    );
    assert_eq!(
        at("img/0.png,a\nimg/1.png,b\n", ""),
        format!(
            "{table}: has no column `path`, its first line is img/0.png, a; name it in `ingest.source.path_column`, {advice}"
        )
    );
    assert_eq!(
        at("path,label\nimg/0.png,a\n", ", split_column: fold"),
        format!(
            "{table}: has no column `fold`, its first line is path, label; name it in `ingest.source.split_column`, {advice}"
        )
    );
    assert_eq!(
        at("path,label,split\nimg/0.png,a,fold1\n", ""),
        format!("{table}: line 2: found split `fold1`, expected train, val or test; correct it")
    );
    let split = ", test_fraction: 0.5, split_seed: 0";
    assert_eq!(
        at("path,label\nimg/0.png,a\nimg/9.png,b\n", split),
        format!(
            "{table}: line 3: `img/9.png` is no file in {}; correct it, or name the folder of the images in `ingest.source.images`",
            dir.path().display()
        )
    );
    assert_eq!(
        at("path,label\nimg/0.png,a\nimg/0.png,b\n", split),
        format!("{table}: line 3: `img/0.png` stands in line 2 too; delete one of the lines")
    );
    assert_eq!(
        at("path,label\nimg/0.png,a\nimg/1.png,\n", split),
        format!(
            "{table}: line 3: found no label, expected one of 1 classes; correct the data or `ingest.source.class_names`"
        )
    );
    assert_eq!(
        at("path,label\nimg/0.png,a\nimg/1.png,b\n", ""),
        format!(
            "{table}: has no rows of a test split; name the column of splits in `ingest.source.split_column`, or for a split of its \
             own give `ingest.source.test_fraction` and `ingest.source.split_seed`, e.g. 0.2 and 0"
        )
    );
    let message = at("path,label\nimg/0.png,a\nimg/1.png,b\n", ", test_fraction: 0.5");
    let expected = "give `ingest.source.split_seed` beside `ingest.source.test_fraction`, e.g. 0";
    assert!(message.ends_with(expected), "{message}");
    let message = at("path,label\nimg/0.png,a\nimg\\1.png,b\n", split);
    let expected =
        r"line 3: `img\1.png` is no file in ROOT (paths are written with `/`, not `\`); correct it";
    assert!(message.contains(&expected.replace("ROOT", &dir.path().display().to_string())), "{message}");
    let folder = format!("source: {{kind: csv, path: {}}}", dir.path().display());
    assert_eq!(
        refusal(&folder),
        format!(
            "{}: is a folder, expected a table of paths and labels; it holds labels.csv: give the file as `ingest.source.path` or \
             DATA=path",
            dir.path().display()
        )
    );
    assert_eq!(at("path,label\n", ""), format!("{table}: has no rows"));
    let message = at("path,label\nimg/0.png,a,b\n", "");
    assert!(message.starts_with(&format!("{table}: cannot be read as a table (")), "{message}");
    std::fs::write(dir.path().join("labels.csv"), b"path,label\n\xe9.png,a\n").unwrap();
    assert_eq!(
        refusal(&section(dir.path(), "")),
        format!("{table}: line 2 is not UTF-8; save the table as UTF-8")
    );
}
