//! SVHN's MATLAB files, made small.

use std::path::Path;

use delt_formats::rgb_image::RgbImage;

use crate::made_up::{ingest, notes, put, refusal};
use crate::matlab::{F64, OF_F64, OF_U8, U8, array, element, file};

/// Red tells the image, green the column, blue the row: planes column by column.
fn images(reds: &[u8]) -> Vec<u8> {
    let image = |red: &u8| {
        let pixels = (0..1024_u32).map(|at| ((at / 32) as u8, (at % 32) as u8));
        let (green, blue): (Vec<u8>, Vec<u8>) = pixels.unzip();
        [vec![*red; 1024], green, blue].concat()
    };
    let values: Vec<u8> = reds.iter().flat_map(image).collect();
    array("X", OF_U8, &[32, 32, 3, reds.len() as u32], &element(U8, &values))
}

fn labels(labels: &[u8]) -> Vec<u8> {
    // numbers of 64 bits that fit are stored as bytes
    array("y", OF_F64, &[labels.len() as u32, 1], &element(U8, labels))
}

fn svhn(root: &Path) {
    put(root, "train_32x32.mat", &file(&[images(&[10, 11, 12, 13, 14]), labels(&[1, 10, 9, 3, 1])], true));
    put(root, "test_32x32.mat", &file(&[images(&[20]), labels(&[10])], false));
    let half = [10.0_f64, 2.0].iter().flat_map(|label| label.to_le_bytes()).collect::<Vec<u8>>();
    let labels = array("y", OF_F64, &[2, 1], &element(F64, &half));
    put(root, "extra_32x32.mat", &file(&[labels, images(&[30, 31])], true));
}

fn section(root: &Path, more: &str) -> String {
    format!("source: {{kind: svhn, path: {}{more}}}\nclasses: ['0', '1', '3', '9']", root.display())
}

#[test]
fn columns_become_rows_and_ten_is_the_digit_zero() {
    let dir = tempfile::tempdir().unwrap();
    svhn(dir.path());
    let dataset = ingest(&section(dir.path(), "")).unwrap();
    assert_eq!(dataset.classes, ["0", "1", "3", "9"]);
    assert_eq!(dataset.train.iter().map(|row| row.label).collect::<Vec<_>>(), [1, 0, 3, 2, 1]);
    assert_eq!((dataset.test.len(), dataset.test[0].label), (1, 0));
    let image = RgbImage::decode(&dataset.train[2].bytes).unwrap();
    assert_eq!((image.width, image.height), (32, 32));
    assert_eq!(image.rgb[(5 * 32 + 3) * 3..][..3], [12, 3, 5], "column 3 of row 5");
    assert_eq!(dataset.train_paths()[..2], ["train/000000.png", "train/000001.png"]);
    assert_eq!(
        notes(&section(dir.path(), "")),
        [format!(
            "5 training and 1 test images found in {}, where SVHN has 73257 and 26032",
            dir.path().display()
        )]
    );
    let more = ingest(&section(dir.path(), ", extra: true")).unwrap();
    assert_eq!(more.train[..5], dataset.train[..]);
    let reds = more.train[5..].iter().map(|row| RgbImage::decode(&row.bytes).unwrap().rgb[0]);
    assert_eq!(reds.collect::<Vec<_>>(), [30], "whose label is 0; the other's class is left out");
    let few = ingest(&format!("{}\nmax_train_per_class: 1", section(dir.path(), ", extra: true"))).unwrap();
    assert_eq!(few.train.len(), 4);
}

#[test]
fn refusals_name_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().display();
    let train = format!("{root}/train_32x32.mat");
    let refused = |bytes: &[u8]| {
        put(dir.path(), "train_32x32.mat", bytes);
        refusal(&section(dir.path(), ""))
    };
    assert_eq!(
        refusal(&section(dir.path(), "")),
        format!(
            "{train}: not found, expected a file of SVHN's cropped digits (format 2); correct `ingest.source.path` or give DATA=path"
        )
    );
    assert_eq!(
        refused(&[images(&[1]), labels(&[11])].map(|array| file(&[array], true)[128..].to_vec()).concat()),
        format!(
            "{train}: has the version {:?}, expected [0, 1, 73, 77] as MATLAB 5 files; download it again, or save it with -v6 or -v7",
            &file(&[images(&[1])], true)[252..256]
        )
    );
    for label in [0, 11] {
        assert_eq!(
            refused(&file(&[images(&[1, 2]), labels(&[1, label])], true)),
            format!("{train}: `y` 1 is {label}, expected 1 to 10, which is the digit 0; download it again")
        );
    }
    assert_eq!(
        refused(&file(&[images(&[1, 2]), labels(&[1])], true)),
        format!("{train}: holds 2 images and 1 labels; download it again")
    );
    assert_eq!(
        refused(&file(&[images(&[1, 2])], true)),
        format!("{train}: holds no arrays `X` and `y`, expected SVHN's; download it again")
    );
    let flat = array("X", OF_U8, &[2, 3072], &element(U8, &[0; 6144]));
    assert_eq!(
        refused(&file(&[flat, labels(&[1, 2])], true)),
        format!(
            "{train}: holds `X` of the sides [2, 3072], expected [32, 32, 3, n] bytes; download it again"
        )
    );
    for is_packed in [true, false] {
        let whole = file(&[images(&[1, 2]), labels(&[1, 2])], is_packed);
        for length in [100, 130, 136, whole.len() / 2, whole.len() - 1] {
            let message = refused(&whole[..length]);
            assert!(message.starts_with(&format!("{train}: is not a complete MATLAB 5 file (")), "{message}");
            assert!(message.ends_with("; download it again"), "{message}");
        }
    }
}
