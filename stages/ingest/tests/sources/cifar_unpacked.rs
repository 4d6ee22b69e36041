//! CIFAR for Python and unpacked, made small.

use std::path::Path;

use crate::cifar::{archive, bare_section, record, section};
use crate::made_up::{ingest, notes, put, refusal};

/// A file of the Python version as Python 2 pickled it: labels, and an array of bytes.
fn pickled(key: &str, labels: &[u8], rows: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x80\x02}(".to_vec();
    let text = |text: &str| [&[b'U', text.len() as u8], text.as_bytes()].concat();
    bytes.extend(text(key));
    bytes.extend(b"](");
    labels.iter().for_each(|label| bytes.extend([b'K', *label]));
    bytes.push(b'e');
    bytes.extend(text("data"));
    bytes.extend(b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR(K\x01(J");
    bytes.extend((labels.len() as u32).to_le_bytes());
    bytes.extend(b"M\x00\x0ctcnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T");
    bytes.extend((rows.len() as u32).to_le_bytes());
    bytes.extend(rows);
    bytes.extend(b"tbu.");
    bytes
}

fn names(key: &str, names: &[&str]) -> Vec<u8> {
    let mut bytes = [&b"\x80\x02}U"[..], &[key.len() as u8], key.as_bytes(), b"]("].concat();
    names.iter().for_each(|name| bytes.extend([&[b'U', name.len() as u8], name.as_bytes()].concat()));
    bytes.extend(b"es.");
    bytes
}

/// Pixels of a record without its labels.
fn pixels(seed: u8) -> Vec<u8> {
    record(&[], seed)
}

fn binary_files(root: &Path, folder: &str) {
    put(
        root,
        &format!("{folder}/train.bin"),
        &[record(&[5, 2], 10), record(&[0, 0], 11), record(&[3, 1], 12)].concat(),
    );
    put(root, &format!("{folder}/test.bin"), &record(&[9, 1], 77));
}

fn python_files(root: &Path, folder: &str) {
    let rows = [pixels(10), pixels(11), pixels(12)].concat();
    put(root, &format!("{folder}/train"), &pickled("fine_labels", &[2, 0, 1], &rows));
    put(root, &format!("{folder}/test"), &pickled("fine_labels", &[1], &pixels(77)));
}

#[test]
fn all_versions_give_the_same_images_labels_and_names() {
    let dir = tempfile::tempdir().unwrap();
    binary_files(dir.path(), "one/cifar-100-binary");
    python_files(dir.path(), "two/cifar-100-python");
    let three =
        |path: &Path| format!("{}\nclasses: [apple, aquarium_fish, baby]", bare_section("cifar100", path));
    let [one, two] = ["one", "two"].map(|name| ingest(&three(&dir.path().join(name))).unwrap());
    assert_eq!((&one.train, &one.test, &one.classes), (&two.train, &two.test, &two.classes));
    assert_eq!(one.train.iter().map(|row| row.label).collect::<Vec<_>>(), [2, 0, 1]);
    assert_eq!(
        (one.facts.source, two.facts.source),
        ("CIFAR-100, binary version".into(), "CIFAR-100, Python version".into())
    );
    let inner = dir.path().join("two/cifar-100-python");
    assert_eq!(ingest(&three(&inner)).unwrap().train, two.train, "the folder itself will do");
    assert_eq!(
        notes(&bare_section("cifar100", &inner)),
        [format!(
            "3 training and 1 test images found in {}, where CIFAR-100 has 50000 and 10000",
            inner.display()
        )]
    );
    let train = std::fs::read(inner.join("train")).unwrap();
    let test = std::fs::read(inner.join("test")).unwrap();
    let meta = names("fine_label_names", &["a", "b", "c"]);
    let members = [("c/meta", meta), ("c/test", test), ("c/train", train)];
    let packed = archive(dir.path(), "cifar-100-python.tar.gz", &members);
    let dataset = ingest(&section("cifar100", &packed)).unwrap();
    assert_eq!(
        (&dataset.train, dataset.classes),
        (&two.train, vec!["a".to_owned(), "b".to_owned(), "c".to_owned()])
    );
    assert!(notes(&section("cifar100", &packed)).is_empty());
    let message = refusal(&bare_section("cifar100", dir.path()));
    let published =
        "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7 (the published archive)";
    assert!(message.contains(&format!("expected {published}; download it again")), "{message}");
}

#[test]
fn cifar10_reads_its_batches_in_order() {
    let dir = tempfile::tempdir().unwrap();
    for batch in (1..=5).rev() {
        let bytes = pickled("labels", &[batch, 0], &[pixels(batch), pixels(50 + batch)].concat());
        put(dir.path(), &format!("cifar-10-batches-py/data_batch_{batch}"), &bytes);
    }
    put(dir.path(), "cifar-10-batches-py/test_batch", &pickled("labels", &[5], &pixels(99)));
    let six = "classes: [airplane, automobile, bird, cat, deer, dog]";
    let dataset = ingest(&format!("{}\n{six}", bare_section("cifar10", dir.path()))).unwrap();
    assert_eq!(dataset.train.iter().map(|row| row.label).collect::<Vec<_>>(), [1, 0, 2, 0, 3, 0, 4, 0, 5, 0]);
    assert_eq!(dataset.classes[5], "dog");
}

#[test]
fn refusals_name_the_file() {
    let dir = tempfile::tempdir().unwrap();
    python_files(dir.path(), "cifar-100-python");
    let folder = dir.path().join("cifar-100-python");
    let at = || refusal(&bare_section("cifar100", &folder));
    let shown = folder.display();
    let expected = "expected a pickle of CIFAR's Python version; download it again";
    put(&folder, "test", &pickled("coarse_labels", &[1], &pixels(7)));
    assert_eq!(at(), format!("{shown}: test: found no list `fine_labels`, {expected}"));
    put(&folder, "test", &pickled("fine_labels", &[1, 2], &pixels(7)));
    assert_eq!(at(), format!("{shown}: test: found no array `data` of bytes, row by row, {expected}"));
    put(&folder, "test", b"\x80\x02}U");
    assert_eq!(at(), format!("{shown}: test: found an early end, {expected}"));
    put(&folder, "test", &pickled("fine_labels", &[100], &pixels(7)));
    assert_eq!(
        at(),
        format!(
            "{shown}: test row 0: label 100, expected 0 to 99, one of 100 classes; correct the data or `ingest.source`"
        )
    );
    std::fs::remove_file(folder.join("test")).unwrap();
    assert_eq!(at(), format!("{shown}: holds no test, expected the Python version of CIFAR-100"));
    python_files(dir.path(), "cifar-100-python");
    let with_sum = format!("source: {{kind: cifar100, path: {shown}, sha256: '{}'}}", "0".repeat(64));
    assert_eq!(
        refusal(&with_sum),
        format!(
            "{shown}: holds unpacked files, and `ingest.source.sha256` is the sum of an archive; leave it out"
        )
    );
}
