//! Shards of webdataset, made small.

use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::made_up::{ingest, notes, png, refusal};

fn section(path: &Path, more: &str) -> String {
    format!("source: {{kind: webdataset, path: \"{}\"{more}}}", path.display())
}

fn shard(root: &Path, name: &str, members: &[(&str, Vec<u8>)]) -> PathBuf {
    let path = root.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let file = std::fs::File::create(&path).unwrap();
    let out: Box<dyn std::io::Write> = if name.ends_with("gz") {
        Box::new(GzEncoder::new(file, Compression::fast()))
    } else {
        Box::new(file)
    };
    let mut tar = tar::Builder::new(out);
    for (member, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, member, bytes.as_slice()).unwrap();
    }
    tar.into_inner().unwrap();
    path
}

/// Two samples, with the labels as text.
fn pair(root: &Path, name: &str, seed: u32, labels: [&str; 2]) -> PathBuf {
    let [one, two] = labels.map(|label| label.as_bytes().to_vec());
    let members = [
        ("./s/0.a.json", b"{}".to_vec()),
        ("./s/0.cls", one),
        ("./s/0.png", png(seed, 3, 2)),
        ("./s/1.cls", two),
        ("./s/1.png", png(seed + 1, 2, 3)),
    ];
    shard(root, name, &members[1..])
}

#[test]
fn shards_are_found_by_their_names_and_numbers_are_classes() {
    let dir = tempfile::tempdir().unwrap();
    pair(dir.path(), "set-train-0001.tar", 2, ["9", "9"]);
    pair(dir.path(), "set-train-0000.tar", 0, ["10", "9"]);
    pair(dir.path(), "set-val-0000.tar.gz", 4, ["10", "9"]);
    let dataset = ingest(&section(dir.path(), "")).unwrap();
    assert_eq!(dataset.classes, ["9", "10"]);
    assert_eq!(dataset.train.iter().map(|row| row.label).collect::<Vec<_>>(), [1, 0, 0, 0]);
    assert_eq!(dataset.train_paths(), ["s/0.png", "s/1.png", "s/0.png", "s/1.png"]);
    assert_eq!((&dataset.train[1].bytes, &dataset.test[0].bytes), (&png(1, 2, 3), &png(4, 3, 2)));
    assert_eq!(dataset.facts.source, "webdataset shards");
    let other = pair(dir.path(), "set-test-0000.tar", 6, ["10", "9"]);
    assert_eq!(
        notes(&section(dir.path(), "")),
        [format!("passed over: 1 shards of no split that is read, the first of them {}", other.display())]
    );
    let named = ingest(&format!(
        "{}\nclasses: [cat, dog]",
        section(dir.path(), ", class_names: [a, b, c, d, e, f, g, h, i, cat, dog]")
    ))
    .unwrap();
    assert_eq!((named.train[0].label, named.train[1].label), (1, 0));
}

#[test]
fn patterns_name_shards_and_json_and_text_hold_labels() {
    let dir = tempfile::tempdir().unwrap();
    for (name, seed) in [("a-00.tar", 0), ("a-01.tar", 10)] {
        let members = [
            ("0.jpg.png", png(seed, 3, 2)),
            ("0.png", png(seed, 3, 2)),
            ("0.json", br#"{"id": 7, "species": "cat"}"#.to_vec()),
            ("1.webp.txt", b"x".to_vec()),
            ("1.json", br#"{"species": "dog"}"#.to_vec()),
            ("1.png", png(seed + 1, 3, 2)),
            ("2.json", br#"{"species": "dog"}"#.to_vec()),
        ];
        shard(dir.path(), name, &members[1..]);
    }
    let more = ", train: [\"a-{00..01}.tar\"], label_key: species, test_fraction: 0.5, split_seed: 0";
    let dataset = ingest(&section(dir.path(), more)).unwrap();
    assert_eq!(
        (&dataset.classes[..], dataset.facts.train_images),
        (&["cat".to_owned(), "dog".to_owned()][..], 2)
    );
    assert_eq!(dataset.facts.test_images, 2);
    assert_eq!(
        notes(&section(dir.path(), more)),
        ["4 images found in 2 shards; passed over: 2 samples without an image"]
    );
    let pattern = dir.path().join("a-{00..01}.tar");
    let by_path =
        ingest(&section(&pattern, ", label_key: species, test_fraction: 0.5, split_seed: 0")).unwrap();
    assert_eq!(by_path.train, dataset.train);
}

#[test]
#[expect(clippy::too_many_lines, reason = "a list of cases")]
fn refusals_name_the_shard_and_the_sample() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().display().to_string();
    let at = |name: &str, more: &str| refusal(&section(&dir.path().join(name), more));
    let split = ", test_fraction: 0.5, split_seed: 0";
    for number in [0, 1, 3] {
        pair(dir.path(), &format!("gap/train-{number:04}.tar"), number, ["a", "b"]);
        pair(dir.path(), &format!("of/train-{number:05}-of-00005.tar"), number, ["a", "b"]);
    }
    let advice = "fetch it, or name those to read in `ingest.source.train` and `test`";
    assert_eq!(
        at("gap", split),
        format!("{root}/gap: holds 3 shards `train-...tar`, but train-0002.tar is missing; {advice}")
    );
    assert_eq!(
        at("of", split),
        format!(
            "{root}/of: holds 3 of the 5 files that the name `train-00000-of-00005.tar` promises, without train-00002-of-00005, \
             train-00004-of-00005; fetch or remove what is wrong, or name the files to read in `ingest.source.train` and `test`"
        )
    );
    assert_eq!(
        at("gap/train-{0000..0003}.tar", split),
        format!(
            "{root}/gap/train-0002.tar: is not there, one of the 4 shards that `{root}/gap/train-{{0000..0003}}.tar` names; fetch \
             it or correct the pattern"
        )
    );
    assert_eq!(
        at("gap/train-0000.tar", ""),
        format!(
            "{root}/gap/train-0000.tar: has no test shards; name them in `ingest.source.test`, or for a split of its own give \
             `ingest.source.test_fraction` and `ingest.source.split_seed`, e.g. 0.2 and 0"
        )
    );
    std::fs::create_dir(dir.path().join("void")).unwrap();
    assert_eq!(
        at("void", split),
        format!(
            "{root}/void: holds no .tar, expected shards; correct `ingest.source.path` or give DATA=path"
        )
    );
    let image = ("0.png", png(1, 2, 2));
    shard(dir.path(), "bare.tar", std::slice::from_ref(&image));
    assert_eq!(
        at("bare.tar", split),
        format!(
            "{root}/bare.tar: sample `0` has no label, expected 0.cls, .json or .txt beside the image; of JSON name the key in \
             `ingest.source.label_key`, and pack members of one name one after the other (`tar --sort=name`)"
        )
    );
    shard(dir.path(), "two.tar", &[image.clone(), ("0.jpg", png(2, 2, 2))]);
    assert_eq!(
        at("two.tar", split),
        format!("{root}/two.tar: sample `0` has two images, 0.png and 0.jpg; leave one of them")
    );
    let whole = std::fs::read(dir.path().join("gap/train-0000.tar")).unwrap();
    for length in [700, 1024, whole.len() - 1024] {
        std::fs::write(dir.path().join("cut.tar"), &whole[..length]).unwrap();
        assert_eq!(
            at("cut.tar", split),
            format!(
                "{root}/cut.tar: is not a complete tar archive (it has no end); download or copy it again"
            )
        );
    }
}
