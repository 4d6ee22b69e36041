//! STL-10's binary files, made small.

use std::path::Path;

use delt_formats::rgb_image::RgbImage;

use crate::cifar::archive;
use crate::made_up::{ingest, put, refusal};

/// Red tells the image, green the column, blue the row: planes column by column.
fn images(reds: &[u8]) -> Vec<u8> {
    let image = |red: &u8| {
        let (green, blue): (Vec<u8>, Vec<u8>) =
            (0..9216_u32).map(|at| ((at / 96) as u8, (at % 96) as u8)).unzip();
        [vec![*red; 9216], green, blue].concat()
    };
    reds.iter().flat_map(image).collect()
}

fn members() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("stl10_binary/test_X.bin", images(&[20])),
        ("stl10_binary/test_y.bin", vec![2]),
        ("stl10_binary/train_X.bin", images(&[10, 11])),
        ("stl10_binary/train_y.bin", vec![2, 10]),
        ("stl10_binary/unlabeled_X.bin", images(&[30])),
    ]
}

fn section(path: &Path) -> String {
    format!("source: {{kind: stl10, path: {}}}\nclasses: [bird, truck]", path.display())
}

#[test]
fn columns_become_rows_and_labels_begin_at_one() {
    let dir = tempfile::tempdir().unwrap();
    let packed = archive(dir.path(), "stl10_binary.tar.gz", &members());
    let dataset = ingest(&section(&packed)).unwrap();
    assert_eq!(dataset.classes, ["bird", "truck"]);
    assert_eq!(dataset.train.iter().map(|row| row.label).collect::<Vec<_>>(), [0, 1]);
    let image = RgbImage::decode(&dataset.train[1].bytes).unwrap();
    assert_eq!((image.width, image.height), (96, 96));
    assert_eq!(image.rgb[(5 * 96 + 3) * 3..][..3], [11, 3, 5], "column 3 of row 5");
    assert_eq!((dataset.test.len(), dataset.test[0].label), (1, 0));
    assert_eq!(ingest(&section(dir.path())).unwrap().train, dataset.train, "its folder will do");
    let unpacked = tempfile::tempdir().unwrap();
    members().iter().for_each(|(name, bytes)| put(unpacked.path(), name, bytes));
    for folder in [unpacked.path(), &unpacked.path().join("stl10_binary")] {
        assert_eq!(ingest(&section(folder)).unwrap().train, dataset.train);
    }
}

#[test]
fn refusals_name_the_archive_and_the_member() {
    let dir = tempfile::tempdir().unwrap();
    let shown = format!("{}/stl10_binary.tar.gz", dir.path().display());
    let refused = |place: usize, bytes: Option<Vec<u8>>| {
        let mut members = members();
        match bytes {
            Some(bytes) => members[place].1 = bytes,
            None => drop(members.remove(place)),
        }
        refusal(&section(&archive(dir.path(), "stl10_binary.tar.gz", &members)))
    };
    assert_eq!(
        refused(2, Some(images(&[1]))),
        format!(
            "{shown}: train_X.bin has 27648 bytes, expected 55296 for the 2 labels of train_y.bin; download it again"
        )
    );
    assert_eq!(
        refused(3, Some(vec![1, 11])),
        format!("{shown}: train_y.bin 1 is 11, expected 1 to 10; download it again")
    );
    assert_eq!(
        refused(1, Some(vec![0])),
        format!("{shown}: test_y.bin 0 is 0, expected 1 to 10; download it again")
    );
    assert_eq!(
        refused(3, None),
        format!("{shown}: holds no train_y.bin, expected the binary version of STL-10")
    );
    let whole = std::fs::read(archive(dir.path(), "stl10_binary.tar.gz", &members())).unwrap();
    put(dir.path(), "stl10_binary.tar.gz", &whole[..whole.len() / 2]);
    let message = refusal(&section(dir.path()));
    assert!(message.starts_with(&format!("{shown}: is not a complete gzipped tar archive (")), "{message}");
    assert_eq!(
        refusal(&section(&dir.path().join("none"))),
        format!(
            "{}/none: not found, expected stl10_binary.tar.gz, the folder stl10_binary that it unpacks to, or the one they lie in; \
             correct `ingest.source.path` or give DATA=path",
            dir.path().display()
        )
    );
    assert_eq!(refusal("source: {kind: stl10}"), "stl10_binary.tar.gz is not downloaded yet");
}
