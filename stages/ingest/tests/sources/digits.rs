//! The embedded digits.

use delt_formats::rgb_image::RgbImage;

use crate::made_up::ingest;

const SECTION: &str = "source: {kind: embedded_digits, test_fraction: 0.3, split_seed: 0}";

#[test]
fn all_digits_are_there_and_split_class_by_class() {
    let dataset = ingest(SECTION).unwrap();
    assert_eq!(dataset.classes, ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
    assert_eq!(dataset.train.len() + dataset.test.len(), 1797);
    // Of each digit: 178 182 177 183 181 182 181 179 174 180 in scikit-learn's load_digits.
    let all: Vec<u64> = (0..10_u32)
        .map(|label| {
            dataset.train.iter().chain(&dataset.test).filter(|row| row.label == label).count() as u64
        })
        .collect();
    assert_eq!(all, [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
    let expected: Vec<u64> = all.iter().map(|n| n - (*n as f64 * 0.3).round() as u64).collect();
    assert_eq!(dataset.facts.train_per_class, expected);
    assert!(dataset.facts.mean.iter().all(|mean| (mean - 0.305).abs() < 0.01), "{:?}", dataset.facts.mean);
    assert_eq!(ingest(SECTION).unwrap().train, dataset.train);
}

#[test]
fn the_first_digit_is_the_published_zero() {
    let dataset = ingest(SECTION).unwrap();
    let first = dataset.train.iter().chain(&dataset.test).find(|row| row.path == "digits/0000.png").unwrap();
    assert_eq!(first.label, 0);
    let picture = RgbImage::decode(&first.bytes).unwrap();
    assert_eq!((picture.width, picture.height), (8, 8));
    // digits.csv, first line: 0,0,5,13,9,1,0,0 in the first row; 5 of 16 is 79.7 of 255
    let row: Vec<u8> = picture.rgb[..24].iter().copied().step_by(3).collect();
    assert_eq!(row, [0, 0, 80, 207, 143, 16, 0, 0]);
    assert!(picture.rgb.chunks(3).all(|pixel| pixel[0] == pixel[1] && pixel[1] == pixel[2]));
}
